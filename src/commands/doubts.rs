//! What can be used and is probably not meant so. No value is shown.

use crate::access::{Rules, Token};
use crate::config::{meant_by, Config};
use crate::log::Logged;
use std::fmt;

/// One line for the log, or for a person.
#[derive(Debug)]
pub struct Doubt {
    event: &'static str,
    /// What it is about, where that has a name.
    name: Option<String>,
    hint: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event={}", self.event)?;
        if let Some(name) = &self.name {
            write!(f, " name={}", Logged(name))?;
        }
        write!(f, " hint={:?}", self.hint)
    }
}

impl Doubt {
    /// For a person.
    pub fn sentence(&self) -> String {
        match &self.name {
            Some(name) => format!("{}: {}", Logged(name), self.hint),
            None => self.hint.clone(),
        }
    }
}

/// All doubts about the variables and the rules.
pub fn doubts(config: &Config, rules: &Rules) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if let Some(meant) = meant_by(&name) {
            doubts.push(Doubt {
                event: "unknown_variable",
                hint: format!("nothing reads it; if {meant} is meant, correct the name"),
                name: Some(name.into()),
            });
        }
    }
    let safe = Token::SAFE_BYTES;
    let good = "openssl rand -hex 32 makes a good one";
    if config.auth_token.as_ref().is_some_and(Token::is_short) {
        doubts.push(Doubt {
            event: "short_token",
            name: None,
            hint: format!("AUTH_TOKEN has less than {safe} characters and can be guessed; {good}"),
        });
    }
    for entry in rules.tokens() {
        if entry.is_short {
            doubts.push(Doubt {
                event: "short_token",
                name: Some(entry.name.to_string()),
                hint: format!("this token of ACCESS_FILE has less than {safe} characters and can be guessed; {good}"),
            });
        }
    }
    doubts
}
