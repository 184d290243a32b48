//! Where Redis is: what `REDIS_URL` may be, and what is wrong with it.

use crate::numbers::digits;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Redis's own.
const DEFAULT_PORT: u16 = 6379;

/// The address in `REDIS_URL`. Never shown with user and password, not even in `Debug`.
#[derive(Clone)]
pub struct RedisAddress {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// A name, or an IP address without brackets.
    host: String,
    port: u16,
    pub(super) database: u32,
}

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
        read(rest).map_err(|wrong| format!("{wrong}; {RIGHT}"))
    }

    ///
    /// # Errors
    /// If the name cannot be resolved.
    pub(super) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

/// Reads what stands behind `redis://`.
fn read(rest: &str) -> Result<RedisAddress, &'static str> {
    if rest
        .bytes()
        .any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
    {
        return Err("contains white space or a control character");
    }
    if rest.contains('#') {
        return Err("has a fragment (#…), which has no meaning here; in a password # is %23");
    }
    if rest.contains('?') {
        return Err("has a query (?…), which has no meaning here; in a password ? is %3F");
    }
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match database {
        "" => 0,
        text => {
            digits(text).ok_or("has a database that is not a number; in a password / is %2F")?
        }
    };
    let (user, password, place) = match authority.rsplit_once('@') {
        None => (None, None, authority),
        Some((login, place)) => {
            let (user, password) = login
                .split_once(':')
                .filter(|(_, password)| !password.is_empty())
                .ok_or("has an @ without a password before it; a password alone is :password@")?;
            let user = Some(user).filter(|user| !user.is_empty());
            (
                user.map(decoded).transpose()?,
                Some(decoded(password)?),
                place,
            )
        }
    };
    // A colon inside the brackets of an IPv6 address belongs to it.
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (
            host,
            digits(port)
                .filter(|port| *port > 0)
                .ok_or("has a port that is not 1 to 65535")?,
        ),
        _ => (place, DEFAULT_PORT),
    };
    Ok(RedisAddress {
        user,
        password,
        host: checked(host)?,
        port,
        database,
    })
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| "has a user or password that is not UTF-8 once its %… are decoded")
}

/// A host's name or IP address, if it may be one.
fn checked(host: &str) -> Result<String, &'static str> {
    const WRONG: &str = "has a host that is no name and no IP address";
    if host.contains('%') {
        return Err("has a % in its host, where nothing is decoded");
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(WRONG)?;
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(WRONG),
        };
    }
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let last = host.trim_end_matches('.').rsplit('.').next();
    // No name ends with a number (WHATWG URL, section 3.5).
    let ends_with_number = last.is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if !host.bytes().all(is_name_byte) || ends_with_number && host.parse::<Ipv4Addr>().is_err() {
        return Err(WRONG);
    }
    Ok(host.into())
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, database) = (&self.host, self.port, self.database);
        if host.contains(':') {
            write!(f, "[{host}]:{port}/{database}")
        } else {
            write!(f, "{host}:{port}/{database}")
        }
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({self})")
    }
}
