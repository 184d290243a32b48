//! The thread of one client that waits for an answer: it sleeps until a message comes or its time is over, and answers
//! with what has come. Nobody writes in its place.

use super::connection::Connection;
use crate::counters::End;
use crate::http::reply::{After, Reply};
use crate::hub::{Next, Subscription};
use std::sync::Arc;
use std::time::Instant;

/// An answer that waits for its messages.
pub struct Poll {
    /// Where to answer.
    pub connection: Arc<Connection>,
    /// What to answer with.
    pub subscription: Subscription,
    /// The answer without its body.
    pub head: Reply,
    /// The latest moment for the answer.
    pub until: Instant,
}

/// About the most bytes in an answer: the rest is left for the next request.
const ENOUGH_BYTES: usize = 1 << 20;

impl Poll {
    /// Waits, calls `release`, and answers: who has the answer may ask again at once.
    pub fn run(&mut self, release: impl FnOnce()) -> End {
        let mut body = Vec::new();
        let mut up_to = self.subscription.joined_after;
        let end = loop {
            match self.subscription.try_next() {
                Next::End(end) => break Some(end),
                Next::Batch(queued) => {
                    let batch = &queued.batch;
                    body.extend_from_slice(batch.frame.bytes(false));
                    up_to = batch.last;
                    self.subscription.delivered(batch);
                    if body.len() >= ENOUGH_BYTES || self.subscription.newest.is_some() {
                        break None;
                    }
                }
                Next::Nothing if !body.is_empty() || Instant::now() >= self.until => break None,
                Next::Nothing => self.subscription.sleep(Some(self.until)),
            }
        };
        self.subscription.leave();
        release();
        let end = match end {
            // It asks again, and gets the rest from the history, or is told of a gap.
            Some(End::Slow | End::SentAway) | None => End::Answered,
            // Who has gone may have closed only its own side: then it reads the answer.
            Some(end) => end,
        };
        let head = std::mem::replace(&mut self.head, Reply::new(200));
        let reply = head
            .with("Last-Event-ID", up_to.to_string())
            .with_content(body, None);
        let (bytes, _) = reply.into_bytes(false, After::Close);
        let write = || self.connection.write_all(&bytes);
        match self.subscription.while_writing(write) {
            Ok(()) => end,
            Err(_) => End::Gone,
        }
    }
}
