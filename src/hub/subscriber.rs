//! One subscriber, as its two ends see it: the hub's end (send, look how far behind it is, cut it off) and the stream
//! thread's end (take, sleep, report progress).
//!
//! The two ends share a few atomics and a crossbeam channel, never a lock. Waking a thread for each small write costs more
//! than the write. So while a stream's thread sleeps with nothing queued, the announcer may write in its place, as far
//! as the client takes it without waiting; whatever the client does not take at once is queued for the thread. Called by
//! the announcer and by stream threads.

use super::Hub;
use crate::access::Permit;
use crate::event::{Event, EventId, Form, Frame};
use crate::stats::Counters;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::fmt::Debug;
use std::sync::atomic::{fence, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

/// Why a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The hub closed: everything that was queued has been delivered.
    Shutdown,
    /// The client read too slowly.
    Slow,
    /// The client has closed its connection.
    Gone,
    /// Its permit has run out.
    Expired,
    /// Its permit was taken away.
    Revoked,
    /// What the client has does not fit to what there is: it has to come again.
    SentAway,
}

/// One encoded batch, shared by every subscriber that gets it.
#[derive(Debug)]
pub struct Batch {
    frame: Frame,
    messages: usize,
    /// When the oldest of them was published.
    oldest: Instant,
    /// Bytes of batches that somebody has still to write; this one's are taken off when its last user is done.
    in_flight: Arc<AtomicUsize>,
}

impl Batch {
    pub(super) fn new(
        frame: Frame,
        messages: usize,
        oldest: Instant,
        in_flight: &Arc<AtomicUsize>,
    ) -> Arc<Batch> {
        in_flight.fetch_add(frame.len(), Ordering::Relaxed);
        Arc::new(Batch {
            frame,
            messages,
            oldest,
            in_flight: in_flight.clone(),
        })
    }

    /// Takes note that a client has it.
    fn count_delivery(&self, counters: &Counters) {
        let messages = self.messages as u64;
        counters.delivered.add(messages);
        counters.delay.observe(self.oldest.elapsed(), messages);
    }

    /// The bytes to write.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.in_flight
            .fetch_sub(self.frame.len(), Ordering::Relaxed);
    }
}

/// A batch in a subscriber's queue.
#[derive(Debug)]
pub struct Queued {
    batch: Arc<Batch>,
    /// Bytes of it that the client has already.
    written: usize,
}

impl Queued {
    /// The batch.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Bytes of the frame, as it is written to this client, that it has already.
    pub fn written(&self) -> usize {
        self.written
    }
}

/// A way to write to a client beside its stream's thread.
pub trait DirectWriter: Debug + Send + Sync {
    /// Writes what the client takes of the frame without waiting, and returns the number of bytes and whether that is
    /// all of it.
    fn try_write(&self, frame: &Frame) -> (usize, bool);

    /// Bytes that the client's system has confirmed so far.
    fn confirmed(&self) -> u64;

    /// Ends the connection, also for a thread that is inside a write.
    fn cut(&self);
}

/// What both ends see.
#[derive(Debug)]
pub struct Progress {
    /// Messages queued and not yet written.
    lag: AtomicUsize,
    /// When `lag` went over the limit and stayed there, in ms of `now_ms`; 0 when it is not over.
    behind_since: AtomicU64,
    /// While it is behind: when its present grace began, in ms of `now_ms`, and how many bytes it had confirmed then.
    grace_since: AtomicU64,
    confirmed_then: AtomicU64,
    /// When the write began that the stream thread is in, in ms of `now_ms`; 0 outside a write.
    writing_since: AtomicU64,
    /// Who may write to the client: see `AWAKE` and the others.
    state: AtomicU8,
    /// How to write to it while its thread sleeps, once that is known.
    direct: OnceLock<Box<dyn DirectWriter>>,
    /// When that was done last, in ms of `now_ms`.
    helped_at: AtomicU64,
    /// Messages that were written so.
    helped: AtomicU64,
    /// Set once by the stream thread when it starts.
    thread: OnceLock<Thread>,
    /// An `End` that does not wait for the queue to run empty, or `NOT_CUT`.
    cut: AtomicU8,
    /// When its permit was taken away.
    revoked: OnceLock<Instant>,
}

