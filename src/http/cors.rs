//! Cross-origin resource sharing (WHATWG Fetch, section 3.2): which origins may use the server, and the headers that
//! say so.

use super::request::is_token;
use crate::numbers::digits;
use std::net::Ipv6Addr;

/// The origins whose pages may use the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every page may.
    Any,
    /// Pages of these origins may.
    Listed(Vec<Origin>),
}

/// A scheme, a host and a port (RFC 6454, section 4), in a normal form: the same origin is always equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// In lower case.
    scheme: String,
    /// In lower case; an IPv6 address in its shortest form.
    host: String,
    /// `None` means the scheme's default.
    port: Option<u16>,
}

/// A header of an answer.
pub type Header = (&'static str, String);

/// A preflight's answer may be cached for a day, in seconds.
const PREFLIGHT_MAX_AGE: &str = "86400";

/// Field names that a preflight may ask for; the rest is ignored.
const MAX_ASKED_FIELDS: usize = 32;

/// The fields that mean something here, for a preflight that asks for none.
const KNOWN_FIELDS: &str =
    "Authorization, Content-Type, Last-Event-ID, Cache-Control, Idempotency-Key";

/// The headers that pages may read, apart from the standard ones.
const READABLE_FIELDS: &str = "Last-Event-ID, Idempotency-Replayed, Retry-After";

impl Origins {
    /// Parses `*`, or origins separated by commas.
    ///
    /// # Errors
    /// The part that is no origin.
    pub fn parse(text: &str) -> Result<Origins, String> {
        if text.trim() == "*" {
            return Ok(Origins::Any);
        }
        text.split(',')
            .map(str::trim)
            .map(|origin| Origin::parse(origin).ok_or_else(|| origin.to_string()))
            .collect::<Result<_, _>>()
            .map(Origins::Listed)
    }

    /// Whether this origin is listed. `*` lists none: it is for pages that bring their own token.
    pub fn list(&self, origin: &str) -> bool {
        match self {
            Origins::Any => false,
            Origins::Listed(listed) => {
                Origin::parse(origin).is_some_and(|origin| listed.contains(&origin))
            }
        }
    }

    /// The headers of the answer to a request with this `Origin`. Listed origins may send their cookies.
    pub fn headers(&self, origin: Option<&str>) -> Vec<Header> {
        let mut headers = Vec::new();
        match self {
            Origins::Any => headers.push(("Access-Control-Allow-Origin", "*".into())),
            Origins::Listed(_) => {
                // Caches must not give one origin's answer to another, so this is sent even without a match.
                headers.push(("Vary", "Origin".into()));
                let Some(origin) = origin.filter(|origin| self.list(origin)) else {
                    return headers;
                };
                headers.push(("Access-Control-Allow-Origin", origin.into()));
                headers.push(("Access-Control-Allow-Credentials", "true".into()));
            }
        }
        headers.push(("Access-Control-Expose-Headers", READABLE_FIELDS.into()));
        headers
    }
}

/// The headers of the answer to a preflight that asks for these fields (the values of
/// `Access-Control-Request-Headers`), apart from those of every answer. Any field is allowed: rights come from tokens,
/// and pages that trace or report send fields of their own.
pub fn preflight_headers<'a>(asked: impl Iterator<Item = &'a str>) -> Vec<Header> {
    let names = asked.flat_map(|list| list.split(',')).map(str::trim);
    let names: Vec<&str> = names
        .filter(|name| !name.is_empty() && name.as_bytes().iter().all(is_token))
        .take(MAX_ASKED_FIELDS)
        .collect();
    let allowed = match names[..] {
        [] => KNOWN_FIELDS.into(),
        _ => names.join(", "),
    };
    vec![
        (
            "Access-Control-Allow-Methods",
            "GET, HEAD, POST, PUT, DELETE, OPTIONS".into(),
        ),
        ("Access-Control-Allow-Headers", allowed),
        ("Access-Control-Max-Age", PREFLIGHT_MAX_AGE.into()),
        ("Vary", "Access-Control-Request-Headers".into()),
    ]
}

/// Whether a page from the host in this `Host` field sends this `Origin`. The scheme may be either: this server cannot
/// see whether a proxy in front of it handles TLS.
pub fn is_of_host(origin: &str, host: &str) -> bool {
    let Some(origin) = Origin::parse(origin) else {
        return false;
    };
    parse_authority(&origin.scheme, host)
        .is_some_and(|(host, port)| host == origin.host && port == origin.port)
}

impl Origin {
    /// Parses `scheme://host` or `scheme://host:port`, with nothing after it.
    fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = parse_authority(&scheme, authority).filter(|_| is_scheme)?;
        Some(Origin { scheme, host, port })
    }
}

/// The host and the port of `host` or `host:port`, as in `Origin`.
fn parse_authority(scheme: &str, authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside the brackets of an IPv6 address belongs to it.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        None => None,
        Some(port) => Some(digits(port)?),
    };
    let own_port = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = match address {
        Some(address) => format!("[{}]", address.parse::<Ipv6Addr>().ok()?),
        None => host.to_ascii_lowercase(),
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let is_host = address.is_some() || (!host.is_empty() && host.bytes().all(is_name));
    is_host.then_some((host, port.filter(|port| Some(*port) != own_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_host_names_it_with_or_without_the_port_of_its_scheme() {
        for (origin, host, is_own) in [
            ("http://test", "test", true),
            ("https://test", "TEST", true),
            ("http://test", "test:80", true),
            ("https://test", "test:443", true),
            ("http://test:8080", "test:8080", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("https://test", "test:80", false),
            ("http://test:8080", "test", false),
            ("http://test.evil", "test", false),
            ("null", "null", false),
            ("http://test", "", false),
        ] {
            assert_eq!(is_of_host(origin, host), is_own, "{origin} at {host:?}");
        }
    }
}
