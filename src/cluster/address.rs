//! Where Redis is: what `REDIS_URL` may be, and what is wrong with it.

use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The address in `REDIS_URL`. Never shown with user and password, not even in `Debug`.
#[derive(Clone)]
pub struct RedisAddress(ConnectionInfo);

impl RedisAddress {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it. The URL itself is not shown.
    pub fn parse(url: &str) -> Result<RedisAddress, String> {
        const RIGHT: &str = "give redis://[user:password@]host[:port][/database]";
        if url.starts_with("rediss://") {
            return Err(format!(
                "asks for TLS (rediss://), which is not built in; {RIGHT}, and reach a remote Redis through a tunnel such as stunnel or WireGuard"
            ));
        }
        let Some(rest) = url.strip_prefix("redis://") else {
            return Err(format!("does not begin with redis://; {RIGHT}"));
        };
        if let Some(wrong) = unusable_part(rest) {
            return Err(format!("{wrong}; {RIGHT}"));
        }
        url.into_connection_info()
            .map(RedisAddress)
            .map_err(|_| format!("is not a Redis URL; {RIGHT}"))
    }

    /// User, password and database.
    pub(super) fn settings(&self) -> &RedisConnectionInfo {
        self.0.redis_settings()
    }

    ///
    /// # Errors
    /// If the name cannot be resolved.
    pub(super) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self.0.addr() {
            ConnectionAddr::Tcp(host, port) => {
                Ok((host.as_str(), *port).to_socket_addrs()?.collect())
            }
            // `parse` takes nothing else.
            _ => Ok(Vec::new()),
        }
    }
}

/// The part behind `redis://` that the `redis` crate would ignore or misread without saying so.
fn unusable_part(rest: &str) -> Option<&'static str> {
    if rest
        .bytes()
        .any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
    {
        return Some("contains white space or a control character");
    }
    if rest.contains('#') {
        return Some("has a fragment (#…), which has no meaning here; in a password # is %23");
    }
    if rest.contains('?') {
        return Some("has a query (?…), which has no meaning here; in a password ? is %3F");
    }
    let (authority, database) = match rest.split_once('/') {
        None => (rest, ""),
        Some((authority, database)) => (authority, database),
    };
    if !database.bytes().all(|b| b.is_ascii_digit()) {
        return Some("has a database that is not a number; in a password / is %2F");
    }
    let (login, place) = match authority.rsplit_once('@') {
        None => (None, authority),
        Some((login, place)) => (Some(login), place),
    };
    let has_password = |login: &str| login.split_once(':').is_some_and(|(_, p)| !p.is_empty());
    if login.is_some_and(|login| !has_password(login)) {
        return Some("has an @ without a password before it; a password alone is :password@");
    }
    if place.contains('%') {
        return Some("has a % in its host, where nothing is decoded");
    }
    // A colon inside the brackets of an IPv6 address belongs to it.
    let (_, port) = place
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))?;
    let is_port =
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0);
    (!is_port).then_some("has a port that is not 1 to 65535")
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let db = self.0.redis_settings().db();
        match self.0.addr() {
            ConnectionAddr::Tcp(host, port) if host.contains(':') => {
                write!(f, "[{host}]:{port}/{db}")
            }
            ConnectionAddr::Tcp(host, port) => write!(f, "{host}:{port}/{db}"),
            other => write!(f, "{other}/{db}"),
        }
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({self})")
    }
}