/// The stream's thread is up, and the only one that writes.
const AWAKE: u8 = 0;
/// It is parked, or about to be, and has to be woken when there is news.
const ASLEEP: u8 = 1;
/// It is parked, and the announcer writes in its place.
const HELPED: u8 = 2;
/// The announcer writes, and has to wake the thread when that is done.
const WANTED: u8 = 3;

/// How much of a batch the announcer has written in a thread's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    Whole,
    /// The thread has the rest in its queue.
    Part,
    Nothing,
}

const NOT_CUT: u8 = 0;
const CUT_SLOW: u8 = 1;
const CUT_GONE: u8 = 2;
const CUT_SENT_AWAY: u8 = 3;

impl Progress {
    fn new() -> Progress {
        Progress {
            lag: AtomicUsize::new(0),
            behind_since: AtomicU64::new(0),
            grace_since: AtomicU64::new(0),
            confirmed_then: AtomicU64::new(0),
            writing_since: AtomicU64::new(0),
            state: AtomicU8::new(AWAKE),
            direct: OnceLock::new(),
            helped_at: AtomicU64::new(0),
            helped: AtomicU64::new(0),
            thread: OnceLock::new(),
            cut: AtomicU8::new(NOT_CUT),
            revoked: OnceLock::new(),
        }
    }

    /// Whether and why the stream has to end without waiting for its queue.
    pub fn cut(&self) -> Option<End> {
        match self.cut.load(Ordering::Acquire) {
            CUT_SLOW => Some(End::Slow),
            CUT_GONE => Some(End::Gone),
            CUT_SENT_AWAY => Some(End::SentAway),
            _ => None,
        }
    }

    /// Tells the stream thread that its client has gone.
    pub fn client_has_gone(&self) {
        self.cut_off(CUT_GONE);
    }

    fn cut_off(&self, why: u8) {
        // The first reason stays.
        let _ = self
            .cut
            .compare_exchange(NOT_CUT, why, Ordering::AcqRel, Ordering::Acquire);
        self.wake();
    }

    fn revoke(&self) {
        // Once is enough.
        let _ = self.revoked.set(Instant::now());
        self.wake();
    }

    /// Lets the announcer write to this client while its thread sleeps. The first way that is given stays.
    pub fn allow_help(&self, direct: Box<dyn DirectWriter>) {
        let _ = self.direct.set(direct);
    }

    /// Whether the announcer may write to this client.
    pub fn can_be_helped(&self) -> bool {
        self.direct.get().is_some()
    }

    /// Messages that the announcer has written to this client.
    pub fn helped(&self) -> u64 {
        self.helped.load(Ordering::Relaxed)
    }

    fn change(&self, from: u8, to: u8) -> Result<u8, u8> {
        self.state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
    }

