//! A long time with clients that come and go: threads, descriptors and memory return to where they were. `make soak`
//! runs it for ten minutes.

use crate::common;

use common::{Crowd, Publisher, Server};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 1000;

/// Seconds, from the environment: `SOAK_SECONDS`.
fn duration() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

fn holdings(server: &Server) -> (u64, u64, u64) {
    (server.threads(), server.descriptors(), server.memory())
}

#[test]
fn a_thousand_clients_that_come_and_go() {
    let server = Server::start(&[("RUST_LOG", "info"), ("CHANNEL_TTL", "5")]);
    let round = || {
        let crowd = Crowd::connect(server.addr, |n| format!("/sse/c{}", n % 50), CLIENTS);
        crowd.wait_for_all("the crowd is served", |client| {
            client.served_after.is_some()
        });
        crowd.wait_for_all("each has had a message", |client| !client.events.is_empty());
    };
    let is_done = AtomicBool::new(false);
    let is_paused = AtomicBool::new(false);
    /// Ends the publisher even if something fails.
    struct SetWhenDropped<'a>(&'a AtomicBool);
    impl Drop for SetWhenDropped<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _end = SetWhenDropped(&is_done);
        scope.spawn(|| {
            let mut publisher = Publisher::new(&server);
            while !is_done.load(Ordering::Relaxed) {
                if is_paused.load(Ordering::Relaxed) {
                    while is_paused.load(Ordering::Relaxed) && !is_done.load(Ordering::Relaxed) {
                        std::thread::park_timeout(Duration::from_millis(10));
                    }
                    publisher = Publisher::new(&server);
                }
                for channel in 0..50 {
                    publisher.publish(&format!("c{channel}"), "x".repeat(500));
                }
                std::thread::park_timeout(Duration::from_millis(10));
            }
        });
        // The first rounds fill what is kept for later: histories, stacks and heaps that the allocator keeps.
        for _ in 0..15 {
            round();
        }
        // Channels expire, and memory is given back some seconds after: what is left then is not in use by anybody.
        let settled = |what: &str, most_memory: u64| {
            let begun = Instant::now();
            is_paused.store(true, Ordering::Relaxed);
            while server.stat("active_channels") > 0
                || server.threads() > 60
                || server.descriptors() > 40
                || server.memory() > most_memory
            {
                if begun.elapsed() > Duration::from_secs(30) {
                    panic!(
                        "{what}: after 30 s threads, descriptors and memory are {:?}, memory was to be below {most_memory}",
                        holdings(&server)
                    );
                }
                // Rarely: each look is a connection, which keeps a thread of tiny_http awake.
                std::thread::park_timeout(Duration::from_secs(1));
            }
            is_paused.store(false, Ordering::Relaxed);
            holdings(&server)
        };
        let before = settled("the first rounds settle", 24 << 20);
        let begun = Instant::now();
        let mut rounds = 0;
        while begun.elapsed() < duration() {
            round();
            rounds += 1;
        }
        let after = settled("the last round settles", before.2 + (6 << 20));
        println!("{rounds} rounds of {CLIENTS} clients: threads, descriptors, memory {before:?} before and {after:?} after");
        assert!(
            after.0 <= before.0 + 10 && after.1 <= before.1 + 4,
            "threads and descriptors grew from {before:?} to {after:?}"
        );
    });
}
