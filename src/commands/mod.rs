#![doc = include_str!("README.md")]

mod failure;
mod help;

pub use failure::{read_config, Failure};

use crate::server::health;
use std::time::Duration;

/// How long `--healthcheck` waits for an answer.
const HEALTHCHECK_TIME: Duration = Duration::from_secs(5);

/// Does what the arguments say. There is at least one.
///
/// # Errors
/// What a person is told, if that is no success.
pub fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["--help" | "-h"] => help::print_help(),
        ["--version" | "-V"] => help::print_version(),
        ["--healthcheck"] => check_health()?,
        _ => {
            let unknown = arguments.first().unwrap_or(&"");
            return Err(Failure::misuse(format!(
                "unknown argument {unknown:?}; sse-server takes --help, --version or --healthcheck, and is configured by environment variables"
            )));
        }
    }
    Ok(())
}

fn check_health() -> Result<(), Failure> {
    let config = read_config()?;
    let target = health::local_target(&config.listen);
    health::ask_health(&target, HEALTHCHECK_TIME)
        .map_err(|error| Failure::new(format!("the server is not healthy: {error}")))
}
