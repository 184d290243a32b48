//! One run of the hub: its announcer and its janitor as simulated threads.

use super::announcer::{Announcer, Work};
use super::audience::Delivery;
use super::hub::Hub;
use super::janitor;
use super::limits::Limits;
use super::sync::Thread;
use super::time::running_ms;
use std::sync::Arc;

/// How often the janitor looks.
const SWEEP_MS: u64 = 1000;

pub struct Server {
    pub hub: Arc<Hub>,
    announcer: Announcer,
    thread: Thread,
    is_asleep: bool,
    /// What the announcer has taken, and has not carried yet.
    taken: Option<Vec<Delivery>>,
    has_ended: bool,
    next_sweep_ms: u64,
}

impl Server {
    pub fn start(limits: Limits) -> Server {
        let (hub, _) = Hub::new(limits, Arc::default());
        let thread = Thread::default();
        thread.run();
        hub.shared.become_announcer();
        Server {
            announcer: Announcer::new(hub.shared.clone()),
            hub: Arc::new(hub),
            thread,
            is_asleep: false,
            taken: None,
            has_ended: false,
            next_sweep_ms: running_ms() + SWEEP_MS,
        }
    }

    /// One step of the announcer, as in `Announcer::run`. It may take a while between taking and carrying.
    pub fn announce(&mut self) {
        if self.is_asleep && !self.thread.takes_token() || self.has_ended {
            return;
        }
        self.is_asleep = false;
        self.thread.run();
        if let Some(deliveries) = self.taken.take() {
            self.announcer.carry(deliveries);
            return;
        }
        match self.announcer.next_work() {
            Work::Carry(deliveries) => self.taken = Some(deliveries),
            Work::Nothing => self.is_asleep = true,
            Work::End => {
                self.hub.shared.end_all_streams();
                self.has_ended = true;
            }
        }
    }

    /// The janitor. Returns whether it was time for it.
    pub fn sweep(&mut self) -> bool {
        let is_time = running_ms() >= self.next_sweep_ms;
        if is_time {
            self.next_sweep_ms = running_ms() + SWEEP_MS;
            janitor::sweep(&self.hub.shared);
        }
        is_time
    }

    /// Heartbeats, also between two rounds of the janitor.
    pub fn keep_alive(&self) {
        janitor::keep_alive(&self.hub.shared);
    }

    /// Whether it was closed, and has ended all streams.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }
}
