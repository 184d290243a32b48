//! Publishing through Redis: beside a server without it, and with three servers that follow each other.

use super::common::redis::{wait_for_ready, Redis};
use super::common::{wait_until, Server, TOKEN};
use super::publishing::{batches, single_messages};
use super::report::{Figure, Run};
use super::start;
use std::time::{Duration, Instant};

/// Publishers at once: enough for transactions with many messages.
const PUBLISHERS: usize = 16;

const ROUNDS: usize = 3;

pub fn measure(run: &mut Run) {
    let is_there = std::process::Command::new("redis-server")
        .arg("--version")
        .output();
    if is_there.is_err() {
        return eprintln!("redis: skipped, since there is no redis-server");
    }
    let redis = Redis::start();
    let (without, with) = (start(), start_with(&redis));
    // In turns: other work on the machine falls on both.
    let mut values: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let [without, with] = [&without, &with]
            .map(|server| single_messages(server, PUBLISHERS, |_| "bench".into()).0);
        for (values, value) in values
            .iter_mut()
            .zip([without, with, with / without * 100.0])
        {
            values.push(value);
        }
    }
    let names = [
        "publish requests/s, 16 at once",
        "publish requests/s, 16 at once, with Redis",
        "rate with Redis, % of that without",
    ];
    for (name, mut values) in names.into_iter().zip(values) {
        run.add(Figure::more(name, 0, super::quantile(&mut values, 0.5)));
    }
    drop((without, with, redis));
    run.add(Figure::more(
        "batch messages/s that 3 servers follow",
        0,
        three_servers(),
    ));
}

fn start_with(redis: &Redis) -> Server {
    let server = Server::start_quietly(&[("RUST_LOG", "warn"), ("REDIS_URL", &redis.url())]);
    wait_for_ready(&server);
    server
}

/// Messages a second until each server has the last.
fn three_servers() -> f64 {
    let redis = Redis::start();
    let servers = [(); 3].map(|()| start_with(&redis));
    let begun = Instant::now();
    let rate = batches(&servers.each_ref());
    let published = rate * begun.elapsed().as_secs_f64();
    let target = format!("/stats?access_token={TOKEN}");
    let messages = |server: &Server| server.get(&target).json()["channels"][0]["messages"].as_f64();
    wait_until(
        "every server has the messages",
        Duration::from_secs(30),
        || {
            let has_all = |server| messages(server).is_some_and(|count| count >= published * 0.999);
            servers.iter().all(has_all)
        },
    );
    published / begun.elapsed().as_secs_f64()
}
