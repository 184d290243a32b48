//! The wall clock is set while the server runs, or is wrong when it starts: ids grow, times are right, and clients that
//! missed something are told.

use crate::common;

use common::clock::Clock;
use common::{id, wait_until, Server, BOUND};
use std::time::{SystemTime, UNIX_EPOCH};

fn start(clock: &Clock) -> Server {
    Server::start_with(&[], |command| clock.give_to(command))
}

/// Whether the first thing that a client with this id gets on `a` is a gap.
fn is_told_of_a_gap(server: &Server, last_event_id: &str) -> bool {
    let mut stream = server.subscribe_with("/sse/a", &[("Last-Event-ID", last_event_id)]);
    server.publish("a", "something in any case");
    stream.next().kind == "sse-gap"
}

/// A server that publishes something a client has, and something that the client misses, and starts again with its clock
/// behind. Returns it, what the client has, and the id of a message of the new run. `None` if the start took so long that
/// the clock is not behind any more.
fn restarted_behind(clock: &Clock, seconds: i64) -> Option<(Server, String, String)> {
    clock.set_seconds_off(0);
    let server = start(clock);
    let had = server.publish("a", "had");
    server.publish("a", "missed");
    drop(server);
    clock.set_seconds_off(-seconds);
    let server = start(clock);
    let while_behind = server.publish("a", "while the clock is behind");
    (id(&while_behind) < id(&had)).then_some((server, had, while_behind))
}

#[test]
fn needs_cc_a_client_that_missed_something_before_a_restart_with_a_slow_clock_is_told() {
    for seconds_behind in [1, 3, 3600] {
        let clock = Clock::new(&format!("behind-{seconds_behind}"));
        let mut restarted = None;
        wait_until("a server starts while its clock is behind", BOUND, || {
            restarted = restarted_behind(&clock, seconds_behind);
            restarted.is_some()
        });
        let (server, had, while_behind) = restarted.expect("just seen");
        assert!(is_told_of_a_gap(&server, &had), "an id of the future");
        clock.set_seconds_off(0);
        let after = server.publish("a", "after the clock was set");
        assert!(id(&after) > id(&had), "the clock is right");
        assert!(
            is_told_of_a_gap(&server, &had),
            "{seconds_behind} s behind: the id is of the run before"
        );
        assert!(
            is_told_of_a_gap(&server, &while_behind),
            "{seconds_behind} s behind: the run before may have given this one as well"
        );
        assert!(!is_told_of_a_gap(&server, &after), "an id of this run");
    }
}

#[cfg(feature = "disk")]
#[test]
fn needs_cc_a_channel_that_was_used_before_the_clock_was_set_is_not_old_after_a_restart() {
    let clock = Clock::new("used-before");
    let folder = common::Folder::new("clock-used-before");
    let data_dir = folder.0.to_str().expect("the path is UTF-8");
    let variables = [("DATA_DIR", data_dir), ("CHANNEL_TTL", "3600")];
    let start = || Server::start_with(&variables, |command| clock.give_to(command));
    // A board without a battery: the time comes with the network.
    clock.set_seconds_off(-86_400);
    let mut server = start();
    let first = server.publish("a", "before the clock was set");
    clock.set_seconds_off(0);
    assert!(server.terminate().0.success());
    let mut server = start();
    // The janitor has looked by then.
    common::wait_until("some seconds pass", common::BOUND, || {
        server.stat("uptime_seconds") >= 3
    });
    assert!(!server.log().contains("event=expire"), "{}", server.log());
    let reply = server.get("/messages/a").text();
    assert!(reply.contains(&first), "{reply}");
    // And once more: what is known of the channel has a right date now.
    assert!(server.terminate().0.success());
    let server = start();
    common::wait_until("some seconds pass", common::BOUND, || {
        server.stat("uptime_seconds") >= 3
    });
    assert!(server.get("/messages/a").text().contains(&first));
}

#[test]
fn needs_cc_a_clock_that_is_set_back_and_forth_makes_no_gap() {
    let clock = Clock::new("back-and-again");
    let server = start(&clock);
    let mut ids = vec![server.publish("a", "before")];
    clock.set_seconds_off(-3600);
    ids.push(server.publish("a", "while it is behind"));
    clock.set_seconds_off(0);
    ids.push(server.publish("a", "after"));
    assert!(
        ids.windows(2).all(|pair| id(&pair[0]) < id(&pair[1])),
        "{ids:?}"
    );
    for last in &ids {
        assert!(!is_told_of_a_gap(&server, last), "{last} of {ids:?}");
    }
}

#[test]
fn needs_cc_timestamps_are_right_after_the_clock_was_ahead() {
    const DAY: i64 = 24 * 3600;
    let clock = Clock::new("a-day-ahead");
    let server = start(&clock);
    let mut stream = server.subscribe_with("/sse/a?format=json", &[]);
    clock.set_seconds_off(DAY);
    let ahead = server.publish("a", "ahead");
    clock.set_seconds_off(0);
    let right = server.publish("a", "right");
    assert!(id(&ahead) < id(&right), "ids grow: {ahead}, {right}");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    for (what, seconds_off) in [("ahead", DAY), ("right", 0)] {
        let message: serde_json::Value =
            serde_json::from_str(&stream.next().data).expect("the data is JSON");
        let timestamp = message["timestamp"].as_i64().expect("a number") / 1000;
        let expected = now.as_secs() as i64 + seconds_off;
        assert!(
            (timestamp - expected).abs() < 60,
            "{what}: the timestamp is {timestamp}, and the clock showed {expected}"
        );
    }
}
