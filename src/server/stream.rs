//! The thread of one event stream: it takes batches from its subscription and writes them to its client, one write per
//! batch. While it sleeps, others write in its place. It ends when the hub closes its channel or cuts it off, or when the
//! client is gone. `new_stream` makes it for each `GET /sse`. It should touch as few pages of its stack as possible:
//! there may be ten thousand of them.

use super::connection::Connection;
use crate::counters::End;
use crate::event::{encode, encode_expired, encode_gap, heartbeat, Form, Frame};
use crate::http::reply::Reply;
use crate::hub::{Next, Replay, Subscription};
use crate::moments::since_1970;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

/// Clients of a restarted server reconnect after a random time in this range, in ms, so not all at once.
const RETRY_MS: std::ops::RangeInclusive<u64> = 2000..=5000;

/// A replay is written in pieces of about this many bytes: few writes, and little memory per client.
const REPLAY_BYTES: usize = 32 << 10;

/// A running event stream.
pub struct EventStream {
    connection: Arc<Connection>,
    /// The body is sent in chunks (HTTP/1.1), or bare until the connection closes (HTTP/1.0).
    is_chunked: bool,
    /// What to write.
    pub subscription: Subscription,
    /// The answer's head and the stream's first lines, until they are written.
    beginning: Vec<u8>,
}

/// The chunk that ends a body (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl EventStream {
    /// A stream that begins with this head.
    pub fn new(
        connection: Arc<Connection>,
        is_chunked: bool,
        subscription: Subscription,
        head: &Reply,
    ) -> EventStream {
        let mut beginning = head.stream_head(is_chunked);
        if let Some(lines) = first_lines(&subscription) {
            beginning.extend_from_slice(lines.bytes(is_chunked));
        }
        EventStream {
            connection,
            is_chunked,
            subscription,
            beginning,
        }
    }

    /// Writes what comes first. Call it once, before `run`.
    ///
    /// # Errors
    /// If the client is gone, or takes nothing.
    pub fn begin(&mut self) -> io::Result<()> {
        let beginning = std::mem::take(&mut self.beginning);
        self.connection.write_all(&beginning)
    }

    /// Writes the stream to its end, and calls `release` before the last bytes: who has them may come again at once.
    pub fn run(&mut self, release: impl FnOnce()) -> End {
        let end = self.write_all();
        self.subscription.leave();
        release();
        match end {
            Ok(end @ (End::Expired | End::Revoked | End::Ended)) => self.take_leave(end),
            Ok(End::Slow) => End::Slow,
            // Who has gone may have closed only its own side: then it reads the end.
            Ok(end) => self.finish(end),
            Err(error) => self.reason_of(&error),
        }
    }

    fn finish(&mut self, end: End) -> End {
        match self.write_end() {
            Ok(()) => end,
            Err(_) => End::Gone,
        }
    }

    /// Tells the client why the stream ends, and ends it.
    fn take_leave(&mut self, end: End) -> End {
        let form = self.subscription.form;
        let notice = Frame::build(|out| encode_expired(end.name(), form, out));
        let told = self
            .write_frame(notice.as_ref())
            .and_then(|()| self.write_end());
        match told {
            Ok(()) => end,
            Err(error) => self.reason_of(&error),
        }
    }

    fn write_all(&mut self) -> io::Result<End> {
        if let Some(replay) = self.subscription.replay.take() {
            self.replay(&replay)?;
        }
        self.follow()
    }

    fn replay(&mut self, replay: &Replay) -> io::Result<()> {
        let form = self.subscription.form;
        let gaps = Frame::build(|out| {
            for topic in &replay.gaps {
                encode_gap(topic, &replay.after, form, out);
            }
        });
        self.write_frame(gaps.as_ref())?;
        let mut rest = replay.events.as_slice();
        while !rest.is_empty() {
            if self.subscription.progress.cut().is_some() {
                return Ok(());
            }
            let mut count = 0;
            let frame = Frame::build(|out| {
                let full = out.len() + REPLAY_BYTES;
                while count < rest.len() && out.len() < full {
                    encode(&rest[count], form, out);
                    count += 1;
                }
            });
            self.write_frame(frame.as_ref())?;
            self.subscription.replayed(count);
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Live delivery, until the end.
    fn follow(&mut self) -> io::Result<End> {
        loop {
            if let Some((heartbeat, written)) = self.subscription.take_heartbeat() {
                self.write_rest(heartbeat, written)?;
            }
            match self.subscription.try_next() {
                Next::End(end) => return Ok(end),
                Next::Batch(queued) => {
                    let batch = &queued.batch;
                    self.write_rest(&batch.frame, queued.written)?;
                    self.subscription.delivered(batch);
                }
                Next::Nothing => self.subscription.sleep(None),
            }
        }
    }

    /// Writes a frame, if there is one: some notices are empty in some forms.
    fn write_frame(&mut self, frame: Option<&Frame>) -> io::Result<()> {
        frame.map_or(Ok(()), |frame| self.write_rest(frame, 0))
    }

    /// Writes a frame of which the client has `written` bytes already.
    fn write_rest(&mut self, frame: &Frame, written: usize) -> io::Result<()> {
        let bytes = &frame.bytes(self.is_chunked)[written..];
        self.subscription
            .while_writing(|| self.connection.write_all(bytes))
    }

    /// Tells the client that the stream has ended, and was not cut.
    fn write_end(&self) -> io::Result<()> {
        if self.is_chunked {
            self.connection.write_all(LAST_CHUNK)?;
        }
        Ok(())
    }

    /// A failed write means a slow client if the hub cut it off, or if it took nothing for that long.
    fn reason_of(&self, error: &io::Error) -> End {
        let timed_out = matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        );
        match self.subscription.progress.cut() {
            Some(End::Slow) => End::Slow,
            None if timed_out => End::Slow,
            _ => End::Gone,
        }
    }
}

/// What makes the `onopen` of an `EventSource` fire, and says when it reconnects. `None` in other forms.
fn first_lines(subscription: &Subscription) -> Option<Frame> {
    if !matches!(subscription.form, Form::Plain | Form::Json) {
        return None;
    }
    let spread = RETRY_MS.end() - RETRY_MS.start() + 1;
    // The client's number, scattered: clients only have to differ.
    let scattered = subscription.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let retry = RETRY_MS.start() + (scattered ^ start_salt()) % spread;
    Frame::build(|out| {
        out.extend_from_slice(heartbeat(subscription.form, false));
        out.extend_from_slice(format!("retry: {retry}\n").as_bytes());
    })
}

/// Differs from run to run.
fn start_salt() -> u64 {
    static SALT: LazyLock<u64> =
        LazyLock::new(|| since_1970(SystemTime::now()).subsec_nanos().into());
    *SALT
}