    fn wake(&self) {
        // Pairs with `Subscription::sleep`: what was changed before is seen by a thread that is about to sleep.
        fence(Ordering::SeqCst);
        loop {
            match self.state.load(Ordering::SeqCst) {
                // Whoever changes the state is the one that unparks.
                ASLEEP if self.change(ASLEEP, AWAKE).is_ok() => return self.unpark(),
                HELPED if self.change(HELPED, WANTED).is_ok() => return,
                AWAKE | WANTED => return,
                _ => {}
            }
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Returns once the thread that calls is the only one that writes.
    fn get_up(&self) {
        loop {
            match self.state.load(Ordering::SeqCst) {
                AWAKE => return,
                ASLEEP if self.change(ASLEEP, AWAKE).is_ok() => return,
                HELPED if self.change(HELPED, WANTED).is_err() => {}
                // The announcer does not wait when it writes, and unparks.
                HELPED | WANTED => std::thread::park(),
                _ => {}
            }
        }
    }

    /// Writes in the thread's place if it sleeps and `queue_is_empty`. What the client does not take goes to `leave_rest`,
    /// with the bytes that it has: before the thread may write again, or it would write something else in between.
    fn help(
        &self,
        batch: &Batch,
        now_ms: u64,
        queue_is_empty: impl Fn() -> bool,
        leave_rest: impl FnOnce(usize),
    ) -> Help {
        let Some(direct) = self.direct.get() else {
            return Help::Nothing;
        };
        if self.change(ASLEEP, HELPED).is_err() {
            return Help::Nothing;
        }
        // Nobody takes from the queue now, and nobody but the caller adds to it.
        let help = if queue_is_empty() && self.cut().is_none() {
            match direct.try_write(&batch.frame) {
                (_, true) => Help::Whole,
                (0, false) => Help::Nothing,
                (written, false) => {
                    leave_rest(written);
                    Help::Part
                }
            }
        } else {
            Help::Nothing
        };
        if help == Help::Whole {
            self.helped_at.store(now_ms, Ordering::Relaxed);
            self.helped
                .fetch_add(batch.messages as u64, Ordering::Relaxed);
        }
        if self.change(HELPED, ASLEEP).is_err() {
            self.state.store(AWAKE, Ordering::SeqCst);
            self.unpark();
        }
        help
    }

    /// For how long it has been behind by more than `limit` messages, in ms; `None` if it is not.
    fn behind_for(&self, lag: usize, limit: usize, now_ms: u64) -> Option<u64> {
        let since = self.behind_since.load(Ordering::Relaxed);
        if lag <= limit {
            if since != 0 {
                self.behind_since.store(0, Ordering::Relaxed);
            }
            None
        } else if since == 0 {
            self.behind_since.store(now_ms, Ordering::Relaxed);
            self.begin_grace(now_ms);
            Some(0)
        } else {
            Some(now_ms.saturating_sub(since))
        }
    }

    fn begin_grace(&self, now_ms: u64) {
        self.confirmed_then
            .store(self.confirmed(), Ordering::Relaxed);
        self.grace_since.store(now_ms, Ordering::Relaxed);
    }

    fn confirmed(&self) -> u64 {
        self.direct.get().map_or(0, |direct| direct.confirmed())
    }

    /// Whether it took next to nothing in its grace. If it took more it gets another one: a burst on a slow line, or to
    /// many clients of one machine, takes its time. (How long a write takes does not tell: the system wakes a writer only
    /// when a third of its buffer is free again.)
    fn has_stalled(&self, now_ms: u64) -> bool {
        let since = self.grace_since.load(Ordering::Relaxed);
        if now_ms.saturating_sub(since) < GRACE.as_millis() as u64 {
            return false;
        }
        let then = self.confirmed_then.load(Ordering::Relaxed);
        self.begin_grace(now_ms);
        self.confirmed_then.load(Ordering::Relaxed) < then + CRAWL
    }

    fn is_stuck(&self, now_ms: u64, after: Duration) -> bool {
        let since = self.writing_since.load(Ordering::Relaxed);
        since != 0 && now_ms.saturating_sub(since) >= after.as_millis() as u64
    }
}

/// Milliseconds of a clock that never steps back, at least 1.
pub(super) fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// A subscriber that lags behind for this long and takes next to nothing is slow. Long enough for a busy machine to give its
/// thread a turn, and for a phone to change its cell.
const GRACE: Duration = Duration::from_secs(3);

/// Bytes that are next to nothing for the grace.
const CRAWL: u64 = 8 << 10;

/// One that lags behind for this long is slow whatever it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A subscriber that is inside one write for this long probably does not read.
const STUCK: Duration = Duration::from_millis(250);

/// After this long in one write it has no say in how fast the others go, and it goes first when memory is short.
const LOST: Duration = Duration::from_secs(1);

/// What the announcer learns when it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It keeps up.
    Even,
    /// More than half of its queue is full, and it makes progress.
    Late,
    /// It has been inside one write for a while: it does not read, or a busy machine has not come round to it.
    Stuck,
    /// It has been inside one write for long: waiting for it would help nobody.
    Lost,
    /// It lagged behind for too long and has to go.
    TooSlow,
}

/// The hub's end of a subscriber.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// Number of the client, unique while the server runs.
    pub(super) number: u64,
    /// The form in which it wants its events.
    pub(super) form: Form,
    /// It has, or did not ask for, everything up to this id.
    pub(super) joined_after: EventId,
    /// What it is allowed for.
    pub(super) permit: Arc<Permit>,
    sender: Sender<Queued>,
    progress: Arc<Progress>,
}

