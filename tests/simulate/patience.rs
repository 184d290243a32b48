//! Clients who take little, and hold publishers up.

use crate::client::permit;
use crate::counters::End;
use crate::event::{ChannelName, Form, Topic};
use crate::hub::{time, Attempted, Limits, Server, Start, Stream};
use crate::random::Random;
use crate::wire::Wire;
use std::time::Duration;

/// So long the policy for slow clients bears with them, and some more for the janitor to look.
const PATIENCE_MS: u64 = 12_000;

#[test]
fn a_majority_that_lags_by_half_a_queue_does_not_slow_publishers_for_ever() {
    time::reset();
    let mut server = Server::start(Limits {
        history_events: 10,
        history_bytes: 10_000,
        history_age: None,
        channel_ttl: Duration::from_secs(1000),
        max_clients: 10,
        max_channels: 10,
        client_queue: 20,
        heartbeat: Duration::from_secs(1),
        ids_come_from_outside: false,
    });
    let channel = ChannelName::parse("a").expect("a good name");
    let topics = [Topic::from(channel.clone())];
    let mut random = Random::new(0);
    let mut streams: Vec<_> = (0..3)
        .map(|_| {
            let permit = permit().expect("everybody may follow");
            let subscription = server
                .hub
                .subscribe(&topics, Form::Plain, Start::NOW, permit)
                .expect("there is room");
            let wire = Wire::new(60, random.fork());
            (Stream::start(subscription, wire.clone(), false), wire)
        })
        .collect();
    let mut refused = 0;
    for ms in 0..PATIENCE_MS {
        // As fast as there is room; they take ten messages a second.
        let attempt = server.hub.try_publish(&channel, None, vec!["x".into()]);
        refused += u64::from(matches!(attempt, Ok(Attempted::NoRoom(_))));
        for _ in 0..4 {
            server.announce();
        }
        for (stream, wire) in &mut streams {
            stream.step();
            if ms % 50 == 0 {
                wire.read(20);
            }
        }
        server.sweep();
        time::pass(1);
    }
    assert!(
        refused > PATIENCE_MS / 2,
        "they have held the publisher up: {refused} ms"
    );
    for (mut stream, wire) in streams {
        wire.set_room(10_000);
        for _ in 0..100 {
            stream.step();
        }
        assert_eq!(stream.end(), Some(End::Slow));
    }
    let attempt = server.hub.try_publish(&channel, None, vec!["x".into()]);
    assert!(
        matches!(attempt, Ok(Attempted::Published(_))),
        "{attempt:?}"
    );
}
