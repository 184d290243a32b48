//! Why Redis cannot be used, as a line for a person.

use super::resp::Answer;
use std::io;

#[derive(Debug)]
pub(super) struct Fault {
    /// Faults that look the same to a person have the same kind.
    pub(super) kind: &'static str,
    /// What happened.
    pub(super) reason: String,
    /// What helps.
    pub(super) hint: &'static str,
}

impl Fault {
    /// An unreadable answer.
    pub(super) fn protocol() -> Fault {
        Fault {
            kind: "protocol",
            reason: "an answer that no Redis gives".into(),
            hint: "check that REDIS_URL points to a Redis",
        }
    }

    /// An error that Redis answered.
    pub(super) fn from_answer(error: &[u8]) -> Fault {
        let error = String::from_utf8_lossy(error);
        let (code, details) = error.split_once(' ').unwrap_or((&error, ""));
        let (kind, hint) = match code {
            "NOAUTH" | "WRONGPASS" => ("password", "set the user and password in REDIS_URL"),
            "NOPERM" => ("rights", "the user in REDIS_URL needs all commands on the keys sse-server:*"),
            "OOM" => ("memory", "raise maxmemory in Redis, or lower HISTORY_BYTES; until then nothing can be published"),
            "MISCONF" => ("disk", "Redis cannot save, so it takes no writes; its log says why"),
            "READONLY" => ("replica", "REDIS_URL points to a replica; point it to the primary"),
            "LOADING" => (LOADING, "Redis is reading its data from disk"),
            "WRONGTYPE" => ("key", "the key sse-server:events is used for something else; use another database"),
            "ERR" if details.contains("last possible ID") => return Fault::no_more_ids(),
            "ERR" if details.starts_with("DB index") => (
                "database",
                "the database in REDIS_URL does not exist; use a lower number, or raise the Redis setting databases",
            ),
            "NOREPLICAS" => ("replicas", "Redis has too few replicas to take writes (min-replicas-to-write)"),
            _ => ("answer", "see the reason"),
        };
        Fault {
            kind,
            reason: error.trim().into(),
            hint,
        }
    }

    /// The first refusal among the answers. In a transaction that is the reason; the last one only says that it was
    /// given up.
    pub(super) fn among(answers: &[Answer]) -> Fault {
        let refusal = answers.iter().find_map(|answer| match answer {
            Answer::Error(error) => Some(Fault::from_answer(error)),
            _ => None,
        });
        refusal.unwrap_or_else(Fault::protocol)
    }

    /// A read that Redis cut off. The answer may be too large for the client buffer that Redis allows: it says nothing
    /// then.
    pub(super) fn cut_off(self, entries: usize) -> Fault {
        if self.kind != NETWORK {
            return self;
        }
        Fault {
            kind: if entries > 1 { CUT_OFF } else { "message" },
            reason: format!("{} while it answered with up to {entries} messages", self.reason),
            hint: "from now on fewer are requested at once; if one is too many, raise client-output-buffer-limit in Redis",
        }
    }

    /// The stream cannot take another entry.
    pub(super) fn no_more_ids() -> Fault {
        Fault {
            kind: "ids",
            reason: "the stream sse-server:events has the largest possible id".into(),
            hint: "somebody has added an entry with a made-up id; delete the key sse-server:events",
        }
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.kind == CUT_OFF
    }

    /// Whether Redis did not answer.
    pub(super) fn is_silence(&self) -> bool {
        self.kind == TIMEOUT
    }

    /// Whether a new connection may help at once.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.kind, NETWORK | CUT_OFF | TIMEOUT | LOADING)
    }
}

const NETWORK: &str = "network";
const CUT_OFF: &str = "cut off";
const TIMEOUT: &str = "timeout";
const LOADING: &str = "loading";

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        if matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ) {
            return Fault {
                kind: TIMEOUT,
                reason: "timed out: no answer from Redis".into(),
                hint: "Redis does not answer; check the network and its load",
            };
        }
        Fault {
            kind: NETWORK,
            reason: error.to_string(),
            hint: "check that Redis runs and that REDIS_URL points to it",
        }
    }
}
