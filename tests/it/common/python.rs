//! A Python environment under target/ with what tests/python/requirements.txt names.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// One installation at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The folder with the files for Python.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// A command for a program of the environment, which is created first if it is missing or outdated.
pub fn command(program: &str) -> Command {
    super::turn::take();
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let wanted = folder().join("requirements.txt");
    let installed = environment.join("installed.txt");
    let alone = INSTALLING.lock().unwrap_or_else(|lock| lock.into_inner());
    if std::fs::read(&wanted).ok() != std::fs::read(&installed).ok() {
        succeed(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&environment),
        );
        succeed(
            Command::new(environment.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
                .arg(&wanted),
        );
        std::fs::copy(&wanted, &installed).expect("a file can be copied");
    }
    drop(alone);
    Command::new(environment.join("bin").join(program))
}

/// Runs it to its end, which has to be a success, and returns its output.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?} fails:\n{text}");
    text
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[out.as_slice(), err.as_slice()].concat()).into_owned()
}
