//! The policy for slow clients: who keeps up, who holds publishers up, and who has to go. It works on figures alone: no
//! clock, no thread, no socket. All times are running time in ms (`time::running_ms`).

/// A client that lags by more than its queue for this long, and takes next to nothing meanwhile, is slow. Long enough
/// for a busy machine to give its thread a turn, and for a phone to change cells.
const GRACE_MS: u64 = 3_000;

/// Bytes that are next to nothing for `GRACE_MS`.
const CRAWL_BYTES: u64 = 8 << 10;

/// One that lags by more than its queue for this long is slow, however much it takes.
const PATIENCE_MS: u64 = 10_000;

/// One that lags by more than half of its queue while publishers wait for its audience, and again `PATIENCE_MS` later, is
/// slow if it takes less than this many bytes meanwhile and its queue did not come down to a quarter. Lagging alone proves
/// nothing: on a busy machine healthy clients lag as well, but take more.
const TRICKLE_BYTES: u64 = 64 << 10;

/// A client whose thread is inside one write for this long probably does not read.
const STUCK_MS: u64 = 250;

/// After this long in one write it no longer counts for how fast the others go, and is the first to go when memory is
/// short.
const LOST_MS: u64 = 1_000;

/// How a client keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Even,
    /// More than half of its queue is full, and it makes progress.
    Late,
    /// It has been inside one write for a while: it does not read, or the machine is busy.
    Stuck,
    /// It has been inside one write for long, or its stream is about to end: waiting for it would help nobody.
    Lost,
    /// It lagged for too long and has to go.
    TooSlow,
}

/// A client at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// Messages queued and not yet written.
    pub(super) lag: usize,
    /// `CLIENT_QUEUE`.
    pub(super) limit: usize,
    pub(super) now_ms: u64,
    /// When its thread began the current write; 0 outside a write.
    pub(super) writing_since_ms: u64,
    /// Publishers wait until most clients of its audience keep up.
    pub(super) is_awaited: bool,
}

impl Figures {
    fn writes_for(&self, ms: u64) -> bool {
        self.writing_since_ms != 0 && self.now_ms.saturating_sub(self.writing_since_ms) >= ms
    }
}

/// What is remembered of a client between two looks.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Since when its lag is over the limit; 0 if it is not.
    since_ms: u64,
    /// When its current grace began, and the bytes confirmed by then.
    grace_since_ms: u64,
    confirmed_then: u64,
    /// When its lag was over half of the limit while publishers waited, and the bytes confirmed by then; 0 once it has come
    /// down to a quarter: at half, publishers go on, and put it over that again at once.
    late_since_ms: u64,
    late_confirmed: u64,
}

impl Behind {
    /// Judges the client. `confirmed` gives the bytes confirmed so far; it is called only for clients that are behind.
    pub(super) fn judge(&mut self, figures: &Figures, confirmed: impl Fn() -> u64) -> Pace {
        let is_late = figures.lag > figures.limit / 2;
        if figures.lag <= figures.limit / 4 {
            self.late_since_ms = 0;
        } else if is_late && figures.is_awaited && self.trickles(figures.now_ms, &confirmed) {
            return Pace::TooSlow;
        }
        if let Some(behind_ms) = self.update(figures.lag > figures.limit, figures, &confirmed) {
            if behind_ms >= PATIENCE_MS || self.has_stalled(figures.now_ms, confirmed) {
                return Pace::TooSlow;
            }
        }
        if figures.writes_for(LOST_MS) {
            Pace::Lost
        } else if figures.writes_for(STUCK_MS) {
            Pace::Stuck
        } else if is_late {
            Pace::Late
        } else {
            Pace::Even
        }
    }

    /// Whether the client occupies memory that others need: it does not read and has used its queue up, or its queue
    /// was not nearly empty for a second. Only asked when memory is full.
    pub(super) fn hoards(&mut self, figures: &Figures, confirmed: impl Fn() -> u64) -> bool {
        let occupies = figures.lag > figures.limit / 16;
        let behind_ms = self.update(occupies, figures, confirmed).unwrap_or(0);
        (figures.lag > figures.limit && figures.writes_for(STUCK_MS)) || behind_ms >= LOST_MS
    }

