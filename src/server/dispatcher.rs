//! Requests on their way to the pool: all requests of one round cross the line to tiny_http in one write. If the line
//! breaks, the requests on it get 503, and the next ones take another line. Belongs to the door.

use super::exchange::Exchange;
use super::line::{self, Line};
use super::pool::Pool;
use super::settings::Settings;
use crate::host::{Interest, Poll};
use crate::routes::App;
use std::io;
use std::sync::Arc;

/// Bytes of the requests' buffer that are kept after a round.
const KEPT_BYTES: usize = 64 << 10;

/// The line, and what is to cross it.
pub struct Dispatcher {
    /// Names the line's socket in the door's poll.
    token: u64,
    /// `None` while the system cannot provide one.
    line: Option<Line>,
    pool: Arc<Pool>,
    next_number: u64,
    /// Requests for the line.
    requests: Vec<u8>,
    exchanges: Vec<(u64, Exchange)>,
}

impl Dispatcher {
    /// Opens a line, with a pool behind it. An event with this token means that the line is lost.
    ///
    /// # Errors
    /// If the system gives no descriptor or no thread.
    pub fn open(app: App, settings: &Settings, poll: &Poll, token: u64) -> io::Result<Dispatcher> {
        let line = Line::open()?;
        poll.add(line.socket(), token, Interest::Read)?;
        let pool = Pool::start(app, settings, &line)?;
        Ok(Dispatcher {
            token,
            line: Some(line),
            pool,
            next_number: 0,
            requests: Vec::new(),
            exchanges: Vec::new(),
        })
    }

    /// The pool behind the line.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether there is a line. Without one every request gets 503 until `reopen` has opened one.
    pub fn has_line(&self) -> bool {
        self.line.is_some()
    }

    /// Adds a request to this round.
    pub fn add(&mut self, method: &str, target: &str, exchange: Exchange) {
        let number = self.next_number;
        self.next_number += 1;
        line::write_request(method, target, number, &mut self.requests);
        self.exchanges.push((number, exchange));
    }

    /// Sends the requests of this round.
    pub fn send(&mut self, poll: &Poll) {
        if self.exchanges.is_empty() {
            return;
        }
        self.pool.expect(self.exchanges.drain(..));
        let sent = match &self.line {
            Some(line) => line.send(&self.requests),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        self.requests.clear();
        self.requests.shrink_to(KEPT_BYTES);
        if let Err(error) = sent {
            self.lose_line(&error.to_string(), poll);
        }
    }

    /// Replaces a useless line with another.
    pub fn lose_line(&mut self, why: &str, poll: &Poll) {
        let lost = self.line.take();
        if let Some(line) = &lost {
            log::error!("event=line_lost reason={why:?}");
            poll.remove(line.socket());
            self.open_line(poll);
        }
        self.pool.change_line(self.line.as_ref());
        if let Some(line) = lost {
            line.close(self.pool.workers());
        }
    }

    /// Tries again to open a line, if there is none.
    pub fn reopen(&mut self, poll: &Poll) {
        if self.line.is_none() {
            self.open_line(poll);
            self.pool.change_line(self.line.as_ref());
        }
    }

    fn open_line(&mut self, poll: &Poll) {
        let line = Line::open();
        let line = line.and_then(|line| {
            poll.add(line.socket(), self.token, Interest::Read)?;
            Ok(line)
        });
        match line {
            Ok(line) => self.line = Some(line),
            Err(error) => log::error!("event=no_line error={:?}", error.to_string()),
        }
    }

    /// Lets the workers end.
    pub fn close(self) {
        self.pool.stop();
        if let Some(line) = &self.line {
            line.close(self.pool.workers());
        }
    }
}
