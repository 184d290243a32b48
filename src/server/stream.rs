//! The thread of one event stream: it takes batches from its subscription and writes them to its client, one write a
//! batch, with heartbeats when there is nothing else. It ends when the hub closes its channel, cuts it off, or the
//! client is gone. Started by the dispatcher for each `GET /sse`.

use super::exchange::StreamWriter;
use crate::event::{encode, encode_gap, Frame, HEARTBEAT_COMMENT, HEARTBEAT_EVENT};
use crate::hub::{End, Next, Replay, Subscription};
use std::io;
use std::time::{Duration, Instant};

/// Clients of a restarted server come back after a time of their own in this range, in ms, so not all at once.
const RETRY_MS: std::ops::RangeInclusive<u64> = 2000..=5000;

/// A replay is written in pieces of about this many bytes: few writes, and little memory for each client.
const REPLAY_BYTES: usize = 32 << 10;

/// An event stream on its way.
pub struct EventStream {
    /// Where to write.
    pub writer: StreamWriter,
    /// What to write.
    pub subscription: Subscription,
    /// Time without traffic after which a heartbeat is sent.
    pub heartbeat: Duration,
    /// Heartbeats are events, not comments.
    pub heartbeat_is_event: bool,
}

/// The reason of a stream whose client has left.
pub const GONE: &str = "gone";

/// How a stream ended.
pub struct Finished {
    /// The reason.
    pub reason: &'static str,
    /// Live messages and replays that were written.
    pub messages: u64,
}

impl EventStream {
    /// Writes the stream to its end. `head` is the answer's head.
    pub fn run(&mut self, head: Vec<u8>) -> Finished {
        let mut messages = 0;
        let end = self.write_all(head, &mut messages);
        let reason = match end {
            Ok(End::Shutdown) => self.finish("shutdown"),
            Ok(End::SentAway) => self.finish("sent_away"),
            Ok(End::Slow) => "slow",
            Ok(End::Gone) => GONE,
            Err(error) => self.name(&error),
        };
        messages += self.subscription.progress().helped();
        Finished { reason, messages }
    }

    fn finish(&mut self, reason: &'static str) -> &'static str {
        match self.writer.finish() {
            Ok(()) => reason,
            Err(_) => GONE,
        }
    }

    fn write_all(&mut self, head: Vec<u8>, messages: &mut u64) -> io::Result<End> {
        self.open(head)?;
        let replay = self.subscription.take_replay();
        self.replay(&replay, messages)?;
        drop(replay);
        self.follow(messages)
    }

    /// The head and the first lines in one write, so that the client's `onopen` fires at once.
    fn open(&mut self, mut head: Vec<u8>) -> io::Result<()> {
        let spread = RETRY_MS.end() - RETRY_MS.start() + 1;
        // The client's number, scattered: all that is needed is that clients differ.
        let scattered = self.subscription.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let retry = RETRY_MS.start() + (scattered ^ start_salt()) % spread;
        let frame = Frame::build(|out| {
            out.extend_from_slice(HEARTBEAT_COMMENT);
            out.extend_from_slice(format!("retry: {retry}\n").as_bytes());
        });
        head.extend_from_slice(frame.bytes(self.writer.is_chunked()));
        let Self {
            writer,
            subscription,
            ..
        } = self;
        subscription.while_writing(|| writer.write(&head).and_then(|()| writer.flush()))
    }

    fn replay(&mut self, replay: &Replay, messages: &mut u64) -> io::Result<()> {
        if !replay.gaps.is_empty() {
            self.write_frame(&Frame::build(|out| {
                for channel in &replay.gaps {
                    encode_gap(channel, &replay.after, out);
                }
            }))?;
        }
        let mut rest = replay.events.as_slice();
        while !rest.is_empty() {
            if self.subscription.progress().cut().is_some() {
                return Ok(());
            }
            let mut count = 0;
            let form = self.subscription.form;
            let frame = Frame::build(|out| {
                let full = out.len() + REPLAY_BYTES;
                while count < rest.len() && out.len() < full {
                    encode(&rest[count], form, out);
                    count += 1;
                }
            });
            self.write_frame(&frame)?;
            self.subscription.replayed(count);
            *messages += count as u64;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Live delivery, until the end.
    fn follow(&mut self, messages: &mut u64) -> io::Result<End> {
        let mut next_heartbeat = Instant::now() + self.heartbeat;
        loop {
            match self.subscription.try_next() {
                Next::End(end) => return Ok(end),
                Next::Batch(queued) => {
                    let batch = queued.batch();
                    self.write_rest(batch.frame(), queued.written())?;
                    *messages += self.subscription.delivered(batch);
                    next_heartbeat = Instant::now() + self.heartbeat;
                }
                Next::Nothing
                    if self.subscription.progress().take_probe()
                        || Instant::now() >= next_heartbeat =>
                {
                    self.write_frame(&Frame::build(|out| {
                        out.extend_from_slice(if self.heartbeat_is_event {
                            HEARTBEAT_EVENT
                        } else {
                            HEARTBEAT_COMMENT
                        });
                    }))?;
                    next_heartbeat = Instant::now() + self.heartbeat;
                }
                Next::Nothing => {
                    self.subscription.sleep(next_heartbeat);
                    if let Some(elapsed) = self.subscription.time_since_help() {
                        let quiet_until = Instant::now() + self.heartbeat.saturating_sub(elapsed);
                        next_heartbeat = next_heartbeat.max(quiet_until);
                    }
                }
            }
        }
    }

    fn write_frame(&mut self, frame: &Frame) -> io::Result<()> {
        self.write_rest(frame, 0)
    }

    /// Writes a frame of which the client has `written` bytes already.
    fn write_rest(&mut self, frame: &Frame, written: usize) -> io::Result<()> {
        let Self {
            writer,
            subscription,
            ..
        } = self;
        let bytes = &frame.bytes(writer.is_chunked())[written..];
        subscription.while_writing(|| writer.write(bytes).and_then(|()| writer.flush()))
    }

    /// A failed write is the end of a slow client if the hub cut it off, or if nothing was taken for so long.
    fn name(&self, error: &io::Error) -> &'static str {
        let timed_out = matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        );
        match self.subscription.progress().cut() {
            Some(End::Slow) => "slow",
            Some(_) => GONE,
            None if timed_out => "slow",
            None => GONE,
        }
    }
}

/// Differs from run to run.
fn start_salt() -> u64 {
    static SALT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *SALT.get_or_init(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| u64::from(now.subsec_nanos()))
    })
}