impl Subscriber {
    /// Writes a batch if that is possible without waiting; otherwise queues it, and wakes the thread if it sleeps. Says
    /// how far behind the client is. Only the announcer may call this.
    pub(super) fn send(
        &self,
        batch: Arc<Batch>,
        queue_limit: usize,
        now_ms: u64,
        counters: &Counters,
    ) -> Pace {
        let progress = &self.progress;
        let leave_rest = |written| self.queue(&batch, written);
        match progress.help(&batch, now_ms, || self.sender.is_empty(), leave_rest) {
            Help::Whole => {
                batch.count_delivery(counters);
                return Pace::Even;
            }
            Help::Part => {}
            Help::Nothing => self.queue(&batch, 0),
        }
        progress.wake();
        let lag = progress.lag.load(Ordering::Relaxed);
        self.pace(lag, queue_limit, now_ms)
    }

    /// Leaves a batch, of which the client has so many bytes, for the thread.
    fn queue(&self, batch: &Arc<Batch>, written: usize) {
        let batch = batch.clone();
        self.progress
            .lag
            .fetch_add(batch.messages, Ordering::Relaxed);
        // The receiver is gone when the stream thread is: the client left a moment ago.
        let _ = self.sender.send(Queued { batch, written });
    }

    fn pace(&self, lag: usize, queue_limit: usize, now_ms: u64) -> Pace {
        let progress = &self.progress;
        if progress.cut().is_some() {
            // It has left, or has to: what it has not got has no say any more.
            return Pace::Lost;
        }
        if let Some(behind_for) = progress.behind_for(lag, queue_limit, now_ms) {
            let is_out_of_patience = behind_for >= PATIENCE.as_millis() as u64;
            if is_out_of_patience || progress.has_stalled(now_ms) {
                return Pace::TooSlow;
            }
        }
        if progress.is_stuck(now_ms, LOST) {
            Pace::Lost
        } else if progress.is_stuck(now_ms, STUCK) {
            Pace::Stuck
        } else if lag > queue_limit / 2 {
            Pace::Late
        } else {
            Pace::Even
        }
    }

    /// How far behind it is now, without sending anything.
    pub(super) fn look(&self, queue_limit: usize, now_ms: u64) -> Pace {
        let lag = self.progress.lag.load(Ordering::Relaxed);
        self.pace(lag, queue_limit, now_ms)
    }

    /// Whether it keeps memory occupied that others need: it does not read and has used its queue up, or it did not
    /// get its queue nearly empty for a second. Only asked when memory is full.
    pub(super) fn hoards(&self, queue_limit: usize, now_ms: u64) -> bool {
        let lag = self.progress.lag.load(Ordering::Relaxed);
        let behind_for = self
            .progress
            .behind_for(lag, queue_limit / 16, now_ms)
            .unwrap_or(0);
        (lag > queue_limit && self.progress.is_stuck(now_ms, STUCK))
            || behind_for >= LOST.as_millis() as u64
    }

    /// Ends its stream because the client reads too slowly.
    pub(super) fn cut_as_slow(&self) {
        self.progress.cut_off(CUT_SLOW);
        // Its thread may be inside a write.
        if let Some(direct) = self.progress.direct.get() {
            direct.cut();
        }
    }

