//! How fast a server takes messages.

use crate::common;

use common::{Publisher, Server};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Messages per second that 16 publishers get through.
pub fn rate(server: &Server) -> f64 {
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
