//! A simulation of the hub: publishers, clients that are slow, leave in the middle of an event and come back, restarts, and
//! clocks that are set, in one thread and in virtual time. Each run is made from a seed. An oracle knows what was
//! acknowledged, and judges the bytes that each client gets.
//!
//! `make simulate SEEDS=100000` runs more of them; `make simulate SEED=n` runs one again, and tells what happens in it.

use sse_server::{access, counters, event, host};
use std::panic::{catch_unwind, AssertUnwindSafe};

mod client;
#[allow(
    dead_code,
    reason = "what the routes and the cluster call is not all used here"
)]
mod hub;
mod ledger;
mod oracle;
mod parser;
mod random;
mod wire;
mod world;

use client::Tally;
use world::World;

/// Seeds that have found something.
const REGRESSIONS: [u64; 0] = [];

/// Runs a seed. A failure is told in one line, with the command that runs it again.
fn run(seed: u64, with_story: bool) -> Result<Tally, String> {
    let mut world = World::new(seed, with_story);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    for line in world.story() {
        println!("{line}");
    }
    result
        .unwrap_or_else(|_| Err("it panics".into()))
        .map_err(|fault| format!("{fault}; run it again with: make simulate SEED={seed}"))
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={value:?} is not a number")),
    )
}

#[test]
fn every_message_comes_once_and_in_order_or_a_gap_is_told() {
    if let Some(seed) = number_of("SEED") {
        println!(
            "{:#?}",
            run(seed, true).unwrap_or_else(|fault| panic!("{fault}"))
        );
        return;
    }
    let mut all = Tally::default();
    for seed in 0..number_of("SEEDS").unwrap_or(2000) {
        all.add(run(seed, false).unwrap_or_else(|fault| panic!("{fault}")));
    }
    println!("{all:#?}");
    assert!(
        all.reaches_everything(),
        "the simulation has become too tame: {all:#?}"
    );
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
        let runs = [0, 1].map(|_| {
            let mut world = World::new(seed, true);
            let tally = world.run();
            (tally, world.story().to_vec())
        });
        let [one, other] = runs;
        let differs = |(a, b): (&String, &String)| (a != b).then(|| format!("{a}, and then {b}"));
        let difference = one.1.iter().zip(&other.1).find_map(differs);
        assert_eq!(difference, None, "seed {seed}");
        assert_eq!(one.0, other.0, "seed {seed}");
    }
}
