//! Settings that work but are probably mistakes. No value is shown.

use crate::access::{Rules, Token, OPERATOR_NAME};
use crate::config::{meant_by, Config};
use crate::event::Event;
use crate::log::Logged;
use std::fmt;

/// One doubt, as a line for the log or for a person.
#[derive(Debug)]
pub enum Doubt {
    /// A variable that nothing reads, and that is probably misspelt.
    UnknownVariable {
        /// Its name.
        name: String,
        /// The name that is probably meant.
        meant: &'static str,
    },
    /// A variable that has an effect only with another one.
    UnusedVariable {
        /// Its name.
        name: &'static str,
        /// The one that is missing.
        without: &'static str,
    },
    /// A token that can be guessed; holds its name.
    ShortToken(String),
    /// A message of the largest size has no place in the history.
    SmallHistory {
        /// `MAX_MESSAGE_BYTES`.
        message: usize,
        /// `HISTORY_BYTES`.
        history: usize,
    },
}

const SMALL_HISTORY: &str = "a message of the largest size is not retained, and clients that come back are told of a gap; raise HISTORY_BYTES or lower MAX_MESSAGE_BYTES";

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::UnknownVariable { name, meant } => write!(
                f,
                "event=unknown_variable name={} hint=\"nothing reads it; did you mean {meant}?\"",
                Logged(name)
            ),
            Doubt::UnusedVariable { name, without } => write!(
                f,
                "event=unused_variable name={name} hint=\"it has an effect only with {without}\""
            ),
            Doubt::ShortToken(name) => write!(
                f,
                "event=short_token name={name} hint=\"it has fewer than {} characters and can be guessed; openssl rand -hex 32 makes a good one\"",
                Token::SAFE_BYTES
            ),
            Doubt::SmallHistory { message, history } => write!(
                f,
                "event=small_history max_message_bytes={message} history_bytes={history} hint=\"{SMALL_HISTORY}\""
            ),
        }
    }
}

impl Doubt {
    /// For a person.
    pub fn sentence(&self) -> String {
        match self {
            Doubt::UnknownVariable { name, meant } => {
                format!("nothing reads the variable {name}; did you mean {meant}?")
            }
            Doubt::UnusedVariable { name, without } => {
                format!("{name} has an effect only with {without}")
            }
            Doubt::ShortToken(name) => format!(
                "the token {name} has fewer than {} characters and can be guessed; openssl rand -hex 32 makes a good one",
                Token::SAFE_BYTES
            ),
            Doubt::SmallHistory { message, history } => format!(
                "MAX_MESSAGE_BYTES is {message} and HISTORY_BYTES is {history}: {SMALL_HISTORY}"
            ),
        }
    }
}

/// All doubts about the variables and the rules.
pub fn doubts(config: &Config, rules: &Rules) -> Vec<Doubt> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let unknown = names.filter_map(|name| {
        let meant = meant_by(&name)?;
        Some(Doubt::UnknownVariable { name, meant })
    });
    let is_unused =
        config.data_dir.is_none() && std::env::var_os("SYNC").is_some_and(|sync| !sync.is_empty());
    let unused = is_unused.then_some(Doubt::UnusedVariable {
        name: "SYNC",
        without: "DATA_DIR",
    });
    let operator = config.auth_token.as_ref().filter(|token| token.is_short());
    let operator = operator.map(|_| OPERATOR_NAME.to_string());
    let listed = rules.tokens().into_iter().filter(|entry| entry.is_short);
    let short = operator
        .into_iter()
        .chain(listed.map(|entry| entry.name.to_string()));
    let (message, history) = (config.max_message_bytes, config.history_bytes);
    let is_small = (1..message + Event::OVERHEAD_BYTES).contains(&history);
    let small =
        (is_small && config.history_events > 0).then_some(Doubt::SmallHistory { message, history });
    unknown
        .chain(unused)
        .chain(small)
        .chain(short.map(Doubt::ShortToken))
        .collect()
}
