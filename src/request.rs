//! A request as the routes see it: parsed, owned, without its connection. Made by the server, read by the routes.

use crate::query::Target;
use std::fmt;
use std::net::SocketAddr;

/// A request's method (RFC 9110, section 9), as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
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
            Method::Options => "OPTIONS",
            Method::Other(name) => name,
        })
    }
}

/// Who sent a request: an address, or somebody behind a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// See the module's comment.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub target: Target,
    /// Who sent it.
    pub peer: Peer,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A request of these parts.
    pub fn new(
        method: Method,
        target: Target,
        peer: Peer,
        headers: Vec<(String, String)>,
    ) -> Request {
        Request {
            method,
            target,
            peer,
            headers,
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
}

/// Reads the body, of at most so many bytes. What is not read is never waited for.
pub type ReadBody<'a> = dyn FnMut(usize) -> Result<Vec<u8>, BodyError> + 'a;
