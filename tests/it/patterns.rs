//! Patterns: `sensor-*` means every channel, present or future, whose name begins so.

use crate::common;

use common::event_stream::Event;
use common::tokens::{self, RulesFile};
use common::{wait_until, EventStream, Server, BOUND, TOKEN};
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::time::Duration;

/// What came: `CHANNEL TEXT`, and gaps as `gap CHANNEL`.
fn tell(event: &Event) -> String {
    let data: Value = serde_json::from_str(&event.data).expect("the data is JSON");
    let canal = data["canal"].as_str().expect("it names its channel");
    match event.kind.as_str() {
        "sse-gap" => format!("gap {canal}"),
        _ => format!("{canal} {}", data["mensagem"].as_str().expect("a message")),
    }
}

/// Everything that comes before a broadcast that is published now.
#[track_caller]
fn told_by_now(server: &Server, stream: &mut EventStream) -> Vec<String> {
    let mark = server.publish("broadcast", "mark");
    let mut told = Vec::new();
    loop {
        let event = stream.next();
        if event.id.as_deref() == Some(&mark) {
            return told;
        }
        told.push(tell(&event));
    }
}

fn follow(server: &Server, topics: &str, after: Option<&str>) -> EventStream {
    let after = after.map_or(String::new(), |id| format!("&last_event_id={id}"));
    server.subscribe_with(&format!("/sse/{topics}?format=json{after}"), &[])
}