    /// How long it has been behind, in ms; `None` if it is not.
    fn update(
        &mut self,
        is_behind: bool,
        figures: &Figures,
        confirmed: impl Fn() -> u64,
    ) -> Option<u64> {
        if !is_behind {
            self.since_ms = 0;
            return None;
        }
        if self.since_ms == 0 {
            self.since_ms = figures.now_ms;
            self.begin_grace(figures.now_ms, confirmed());
        }
        Some(figures.now_ms.saturating_sub(self.since_ms))
    }

    /// Whether it took next to nothing in its grace. If it took more, it gets another one: a burst on a slow line, or
    /// to many clients of one machine, takes time. (The length of a write does not tell: the system wakes a writer only
    /// when a third of its buffer is free again.)
    fn has_stalled(&mut self, now_ms: u64, confirmed: impl Fn() -> u64) -> bool {
        if now_ms.saturating_sub(self.grace_since_ms) < GRACE_MS {
            return false;
        }
        let then = self.confirmed_then;
        self.begin_grace(now_ms, confirmed());
        self.confirmed_then < then + CRAWL_BYTES
    }

    /// Whether it took little for as long as publishers have waited for it.
    fn trickles(&mut self, now_ms: u64, confirmed: impl Fn() -> u64) -> bool {
        let is_new = self.late_since_ms == 0;
        if !is_new && now_ms.saturating_sub(self.late_since_ms) < PATIENCE_MS {
            return false;
        }
        let then = self.late_confirmed;
        self.late_since_ms = now_ms;
        self.late_confirmed = confirmed();
        !is_new && self.late_confirmed < then + TRICKLE_BYTES
    }

    fn begin_grace(&mut self, now_ms: u64, confirmed: u64) {
        self.grace_since_ms = now_ms;
        self.confirmed_then = confirmed;
    }
}

/// How many clients of an audience keep up. Those that surely do not read do not count.
#[derive(Debug, Default)]
pub(super) struct PaceCounts {
    even: usize,
    late: usize,
    stuck: usize,
}

/// This many clients are not stuck each for its own reason: the machine is busy.
const MANY: usize = 16;

impl PaceCounts {
    pub(super) fn count(&mut self, pace: Pace) {
        match pace {
            Pace::Even => self.even += 1,
            Pace::Late => self.late += 1,
            Pace::Stuck => self.stuck += 1,
            Pace::Lost | Pace::TooSlow => {}
        }
    }

    pub(super) fn add(&mut self, other: &PaceCounts) {
        self.even += other.even;
        self.late += other.late;
        self.stuck += other.stuck;
    }

