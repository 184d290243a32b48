//! A request as the routes see it: parsed, owned, without its connection.

use crate::http::query::Target;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A request's method (RFC 9110, section 9), as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    /// Any other.
    Other(String),
}

impl Method {
    /// As it is on the wire.
    pub fn name(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Other(name) => name,
        }
    }
}

/// Whether this byte is allowed in a method and in a field's name (RFC 9110, section 5.6.2).
pub fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The connection's peer.
    Address(SocketAddr),
    /// A client that a trusted proxy names.
    Forwarded(IpAddr),
    /// A client on a Unix socket.
    Unix,
}

impl Peer {
    /// The client's address, if there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Address(address) => Some(address.ip().to_canonical()),
            Peer::Forwarded(ip) => Some(*ip),
            Peer::Unix => None,
        }
    }
}

/// The header fields that routes use. Others never matter.
pub const KNOWN_FIELDS: [&str; 11] = [
    "Authorization",
    "Origin",
    "Host",
    "Cookie",
    "Last-Event-ID",
    "Content-Type",
    "If-None-Match",
    "Access-Control-Request-Headers",
    "Sec-Fetch-Site",
    "X-Forwarded-For",
    "Idempotency-Key",
];

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) => address.fmt(f),
            Peer::Forwarded(ip) => ip.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

/// One request, with the fields that routes use, and what has come of its body.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub target: Target,
    /// Who sent it.
    pub peer: Peer,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

impl Request {
    pub fn new(
        method: Method,
        target: Target,
        peer: Peer,
        headers: Vec<(&'static str, String)>,
        body: Body,
    ) -> Request {
        Request {
            method,
            target,
            peer,
            headers,
            body,
        }
    }

    /// The first value of a header. Names are case-insensitive.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Every value of a header. Names are case-insensitive.
    pub fn headers(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body, of at most `limit` bytes.
    ///
    /// # Errors
    /// That it has to be requested first, or why there is none.
    pub fn body(&self, limit: usize) -> Result<&[u8], NoBody> {
        match &self.body {
            Body::Whole(bytes) if bytes.len() <= limit => Ok(bytes),
            Body::Whole(_) => Err(NoBody::Failed(BodyError::TooLarge)),
            Body::Announced(Some(length)) if *length > limit as u64 => {
                Err(NoBody::Failed(BodyError::TooLarge))
            }
            Body::Announced(_) => Err(NoBody::NotYet),
            Body::Failed(error) => Err(NoBody::Failed(*error)),
        }
    }

    /// Its header fields, for a request that is handled again.
    pub fn into_fields(self) -> Vec<(&'static str, String)> {
        self.headers
    }
}

/// What has come of a body.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// It has not come yet. Holds its length, unless it comes in chunks.
    Announced(Option<u64>),
    /// It was requested, and did not come.
    Failed(BodyError),
}

impl Default for Body {
    fn default() -> Body {
        Body::Whole(Vec::new())
    }
}

/// Why a route cannot have the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// It has not come yet. The request will be handled again, with it.
    NotYet,
    /// It will not come.
    Failed(BodyError),
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than the limit, or says so.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// It ended early, or its chunks are malformed.
    Broken,
    /// The server holds too many incomplete bodies.
    NoRoom,
}