fn lines(server: &Server, target: &str) -> Vec<String> {
    let reply = server.get(target);
    assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    let line = |line: &str| -> String {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        match &line["gap"] {
            Value::Null => format!(
                "{} {}",
                line["canal"].as_str().unwrap(),
                line["mensagem"].as_str().unwrap()
            ),
            gap => format!("gap {}", gap["canal"].as_str().unwrap()),
        }
    };
    reply.text().lines().map(line).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_pattern_gets_each_message_that_it_covers_once() {
    let server = Server::start(&[]);
    server.publish("sensor-a", "before");
    let mut one = follow(&server, "sensor-*", None);
    let mut many = follow(&server, "sensor-*,sensor-a,s*,%2A,other,sensor-*", None);
    let mut none = follow(&server, "sensor-ab*", None);
    assert_eq!(
        server.stat("active_channels"),
        1 + 1,
        "a pattern makes no channel"
    );
    server.publish("sensor-a", "1");
    server.publish("sensor-new", "2");
    server.publish("sensor-", "3");
    server.publish("sensor", "4");
    server.publish("other", "5");
    server.publish("broadcast", "6");
    let of_one = ["sensor-a 1", "sensor-new 2", "sensor- 3", "broadcast 6"];
    assert_eq!(told_by_now(&server, &mut one), of_one);
    let of_many = [
        "sensor-a 1",
        "sensor-new 2",
        "sensor- 3",
        "sensor 4",
        "other 5",
        "broadcast 6",
    ];
    let mut told = told_by_now(&server, &mut many);
    told.retain(|line| line != "broadcast mark");
    assert_eq!(told, of_many);
    assert_eq!(told_by_now(&server, &mut none)[0], "broadcast 6");
}

#[test]
fn a_publisher_learns_how_many_it_reaches_and_statistics_count_them() {
    let server = Server::start(&[]);
    let authorization = format!("Bearer {TOKEN}");
    let publish = |channel: &str| {
        let headers = [("Authorization", authorization.as_str())];
        let reply = server.request("POST", &format!("/publish/{channel}"), &headers, b"x");
        assert_eq!(reply.status, 200);
        reply.json()["clients"].as_u64().expect("a number")
    };
    let _streams = [
        follow(&server, "ab,a*,*", None),
        follow(&server, "a*", None),
        follow(&server, "a*", None),
        follow(&server, "ab", None),
        follow(&server, "abc*", None),
    ];
    assert_eq!(publish("ab"), 4);
    assert_eq!(publish("abc"), 4);
    assert_eq!(publish("b"), 1);
    assert_eq!(publish("broadcast"), 5);
    let stats = server.get(&format!("/stats?access_token={TOKEN}")).json();
    let clients: Vec<(String, u64)> = stats["channels"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| {
            (
                c["canal"].as_str().unwrap().to_string(),
                c["clients"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [("ab", 4), ("abc", 4), ("b", 1)].map(|(name, n)| (name.to_string(), n));
    assert_eq!(
        clients, expected,
        "broadcast and the patterns are not among them"
    );
    assert_eq!(stats["connected_clients"], 5);
    let log = server.wait_for_log("event=connect channels=\"ab,a*,*\"");
    assert!(log.contains("client=1"), "{log}");
}

#[test]
fn bad_patterns_are_refused() {
    let server = Server::start(&[]);
    for path in ["/sse", "/messages"] {
        for bad in ["a*b", "**", "*a", "a%20*", "a/*"] {
            let status = if bad.contains('/') { 404 } else { 400 };
            assert_eq!(
                server.get(&format!("{path}/{bad}")).status,
                status,
                "{path}/{bad}"
            );
        }
        let many: Vec<String> = (0..65).map(|n| format!("x{n}*")).collect();
        assert_eq!(
            server.get(&format!("{path}/{}", many.join(","))).status,
            400
        );
        let head = server.request("HEAD", &format!("{path}/{}", many[1..].join(",")), &[], b"");
        assert_eq!(head.status, 200, "64 are allowed");
    }
    let detail = server.get("/sse/a*b").json()["detail"].to_string();
    assert!(detail.contains("last character"), "{detail}");
    let headers = [("Authorization", format!("Bearer {TOKEN}"))];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(
        server.request("POST", "/publish/a*", &headers, b"x").status,
        400
    );
}

#[test]
fn a_pattern_is_replayed_and_its_gaps_name_it() {
    let server = Server::start(&[("HISTORY_EVENTS", "2"), ("CHANNEL_TTL", "300")]);
    let first = server.publish("a1", "1");
    server.publish("b1", "2");
    server.publish("a2", "3");
    let told = |topics: &str, after: &str| {
        let mut stream = follow(&server, topics, Some(after));
        let mut told = told_by_now(&server, &mut stream);
        told.retain(|line| line != "broadcast mark" && line != "gap broadcast");
        told
    };
    assert_eq!(told("a*", &first), ["a2 3"], "nothing of it is lost");
    assert_eq!(told("*", &first), ["b1 2", "a2 3"]);
    server.publish("b1", "4");
    let last = server.publish("b1", "5");
    assert_eq!(
        told("a*", &first),
        ["a2 3"],
        "what is lost elsewhere is no gap here"
    );
    assert_eq!(told("*", &first), ["gap *", "a2 3", "b1 4", "b1 5"]);
    assert_eq!(told("b*,b1,a2", &first), ["gap b*", "a2 3", "b1 4", "b1 5"]);
    assert_eq!(told("*", &last), NOTHING);
    assert_eq!(told("a*", "5-5"), ["gap a*", "a1 1", "a2 3"]);
    assert_eq!(
        lines(&server, "/messages/a*"),
        ["a1 1", "a2 3", "broadcast mark", "broadcast mark"]
    );
    assert_eq!(
        lines(&server, &format!("/messages/*?since={first}&last=3"))
            .first()
            .unwrap(),
        "gap *"
    );
    assert_eq!(lines(&server, "/messages/*?last=3")[0], "b1 5");
    assert_eq!(
        lines(&server, "/messages/c*?since=1h&last=1"),
        ["broadcast mark"]
    );
}

#[test]
fn a_pattern_keeps_no_channel_and_a_name_does() {
    let server = Server::start(&[("CHANNEL_TTL", "1")]);
    let mut pattern = follow(&server, "a*", None);
    let first = server.publish("a1", "1");
    assert_eq!(pattern.next().id.as_deref(), Some(first.as_str()));
    let second = server.publish("a1", "2");
    assert_eq!(pattern.next().id.as_deref(), Some(second.as_str()));
    let named = follow(&server, "a*,a2", None);
    server.publish("a2", "kept");
    server.wait_for_log("event=expire channel=a1");
    assert_eq!(server.stat("active_channels"), 1);
    assert_eq!(tell(&pattern.next()), "a2 kept");
    let third = server.publish("a1", "3");
    assert_eq!(
        pattern.next().id.as_deref(),
        Some(third.as_str()),
        "a channel to come"
    );
    let mut told = told_by_now(&server, &mut follow(&server, "a*", Some(&first)));
    told.retain(|line| !line.starts_with("broadcast"));
    assert_eq!(
        told,
        ["gap a*", "a2 kept", "a1 3"],
        "its history has gone with the channel"
    );
    let told = told_by_now(&server, &mut follow(&server, "a*", Some(&third)));
    assert!(!told.contains(&"gap a*".to_string()), "{told:?}");
    drop(named);
    wait_until("all channels go", BOUND, || {
        server.stat("active_channels") == 0
    });
    let told = told_by_now(&server, &mut follow(&server, "a*", Some(&first)));
    assert!(
        told.contains(&"gap a*".to_string()),
        "they had something: {told:?}"
    );
    let told = told_by_now(&server, &mut follow(&server, "b*", Some(&first)));
    assert!(
        !told.contains(&"gap b*".to_string()),
        "it never had anything: {told:?}"
    );
}

#[test]
fn a_right_has_to_cover_everything_that_a_pattern_can_match() {
    let rules = RulesFile::new(
        json!({
            "public": {"subscribe": ["news*"]},
            "tokens": [
                {"name": "s", "token": "sensors-token-of-16", "subscribe": ["sensor-*", "one", "x1", "x2"]},
                {"name": "all", "token": "everything-token-16", "subscribe": ["*"]},
            ],
        })
        .to_string(),
    );
    let server = tokens::start(&rules, &[]);
    server.publish("secret", "hidden");
    for path in ["/sse", "/messages"] {
        let status = |topics: &str, token: &str| {
            let target = format!("{path}/{topics}?access_token={token}");
            server.request("HEAD", &target, &[], b"").status
        };
        for (topics, code) in [
            ("sensor-*", 200),
            ("sensor-a*", 200),
            ("sensor-*,one,news-of*", 200),
            ("sensor*", 403),
            ("s*", 403),
            ("*", 403),
            ("one*", 403),
            ("x*", 403),
            ("sensor-*,secret*", 403),
            ("secre*", 403),
            ("nothing-there*", 403),
            ("broadcast", 403),
            ("broadcas*", 403),
        ] {
            assert_eq!(
                status(topics, "sensors-token-of-16"),
                code,
                "{path}/{topics}"
            );
        }
        assert_eq!(status("*", "everything-token-16"), 200);
        assert_eq!(status("broadcast*", "everything-token-16"), 200);
        assert_eq!(status("broadcast", "everything-token-16"), 403);
        assert_eq!(status("*", TOKEN), 200);
        assert_eq!(server.get(&format!("{path}/new*")).status, 401);
        let (there, not) = ("secre*", "nothing*");
        let [there, not] = [there, not].map(|topic| {
            let reply = server.get(&format!("{path}/{topic}?access_token=sensors-token-of-16"));
            (
                reply.status,
                reply.text(),
                reply.header("Last-Event-ID").map(str::to_string),
            )
        });
        assert_eq!(
            there, not,
            "an answer does not tell whether there is something"
        );
    }
    let target = "/sse/sensor-a*?format=json&access_token=sensors-token-of-16";
    let mut stream = server.subscribe_with(target, &[]);
    rules.write(r#"{"tokens": [{"name": "s", "token": "sensors-token-of-16", "subscribe": ["sensor-ab*"]}]}"#);
    server.hang_up();
    assert_eq!(stream.next().data, r#"{"reason":"revoked"}"#);
}

/// Numbers that are the same in each run with the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn some<'a>(&mut self, list: &'a [String], most: usize) -> Vec<&'a str> {
        let count = 1 + self.below(most);
        (0..count).map(|_| self.pick(list).as_str()).collect()
    }
}

/// What the contract says, independent of the implementation.
fn matches(topic: &str, channel: &str) -> bool {
    match topic.strip_suffix('*') {
        Some(stem) => channel != "broadcast" && channel.starts_with(stem),
        None => topic == channel,
    }
}

fn may_follow(rights: &[String], topic: &str) -> bool {
    rights.iter().any(
        |right| match (right.strip_suffix('*'), topic.strip_suffix('*')) {
            (Some(right), Some(stem)) => stem.starts_with(right),
            (Some(right), None) => topic != "broadcast" && topic.starts_with(right),
            (None, _) => right == topic,
        },
    )
}

struct Published {
    id: String,
    channel: String,
    text: String,
}

/// One client, over all its connections.
#[derive(Default)]
struct Follower {
    topics: Vec<String>,
    stream: Option<EventStream>,
    /// The messages before this one it has, or did not ask for.
    next: usize,
    last_id: Option<String>,
    /// Told since it has come back, which was before this message.
    gaps: BTreeSet<String>,
    came_back: usize,
    received: usize,
}

impl Follower {
    fn wants(&self, message: &Published) -> bool {
        let topics = &self.topics;
        message.channel == "broadcast"
            || topics.iter().any(|topic| matches(topic, &message.channel))
    }

    fn is_excused(&self, place: usize, message: &Published) -> bool {
        let told = |gap: &String| matches(gap, &message.channel);
        place < self.came_back && self.gaps.iter().any(told)
    }

    /// Takes what comes until the message at `until` has come, or what has come already.
    #[track_caller]
    fn take(&mut self, log: &[Published], until: Option<usize>) {
        while until.is_some_and(|place| self.next <= place) || until.is_none() {
            let Some(stream) = &mut self.stream else {
                return;
            };
            let bound = if until.is_some() {
                BOUND
            } else {
                Duration::ZERO
            };
            let event = match (stream.try_next(bound), until) {
                (Some(event), _) => event,
                (None, None) => return,
                (None, Some(place)) => panic!("message {place} does not come to {:?}", self.topics),
            };
            let data: Value = serde_json::from_str(&event.data).expect("it is JSON");
            let canal = data["canal"]
                .as_str()
                .expect("it names its channel")
                .to_string();
            if event.kind == "sse-gap" {
                let is_its_own = canal == "broadcast" || self.topics.contains(&canal);
                assert!(is_its_own, "a gap of {canal} is told to {:?}", self.topics);
                self.gaps.insert(canal);
                continue;
            }
            let place = log.iter().rposition(|m| Some(&m.id) == event.id.as_ref());
            let place = place.unwrap_or_else(|| panic!("nobody has published {event:?}"));
            let message = &log[place];
            assert_eq!(
                (canal.as_str(), data["mensagem"].as_str()),
                (message.channel.as_str(), Some(message.text.as_str()))
            );
            assert!(self.wants(message), "{canal} came to {:?}", self.topics);
            assert!(
                place >= self.next,
                "message {place} came again to {:?}",
                self.topics
            );
            for (missing, message) in log.iter().enumerate().take(place).skip(self.next) {
                let is_fine = !self.wants(message) || self.is_excused(missing, message);
                assert!(
                    is_fine,
                    "message {missing} of {} did not come to {:?}, and there was no gap but {:?}",
                    message.channel, self.topics, self.gaps
                );
            }
            self.next = place + 1;
            self.last_id = event.id;
            self.received += 1;
        }
    }
}

/// What a server keeps.
#[derive(Clone, Copy)]
enum Kept {
    All,
    Newest,
    /// Channels expire now and then.
    UntilUnused,
}

/// Clients that come, go and come back, on one server or several, against what the contract says.
fn run_against_the_model(
    servers: &[&Server],
    rights: &[(String, Vec<String>)],
    seed: u64,
    steps: usize,
    kept: Kept,
) {
    let mut random = Random(seed);
    let mut names = Vec::new();
    for length in 1..=3 {
        for bits in 0..1 << length {
            let name: String = (0..length)
                .map(|i| if bits >> i & 1 == 0 { 'a' } else { 'é' })
                .collect();
            names.push(name);
        }
    }
    let mut topics: Vec<String> = names.iter().map(|name| format!("{name}*")).collect();
    topics.push("*".into());
    topics.extend(names.iter().cloned());
    topics.push("broadcast".into());
    let mut log: Vec<Published> = Vec::new();
    let mut followers: Vec<Follower> = (0..8).map(|_| Follower::default()).collect();
    let (mut refused, mut granted) = (0, 0);
    let publish = |random: &mut Random, log: &mut Vec<Published>, channel: &str| {
        let server = random.pick(servers);
        let text = format!("{} of {seed}", log.len());
        let id = server.publish(channel, &text);
        log.push(Published {
            id,
            channel: channel.into(),
            text,
        });
    };
    for step in 1..=steps {
        if matches!(kept, Kept::UntilUnused) && step % 400 == 0 {
            for follower in &mut followers {
                follower.take(&log, None);
                follower.stream = None;
            }
            wait_until("all channels go", 2 * BOUND, || {
                servers[0].stat("active_channels") == 0
            });
        }
        let number = random.below(followers.len());
        match random.below(10) {
            0..=5 => {
                let channel = match random.below(20) {
                    0 => "broadcast",
                    _ => random.pick(&names),
                };
                publish(&mut random, &mut log, channel);
            }
            6 => followers[number].take(&log, None),
            7 => {
                // It goes, with what is on its way to it, or not.
                followers[number].take(&log, None);
                followers[number].stream = None;
            }
            _ if followers[number].stream.is_some() => {}
            _ => {
                let (token, rights) = random.pick(rights);
                let follower = &mut followers[number];
                let is_new = follower.last_id.is_none() || random.below(4) == 0;
                if is_new {
                    *follower = Follower::default();
                    follower.topics = random
                        .some(&topics, 4)
                        .iter()
                        .map(ToString::to_string)
                        .collect();
                }
                let server = random.pick(servers);
                let list: Vec<String> = follower
                    .topics
                    .iter()
                    .map(|topic| common::encode(topic))
                    .collect();
                let target = format!("/sse/{}?format=json&access_token={token}", list.join(","));
                let last = follower.last_id.clone().unwrap_or_default();
                let headers = [("Last-Event-ID", last.as_str())];
                // A server of several may have some way to go to what another has answered.
                if let Some(newest) = log.last().filter(|_| is_new && servers.len() > 1) {
                    let target = format!("/messages/broadcast?access_token={TOKEN}");
                    wait_until("the server has come so far", BOUND, || {
                        let reply = server.get(&target);
                        common::id(reply.header("Last-Event-ID").unwrap_or("0-0"))
                            >= common::id(&newest.id)
                    });
                }
                let stream = EventStream::open(&server.address, &target, &headers);
                let may = follower
                    .topics
                    .iter()
                    .all(|topic| may_follow(rights, topic));
                assert_eq!(
                    stream.status,
                    if may { 200 } else { 403 },
                    "{:?} with rights to {rights:?}",
                    follower.topics
                );
                if !may {
                    refused += 1;
                    continue;
                }
                granted += 1;
                follower.came_back = log.len();
                follower.gaps.clear();
                if is_new {
                    follower.next = log.len();
                }
                follower.stream = Some(stream);
            }
        }
    }
    publish(&mut random, &mut log, "broadcast");
    let last = log.len() - 1;
    let mut received = 0;
    for follower in &mut followers {
        follower.take(&log, Some(last));
        assert!(
            follower.gaps.is_empty() || !matches!(kept, Kept::All),
            "a gap of {:?} although nothing is lost",
            follower.gaps
        );
        received += follower.received;
    }
    assert!(
        refused > 0 && granted > 10 && received > 20,
        "too tame: {refused} {granted} {received}"
    );
}

/// Tokens, each with some rights, and the rules that grant them.
fn some_rights() -> (Vec<(String, Vec<String>)>, String) {
    let rights: Vec<(String, Vec<String>)> = [
        vec!["*", "broadcast"],
        vec!["*"],
        vec!["a*", "éé", "broadcast"],
        vec!["aé*", "é*", "aa"],
    ]
    .iter()
    .enumerate()
    .map(|(n, list)| {
        (
            format!("token-{n}-of-16-bytes"),
            list.iter().map(ToString::to_string).collect(),
        )
    })
    .collect();
    let entries: Vec<Value> = rights
        .iter()
        .map(|(token, list)| json!({"name": token, "token": token, "subscribe": list}))
        .collect();
    (rights, json!({"tokens": entries}).to_string())
}

#[test]
fn random_clients_get_what_the_contract_says() {
    let (rights, rules) = some_rights();
    let rules = RulesFile::new(rules);
    for (seed, history, ttl, kept) in [
        (1, "100000", "300", Kept::All),
        (2, "100000", "300", Kept::All),
        (3, "2", "300", Kept::Newest),
        (4, "0", "300", Kept::Newest),
        (5, "3", "1", Kept::UntilUnused),
        (6, "100000", "1", Kept::UntilUnused),
    ] {
        let variables = [("HISTORY_EVENTS", history), ("CHANNEL_TTL", ttl)];
        let server = tokens::start(&rules, &variables);
        run_against_the_model(&[&server], &rights, seed, 1500, kept);
    }
}

#[cfg(feature = "disk")]
#[test]
fn random_clients_of_a_server_with_a_disk_get_what_the_contract_says() {
    let (rights, rules) = some_rights();
    let rules = RulesFile::new(rules);
    for (seed, history, ttl, kept) in [
        (1, "100000", "300", Kept::All),
        (5, "3", "1", Kept::UntilUnused),
    ] {
        let folder = common::Folder::new(&format!("patterns-{seed}"));
        let path = folder.0.to_str().expect("the path is UTF-8");
        let variables = [
            ("HISTORY_EVENTS", history),
            ("CHANNEL_TTL", ttl),
            ("DATA_DIR", path),
        ];
        let server = tokens::start(&rules, &variables);
        run_against_the_model(&[&server], &rights, seed, 1500, kept);
    }
}

#[cfg(feature = "redis")]
#[test]
fn needs_redis_server_random_clients_of_three_servers_get_what_the_contract_says() {
    use common::redis::{wait_for_ready, Redis};
    let (rights, rules) = some_rights();
    let rules = RulesFile::new(rules);
    for (seed, history, kept) in [(7, "100000", Kept::All), (8, "3", Kept::Newest)] {
        let redis = Redis::start();
        let url = redis.url();
        let start = || tokens::start(&rules, &[("HISTORY_EVENTS", history), ("REDIS_URL", &url)]);
        let servers = [start(), start(), start()];
        servers.iter().for_each(wait_for_ready);
        let all: Vec<&Server> = servers.iter().collect();
        run_against_the_model(&all, &rights, seed, 1000, kept);
    }
}

#[cfg(feature = "redis")]
#[test]
fn needs_redis_server_what_redis_has_lost_is_told_with_the_pattern() {
    use common::redis::{server as with_redis, Redis};
    let redis = Redis::start();
    let servers = [with_redis(&redis.url()), with_redis(&redis.url())];
    let mut stream = follow(&servers[0], "sensor-*,other", None);
    servers[1].publish("sensor-1", "x");
    assert_eq!(tell(&stream.next()), "sensor-1 x");
    redis.command(&["DEL", "sse-server:events"]);
    let told: BTreeSet<String> = (0..3).map(|_| tell(&stream.next())).collect();
    let expected = ["gap broadcast", "gap other", "gap sensor-*"].map(String::from);
    assert_eq!(told, BTreeSet::from(expected));
    let mut publisher = common::Publisher::new(&servers[1]);
    wait_until("publishing works again", BOUND, || {
        publisher.try_publish("sensor-2", "y").is_ok()
    });
    assert_eq!(tell(&stream.next()), "sensor-2 y");
}