    /// Whether most are behind: then it is the machine, not the clients.
    pub(super) fn is_late(&self) -> bool {
        let stuck = if self.stuck >= MANY { self.stuck } else { 0 };
        self.late + stuck > self.even
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;
    const START_MS: u64 = 50;
    const READS: u64 = CRAWL_BYTES;

    fn since(now_ms: u64, writing_ms: u64) -> u64 {
        now_ms * u64::from(writing_ms > 0) - writing_ms
    }

    /// The results of a series of looks: (ms since the start, lag, ms in the current write, bytes confirmed).
    fn paces(is_awaited: bool, looks: &[(u64, usize, u64, u64)]) -> Vec<Pace> {
        let mut behind = Behind::default();
        let judge = |&(ms, lag, writing_ms, confirmed): &(u64, usize, u64, u64)| {
            let now_ms = START_MS + ms;
            let figures = Figures {
                lag,
                limit: LIMIT,
                now_ms,
                is_awaited,
                writing_since_ms: since(now_ms, writing_ms),
            };
            behind.judge(&figures, || confirmed)
        };
        looks.iter().map(judge).collect()
    }

    #[test]
    fn a_client_is_judged_by_its_lag_its_write_and_what_it_takes() {
        use Pace::{Even, Late, Lost, Stuck, TooSlow};
        type Case = (
            &'static str,
            &'static [(u64, usize, u64, u64)],
            &'static [Pace],
        );
        let cases: &[Case] = &[
            ("nothing queued", &[(0, 0, 0, 0)], &[Even]),
            ("half a queue", &[(0, 50, 0, 0)], &[Even]),
            ("more than half", &[(0, 51, 0, 0)], &[Late]),
            (
                "a whole queue",
                &[(0, 100, 0, 0), (60_000, 100, 0, 0)],
                &[Late, Late],
            ),
            (
                "a long write",
                &[(300, 1, 249, 0), (300, 1, 250, 0), (300, 1, 300, 0)],
                &[Even, Stuck, Stuck],
            ),
            ("a very long write", &[(2_000, 1, 1_000, 0)], &[Lost]),
            (
                "it takes nothing",
                &[(0, 101, 0, 7), (2_999, 101, 0, 7), (3_000, 101, 0, 7)],
                &[Late, Late, TooSlow],
            ),
            (
                "it takes next to nothing",
                &[(0, 101, 0, 0), (3_000, 101, 0, READS - 1)],
                &[Late, TooSlow],
            ),
            (
                "it takes enough, until patience ends",
                &[
                    (0, 101, 0, 0),
                    (3_000, 101, 0, READS),
                    (6_000, 101, 0, 2 * READS),
                    (9_999, 101, 0, 3 * READS),
                    (10_000, 101, 0, 4 * READS),
                ],
                &[Late, Late, Late, Late, TooSlow],
            ),
            (
                "it stops after a while",
                &[
                    (0, 101, 0, 0),
                    (3_000, 101, 0, READS),
                    (6_000, 101, 0, READS),
                ],
                &[Late, Late, TooSlow],
            ),
            (
                "it catches up in between",
                &[
                    (0, 101, 0, 0),
                    (2_000, 100, 0, 0),
                    (2_001, 101, 0, 0),
                    (5_000, 101, 0, 0),
                    (5_001, 101, 0, 0),
                ],
                &[Late, Late, Late, Late, TooSlow],
            ),
        ];
        for (what, looks, expected) in cases {
            assert_eq!(paces(false, looks), *expected, "{what}");
        }
    }

    #[test]
    fn a_client_that_delays_publishers_has_to_go_when_patience_ends() {
        use Pace::{Even, Late, TooSlow};
        let little = [
            (0, 51, 0, 7),
            (9_999, 100, 0, 7),
            (10_000, 51, 0, 6 + TRICKLE_BYTES),
        ];
        assert_eq!(paces(true, &little), [Late, Late, TooSlow]);
        assert_eq!(paces(false, &little), [Late; 3], "nobody waits for it");
        let enough = [
            (0, 51, 0, 7),
            (10_000, 51, 0, 7 + TRICKLE_BYTES),
            (19_999, 51, 0, 0),
        ];
        assert_eq!(paces(true, &enough), [Late; 3], "a busy machine");
        let catches_up = [
            (0, 51, 0, 0),
            (5_000, 25, 0, 0),
            (5_001, 51, 0, 0),
            (15_000, 51, 0, 0),
        ];
        assert_eq!(paces(true, &catches_up), [Late, Even, Late, Late]);
        let keeps_half = [(0, 51, 0, 0), (5_000, 50, 0, 0), (10_000, 51, 0, 0)];
        assert_eq!(paces(true, &keeps_half), [Late, Even, TooSlow]);
    }

    #[test]
    fn a_client_that_occupies_full_memory_for_a_second_has_to_go() {
        let hoards = |looks: &[(u64, usize, u64)]| {
            let mut behind = Behind::default();
            let look = |&(ms, lag, writing_ms): &(u64, usize, u64)| {
                let now_ms = START_MS + ms;
                let figures = Figures {
                    lag,
                    limit: LIMIT,
                    now_ms,
                    is_awaited: false,
                    writing_since_ms: since(now_ms, writing_ms),
                };
                behind.hoards(&figures, || 0)
            };
            looks.iter().map(look).collect::<Vec<_>>()
        };
        assert_eq!(
            hoards(&[(0, 7, 0), (999, 7, 0), (1_000, 7, 0)]),
            [false, false, true]
        );
        assert_eq!(hoards(&[(0, 7, 0), (500, 6, 0), (1_000, 7, 0)]), [false; 3]);
        assert_eq!(hoards(&[(300, 101, 249)]), [false]);
        assert_eq!(hoards(&[(300, 101, 250)]), [true], "it does not read");
    }

    #[test]
    fn an_audience_is_late_when_most_of_those_who_read_are() {
        let is_late = |even, late, stuck| PaceCounts { even, late, stuck }.is_late();
        assert!(!is_late(0, 0, 0));
        assert!(!is_late(1, 1, 0));
        assert!(is_late(1, 2, 0));
        assert!(!is_late(0, 0, MANY - 1), "each for reasons of its own");
        assert!(is_late(MANY - 1, 0, MANY), "a busy machine");
    }
}
