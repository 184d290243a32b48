//! A simulation of the hub alone, of one with a disk, and of two servers with one Redis: publishers; clients that are slow,
//! leave in the middle of an event and come back, begin with some of the history and follow patterns; restarts; clocks that
//! are set; and everything that happens to Redis and to the lines that lead to it. All of it in virtual time, and nothing at
//! the same time as anything else. Each run is made from a seed. An oracle knows what was acknowledged, and judges the bytes
//! that each client gets.
//!
//! `make simulate SEEDS=100000` runs more of them; `make simulate SEED=n` runs one again, and tells what happens in it.

use sse_server::{access, counters, event, host, idempotency, locks, moments, numbers, waiting};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{catch_unwind, AssertUnwindSafe};

mod client;
#[allow(
    dead_code,
    reason = "what the routes and `main` call is not all used here"
)]
mod cluster;
mod debts;
#[allow(dead_code, reason = "what only the threads of the disk use")]
mod disk;
#[allow(
    dead_code,
    reason = "what the routes and the cluster call is not all used here"
)]
mod hub;
mod interest;
mod ledger;
mod oracle;
mod parser;
mod patience;
mod random;
mod redis;
mod servers;
mod story;
mod turn;
mod wire;
mod world;

use client::Tally;
use servers::Servers;
use world::World;

/// Seeds that have found something.
const REGRESSIONS: [u64; 12] = [
    66, 151, 2669, 3163, 4327, 4785, 6475, 6722, 11624, 24808, 58712, 95593,
];

/// Runs a seed, first of one server, then of one with a disk, and then of two. A failure is told in one line, with the command that runs it again.
fn run(seed: u64, with_story: bool) -> Result<Tally, String> {
    let mut world = World::new(seed, with_story);
    let alone = catch_unwind(AssertUnwindSafe(|| world.run()));
    world
        .story
        .lines()
        .iter()
        .for_each(|line| println!("{line}"));
    let mut tally = judge(alone, seed, "alone")?;
    let mut world = World::on_disk(seed, with_story);
    let on_disk = catch_unwind(AssertUnwindSafe(|| world.run()));
    world
        .story
        .lines()
        .iter()
        .for_each(|line| println!("{line}"));
    tally.add(judge(on_disk, seed, "on a disk")?);
    let mut cluster = Servers::new(seed, with_story);
    let together = catch_unwind(AssertUnwindSafe(|| cluster.run()));
    cluster
        .story
        .lines()
        .iter()
        .for_each(|line| println!("{line}"));
    tally.add(judge(together, seed, "in a cluster")?);
    Ok(tally)
}

fn judge(
    result: std::thread::Result<Result<Tally, String>>,
    seed: u64,
    place: &str,
) -> Result<Tally, String> {
    result
        .unwrap_or_else(|_| Err("it panics".into()))
        .map_err(|fault| format!("{place}: {fault}; run it again with: make simulate SEED={seed}"))
}

/// Which seeds to run: `SEEDS` is how many, or from which one up to which one, as in `1000..2000`.
fn seeds() -> Range<u64> {
    let value = std::env::var("SEEDS").unwrap_or_default();
    let (first, end) = value.split_once("..").unwrap_or(("0", &value));
    match (first.parse(), end.parse()) {
        (Ok(first), Ok(end)) => first..end,
        _ if value.is_empty() => 0..1000,
        _ => panic!("SEEDS={value:?} is neither a number nor two with .. between"),
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    let number = value.parse();
    let is_bad = number.is_err() && !value.is_empty();
    assert!(
        !is_bad,
        "{variable}={value:?} is not a number; give one of at least 0"
    );
    number.ok()
}

#[test]
fn every_message_comes_once_and_in_order_or_a_gap_is_told() {
    if let Some(seed) = number_of("SEED") {
        let tally = run(seed, true).unwrap_or_else(|fault| panic!("{fault}"));
        println!("{tally:#?}");
        return;
    }
    let seeds = seeds();
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let results = std::thread::scope(|scope| {
        let some = |first| {
            let seeds = seeds.clone();
            move || {
                seeds
                    .skip(first)
                    .step_by(threads)
                    .map(|seed| run(seed, false))
                    .collect()
            }
        };
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(some(first))).collect();
        let results = running.into_iter().map(|thread| thread.join());
        results.collect::<Result<Vec<Vec<_>>, _>>()
    });
    let results = results
        .expect("a failing seed is a result")
        .into_iter()
        .flatten();
    let (good, faults): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
    let faults: Vec<String> = faults.into_iter().filter_map(Result::err).collect();
    faults.iter().for_each(|fault| println!("{fault}"));
    assert!(
        faults.is_empty(),
        "{} of the seeds {seeds:?} have found something; the first: {}",
        faults.len(),
        faults[0]
    );
    let mut all = Tally::default();
    good.into_iter().flatten().for_each(|tally| all.add(tally));
    println!("{all:#?}");
    let is_wide = all.reaches_everything();
    assert!(is_wide, "the simulation has become too tame: {all:#?}");
}

#[test]
fn seeds_that_have_found_something() {
    for seed in REGRESSIONS {
        run(seed, false).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..50 {
        let stories = [0, 1].map(|_| {
            let mut world = World::new(seed, true);
            let mut story = vec![format!("{:?}", world.run())];
            story.extend_from_slice(world.story.lines());
            let mut cluster = Servers::new(seed, true);
            story.push(format!("{:?}", cluster.run()));
            story.extend_from_slice(cluster.story.lines());
            story
        });
        let [one, other] = &stories;
        let difference = one.iter().zip(other).find(|(a, b)| a != b);
        assert_eq!(difference, None, "seed {seed}");
    }
}
