//! The configuration in the environment, and what a person reads when it cannot be used.

use crate::access::{Rules, Token};
use crate::config::Config;
use std::io::{ErrorKind, Write};

/// Exit codes other than 0.
const FAILED: u8 = 1;
const MISUSED: u8 = 2;

/// One line for a person, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The line, without the program's name.
    pub line: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    pub fn new(line: impl Into<String>) -> Failure {
        Failure {
            line: line.into(),
            code: FAILED,
        }
    }

    /// The arguments or the configuration cannot be used.
    pub fn misuse(line: impl Into<String>) -> Failure {
        Failure {
            line: line.into(),
            code: MISUSED,
        }
    }
}

/// Writes lines to standard output. A reader that closes it has seen enough.
///
/// # Errors
/// If they cannot be written.
pub(super) fn print(lines: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    let written = writeln!(output, "{lines}").and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// The configuration in the environment variables.
///
/// # Errors
/// What cannot be used.
pub fn read_config() -> Result<Config, Failure> {
    Config::read(|name| std::env::var_os(name)).map_err(|bad| Failure::misuse(bad.to_string()))
}

/// The rules of `ACCESS_FILE`, or those that apply without one.
///
/// # Errors
/// What cannot be used.
pub fn read_rules(config: &Config) -> Result<Rules, Failure> {
    match &config.access_file {
        None => Ok(Rules::without_file()),
        Some(path) => {
            let operator = config.auth_token.as_ref().map(Token::digest);
            Rules::read(path, operator).map_err(|fault| Failure::misuse(fault.to_string()))
        }
    }
}
