//! How fast a server takes messages.

use crate::common;

use common::{wait_until, Publisher, Server};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Messages per second that 16 publishers get through.
fn rate(server: &Server) -> f64 {
    let count = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut publisher = Publisher::new(server);
                while begun.elapsed() < Duration::from_secs(1) {
                    publisher.publish("a", [b'x'; 64]);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    count.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

/// Waits until `with` gets through at least this share of what `without` does.
#[track_caller]
pub fn keeps(share: f64, with: &Server, without: &Server, patience: Duration) {
    // In turns, and more than once: other work on the machine falls on one of the two.
    let mut ratios = Vec::new();
    wait_until(&format!("{share} of the rate"), patience, || {
        let (without, with) = (rate(without), rate(with));
        ratios.push(with / without);
        ratios.sort_unstable_by(f64::total_cmp);
        println!("{with:.0}/s with it, {without:.0}/s without");
        ratios.len() >= 3 && ratios[ratios.len() / 2] >= share
    });
}
