//! `make install` puts a binary and units where systemd finds them, and systemd accepts them.

use crate::common;

use common::folder::Folder;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[track_caller]
fn make(target: &str, settings: &[(&str, &Path)]) {
    let mut command = Command::new("make");
    command.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.arg(format!("STATIC={}", env!("CARGO_BIN_EXE_sse-server")));
    for (name, value) in settings {
        command.arg(format!("{name}={}", value.display()));
    }
    let output = command.output().expect("make runs");
    assert!(output.status.success(), "make {target}: {}", text(&output));
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn uninstall_removes_what_install_brought() {
    let root = Folder::new("install");
    let settings = [
        ("DESTDIR", root.0.as_path()),
        ("PREFIX", Path::new("/opt/sse")),
    ];
    make("install", &settings);
    let below: Vec<PathBuf> = files_below(&root.0)
        .iter()
        .map(|file| file.strip_prefix(&root.0).expect("it is below").into())
        .collect();
    let expected = [
        "opt/sse/bin/sse-server",
        "opt/sse/lib/systemd/system/sse-server.service",
        "opt/sse/lib/systemd/system/sse-server.socket",
        "opt/sse/share/sse-server/LICENSE",
        "opt/sse/share/sse-server/sse-server.env",
    ];
    assert_eq!(below, expected.map(PathBuf::from));
    let unit = std::fs::read_to_string(root.0.join(expected[1])).expect("it was installed");
    assert!(
        unit.contains("ExecStart=/opt/sse/bin/sse-server\n"),
        "{unit}"
    );
    make("uninstall", &settings);
    assert_eq!(files_below(&root.0), Vec::<PathBuf>::new());
}

/// A board without a battery begins with a wrong clock. The ids and times of its messages are of the right time only if the
/// server starts after the clock was set.
#[test]
fn the_service_starts_when_the_clock_is_right() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/sse-server.service");
    let unit = std::fs::read_to_string(unit).expect("the unit can be read");
    let mut after = unit
        .lines()
        .filter_map(|line| line.strip_prefix("After="))
        .flat_map(str::split_whitespace);
    assert!(after.any(|name| name == "time-sync.target"), "{unit}");
}

#[test]
fn needs_systemd_analyze_the_units_are_sound() {
    let prefix = Folder::new("verify");
    make("install", &[("PREFIX", &prefix.0)]);
    let units = prefix.0.join("lib/systemd/system");
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(units.join("sse-server.service"))
        .arg(units.join("sse-server.socket"))
        .output()
        .expect("systemd-analyze runs");
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    // It only warns of a setting that it does not know.
    assert!(!told.contains("sse-server"), "{told}");
}

#[test]
fn needs_systemd_analyze_the_service_is_exposed_by_less_than_2() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/sse-server.service");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(unit)
        .output()
        .expect("systemd-analyze runs");
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("Overall exposure level"), "{told}");
}
