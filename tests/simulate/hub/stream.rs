//! The thread of one event stream, in steps: what `src/server/stream.rs` does with a subscription.

use super::batch::Queued;
use super::history::Replay;
use super::subscription::{Next, Subscription};
use super::sync::Thread;
use super::time::running_ms;
use crate::access::Permit;
use crate::counters::End;
use crate::event::{encode, encode_expired, encode_gap, Frame};
use crate::wire::Wire;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// A replay is written in pieces of about this many bytes.
const REPLAY_BYTES: usize = 300;

/// The chunk that ends a body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

pub struct Stream {
    subscription: Subscription,
    wire: Arc<Wire>,
    thread: Thread,
    state: State,
    replay: Option<Replay>,
    /// Events of the replay that were written.
    replayed: usize,
}

enum State {
    Ready,
    Writing(Vec<u8>, After),
    /// It has found nothing to do.
    Idle,
    /// It has shown that it will sleep, and has not looked for news since.
    LyingDown,
    Asleep,
    Ended(End),
}

/// What to do when everything is written.
enum After {
    GoOn,
    Report(Queued),
    End(End),
}

impl Stream {
    /// `is_helped`: the announcer may write in its place.
    pub fn start(mut subscription: Subscription, wire: Arc<Wire>, is_helped: bool) -> Stream {
        if is_helped {
            subscription.progress.allow_help(Box::new(wire.clone()));
        }
        let replay = subscription.replay.take();
        let form = subscription.form;
        let mut stream = Stream {
            subscription,
            wire,
            thread: Thread::default(),
            state: State::Ready,
            replay: None,
            replayed: 0,
        };
        if let Some(replay) = replay {
            if !replay.gaps.is_empty() {
                stream.write(After::GoOn, |out| {
                    for topic in &replay.gaps {
                        encode_gap(topic, &replay.after, form, out);
                    }
                });
            }
            stream.replay = Some(replay);
        }
        stream
    }

    /// What it is allowed for.
    pub fn permit(&self) -> &Permit {
        &self.subscription.permit
    }

    /// Why it has ended.
    pub fn end(&self) -> Option<End> {
        match self.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    pub fn step(&mut self) {
        self.thread.run();
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Ready => self.follow(),
            State::Writing(bytes, after) => self.go_on_writing(bytes, after),
            State::Idle => {
                self.subscription.progress.handoff.lie_down();
                self.state = State::LyingDown;
            }
            State::LyingDown if self.subscription.has_news() => self.get_up(),
            State::LyingDown => self.state = State::Asleep,
            State::Asleep if self.thread.takes_token() => self.get_up(),
            other => self.state = other,
        }
    }

    fn get_up(&mut self) {
        self.subscription.progress.handoff.get_up();
        self.state = State::Ready;
    }

    fn follow(&mut self) {
        if self.subscription.progress.cut().is_none() && self.go_on_replaying() {
            return;
        }
        if let Some((heartbeat, written)) = self.subscription.take_heartbeat() {
            let rest = heartbeat.bytes(true)[written..].to_vec();
            return self.begin(rest, After::GoOn);
        }
        match self.subscription.try_next() {
            Next::Batch(queued) => {
                let bytes = queued.batch.frame.bytes(true)[queued.written..].to_vec();
                self.begin(bytes, After::Report(queued));
            }
            Next::Nothing => self.state = State::Idle,
            Next::End(end @ (End::Shutdown | End::SentAway)) => {
                self.begin(LAST_CHUNK.to_vec(), After::End(end));
            }
            Next::End(end @ (End::Expired | End::Revoked | End::Ended)) => {
                let form = self.subscription.form;
                let notice = Frame::build(|out| encode_expired("revoked", form, out));
                let notice = notice.expect("it is told in every form of an event stream");
                let bytes = [notice.bytes(true), LAST_CHUNK].concat();
                self.begin(bytes, After::End(end));
            }
            Next::End(end @ (End::Slow | End::Gone | End::Answered)) => {
                self.state = State::Ended(end)
            }
        }
    }

    /// Returns whether there was something left to replay.
    fn go_on_replaying(&mut self) -> bool {
        let Some(replay) = self.replay.take() else {
            return false;
        };
        let rest = &replay.events[self.replayed..];
        if rest.is_empty() {
            return false;
        }
        let form = self.subscription.form;
        let mut count = 0;
        self.write(After::GoOn, |out| {
            while count < rest.len() && out.len() < REPLAY_BYTES {
                encode(&rest[count], form, out);
                count += 1;
            }
        });
        self.replayed += count;
        self.replay = Some(replay);
        true
    }

    fn write(&mut self, after: After, fill: impl FnOnce(&mut Vec<u8>)) {
        let frame = Frame::build(fill).expect("there is something to write");
        self.begin(frame.bytes(true).to_vec(), after);
    }

    fn begin(&mut self, bytes: Vec<u8>, after: After) {
        let progress = &self.subscription.progress;
        progress
            .writing_since
            .store(running_ms(), Ordering::Relaxed);
        progress.wrote_at.store(running_ms(), Ordering::Relaxed);
        self.state = State::Writing(bytes, after);
    }

    fn go_on_writing(&mut self, mut bytes: Vec<u8>, after: After) {
        let Some(count) = self.wire.write(&bytes) else {
            let end = self.subscription.progress.cut();
            self.state = State::Ended(end.unwrap_or(End::Gone));
            return;
        };
        bytes.drain(..count);
        if !bytes.is_empty() {
            self.state = State::Writing(bytes, after);
            return;
        }
        let since = &self.subscription.progress.writing_since;
        since.store(0, Ordering::Relaxed);
        match after {
            After::GoOn => {}
            After::Report(queued) => {
                self.subscription.delivered(&queued.batch);
            }
            After::End(end) => self.state = State::Ended(end),
        }
    }
}
