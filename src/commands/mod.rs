#![doc = include_str!("README.md")]

mod check;
mod doubts;
mod help;
mod setup;
mod token;
mod welcome;

pub use doubts::{doubts, Doubt};
use setup::print;
pub use setup::{read_config, read_rules, Failure};
pub use welcome::{Language, Welcome};

use crate::disk;
use crate::log::{catch_panic, silence_caught_panics};
use crate::server::health;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// How long `--healthcheck` waits for an answer.
const HEALTHCHECK_TIME: Duration = Duration::from_secs(5);

/// Runs the command that the arguments name. There is at least one.
///
/// # Errors
/// What a person is told, unless it succeeds.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    silence_caught_panics();
    let texts: Vec<_> = arguments
        .iter()
        .map(|text| text.to_string_lossy())
        .collect();
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    match texts[..] {
        ["--help" | "-h"] | ["token", "--help" | "-h"] => print(&help::help()),
        ["--version" | "-V"] => print(&help::version()),
        ["--healthcheck"] => check_health(),
        ["--check"] => check::check(),
        // A path need not be UTF-8.
        ["--check-data", _] => check_data(arguments[1].as_ref()),
        ["--check-data", ..] => Err(Failure::misuse(
            "--check-data takes one folder; give the one that DATA_DIR names",
        )),
        ["token", ref rest @ ..] => token::token(rest),
        ["--help" | "-h" | "--version" | "-V" | "--healthcheck" | "--check", unknown, ..]
        | [unknown, ..] => Err(Failure::misuse(format!(
            "unknown argument {unknown:?}; sse-server takes token, --check, --check-data FOLDER, --healthcheck, --help or --version, and is configured by environment variables"
        ))),
        [] => Ok(()),
    }
}

fn check_health() -> Result<(), Failure> {
    let config = read_config()?;
    let target = health::local_target(&config.listen);
    health::ask_health(&target, HEALTHCHECK_TIME)
        .map_err(|error| Failure::new(format!("the server is not healthy: {error}")))
}

fn check_data(folder: &Path) -> Result<(), Failure> {
    let report = catch_panic(|| disk::check(folder))
        .unwrap_or_else(|| {
            Err(format!(
                "{folder:?} made sse-server panic; that is a bug in it"
            ))
        })
        .map_err(Failure::new)?;
    print(&report.to_string())
}
