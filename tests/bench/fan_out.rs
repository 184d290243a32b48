//! One channel with many subscribers: connecting, the time until the last of them has a message, and throughput.

use super::common::{Publisher, Server};
use super::publishing::{FULL_SPEED_TIME, PUBLISHERS};
use super::report::{Figure, Run};
use super::subscribers::Subscribers;
use super::{micros, ms, quantile, start, MESSAGE};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Subscribers, and messages a second that are published to them when latency is measured.
const SIZES: [(usize, u32); 3] = [(100, 100), (1000, 10), (5000, 4)];

/// Messages that may be under way to the subscribers when throughput is measured.
const WINDOW: usize = 32;

const PACED_TIME: Duration = Duration::from_secs(5);

pub fn measure(run: &mut Run) {
    for (count, rate) in SIZES {
        let server = start();
        let begun = Instant::now();
        let subscribers = Subscribers::connect(server.addr, "bench", count);
        let connected = begun.elapsed().as_secs_f64();
        run.add(Figure::more("connects/s", count, count as f64 / connected));
        run.add(Figure::less(
            "slowest connect, ms",
            count,
            ms(subscribers.slowest),
        ));
        paced(run, &server, &subscribers, rate);
        run.add(Figure::more(
            "deliveries/s at full speed",
            count,
            full_speed(&server, &subscribers),
        ));
    }
}

/// Time from a publish to the last subscriber's having it, and the server's work for it.
fn paced(run: &mut Run, server: &Server, subscribers: &Subscribers, rate: u32) {
    let mut publisher = Publisher::new(server);
    let messages = (PACED_TIME.as_secs_f64() * f64::from(rate)) as u32;
    let cpu = server.cpu_time();
    let begun = Instant::now();
    let mut completions: Vec<f64> = (0..messages)
        .map(|number| {
            let due = begun + Duration::from_secs(1) / rate * number;
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
            let published = Instant::now();
            publisher.publish("bench", MESSAGE);
            ms(subscribers.wait_for_last() - published)
        })
        .collect();
    let cpu = server.cpu_time() - cpu;
    let count = subscribers.count;
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        run.add(Figure::less(
            format!("fan-out completion {name}, ms"),
            count,
            quantile(&mut completions, share),
        ));
    }
    run.add(Figure::less(
        "server CPU per paced delivery, us",
        count,
        micros(cpu) / (f64::from(messages) * count as f64),
    ));
}

/// Deliveries a second with publishers that wait only for the window.
pub fn full_speed(server: &Server, subscribers: &Subscribers) -> f64 {
    let begun = Instant::now();
    let before = subscribers.delivered();
    let published = AtomicUsize::new(subscribers.messages_complete());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..PUBLISHERS {
            scope.spawn(|| {
                let mut publisher = Publisher::new(server);
                while !is_over.load(Ordering::Relaxed) {
                    let number = published.fetch_add(1, Ordering::Relaxed);
                    subscribers.wait_for_complete(number.saturating_sub(WINDOW));
                    publisher.publish("bench", MESSAGE);
                    if begun.elapsed() > FULL_SPEED_TIME {
                        is_over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    subscribers.wait_for_complete(published.into_inner());
    (subscribers.delivered() - before) as f64 / begun.elapsed().as_secs_f64()
}
