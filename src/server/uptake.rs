//! Whether a client takes its answer: who takes nothing is cut off soon, and whoever has a slow network gets everything.

use std::time::{Duration, Instant};

/// Until the first look: half a second, and an allowance for each byte, including those that the system holds for the
/// client. Most have everything by then: it is 250 KB/s.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const TIME_FOR_A_BYTE: Duration = Duration::from_micros(4);

/// From then on.
const NEXT_LOOK: Duration = Duration::from_secs(5);

/// Bytes a second that a client has to take from one look to the next: what the slowest mobile networks carry.
const LEAST_RATE: u64 = 2 << 10;

/// An answer on its way.
#[derive(Debug)]
pub struct Uptake {
    /// When it was looked at.
    at: Instant,
    /// Bytes that the client had not taken then.
    untaken: u64,
}

impl Uptake {
    /// Returns the time until the first look as well.
    pub fn begin(untaken: u64, now: Instant) -> (Uptake, Duration) {
        let bytes = u32::try_from(untaken).unwrap_or(u32::MAX);
        let time = FIRST_LOOK + TIME_FOR_A_BYTE * bytes;
        (Uptake { at: now, untaken }, time)
    }

    /// Looks again. Returns the time until the next look, or `None` if the client has stopped reading.
    pub fn look(&mut self, untaken: u64, now: Instant) -> Option<Duration> {
        let taken = self.untaken.saturating_sub(untaken);
        let elapsed = now.saturating_duration_since(self.at);
        (self.at, self.untaken) = (now, untaken);
        (taken as u128 * 1000 >= u128::from(LEAST_RATE) * elapsed.as_millis()).then_some(NEXT_LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_something_is_waited_for() {
        let start = Instant::now();
        let (mut uptake, first) = Uptake::begin(1_000_000, start);
        assert_eq!(first, Duration::from_millis(4_500));
        let now = start + first;
        assert_eq!(uptake.look(990_000, now), Some(NEXT_LOOK));
        assert_eq!(uptake.look(970_000, now + NEXT_LOOK), Some(NEXT_LOOK));
        assert_eq!(uptake.look(969_000, now + 2 * NEXT_LOOK), None);
        let (mut uptake, first) = Uptake::begin(u64::MAX, start);
        assert_eq!(uptake.look(u64::MAX, start + first), None);
        let (mut uptake, first) = Uptake::begin(0, start);
        assert_eq!(uptake.look(0, start + first), None);
    }
}
