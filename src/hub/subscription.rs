//! The stream thread's end of a subscriber.

use super::batch::{Batch, Queued};
use super::history::Replay;
use super::progress::Progress;
use super::shared::Shared;
use super::subscriber::Subscriber;
use super::time::{self, running_ms};
use crate::access::Permit;
use crate::counters::End;
use crate::event::{EventId, Form, Frame};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

/// Held by the stream's thread. Dropping it removes the client from the hub.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    /// Number of the client, unique while the server runs.
    pub number: u64,
    /// The form in which it wants its events.
    pub form: Form,
    /// It gets what comes after this id.
    pub joined_after: EventId,
    /// One batch is all it wants, and of that the newest messages, at most this many.
    pub newest: Option<NonZeroU32>,
    pub permit: Arc<Permit>,
    queue: Receiver<Queued>,
    /// Shared with the hub; whoever watches the connection can end the stream through it.
    pub progress: Arc<Progress>,
    /// What has to be sent before live messages, if the client asked for it.
    pub replay: Option<Replay>,
    /// Closes when the last subscription is dropped: that is how `main` waits for the end of all streams.
    _open: Sender<Infallible>,
}

/// What `Subscription::try_next` finds.
#[derive(Debug)]
pub enum Next {
    /// A batch to write.
    Batch(Queued),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End(End),
}

pub(super) struct Admitted {
    pub(super) number: u64,
    pub(super) form: Form,
    /// Apart from the replay, it has everything up to this id, or did not ask for it.
    pub(super) joined_after: EventId,
    /// As in `Subscription`.
    pub(super) newest: Option<NonZeroU32>,
    pub(super) permit: Permit,
    pub(super) replay: Option<Replay>,
    /// Shows that its stream is open.
    pub(super) open: Sender<Infallible>,
}

/// The two ends of a new subscriber.
pub(super) fn pair(shared: Arc<Shared>, joining: Admitted) -> (Arc<Subscriber>, Subscription) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let progress = Arc::new(Progress::new());
    let permit = Arc::new(joining.permit);
    let subscriber = Arc::new(Subscriber {
        number: joining.number,
        form: joining.form,
        joined_after: joining.joined_after,
        newest: joining.newest,
        permit: permit.clone(),
        queue: sender,
        progress: progress.clone(),
    });
    let subscription = Subscription {
        shared,
        number: joining.number,
        form: joining.form,
        joined_after: joining.joined_after,
        newest: joining.newest,
        permit,
        queue: receiver,
        progress,
        replay: joining.replay,
        _open: joining.open,
    };
    (subscriber, subscription)
}

impl Subscription {
    /// The next batch, without waiting.
    pub fn try_next(&self) -> Next {
        match self.progress.cut() {
            // A frame that was begun is finished, so that the client can tell this end from a truncated event. It is
            // the first in the queue: nothing is written in the thread's place while something is queued.
            Some(end @ (End::SentAway | End::Gone)) => match self.queue.try_recv() {
                Ok(queued) if queued.written > 0 => return Next::Batch(queued),
                _ => return Next::End(end),
            },
            Some(end) => return Next::End(end),
            None => {}
        }
        let mut received = self.queue.try_recv();
        // Whoever ends a stream gives the reason before its queue closes, so this is read after the queue.
        let over = self.is_over();
        if over.is_some() && received.is_err() {
            // Something may have been published just before the end.
            received = self.queue.try_recv();
        }
        match received {
            Ok(queued) => match over {
                // As above.
                Some((end, since)) if queued.batch.oldest > since && queued.written == 0 => {
                    Next::End(end)
                }
                _ => Next::Batch(queued),
            },
            Err(TryRecvError::Empty) => over.map_or(Next::Nothing, |(end, _)| Next::End(end)),
            Err(TryRecvError::Disconnected) => {
                let end = self.progress.cut().or(over.map(|(end, _)| end));
                Next::End(end.unwrap_or(End::Shutdown))
            }
        }
    }

    /// Why and since when the stream has to end. What was published before is still delivered.
    fn is_over(&self) -> Option<(End, Instant)> {
        if let Some(over) = self.progress.over.get() {
            return Some(*over);
        }
        let now = time::now();
        let until = self.permit.valid_until(now, time::wall())?;
        (now >= until).then_some((End::Expired, until))
    }

    /// A heartbeat of which the client has this many bytes: whoever wrote it in the thread's place left the rest. It
    /// comes before everything else.
    pub fn take_heartbeat(&self) -> Option<(&'static Frame, usize)> {
        let written = self.progress.heartbeat.take()?;
        let heartbeat = self.progress.direct.get()?.heartbeat()?;
        Some((heartbeat, written))
    }

    /// Sleeps until there may be news, until `deadline`, or until the permit runs out.
    ///
    /// Not a blocking `recv`: that spins and yields before it sleeps. With thousands of threads on few cores this costs
    /// more than all the writing.
    pub fn sleep(&self, deadline: Option<Instant>) {
        let sleep = || {
            let now = time::now();
            // As the clocks are now: when the wall clock is set, the janitor wakes those that have expired.
            let until = self.permit.valid_until(now, time::wall());
            match deadline.into_iter().chain(until).min() {
                None => std::thread::park(),
                Some(deadline) if deadline > now => std::thread::park_timeout(deadline - now),
                Some(_) => {}
            }
        };
        self.progress.handoff.sleep(|| self.has_news(), sleep);
    }