    /// Ends its stream because its permit is gone; what is queued is still delivered.
    pub(super) fn revoke(&self) {
        self.progress.revoke();
    }

    /// Wakes its thread if the permit has run out, which the thread does not know of if the wall clock was set.
    pub(super) fn wake_if_expired(&self, wall: SystemTime) {
        if self.permit.expires().is_some_and(|expires| wall >= expires) {
            self.progress.wake();
        }
    }

    /// Ends its stream so that the client comes again.
    pub(super) fn send_away(&self) {
        self.progress.cut_off(CUT_SENT_AWAY);
    }

    /// Wakes the thread; it finds its channel closed once this end is dropped everywhere.
    pub(super) fn waker(&self) -> Arc<Progress> {
        self.progress.clone()
    }
}

/// Wakes a thread after its channel has been closed.
pub(super) fn wake_all(progress: &[Arc<Progress>]) {
    for progress in progress {
        progress.wake();
    }
}

/// What a client that came back has to get before it goes live.
#[derive(Debug, Default)]
pub struct Replay {
    /// The id that the client named, as it named it.
    pub after: String,
    /// Channels of which messages after that id are, or may be, lost.
    pub gaps: Vec<crate::event::ChannelName>,
    /// Retained events after that id, in order.
    pub events: Vec<Arc<Event>>,
}

/// The stream thread's end of a subscriber. Dropping it takes the client out of the hub.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    /// Number of the client, unique while the server runs.
    pub number: u64,
    /// The form in which it wants its events.
    pub form: Form,
    /// What it is allowed for.
    pub permit: Arc<Permit>,
    receiver: Receiver<Queued>,
    progress: Arc<Progress>,
    replay: Option<Replay>,
    /// Closes when the last subscription is dropped: how the end of all streams is awaited.
    _open: Sender<std::convert::Infallible>,
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

/// The two ends of a new subscriber.
pub(super) fn pair(
    hub: Arc<Hub>,
    number: u64,
    form: Form,
    joined_after: EventId,
    permit: Permit,
    replay: Option<Replay>,
    open: Sender<std::convert::Infallible>,
) -> (Arc<Subscriber>, Subscription) {
    // Unbounded costs no memory while it is empty; the lag is what bounds it.
    let (sender, receiver) = crossbeam_channel::unbounded();
    let progress = Arc::new(Progress::new());
    let permit = Arc::new(permit);
    let subscriber = Arc::new(Subscriber {
        number,
        form,
        joined_after,
        permit: permit.clone(),
        sender,
        progress: progress.clone(),
    });
    let subscription = Subscription {
        hub,
        number,
        form,
        permit,
        receiver,
        progress,
        replay,
        _open: open,
    };
    (subscriber, subscription)
}

impl Subscription {
    /// What both ends see; whoever watches the connection can end the stream through it.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// What has to be sent before anything that is live, if the client asked for it. Once.
    pub fn take_replay(&mut self) -> Option<Replay> {
        self.replay.take()
    }

    /// The next batch, without waiting.
    pub fn try_next(&self) -> Next {
        if let Some(end) = self.progress.cut() {
            return Next::End(end);
        }
        let over = self.permit_is_over();
        let end = over.map(|(end, _)| end);
        match self.receiver.try_recv() {
            // What is written in part has to be written whole.
            Ok(queued) => match over {
                Some((end, since)) if queued.batch.oldest > since && queued.written == 0 => {
                    Next::End(end)
                }
                _ => Next::Batch(queued),
            },
            Err(TryRecvError::Empty) => end.map_or(Next::Nothing, Next::End),
            Err(TryRecvError::Disconnected) => {
                Next::End(self.progress.cut().or(end).unwrap_or(End::Shutdown))
            }
        }
    }

