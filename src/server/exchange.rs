//! One request and its answer. Made by the door, which keeps it until a worker gets the request's number from
//! tiny_http. Its connection is always given back: dropped unanswered, it answers 500.

use super::connection::Connection;
use super::head::Parts;
use super::mailbox::Note;
use crate::counters::{Counters, Family};
use crate::http::problem::Problem;
use crate::http::query::Target;
use crate::http::reply::{After, Reply};
use crate::http::request::{Body, Method, Peer, Request};
use std::sync::Arc;

const TOO_LARGE: u16 = 413;

/// A request that has to be answered once. Dropped unanswered, it is answered with 500.
#[derive(Debug)]
pub struct Exchange {
    connection: Arc<Connection>,
    /// Taken by whoever ends the exchange.
    parts: Option<Box<Parts>>,
    body: Body,
    /// Bytes of a body may come that nobody reads: the connection cannot be used further.
    has_unread_body: bool,
    is_head: bool,
}

impl Exchange {
    /// A request whose turn it is on this connection.
    pub fn new(connection: Arc<Connection>, parts: Box<Parts>, body: Body) -> Exchange {
        Exchange {
            connection,
            parts: Some(parts),
            has_unread_body: !matches!(body, Body::Whole(_)),
            body,
            is_head: false,
        }
    }

    /// The request, with the method and the target as tiny_http has read them.
    pub fn request(&mut self, method: &tiny_http::Method, target: &str) -> Request {
        let method = match method {
            tiny_http::Method::Get => Method::Get,
            tiny_http::Method::Head => Method::Head,
            tiny_http::Method::Post => Method::Post,
            tiny_http::Method::Put => Method::Put,
            tiny_http::Method::Delete => Method::Delete,
            tiny_http::Method::Options => Method::Options,
            other => Method::Other(other.to_string()),
        };
        self.is_head = method == Method::Head;
        let body = std::mem::take(&mut self.body);
        let (peer, fields) = match &mut self.parts {
            Some(parts) => (parts.peer, std::mem::take(&mut parts.fields)),
            None => (Peer::Unix, Vec::new()),
        };
        Request::new(method, Target::parse(target), peer, fields, body)
    }

    /// Asks the door for the body, of at most `limit` bytes. Then the request is handled again.
    pub fn read_body(mut self, request: Request, limit: usize) {
        if let Some(mut parts) = self.parts.take() {
            parts.fields = request.into_fields();
            let key = self.connection.key();
            self.connection.tell(Note::ReadBody(key, limit, parts));
        }
    }

    /// Answers, and counts the answer.
    pub fn answer(mut self, reply: Reply, family: Family, counters: &Counters) {
        counters.answers.count(family, reply.status());
        self.end(reply);
    }

    fn end(&mut self, reply: Reply) {
        let Some(parts) = self.parts.take() else {
            return;
        };
        // A client that sent too much may not mean what follows as a request.
        let keeps_alive = parts.keeps_alive
            && !self.has_unread_body
            && reply.status() != TOO_LARGE
            && !reply.is_endless();
        let connection = match (keeps_alive, parts.is_old) {
            (false, _) => After::Close,
            (true, false) => After::KeepAlive,
            (true, true) => After::KeepAliveSaid,
        };
        let (bytes, rest) = if reply.is_endless() {
            // A HEAD request: a stream's thread sends its head itself.
            (reply.stream_head(!parts.is_old), None)
        } else {
            reply.into_bytes(self.is_head, connection)
        };
        self.connection.answer(bytes, rest, !keeps_alive);
    }

    /// Where the answer goes.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether it is HTTP/1.0, which knows no chunks.
    pub fn is_old(&self) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.is_old)
    }

    /// Leaves the connection to an event stream, which is the answer.
    pub fn leave_to_stream(mut self) {
        self.parts = None;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.keeps_alive = false;
            self.end(Problem::internal().into());
        }
    }
}