    /// Whether `try_next` may find something, apart from the permit's end.
    pub(super) fn has_news(&self) -> bool {
        let progress = &self.progress;
        let must_end = progress.cut().is_some() || progress.over.get().is_some();
        must_end
            || !self.queue.is_empty()
            || progress.heartbeat.is_left()
            || self.shared.is_closed()
    }

    /// Runs one write to the client, so that the hub sees how long it takes.
    pub fn while_writing<T>(&self, write: impl FnOnce() -> T) -> T {
        let Progress {
            writing_since,
            wrote_at,
            ..
        } = &*self.progress;
        let now_ms = running_ms();
        writing_since.store(now_ms, Ordering::Relaxed);
        let result = write();
        writing_since.store(0, Ordering::Relaxed);
        wrote_at.store(now_ms, Ordering::Relaxed);
        result
    }

    /// Gives the client's place in the hub to others, before the last bytes are written: who has those may come again at
    /// once. Nothing more can be published to this one.
    pub fn leave(&self) {
        self.shared.leave(self.number);
    }

    /// Reports that a live batch has been written.
    pub fn delivered(&self, batch: &Batch) {
        let Progress { lag, messages, .. } = &*self.progress;
        lag.fetch_sub(batch.messages, Ordering::Relaxed);
        messages.fetch_add(batch.messages as u64, Ordering::Relaxed);
        batch.count_delivery(&self.shared.counters);
    }

    /// Reports that `messages` of the replay have been written.
    pub fn replayed(&self, messages: usize) {
        let messages = messages as u64;
        self.progress
            .messages
            .fetch_add(messages, Ordering::Relaxed);
        self.shared.counters.delivered.add(messages);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The announcer may still have messages for it.
        self.progress.client_has_gone();
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::super::progress::DirectWriter;
    use super::*;
    use crate::access::{Access, Rules};
    use crate::counters::Counters;
    use crate::event::{heartbeat_frame, ChannelName, Event, Kind};

    /// A client that takes three bytes at a time.
    #[derive(Debug)]
    struct Narrow;

    impl DirectWriter for Narrow {
        fn try_write(&self, _: &Frame) -> (usize, bool) {
            (3, false)
        }

        fn heartbeat(&self) -> Option<&'static Frame> {
            heartbeat_frame(Form::Plain, false)
        }

        fn confirmed(&self) -> u64 {
            0
        }

        fn cut(&self) {}
    }

    fn connected() -> (Arc<Subscriber>, Subscription) {
        let shared = Arc::new(Shared::new(Limits::SMALL, Arc::default()));
        let access = Access::new(None, None, Rules::without_file());
        let caller = access.identify(None).expect("no token is fine");
        let permit = caller.follow(&[]).expect("everybody may follow nothing");
        let (open, _) = crossbeam_channel::bounded(0);
        let joining = Admitted {
            number: 1,
            form: Form::Plain,
            joined_after: EventId::ZERO,
            newest: None,
            permit,
            replay: None,
            open,
        };
        pair(shared, joining)
    }

    fn batch(seq: u64) -> Arc<Batch> {
        let event = Arc::new(Event {
            id: EventId { ms: 1, seq },
            channel: ChannelName::broadcast(),
            name: None,
            text: "hello".into(),
            kind: Kind::Message,
            timestamp_ms: 1,
            at: Instant::now(),
        });
        Arc::new(Batch::new(&[event], Form::Plain, &Arc::default()).expect("a message"))
    }

    #[test]
    fn a_stream_that_is_looking_while_it_is_ended_finds_the_reason() {
        // Often: the moment in question is a short one.
        for round in 0..20_000 {
            let (subscriber, subscription) = connected();
            let end = std::thread::scope(|scope| {
                scope.spawn(move || subscriber.progress.end(End::Revoked));
                loop {
                    match subscription.try_next() {
                        Next::End(end) => break end,
                        _ => std::hint::spin_loop(),
                    }
                }
            });
            assert_eq!(end, End::Revoked, "round {round}");
        }
    }

    #[test]
    fn a_frame_that_was_begun_is_finished_before_a_stream_ends() {
        for why in [End::SentAway, End::Gone] {
            let (subscriber, subscription) = connected();
            subscriber.progress.allow_help(Box::new(Narrow));
            // While the stream's thread sleeps, the announcer begins one frame, and the stream has to end.
            let meanwhile = || {
                let counters = Counters::default();
                subscriber.send(batch(1), 10, 1, &counters);
                subscriber.send(batch(2), 10, 1, &counters);
                match why {
                    End::Gone => subscriber.progress.client_has_gone(),
                    _ => subscriber.progress.send_away(),
                }
            };
            subscriber.progress.handoff.sleep(|| false, meanwhile);
            match subscription.try_next() {
                Next::Batch(queued) => assert_eq!(queued.written, 3, "the one that was begun"),
                other => panic!("the rest of the frame has to come first: {other:?}"),
            }
            match subscription.try_next() {
                Next::End(end) => assert_eq!(end, why),
                other => panic!("nothing comes behind it: {other:?}"),
            }
        }
    }
}
