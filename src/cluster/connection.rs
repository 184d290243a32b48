//! A connection to Redis: where it is, how to make one that never waits for long, and what its errors mean to a person.
//! The only place that knows how the `redis` crate connects. Called by the writer and the follower.

use ::redis::{
    cmd, Client, Cmd, Connection as Raw, ConnectionAddr, ConnectionInfo, ConnectionLike,
    IntoConnectionInfo, ServerError, Value,
};
use std::fmt;
use std::time::Duration;

/// Connecting, with the first exchange.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// The oldest Redis that says which entries a stream has lost (`XINFO STREAM`, `max-deleted-entry-id`).
const NEEDED_VERSION: (u32, u32) = (7, 0);

/// Where Redis is, from `REDIS_URL`. It is shown without user and password, also in `Debug`.
#[derive(Clone)]
pub struct Address(ConnectionInfo);

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn parse(url: &str) -> Result<Address, String> {
        const RIGHT: &str = "give redis://[user:password@]host[:port][/database]";
        if url.starts_with("rediss://") {
            return Err(format!(
                "asks for TLS (rediss://), which is not built in; {RIGHT}, and reach a distant Redis through a tunnel such as stunnel or WireGuard"
            ));
        }
        let Some(rest) = url.strip_prefix("redis://") else {
            return Err(format!("does not begin with redis://; {RIGHT}"));
        };
        if let Some(wrong) = unusable_part(rest) {
            return Err(format!("{wrong}; {RIGHT}"));
        }
        url.into_connection_info()
            .map(Address)
            .map_err(|_| format!("is not a URL of Redis; {RIGHT}"))
    }
}