    /// How and since when the stream is not allowed any more. What was published before is still delivered.
    fn permit_is_over(&self) -> Option<(End, Instant)> {
        if let Some(since) = self.progress.revoked.get() {
            return Some((End::Revoked, *since));
        }
        let now = Instant::now();
        let until = self.permit.valid_until(now, SystemTime::now())?;
        (now >= until).then_some((End::Expired, until))
    }

    /// Sleeps until there may be something new, or until `deadline`, or until the permit has run out.
    ///
    /// Not a blocking `recv`: that spins and yields before it sleeps, which with thousands of threads on few cores
    /// costs more than all the writing.
    pub fn sleep(&self, deadline: Instant) {
        let progress = &self.progress;
        progress.thread.get_or_init(std::thread::current);
        progress.state.store(ASLEEP, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // What was sent before that could be seen has woken nobody: look once more.
        let is_wanted = progress.cut().is_some() || progress.revoked.get().is_some();
        // As the clocks stand: when the wall clock is set, the janitor wakes those who have expired by that.
        let until = self.permit.valid_until(Instant::now(), SystemTime::now());
        let deadline = until.map_or(deadline, |until| until.min(deadline));
        if self.receiver.is_empty() && !is_wanted && !self.is_closed() {
            let now = Instant::now();
            if deadline > now {
                std::thread::park_timeout(deadline - now);
            }
        }
        progress.get_up();
    }

    /// Time since the announcer wrote to this client; `None` if it never did.
    pub fn time_since_help(&self) -> Option<Duration> {
        match self.progress.helped_at.load(Ordering::Relaxed) {
            0 => None,
            then => Some(Duration::from_millis(now_ms().saturating_sub(then))),
        }
    }

    fn is_closed(&self) -> bool {
        self.hub.is_closed()
    }

    /// Runs one write to the client, so that the hub sees for how long it is under way.
    pub fn while_writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.progress
            .writing_since
            .store(now_ms(), Ordering::Relaxed);
        let result = write();
        self.progress.writing_since.store(0, Ordering::Relaxed);
        result
    }

    /// Reports that a live batch has been written. Returns the number of its messages.
    pub fn delivered(&self, batch: &Batch) -> u64 {
        self.progress
            .lag
            .fetch_sub(batch.messages, Ordering::Relaxed);
        batch.count_delivery(self.hub.counters());
        batch.messages as u64
    }

    /// Reports that `messages` of the replay have been written.
    pub fn replayed(&self, messages: usize) {
        self.hub.counters().delivered.add(messages as u64);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The announcer may still have messages for it.
        self.progress.client_has_gone();
        self.hub.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that takes three bytes, while somebody wakes its thread.
    #[derive(Debug)]
    struct Narrow(Arc<Progress>);

    impl DirectWriter for Narrow {
        fn try_write(&self, _: &Frame) -> (usize, bool) {
            self.0.wake();
            (3, false)
        }

        fn confirmed(&self) -> u64 {
            0
        }

        fn cut(&self) {}
    }

    #[test]
    fn nothing_is_written_between_the_parts_of_a_frame() {
        let progress = Arc::new(Progress::new());
        progress.allow_help(Box::new(Narrow(progress.clone())));
        progress.state.store(ASLEEP, Ordering::SeqCst);
        let frame = Frame::build(|out| out.extend_from_slice(b"data: hello\n\n"));
        let batch = Batch::new(frame, 1, Instant::now(), &Arc::default());
        let mut rest_was_left = false;
        let help = progress.help(
            &batch,
            1,
            || true,
            |written| {
                rest_was_left = true;
                assert_eq!(written, 3);
                let state = progress.state.load(Ordering::SeqCst);
                assert_eq!(
                    state, WANTED,
                    "the thread may not write before the rest is in its queue"
                );
            },
        );
        assert_eq!(help, Help::Part);
        assert!(rest_was_left, "the rest is for the thread");
        assert_eq!(progress.state.load(Ordering::SeqCst), AWAKE);
    }
}
