//! The stream in Redis is replaced, deleted or reset to an older state: no client misses an accepted message without a
//! gap, not even the clients of a server that was cut off meanwhile.

use crate::common;

use common::redis::{server, wait_for_away, wait_for_ready, Proxy, Redis};
use common::{id, wait_until, EventStream, Server, BOUND, TOKEN};

const STREAM: &str = "sse-server:events";

/// What a client gets up to the message `last`: messages as their text, gaps of `a` as `gap`.
pub fn events_up_to(stream: &mut EventStream, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        let event = stream.next();
        match event.kind.as_str() {
            "sse-gap" if event.data.contains("broadcast") => {}
            "sse-gap" => texts.push("gap".into()),
            _ => texts.push(event.data),
        }
    }
    texts
}

/// Keeps the stream as it is, to be restored.
fn dump(redis: &Redis) {
    let script = "redis.call('SET', 'kept', redis.call('DUMP', KEYS[1]))";
    redis.command(&["EVAL", script, "1", STREAM]);
}

/// Waits until Redis gives ids that are larger than this one, also in a stream that knows nothing of it.
fn wait_until_later_than(redis: &Redis, old: &str) {
    let script = "return redis.call('XADD', 'clock', '*', 'x', 'x')";
    wait_until("Redis's clock goes on", BOUND, || {
        redis.command(&["DEL", "clock"]);
        let answer = redis.command(&["EVAL", script, "0"]);
        let now = answer.lines().nth(1).expect("it has the id");
        id(now).0 > id(old).0
    });
}

fn restore(redis: &Redis) {
    let script = "redis.call('RESTORE', KEYS[1], 0, redis.call('GET', 'kept'), 'REPLACE')";
    redis.command(&["EVAL", script, "1", STREAM]);
}

type Replacement = (&'static str, fn(&Redis));

const REPLACEMENTS: [Replacement; 7] = [
    ("DEL", |redis| drop(redis.command(&["DEL", STREAM]))),
    ("UNLINK", |redis| drop(redis.command(&["UNLINK", STREAM]))),
    ("RENAME", |redis| {
        redis.command(&["RENAME", STREAM, "elsewhere"]);
    }),
    ("expiry", |redis| {
        redis.command(&["PEXPIRE", STREAM, "1"]);
        wait_until("the key has expired", BOUND, || {
            redis.command(&["EXISTS", STREAM]).starts_with(":0")
        });
    }),
    ("FLUSHALL", |redis| drop(redis.command(&["FLUSHALL"]))),
    ("RENAME of another stream", |redis| {
        redis.command(&["XADD", "other", "5-0", "c", "a", "m", "of another"]);
        redis.command(&["RENAME", "other", STREAM]);
    }),
    ("RESTORE", restore),
];

/// Replaces the stream while a server has no connection; afterwards it finds this many more messages.
fn replaced_behind_its_back(name: &str, replace: fn(&Redis), after: usize) {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let (near, far) = (server(&redis.url()), server(&proxy.url()));
    let mut stream = far.subscribe("a");
    near.publish("a", "before");
    assert_eq!(stream.next().data, "before");
    proxy.cut();
    wait_for_away(&far);
    // The far one has exactly this.
    dump(&redis);
    near.publish("a", "missed");
    let old = near.publish("a", "missed, too");
    replace(&redis);
    wait_until_later_than(&redis, &old);
    for n in 1..=after {
        near.publish("a", format!("after {n}"));
    }
    proxy.mend();
    wait_for_ready(&far);
    // Where only the near one can know it, the far one is told a little later.
    let mut texts = events_up_to(&mut stream, "gap");
    near.publish("a", "end");
    texts.extend(events_up_to(&mut stream, "end"));
    let messages = texts.iter().filter(|text| *text != "gap").count();
    assert_eq!(messages, after + 1, "{name}: {texts:?}");
}

#[test]
fn needs_redis_server_a_stream_replaced_while_a_server_was_cut_off_is_told_as_a_gap() {
    // With two more the stream has as many entries as it had.
    for after in [2, 30] {
        std::thread::scope(|scope| {
            for (name, replace) in REPLACEMENTS {
                // The name tells which of them fails.
                std::thread::Builder::new()
                    .name(format!("{name}, {after} messages after it"))
                    .spawn_scoped(scope, move || {
                        replaced_behind_its_back(name, replace, after);
                    })
                    .expect("there is a thread");
            }
        });
    }
}

#[test]
fn needs_redis_server_a_stream_replaced_under_servers_that_follow_it_is_told_at_once() {
    for (name, replace) in REPLACEMENTS {
        let redis = Redis::start();
        let servers = [server(&redis.url()), server(&redis.url())];
        let mut streams = servers.each_ref().map(|server| server.subscribe("a"));
        dump(&redis);
        let old = servers[0].publish("a", "before");
        for stream in &mut streams {
            assert_eq!(stream.next().data, "before");
        }
        replace(&redis);
        wait_until_later_than(&redis, &old);
        servers[0].publish("a", "after");
        let told = streams.each_mut().map(|stream| events_up_to(stream, "gap"));
        servers[1].publish("a", "end");
        for (stream, mut texts) in streams.iter_mut().zip(told) {
            texts.extend(events_up_to(stream, "end"));
            assert!(texts.contains(&"after".into()), "{name}: {texts:?}");
        }
        // Who comes with an id of before is told on every server, also one that starts now.
        let fresh = server(&redis.url());
        for server in servers.iter().chain([&fresh]) {
            let mut stream = server.subscribe_with("/sse/a", &[("Last-Event-ID", &old)]);
            let texts = events_up_to(&mut stream, "end");
            assert_eq!(texts[0], "gap", "{name}: {texts:?}");
        }
        servers[0].wait_for_log("event=redis_gap");
        assert_eq!(servers[0].count_in_log("event=redis_gap"), 1, "{name}");
    }
}

#[test]
fn needs_redis_server_what_only_a_server_that_was_away_can_know_to_be_lost_is_told_to_all() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let witness = server(&proxy.url());
    let first = witness.publish("a", "before");
    dump(&redis);
    redis.command(&["DEL", STREAM]);
    witness.publish("a", "of another stream");
    let lost = witness.publish("a", "lost");
    proxy.cut();
    wait_for_away(&witness);
    restore(&redis);
    let fresh = server(&redis.url());
    let mut stream = fresh.subscribe_with("/sse/a", &[("Last-Event-ID", &first)]);
    wait_until_later_than(&redis, &lost);
    fresh.publish("a", "after");
    assert_eq!(events_up_to(&mut stream, "after"), ["after"]);
    proxy.mend();
    wait_for_ready(&witness);
    fresh.publish("a", "end");
    assert_eq!(events_up_to(&mut stream, "end"), ["gap", "end"]);
}

