//! Wall time and running time together. Running time (`Instant`) never steps; the wall clock may be set at any moment.

use super::time;
use crate::moments::since_1970;
use std::time::{Duration, Instant};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Wall time since the Unix epoch; before 1970 counts as 1970.
    pub(super) unix: Duration,
    pub(super) at: Instant,
}

impl Moment {
    pub(super) fn now() -> Moment {
        // In this order, a thread that is delayed in between sees the wall clock behind, never ahead.
        let unix = since_1970(time::wall());
        let at = time::now();
        Moment { unix, at }
    }

    pub(super) fn unix_ms(&self) -> u64 {
        self.unix.as_millis() as u64
    }
}

/// A step ahead that is no jump: the two clocks need not agree to the microsecond from one look to the next.
const TOLERANCE: Duration = Duration::from_millis(1);

/// Notices when the wall clock is set ahead.
#[derive(Debug)]
pub(super) struct ClockWatch {
    /// The moment of the last look at which the wall clock was not behind.
    last: Moment,
}

impl ClockWatch {
    pub(super) fn new(now: Moment) -> ClockWatch {
        ClockWatch { last: now }
    }

    /// Whether the wall clock was set ahead since the last look, beyond everything that it has shown before. A clock
    /// that was set back and returns to the right time does not count.
    pub(super) fn has_jumped(&mut self, now: Moment) -> bool {
        let expected = self.last.unix + now.at.saturating_duration_since(self.last.at);
        if now.unix < expected {
            return false;
        }
        self.last = now;
        now.unix - expected > TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_ahead_is_noticed_and_one_that_comes_back_is_not() {
        let start = Instant::now();
        // Running time and the wall clock's time, in ms, and whether that is a jump.
        let looks = [
            (10, 1_010, false),
            (20, 1_021, false),
            (30, 2_031, true),
            (40, 2_041, false),
            (50, 51, false),
            (60, 2_061, false),
            (70, 2_073, true),
        ];
        let moment = |running, unix| Moment {
            unix: Duration::from_millis(unix),
            at: start + Duration::from_millis(running),
        };
        let mut watch = ClockWatch::new(moment(0, 1_000));
        for (running, unix, is_jump) in looks {
            assert_eq!(
                watch.has_jumped(moment(running, unix)),
                is_jump,
                "{running}"
            );
        }
    }
}
