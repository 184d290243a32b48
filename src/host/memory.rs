//! The process's memory: its size, and giving it back to the system. glibc keeps what was freed, scattered over the
//! heaps of many threads, and grows with each crowd that comes and goes. Used by the door (connections), the janitor
//! (history) and the statistics.

use super::process;
use std::time::{Duration, Instant};

/// So long after the amount fell: by then the threads that served it have ended. Each holds on to some of what it
/// freed until then, out of reach of everybody else. Also the least time between two, which block everybody for some
/// milliseconds.
const SETTLING_TIME: Duration = Duration::from_secs(10);

/// Resident memory of this process in bytes (`proc_pid_statm(5)`), if the system tells.
pub fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * process::page_size())
}

/// Watches an amount, and gives memory back some time after half of its maximum has gone.
#[derive(Debug)]
pub struct Trimmer {
    worthwhile: usize,
    most: usize,
    fell: Option<Instant>,
    due: Option<Instant>,
}

impl Trimmer {
    /// A maximum below `worthwhile` leaves nothing behind that matters.
    pub fn new(worthwhile: usize) -> Trimmer {
        Trimmer {
            worthwhile,
            most: 0,
            fell: None,
            due: None,
        }
    }

    /// Reports the current amount.
    pub fn note(&mut self, amount: usize) {
        if self.is_time(amount, Instant::now()) {
            process::give_memory_back();
        }
    }

    fn is_time(&mut self, amount: usize, now: Instant) -> bool {
        self.most = self.most.max(amount);
        if self.most >= self.worthwhile && amount < self.most / 2 {
            self.most = amount;
            self.fell = Some(now);
            self.due.get_or_insert(now + SETTLING_TIME);
        }
        let is_due = self.due.is_some_and(|due| now >= due);
        if is_due {
            // What fell in the meantime has not settled yet.
            let is_settled = self.fell.is_none_or(|fell| now >= fell + SETTLING_TIME);
            self.due = (!is_settled).then_some(now + SETTLING_TIME);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which memory is given back, where the amount is this in each second, and the last from then on.
    fn times(amounts: &[usize]) -> Vec<usize> {
        let begin = Instant::now();
        let mut trimmer = Trimmer::new(100);
        let last = amounts.last().copied().unwrap_or_default();
        let amounts = amounts.iter().copied().chain(std::iter::repeat(last));
        let seconds = amounts.enumerate().take(60);
        seconds
            .filter(|(second, amount)| {
                trimmer.is_time(*amount, begin + Duration::from_secs(*second as u64))
            })
            .map(|(second, _)| second)
            .collect()
    }

    #[test]
    fn once_after_all_that_fell_has_settled() {
        assert_eq!(times(&[0, 50, 0]), [0; 0], "too little to matter");
        assert_eq!(times(&[1000]), [0; 0], "nothing fell");
        assert_eq!(times(&[1000, 600]), [0; 0], "most of it is there");
        assert_eq!(times(&[1000, 0]), [11]);
        assert_eq!(times(&[1000, 400, 100, 0]), [11, 21], "bit by bit");
        let mut late = [400; 12];
        (late[0], late[11]) = (1000, 0);
        assert_eq!(times(&late), [11, 21], "the rest just before it was time");
        assert_eq!(
            times(&[1000, 0].repeat(15)),
            [11, 21, 31, 41],
            "crowds that come and go"
        );
    }
}