/// What the `redis` crate would leave out of what stands behind `redis://`, or would take for something else, and say
/// nothing.
fn unusable_part(rest: &str) -> Option<&'static str> {
    if rest
        .bytes()
        .any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
    {
        return Some("has white space or a control character in it");
    }
    if rest.contains('#') {
        return Some("has a fragment (#…), which means nothing here; in a password # is %23");
    }
    if rest.contains('?') {
        return Some("has a query (?…), which means nothing here; in a password ? is %3F");
    }
    let (authority, database) = match rest.split_once('/') {
        None => (rest, ""),
        Some((authority, database)) => (authority, database),
    };
    if !database.bytes().all(|b| b.is_ascii_digit()) {
        return Some("has something else than a number as its database; in a password / is %2F");
    }
    let (login, place) = match authority.rsplit_once('@') {
        None => (None, authority),
        Some((login, place)) => (Some(login), place),
    };
    let has_password = |login: &str| login.split_once(':').is_some_and(|(_, p)| !p.is_empty());
    if login.is_some_and(|login| !has_password(login)) {
        return Some("has an @ without a password in front of it; a password alone is :password@");
    }
    // A colon inside the brackets of an IPv6 address belongs to it.
    let (_, port) = place
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))?;
    let is_port =
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0);
    (!is_port).then_some("has something else than 1 to 65535 as its port")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let db = self.0.redis_settings().db();
        match self.0.addr() {
            ConnectionAddr::Tcp(host, port) => write!(f, "{host}:{port}/{db}"),
            other => write!(f, "{other}/{db}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Why Redis cannot be used at this moment.
#[derive(Debug)]
pub(super) struct Fault {
    /// The same for what is the same to a person.
    pub(super) kind: &'static str,
    /// What happened.
    pub(super) reason: String,
    /// What would help.
    pub(super) hint: &'static str,
}

impl Fault {
    /// An answer that cannot be read.
    pub(super) fn protocol() -> Fault {
        Fault {
            kind: "protocol",
            reason: "an answer that Redis does not give".into(),
            hint: "check that REDIS_URL leads to a Redis",
        }
    }

    /// What Redis answered in place of what was asked for.
    pub(super) fn from_answer(error: &ServerError) -> Fault {
        let code = error.code();
        let (kind, hint) = match code {
            "NOAUTH" | "WRONGPASS" => ("password", "set user and password in REDIS_URL"),
            "NOPERM" => ("rights", "the user of REDIS_URL needs all commands on the keys sse-server:*"),
            "OOM" => ("memory", "raise maxmemory of Redis, or lower HISTORY_BYTES; publishing is refused until then"),
            "MISCONF" => ("disk", "Redis cannot save and takes no writes; its own log says why"),
            "READONLY" => ("replica", "REDIS_URL leads to a replica; it has to lead to the primary"),
            "LOADING" => ("loading", "Redis is reading its data from disk"),
            "WRONGTYPE" => ("key", "the key sse-server:events is in use for something else; take another database"),
            "NOREPLICAS" => ("replicas", "Redis has too few replicas to take writes (min-replicas-to-write)"),
            _ => ("answer", "see the reason"),
        };
        let reason = format!("{code} {}", error.details().unwrap_or_default());
        Fault {
            kind,
            reason: reason.trim().into(),
            hint,
        }
    }

    fn from_error(error: &::redis::RedisError) -> Fault {
        let (kind, hint) = if error.kind() == ::redis::ErrorKind::AuthenticationFailed {
            ("password", "set user and password in REDIS_URL")
        } else if error.is_timeout() {
            (
                "timeout",
                "Redis does not answer; check the network and its load",
            )
        } else if error.is_io_error() {
            (
                "network",
                "check that Redis runs and that REDIS_URL leads to it",
            )
        } else {
            match error.code() {
                Some("NOAUTH" | "WRONGPASS") => ("password", "set user and password in REDIS_URL"),
                Some("LOADING") => ("loading", "Redis is reading its data from disk"),
                Some("NOPERM") => (
                    "rights",
                    "the user of REDIS_URL needs all commands on the keys sse-server:*",
                ),
                _ => ("answer", "see the reason"),
            }
        };
        let reason = if error.is_timeout() {
            "timed out: no answer from Redis".into()
        } else {
            error.to_string()
        };
        Fault { kind, reason, hint }
    }
}

impl From<::redis::RedisError> for Fault {
    fn from(error: ::redis::RedisError) -> Fault {
        Fault::from_error(&error)
    }
}

/// A connection that was seen to lead to a Redis that will do.
pub(super) struct Connection(Raw);

impl Connection {
    /// Connects. `patience` is how long an answer may take from then on.
    pub(super) fn open(address: &Address, patience: Duration) -> Result<Connection, Fault> {
        let client = Client::open(address.0.clone())?;
        let raw = client.get_connection_with_timeout(CONNECT_TIME)?;
        raw.set_read_timeout(Some(patience))?;
        raw.set_write_timeout(Some(patience))?;
        let mut connection = Connection(raw);
        let info = connection.ask(cmd("INFO"))?;
        connection.check(&text(&info).ok_or_else(Fault::protocol)?)?;
        Ok(connection)
    }

    fn check(&self, info: &str) -> Result<(), Fault> {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or_default()
        };
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
                reason: "this Redis is a replica, which takes no writes".into(),
                hint: "REDIS_URL has to lead to the primary",
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

    /// One command. Redis's refusal is a fault.
    pub(super) fn ask(&mut self, command: Cmd) -> Result<Value, Fault> {
        match self.try_ask(&command)? {
            Value::ServerError(error) => Err(Fault::from_answer(&error)),
            value => Ok(value),
        }
    }

    /// One command. Redis's refusal is a value.
    pub(super) fn try_ask(&mut self, command: &Cmd) -> Result<Value, Fault> {
        let mut answers = self.ask_all(&command.get_packed_command(), 0, 1)?;
        answers.pop().ok_or_else(Fault::protocol)
    }

    /// Sends commands that are packed already, and gives the answers, without the first `skipped`, which have to be
    /// good.
    pub(super) fn ask_all(
        &mut self,
        packed: &[u8],
        skipped: usize,
        wanted: usize,
    ) -> Result<Vec<Value>, Fault> {
        Ok(self.0.req_packed_commands(packed, skipped, wanted)?)
    }
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

/// What a list with alternating names and values has under a name.
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
