//! A request whose body did not come with its head. The head is dispatched alone; the rest of the body is read if a
//! route asks for it.

use super::body::BodyReader;
use super::head::{Framing, Head};
use super::inbox::Inbox;
use crate::http::request::{Body, BodyError};

/// What is kept of the request until its body is complete.
#[derive(Debug)]
pub struct PendingBody {
    /// As the client sent it.
    method: String,
    /// In ASCII.
    target: String,
    reader: BodyReader,
    /// Why there is no body.
    failed: Option<BodyError>,
    expects_continue: bool,
}

/// Takes what has come of a request's body out of the inbox. If that is everything, nothing is pending.
pub fn begin(head: &Head, inbox: &mut Inbox) -> (Body, Option<Box<PendingBody>>) {
    let mut reader = BodyReader::new(head.framing);
    let taken = reader.take(inbox.bytes(), usize::MAX);
    inbox.discard(taken.unwrap_or(0));
    if reader.is_whole() {
        return (Body::Whole(reader.into_bytes()), None);
    }
    let length = match head.framing {
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
    };
    let pending = PendingBody {
        method: head.method.clone(),
        target: head.target.clone(),
        reader,
        failed: taken.err(),
        expects_continue: head.expects_continue,
    };
    (Body::Announced(length), Some(Box::new(pending)))
}

impl PendingBody {
    /// Whether the client sends no part of the body before `100 Continue`.
    pub fn waits_for_continue(&self, inbox: &Inbox) -> bool {
        self.expects_continue && self.reader.is_untouched() && inbox.is_empty()
    }

    /// Takes more of a body that may have `limit` bytes. Returns whether it needs no more: it is complete, or has
    /// failed.
    pub fn take(&mut self, inbox: &mut Inbox, limit: usize) -> bool {
        if self.failed.is_none() {
            match self.reader.take(inbox.bytes(), limit) {
                Ok(taken) => inbox.discard(taken),
                Err(error) => self.fail(error),
            }
        }
        if self.reader.least_size() > limit as u64 {
            self.fail(BodyError::TooLarge);
        }
        if inbox.has_ended() && !self.reader.is_whole() {
            self.fail(BodyError::Broken);
        }
        self.failed.is_some() || self.reader.is_whole()
    }

    /// Records that there will be no body. The first reason counts.
    pub fn fail(&mut self, error: BodyError) {
        self.failed.get_or_insert(error);
    }

    /// Bytes of the body so far.
    pub fn size(&self) -> usize {
        self.reader.size()
    }

    /// The method, the target and the body.
    pub fn into_parts(self) -> (String, String, Body) {
        let body = match self.failed {
            Some(error) => Body::Failed(error),
            None => Body::Whole(self.reader.into_bytes()),
        };
        (self.method, self.target, body)
    }
}
