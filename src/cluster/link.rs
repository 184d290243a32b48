//! A connection to Redis. The `redis` crate packs what is sent and parses what comes; the socket is ours.

use super::address::RedisAddress;
use super::fault::Fault;
use super::socket::{left, Socket};
use super::system;
use ::redis::{cmd, Cmd, Parser, Value};
use std::io;
use std::time::Duration;

/// The oldest Redis that tells how many entries a stream ever had, and which it has lost (`XINFO STREAM`,
/// `entries-added` and `max-deleted-entry-id`).
const NEEDED_VERSION: (u32, u32) = (7, 0);

/// A connection as Redis knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Which run of Redis it is: another one after each start.
    run: String,
    /// The connection's number in that run, if Redis tells.
    client: Option<i64>,
}

/// A connection to a Redis that was found usable. After a fault it is out of step, and useless.
pub(super) struct Link {
    socket: Socket,
    parser: Parser,
    session: Session,
}

impl Link {
    /// Connects within `bound`. From then on an answer may take `patience`.
    pub(super) fn open(
        address: &RedisAddress,
        patience: Duration,
        bound: Duration,
    ) -> Result<Link, Fault> {
        let end = system::now() + bound;
        let mut link = Link {
            socket: Socket::connect(address, end)?,
            parser: Parser::new(),
            session: Session {
                run: String::new(),
                client: None,
            },
        };
        link.set_patience(left(end))?;
        link.introduce(address)?;
        link.set_patience(patience)?;
        Ok(link)
    }

    /// Sets how long an answer may take.
    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_patience(patience)
    }

    fn introduce(&mut self, address: &RedisAddress) -> Result<(), Fault> {
        let settings = address.settings();
        let mut packed = Vec::new();
        let mut needed = 0;
        if let Some(password) = settings.password() {
            let mut auth = cmd("AUTH");
            auth.arg(settings.username()).arg(password);
            auth.write_packed_command(&mut packed);
            needed += 1;
        }
        if settings.db() != 0 {
            let mut select = cmd("SELECT");
            select.arg(settings.db()).write_packed_command(&mut packed);
            needed += 1;
        }
        cmd("CLIENT").arg("ID").write_packed_command(&mut packed);
        cmd("INFO").write_packed_command(&mut packed);
        let mut answers = self.ask_all(&packed, needed + 2)?;
        let info = answers.pop().ok_or_else(Fault::protocol)?;
        let client = answers.pop();
        for answer in answers.iter().chain([&info]) {
            if let Value::ServerError(error) = answer {
                return Err(Fault::from_answer(error));
            }
        }
        let info = text(&info).ok_or_else(Fault::protocol)?;
        check(&info)?;
        self.session = Session {
            run: info_field(&info, "run_id").into(),
            client: match client {
                Some(Value::Int(number)) => Some(number),
                _ => None,
            },
        };
        Ok(())
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Makes sure that Redis does nothing more for an earlier connection. Returns whether that is sure.
    pub(super) fn end(&mut self, earlier: &Session) -> Result<bool, Fault> {
        if earlier.run != self.session.run {
            // That run of Redis is over, and its connections with it.
            return Ok(true);
        }
        let Some(number) = earlier.client else {
            return Ok(false);
        };
        let mut kill = cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(number);
        Ok(matches!(self.try_ask(&kill)?, Value::Int(_)))
    }

    /// Sends one command. A refusal is a fault.
    pub(super) fn ask(&mut self, command: &Cmd) -> Result<Value, Fault> {
        match self.try_ask(command)? {
            Value::ServerError(error) => Err(Fault::from_answer(&error)),
            value => Ok(value),
        }
    }

    /// Sends one command. A refusal is a value.
    fn try_ask(&mut self, command: &Cmd) -> Result<Value, Fault> {
        let mut answers = self.ask_all(&command.get_packed_command(), 1)?;
        answers.pop().ok_or_else(Fault::protocol)
    }

    /// Sends packed commands, and returns `wanted` answers. Refusals are values.
    pub(super) fn ask_all(&mut self, packed: &[u8], wanted: usize) -> Result<Vec<Value>, Fault> {
        self.socket.write_all(packed)?;
        let answers = (0..wanted).map(|_| self.parser.parse_value(&mut self.socket));
        Ok(answers.collect::<Result<_, _>>()?)
    }
}

fn info_field<'a>(info: &'a str, name: &str) -> &'a str {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_default()
}

fn check(info: &str) -> Result<(), Fault> {
    let field = |name| info_field(info, name);
    let version = field("redis_version");
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < NEEDED_VERSION {
        return Err(Fault {
            kind: "version",
            reason: format!(
                "Redis {}.{} or newer is needed, this is {version}",
                NEEDED_VERSION.0, NEEDED_VERSION.1
            ),
            hint: "install a newer Redis",
        });
    }
    if field("role") == "slave" {
        return Err(Fault {
            kind: "replica",
            reason: "this Redis is a replica, so it takes no writes".into(),
            hint: "point REDIS_URL to the primary",
        });
    }
    if field("loading") == "1" {
        return Err(Fault {
            kind: "loading",
            reason: "LOADING".into(),
            hint: "Redis is reading its data from disk",
        });
    }
    Ok(())
}

/// Text in an answer.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// The value under a name, in a list of alternating names and values.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items
            .chunks_exact(2)
            .find(|pair| text(&pair[0]).as_deref() == Some(name))
            .map(|pair| &pair[1]),
        Value::Map(pairs) => pairs
            .iter()
            .find(|(key, _)| text(key).as_deref() == Some(name))
            .map(|(_, value)| value),
        _ => None,
    }
}
