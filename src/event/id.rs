use crate::numbers::digits;
use std::fmt;

/// The id of an event: `MILLISECONDS-SEQUENCE`, growing over all channels of a server.
///
/// The shape is that of a Redis stream id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Milliseconds since the Unix epoch; later if ids would not grow otherwise.
    pub ms: u64,
    /// Counts the events of one millisecond.
    pub seq: u64,
}

impl EventId {
    /// Below every id that is given.
    pub const ZERO: EventId = EventId { ms: 0, seq: 0 };

    /// Parses `MS-SEQ`, or `MS` alone, which means `MS-0`. Digits only.
    pub fn parse(text: &str) -> Option<EventId> {
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        Some(EventId {
            ms: digits(ms)?,
            seq: digits(seq)?,
        })
    }

    /// The id that follows `self` when the clock shows `now_ms`: always larger than `self`, even if the clock steps
    /// back.
    pub fn next(self, now_ms: u64) -> EventId {
        if now_ms > self.ms {
            EventId { ms: now_ms, seq: 0 }
        } else {
            EventId {
                ms: self.ms,
                seq: self.seq + 1,
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_digits_only() {
        let id = |ms, seq| Some(EventId { ms, seq });
        assert_eq!(EventId::parse("5-7"), id(5, 7));
        assert_eq!(EventId::parse("5"), id(5, 0));
        assert_eq!(EventId::parse("0"), id(0, 0));
        for bad in [
            "",
            "-",
            "5-",
            "-5",
            "+5",
            "5-+1",
            "5-1-1",
            " 5",
            "5 ",
            "a",
            "99999999999999999999",
        ] {
            assert_eq!(EventId::parse(bad), None, "{bad:?} is not an id");
        }
    }

    #[test]
    fn ids_grow_when_the_clock_steps_back() {
        let first = EventId::ZERO.next(1000);
        let second = first.next(1000);
        let third = second.next(10);
        assert!(first < second && second < third, "{first} {second} {third}");
    }
}
