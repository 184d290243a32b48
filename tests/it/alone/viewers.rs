//! A watcher of the statistics costs little, and nobody else anything.

use crate::common;

use common::{wait_until, Crowd, Server, BOUND};
use std::collections::HashMap;
use std::time::Duration;

/// Waits until the crowd has seen this many more snapshots, and returns the server's processor time for each.
fn processor_time_per_snapshot(server: &Server, viewers: &Crowd) -> Duration {
    const SNAPSHOTS: usize = 5;
    let mut seen = 0;
    viewers.each(|_, viewer| seen = seen.max(viewer.events.len()));
    let before = server.cpu_time();
    viewers.wait_for_all("five snapshots more", |viewer| {
        viewer.events.len() >= seen + SNAPSHOTS
    });
    (server.cpu_time() - before) / SNAPSHOTS as u32
}

#[test]
fn all_viewers_share_one_snapshot_a_second() {
    let server = Server::start(&[]);
    let target = |_| "/stats/stream".to_string();
    let first = Crowd::connect(server.addr, target, 1);
    let for_one = processor_time_per_snapshot(&server, &first);
    let viewers = Crowd::connect(server.addr, target, 200);
    viewers.wait_for_all("all are served", |viewer| !viewer.events.is_empty());
    let for_all = processor_time_per_snapshot(&server, &viewers);

    // Its id tells when a snapshot was made: whoever saw one of them saw the same bytes.
    let mut snapshots = HashMap::new();
    let mut sightings = 0;
    let mut look = |_: usize, viewer: &common::crowd::Client| {
        for event in &viewer.events {
            let same = snapshots
                .entry(event.id.clone().expect("a snapshot has an id"))
                .or_insert(event.data.clone());
            assert_eq!(same, &event.data, "two snapshots have one id");
            sightings += 1;
        }
    };
    viewers.each(&mut look);
    first.each(&mut look);
    assert!(
        sightings > 1000,
        "200 viewers have seen {sightings} snapshots"
    );
    let mut moments: Vec<u64> = snapshots.keys().map(|id| common::id(id).0).collect();
    moments.sort_unstable();
    for pair in moments.windows(2) {
        assert!(
            pair[1] - pair[0] >= 990,
            "two snapshots in one second: {pair:?}"
        );
    }

    // Measured on two cores: 14 ms for 200 viewers, 2 ms for one. This test prints it with --nocapture.
    let bound = Duration::from_millis(50);
    assert!(
        for_all < for_one + bound,
        "a snapshot costs {for_all:?} with 200 viewers and {for_one:?} with one"
    );
    println!("processor time a second: {for_one:?} with one viewer, {for_all:?} with 200");
}

#[test]
fn messages_are_as_fast_beside_viewers() {
    let server = Server::start(&[]);
    let witness = common::witness::Witness::start(&server);
    let viewers = Crowd::connect(server.addr, |_| "/stats/stream".into(), 200);
    viewers.wait_for_all("three snapshots", |viewer| viewer.events.len() >= 3);
    witness.testifies("200 viewers of the statistics");
    let published = server.stat("messages_published");
    wait_until("no more than the messages was delivered", BOUND, || {
        server.stat("messages_delivered") == published
    });
}