/// Redis goes back to an older copy of the stream while the only server that knows more is away; the copy gets new
/// messages, and loses its oldest entries if it is trimmed. Returns what a client of that server gets from then on.
fn went_back_behind_its_back(after: usize, is_trimmed: bool) -> Vec<String> {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let witness = server(&proxy.url());
    let mut stream = witness.subscribe("a");
    witness.publish("a", "kept");
    dump(&redis);
    let ids: Vec<String> = (0..4).map(|_| witness.publish("a", "seen")).collect();
    assert_eq!(events_up_to(&mut stream, "kept"), ["kept"]);
    (0..4).for_each(|_| assert_eq!(stream.next().data, "seen"));
    proxy.cut();
    wait_for_away(&witness);
    restore(&redis);
    let fresh = server(&redis.url());
    wait_until_later_than(&redis, &ids[3]);
    let new: Vec<String> = (1..=after)
        .map(|n| fresh.publish("a", format!("after {n}")))
        .collect();
    if is_trimmed {
        redis.command(&["XTRIM", STREAM, "MINID", &new[0]]);
    }
    proxy.mend();
    wait_for_ready(&witness);
    let mut texts = events_up_to(&mut stream, "gap");
    // The other server is told by the witness: its clients may come from there.
    fresh.wait_for_log("event=redis_gap");
    let mut moved = fresh.subscribe_with("/sse/a", &[("Last-Event-ID", &ids[1])]);
    fresh.publish("a", "end");
    assert_eq!(
        events_up_to(&mut moved, "end")[0],
        "gap",
        "on the other one"
    );
    witness.wait_for_log("event=redis_gap");
    assert_eq!(witness.count_in_log("event=redis_gap"), 1);
    texts.extend(events_up_to(&mut stream, "end"));
    texts
}

#[test]
fn needs_redis_server_an_older_copy_in_its_place_is_told_before_what_comes_after_it() {
    std::thread::scope(|scope| {
        for after in [1, 2, 20] {
            for is_trimmed in [false, true] {
                scope.spawn(move || {
                    let texts = went_back_behind_its_back(after, is_trimmed);
                    let new = (1..=after).map(|n| format!("after {n}"));
                    let wanted: Vec<String> = std::iter::once("gap".into())
                        .chain(new)
                        .chain(["end".into()])
                        .collect();
                    assert_eq!(texts, wanted, "trimmed: {is_trimmed}");
                });
            }
        }
    });
}

#[test]
fn needs_redis_server_ids_that_cannot_grow_any_more_start_over_once_the_stream_is_deleted() {
    let redis = Redis::start();
    let servers = [server(&redis.url()), server(&redis.url())];
    let mut streams = servers.each_ref().map(|server| server.subscribe("a"));
    let largest = "18446744073709551615-18446744073709551615";
    redis.command(&["XADD", STREAM, largest, "c", "a", "m", "the last"]);
    let publish = |server: &Server| {
        let target = format!("/publish/a?access_token={TOKEN}");
        server.request("POST", &target, &[], b"1")
    };
    for (server, stream) in servers.iter().zip(&mut streams) {
        assert_eq!(stream.next().data, "the last");
        assert_eq!(publish(server).status, 503, "there is no larger id");
    }
    redis.command(&["DEL", STREAM]);
    let mut first = String::new();
    wait_until("publishing is possible again", BOUND, || {
        let reply = publish(&servers[0]);
        if reply.status == 200 {
            first = reply.json()["id"].as_str().unwrap_or_default().into();
        }
        reply.status == 200
    });
    for server in &servers {
        // Until it starts over, nothing is newer than what its clients have; then it sends them away.
        server.wait_for_log("event=redis_history_lost");
        wait_for_ready(server);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("it is later than 1970").as_millis() as u64;
    assert!(
        id(&first).0.abs_diff(now) < 60_000,
        "{first} is of now, {now}"
    );
    let mut streams = servers.each_ref().map(|server| {
        let mut stream = server.subscribe_with("/sse/a", &[("Last-Event-ID", largest)]);
        assert_eq!(events_up_to(&mut stream, "1"), ["gap", "1"]);
        stream
    });
    let second = servers[1].publish("a", "2");
    assert!(id(&second) > id(&first), "{second} after {first}");
    for (server, stream) in servers.iter().zip(&mut streams) {
        assert_eq!(stream.next().last_event_id, second);
        let mut stream = server.subscribe_with("/sse/a", &[("Last-Event-ID", &first)]);
        assert_eq!(events_up_to(&mut stream, "2"), ["2"]);
        server.wait_for_log(&format!("event=redis_lost {STREAM}"));
    }
}
