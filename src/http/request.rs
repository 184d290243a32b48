//! A request as the routes see it: parsed, owned, without its connection. Made by the server, read by the routes.

use crate::http::query::Target;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A request's method (RFC 9110, section 9), as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// Any other.
    Other(String),
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Other(name) => name,
        })
    }
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Whoever is at the other end of the connection.
    Address(SocketAddr),
    /// Somebody whom a trusted proxy names.
    Forwarded(IpAddr),
    /// Somebody behind a Unix socket.
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

/// The fields that routes use. Others never matter, whatever is in them.
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

/// One request, with the fields that routes use, and its body as far as that is here.
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
    /// A request of these parts.
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

    /// The first value of a header; names in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a header; names in any case.
    pub fn headers(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body, of at most `limit` bytes.
    ///
    /// # Errors
    /// If it has to be asked for first, or why there is none.
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

    /// Its fields, for a request that is handled once more.
    pub fn into_fields(self) -> Vec<(&'static str, String)> {
        self.headers
    }
}

/// What there is of a body.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// It has not come yet; its length, unless it comes in chunks.
    Announced(Option<u64>),
    /// It was asked for, and is not to be had.
    Failed(BodyError),
}

impl Default for Body {
    fn default() -> Body {
        Body::Whole(Vec::new())
    }
}

/// What keeps a route from a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// It has not come. The request comes again, with it.
    NotYet,
    /// There is none.
    Failed(BodyError),
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is, or says that it is, larger than the limit.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// It ended early, or its chunks are malformed.
    Broken,
    /// The server holds too many others that have not come whole.
    NoRoom,
}
