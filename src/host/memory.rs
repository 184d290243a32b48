//! The process's memory: its size, and giving it back to the system. glibc keeps what was freed, scattered over the
//! heaps of many threads, and grows with each crowd that comes and goes. Used by the door (connections), the janitor
//! (history) and the statistics.

use super::process;
use std::time::{Duration, Instant};

/// At most this often: it blocks everybody for some milliseconds.
const ROUND: Duration = Duration::from_secs(10);

/// Resident memory of this process in bytes (`proc_pid_statm(5)`), if the system tells.
pub fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * process::page_size())
}

/// Watches an amount, and gives memory back when half of its maximum is gone.
#[derive(Debug)]
pub struct Trimmer {
    worthwhile: usize,
    most: usize,
    last: Instant,
}

impl Trimmer {
    /// A maximum below `worthwhile` leaves nothing behind that matters.
    pub fn new(worthwhile: usize) -> Trimmer {
        Trimmer {
            worthwhile,
            most: 0,
            last: Instant::now(),
        }
    }

    /// Reports the current amount.
    pub fn note(&mut self, amount: usize) {
        self.most = self.most.max(amount);
        let has_gone = self.most >= self.worthwhile && amount < self.most / 2;
        if has_gone && self.last.elapsed() >= ROUND {
            process::give_memory_back();
            self.most = amount;
            self.last = Instant::now();
        }
    }
}
