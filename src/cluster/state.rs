//! Whether Redis is available, for everybody who asks; and the log lines when that changes: one for each loss, not one
//! for each try.

use super::fault::Fault;
use super::outage::until;
use super::system::{self, lock, Mutex};
use crate::counters::Counter;
use crate::hub::Refusal;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, PoisonError};
use std::time::{Duration, Instant};

/// One of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Writer,
    Follower,
}

/// Whether Redis is available, as both threads see it and as it was logged.
#[derive(Debug)]
pub(super) struct State {
    address: String,
    /// Both connections are up. A copy of what `now` says, readable without the lock.
    is_up: AtomicBool,
    /// Guards the figures below.
    now: Mutex<Now>,
    /// Signalled when both connections are up.
    came_up: Condvar,
    reconnects: Counter,
}

#[derive(Debug, Default)]
struct Now {
    writer: bool,
    follower: bool,
    was_up: bool,
    lost_at: Option<Instant>,
    /// Kinds of faults that were logged since this loss.
    told: HashSet<&'static str>,
    /// What Redis says, if it answers and refuses.
    refusal: Option<String>,
}

impl State {
    pub(super) fn new(address: String) -> State {
        State {
            address,
            is_up: AtomicBool::new(false),
            now: Mutex::new(Now::default()),
            came_up: Condvar::new(),
            reconnects: Counter::default(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    pub(super) fn reconnects(&self) -> u64 {
        self.reconnects.get()
    }

    pub(super) fn wait_until_up(&self, bound: Duration) {
        let end = system::now() + bound;
        let mut now = lock(&self.now);
        while !now.is_up() && !until(end).is_zero() {
            now = self
                .came_up
                .wait_timeout(now, until(end))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub(super) fn refusal(&self) -> Refusal {
        let now = lock(&self.now);
        match &now.refusal {
            Some(reason) => Refusal::RedisRefused(reason.clone()),
            None => Refusal::RedisAway,
        }
    }

    /// A connection is up, or is up again after it was lost for this reason.
    pub(super) fn up(&self, side: Side, lost: Option<String>) {
        let mut now = lock(&self.now);
        let was_up = now.is_up();
        now.set(side, true);
        if let (true, Some(reason)) = (was_up, &lost) {
            let address = &self.address;
            self.reconnects.add(1);
            log::info!("event=redis_reconnected address={address} reason={reason:?}");
        }
        if was_up || !now.is_up() {
            return;
        }
        // Under the lock, so that both always agree.
        self.is_up.store(true, Ordering::Release);
        now.told.clear();
        now.refusal = None;
        let address = &self.address;
        match now.lost_at.take() {
            Some(lost_at) => {
                let seconds = system::now()
                    .saturating_duration_since(lost_at)
                    .as_secs_f64();
                log::info!("event=redis_back address={address} seconds={seconds:.1}");
            }
            None => log::info!("event=redis_connected address={address}"),
        }
        if now.was_up {
            self.reconnects.add(1);
        }
        now.was_up = true;
        drop(now);
        self.came_up.notify_all();
    }

    /// A connection is lost, or could not be made.
    pub(super) fn down(&self, side: Side, fault: &Fault) {
        let mut now = lock(&self.now);
        self.is_up.store(false, Ordering::Release);
        now.set(side, false);
        // The follower notices first. The writer may have lost its connection too, and has to prove that it has not.
        now.writer = false;
        now.lost_at.get_or_insert_with(system::now);
        now.refusal = (!fault.may_pass()).then(|| fault.reason.clone());
        if now.told.insert(fault.kind) {
            log::warn!(
                "event=redis_lost address={} reason={:?} hint=\"{}\"",
                self.address,
                fault.reason,
                fault.hint
            );
        }
    }
}

impl Now {
    fn is_up(&self) -> bool {
        self.writer && self.follower
    }

    fn set(&mut self, side: Side, is_up: bool) {
        match side {
            Side::Writer => self.writer = is_up,
            Side::Follower => self.follower = is_up,
        }
    }
}
