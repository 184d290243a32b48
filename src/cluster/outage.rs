//! How long a lost connection is tolerated before everybody is told. No I/O here.

use super::fault::Fault;
use super::system;
use std::time::{Duration, Instant};

/// A connection that is restored within this time was never lost, for everybody else: publishers wait this long.
const GRACE: Duration = Duration::from_millis(1500);

/// How long connecting may take, with the first exchange.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// A publisher's wait, altogether.
pub(super) const MOST_WAIT: Duration = Duration::from_millis(2500);

/// A fault that may pass, and for how long it has lasted.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Until when it may pass, and its reason.
    begun: Option<(Instant, String)>,
    /// Pauses so far.
    pauses: u32,
}

/// Pauses between tries, doubled from the first to the longest, each up to a half longer or shorter at random, so that the
/// servers do not all come at once. Not longer: two connections have to be made one after the other, publishers are
/// refused until then, and one try a second costs Redis nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Outage {
    /// Records a fault, and returns the pause before the next try. `oldest` is since when somebody waits.
    pub(super) fn note(&mut self, fault: &Fault, oldest: Option<Instant>) -> Duration {
        if self.begun.is_none() {
            let end = system::now() + GRACE;
            let end = oldest.map_or(end, |oldest| end.min(oldest + MOST_WAIT));
            self.begun = Some((end, fault.reason.clone()));
            // Most lost connections can be restored at once.
            return Duration::ZERO;
        }
        if fault.is_cut_off() {
            // The next try asks for less.
            return Duration::ZERO;
        }
        let pause = self.next_pause();
        match self.grace() {
            Duration::ZERO => pause,
            // Those who wait have to be told in time.
            grace => pause.min(grace),
        }
    }

    /// Whether it may pass before anybody has to know.
    pub(super) fn may_pass(&self, fault: &Fault) -> bool {
        fault.may_pass() && !self.grace().is_zero()
    }

    fn grace(&self) -> Duration {
        self.begun.as_ref().map_or(GRACE, |(end, _)| until(*end))
    }

    pub(super) fn bound(&self) -> Duration {
        match self.begun {
            Some(_) if !self.grace().is_zero() => self.grace(),
            _ => CONNECT_TIME,
        }
    }

    /// Ends it, and returns its reason, if there was one.
    pub(super) fn end(&mut self) -> Option<String> {
        self.pauses = 0;
        self.begun.take().map(|(_, reason)| reason)
    }

    fn next_pause(&mut self) -> Duration {
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(self.pauses.min(10)));
        self.pauses += 1;
        pause / 2 + pause * system::jitter() / 1000
    }
}

/// Time left until `end`.
pub(super) fn until(end: Instant) -> Duration {
    end.saturating_duration_since(system::now())
}
