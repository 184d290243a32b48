//! The project's own benchmark, `make bench`: the real server, real sockets, one client process beside it. Prints a
//! table beside the figures of the last run, and leaves the run as JSON and as plots in `target/bench/`.
//!
//! The client is one thread that counts events as they come in; the figures are of both on one machine, so compare only
//! runs of one machine.

mod cluster;
#[path = "../it/common/mod.rs"]
// Most of it is for the tests.
#[allow(dead_code, unused_imports)]
mod common;
mod curve;
mod disk;
mod fan_out;
mod network;
mod patterns;
mod plot;
mod publishing;
mod rates;
mod report;
mod rest;
mod subscribers;

use common::Server;
use report::Run;
use std::time::Duration;

/// Measures something, and adds it to the run.
type Measure = fn(&mut Run);

/// What is measured, by the names that select it.
const CASES: [(&str, Measure); 9] = [
    ("publish", publishing::measure),
    ("patterns", patterns::measure),
    ("redis", cluster::measure),
    ("fan-out", fan_out::measure),
    ("rates", rates::over_loopback),
    ("network", rates::over_network),
    ("memory", rest::memory),
    ("idle", rest::processor),
    ("disk", disk::measure),
];

const MESSAGE: [u8; 64] = [b'x'; 64];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = CASES.map(|(name, _)| name);
    if let Some(name) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("{name:?} is no case; there are {}", known.join(", "));
        std::process::exit(2);
    }
    common::crowd::raise_descriptor_limit();
    let mut run = Run::default();
    for (name, measure) in CASES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(&mut run);
        }
    }
    report::finish(&run);
}

fn start() -> Server {
    Server::start_quietly(&[("RUST_LOG", "warn")])
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The value below which this share of the others is; sorts them.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}
