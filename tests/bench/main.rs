//! The project's own benchmark, `make bench`: the real server, real sockets, one client process beside it. Prints a
//! table beside the figures of the last run, and leaves the run as JSON and as a plot in `target/bench/`.
//!
//! The client is one thread that counts events as they come in; the figures are of both on one machine, so compare only
//! runs of one machine.

#[path = "../it/common/mod.rs"]
// Most of it is for the tests.
#[allow(dead_code, unused_imports)]
mod common;
mod patterns;
mod plot;
mod report;
mod subscribers;

use common::{Publisher, Server};
use report::{Figure, Run};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use subscribers::Subscribers;

/// Subscribers, and messages a second that are published to them when latency is measured.
const SIZES: [(usize, u32); 3] = [(100, 100), (1000, 10), (5000, 4)];

/// Publishers at once.
const PUBLISHERS: usize = 4;

/// Messages that may be under way to the subscribers when throughput is measured.
const WINDOW: usize = 32;

const PACED_TIME: Duration = Duration::from_secs(5);
const FULL_SPEED_TIME: Duration = Duration::from_secs(3);

const MESSAGE: [u8; 64] = [b'x'; 64];

/// Messages in one batch publish.
const BATCH: usize = 200;

/// Memory in bytes, of which shared pages count in part (PSS).
fn proportional_memory(server: &Server) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.pid()))
        .expect("the server runs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

fn main() {
    common::crowd::raise_descriptor_limit();
    let mut run = Run::default();
    publishing(&mut run);
    patterns::measure(&mut run);
    for (count, rate) in SIZES {
        fan_out(&mut run, count, rate);
    }
    report::finish(&run);
}

/// Channels beside the one that is published to, few and many.
const OTHER_CHANNELS: [(&str, usize); 2] = [
    ("publish requests/s beside 10 channels", 10),
    ("publish requests/s beside 9,999 channels", 9_999),
];

fn start() -> Server {
    Server::start_quietly(&[("RUST_LOG", "warn")])
}

/// Publishing with nobody there: single messages, and batches.
fn publishing(run: &mut Run) {
    let server = start();
    run.add(Figure::more(
        "publish requests/s",
        0,
        single_messages(&server),
    ));
    let line = format!("\"{}\"\n", "x".repeat(MESSAGE.len()));
    let body = line.repeat(BATCH);
    let batched = at_full_speed(&server, |publisher| {
        publisher.publish_batch("bench", &body);
        BATCH
    });
    run.add(Figure::more("batch messages/s", 0, batched));
    for (name, channels) in OTHER_CHANNELS {
        let server = start();
        let mut publisher = Publisher::new(&server);
        for number in 0..channels {
            publisher.publish(&format!("other-{number}"), MESSAGE);
        }
        run.add(Figure::more(name, 0, single_messages(&server)));
    }
    let log = File::create(report::folder().join("server.log")).expect("a file can be made");
    let chatty = Server::start_unheard(&[], log.into());
    let with_log = single_messages(&chatty);
    run.add(Figure::more(
        "publish requests/s with RUST_LOG=info",
        0,
        with_log,
    ));
}

fn single_messages(server: &Server) -> f64 {
    at_full_speed(server, |publisher| {
        publisher.publish("bench", MESSAGE);
        1
    })
}

/// Of an odd number of values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Messages a second that several publishers get through; `publish` tells how many it published.
fn at_full_speed(server: &Server, publish: impl Fn(&mut Publisher) -> usize + Sync) -> f64 {
    let count = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..PUBLISHERS {
            scope.spawn(|| {
                let mut publisher = Publisher::new(server);
                while begun.elapsed() < FULL_SPEED_TIME {
                    count.fetch_add(publish(&mut publisher), Ordering::Relaxed);
                }
            });
        }
    });
    count.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

/// Everything that is measured with `count` subscribers of one channel.
fn fan_out(run: &mut Run, count: usize, rate: u32) {
    let server = start();
    let empty = proportional_memory(&server);
    let begun = Instant::now();
    let subscribers = Subscribers::connect(server.addr, "bench", count);
    let connected = begun.elapsed().as_secs_f64();
    run.add(Figure::more("connects/s", count, count as f64 / connected));
    run.add(Figure::less(
        "slowest connect, ms",
        count,
        ms(subscribers.slowest),
    ));
    wait_for_rest(&server, count);
    let memory = proportional_memory(&server).saturating_sub(empty);
    run.add(Figure::less(
        "memory per idle stream, KiB",
        count,
        memory as f64 / 1024.0 / count as f64,
    ));
    paced(run, &server, &subscribers, rate);
    full_speed(run, &server, &subscribers);
}

/// Waits until only the streams' own threads are left, at most some seconds.
fn wait_for_rest(server: &Server, count: usize) {
    let begun = Instant::now();
    let most = count as u64 + 40;
    while server.threads() > most && begun.elapsed() < Duration::from_secs(20) {
        std::thread::park_timeout(Duration::from_millis(100));
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
    completions.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| completions[((completions.len() - 1) as f64 * share) as usize];
    let count = subscribers.count;
    run.add(Figure::less("fan-out completion p50, ms", count, at(0.5)));
    run.add(Figure::less("fan-out completion p99, ms", count, at(0.99)));
    run.add(Figure::less(
        "server CPU per paced delivery, us",
        count,
        cpu.as_secs_f64() * 1e6 / (f64::from(messages) * count as f64),
    ));
}

/// Deliveries a second with publishers that wait only for the window.
fn full_speed(run: &mut Run, server: &Server, subscribers: &Subscribers) {
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
    let delivered = subscribers.delivered() - before;
    run.add(Figure::more(
        "deliveries/s at full speed",
        subscribers.count,
        delivered as f64 / begun.elapsed().as_secs_f64(),
    ));
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
