//! What the disk costs: how many messages it takes per second, and how soon a server with a full one is ready.

use crate::common;

use super::rate::keeps;
use common::{value, wait_until, Folder, Publisher, Server};
use std::time::{Duration, Instant};

/// A folder in memory, if there is one: how long a real disk takes to sync is not our concern.
struct Memory(String);

impl Memory {
    fn new() -> Memory {
        let shared = std::path::Path::new("/dev/shm");
        let parent = if shared.is_dir() {
            shared.to_path_buf()
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(format!("sse-server-{}-disk-rate", std::process::id()));
        Memory(path.to_string_lossy().into_owned())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn sixteen_publishers_get_at_least_half_of_the_rate_without_a_disk() {
    let folder = Memory::new();
    let path = folder.0.as_str();
    let alone = Server::start_quietly(&[("RUST_LOG", "warn")]);
    let with = Server::start_quietly(&[("RUST_LOG", "warn"), ("DATA_DIR", path)]);
    keeps(0.5, &with, &alone, Duration::from_secs(30));
}

#[test]
fn a_server_with_100_000_messages_starts_within_a_second() {
    let folder = Folder::new("disk-start");
    let path = folder.0.to_str().expect("the path is UTF-8");
    let variables = [
        ("DATA_DIR", path),
        ("HISTORY_EVENTS", "1000000"),
        ("HISTORY_BYTES", "1000000000"),
    ];
    let mut server = Server::start(&variables);
    let line = format!("\"{}\"\n", "x".repeat(200));
    let mut publisher = Publisher::new(&server);
    for number in 0..100 {
        publisher.publish_batch(&format!("channel-{number}"), &line.repeat(1000));
    }
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGKILL] {
        server.stop(signal);
        let mut times = Vec::new();
        wait_until("a start within a second", Duration::from_secs(30), || {
            let begun = Instant::now();
            server = Server::start(&variables);
            times.push(begun.elapsed());
            println!("after signal {signal}: {times:?}");
            let line = server.wait_for_log("event=disk_opened");
            assert_eq!(value(&line, "messages"), "100000");
            if begun.elapsed() < Duration::from_secs(1) {
                return true;
            }
            server.stop(signal);
            false
        });
    }
}
