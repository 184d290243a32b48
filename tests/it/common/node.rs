//! Runs a test file or a program of a Node project under tests/, after installing what its lock file names.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// One installation at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

fn folder(project: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(project)
}

fn install(folder: &Path) {
    super::turn::take();
    let _alone = INSTALLING.lock().unwrap_or_else(|lock| lock.into_inner());
    let age = |file: &str| folder.join(file).metadata().and_then(|m| m.modified()).ok();
    // npm writes this one at the end.
    if age("node_modules/.package-lock.json") > age("package-lock.json") {
        return;
    }
    let installed = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .output()
        .expect("npm runs");
    assert!(
        installed.status.success(),
        "npm ci in {}: {}",
        folder.display(),
        String::from_utf8_lossy(&installed.stderr)
    );
}

/// Runs `node --test FILE` with these variables, and shows what it wrote if a test fails.
#[track_caller]
pub fn test(project: &str, file: &str, variables: &[(&str, &str)]) {
    let folder = folder(project);
    install(&folder);
    let run = Command::new("node")
        .args(["--test", "--test-force-exit", "--test-reporter=spec", file])
        .current_dir(&folder)
        .env("SSE_SERVER", super::binary())
        .envs(variables.iter().copied())
        .output()
        .expect("node runs");
    let text = String::from_utf8_lossy(&run.stdout);
    let failures = text
        .split_once("failing tests:")
        .map_or(&*text, |(_, end)| end);
    assert!(run.status.success(), "tests/{project}/{file}:\n{failures}");
    // Node succeeds without a test, too.
    assert!(!text.contains("ℹ pass 0"), "no test ran:\n{text}");
}

/// A command for a program of a package, in the project's folder.
pub fn command(project: &str, program: &str) -> Command {
    let folder = folder(project);
    install(&folder);
    let mut command = Command::new(folder.join("node_modules/.bin").join(program));
    command.current_dir(folder);
    command
}

/// One of the project's own programs, in its folder.
pub fn program(project: &str, file: &str) -> Command {
    let folder = folder(project);
    install(&folder);
    let mut command = Command::new("node");
    command.arg(file).current_dir(folder);
    command
}
