//! How many messages a second go through Redis.

use crate::common;

use super::rate::keeps;
use crate::redis::three;
use common::redis::Redis;
use common::{redis, wait_until, Publisher, Server, BOUND, TOKEN};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn needs_redis_server_16_publishers_get_at_least_a_third_of_the_rate_without_redis() {
    let redis = Redis::start();
    let variables = [("RUST_LOG", "warn")];
    let alone = Server::start_quietly(&variables);
    let url = redis.url();
    let with = Server::start_quietly(&[("RUST_LOG", "warn"), ("REDIS_URL", &url)]);
    redis::wait_for_ready(&with);
    keeps(1.0 / 3.0, &with, &alone, Duration::from_secs(30));
}

#[test]
fn needs_redis_server_3_servers_carry_batches_from_everywhere_to_everyone() {
    const BATCH: usize = 200;
    let redis = Redis::start();
    let servers = three(&redis.url());
    let line = format!("\"{}\"\n", "x".repeat(64));
    let lines = line.repeat(BATCH);
    let count = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (server, lines, count) = (&servers[number % 3], &lines, &count);
            scope.spawn(move || {
                let mut publisher = Publisher::new(server);
                while begun.elapsed() < Duration::from_secs(2) {
                    publisher.publish_batch("a", lines);
                    count.fetch_add(BATCH, Ordering::Relaxed);
                }
            });
        }
    });
    let count = count.into_inner();
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} messages/s in batches of {BATCH} through 3 servers");
    let target = format!("/stats?access_token={TOKEN}");
    wait_until("every server has every message", BOUND, || {
        let messages =
            |server: &Server| server.get(&target).json()["channels"][0]["messages"].as_u64();
        servers
            .iter()
            .all(|server| messages(server) == Some(count as u64))
    });
    for server in &servers {
        assert!(
            !server.log().contains("redis_gap"),
            "a server was left behind"
        );
    }
}
