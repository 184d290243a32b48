//! Three servers on one Redis, while everything goes wrong that can: servers are killed and paused, lines to Redis fall
//! silent and are cut, Redis is killed, filled and emptied, a replica takes its place, the stream is deleted, renamed,
//! flushed and replaced by an older copy, clocks are set. Every accepted message reaches every client once, in one
//! order, or the client is told of a gap. `make torture` runs it for minutes.

mod oracle;
mod oracle_tests;
mod record;
mod schedule;
mod stage;
mod wire;

use oracle::{Client, Faults, Verdict};
use record::{Answer, History, Request};
use schedule::{Action, Random};
use stage::{Stage, SERVERS};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wire::{keep_following, keep_publishing, pause, Run};

const CLIENTS: usize = 50;
const PUBLISHERS: usize = 8;

/// How long the servers may take to be ready once the trouble is over. Between two tries they wait up to 1.5 s, and
/// this machine is busy.
const HEALING: Duration = Duration::from_secs(10);

/// How long a last message may take to reach every client. One whose stream is silent leaves after 4 s, more than once.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}

/// Ends the run for everybody, even if something fails.
struct End<'a>(&'a Run);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_published.store(true, Ordering::SeqCst);
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// Waits until every client has what was published on each of its channels. Returns those that do not.
fn late_for(keys: &[(String, String)], clients: &[History], bound: Duration) -> Vec<String> {
    let end = Instant::now() + bound;
    loop {
        let mut late = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            for (channel, key) in keys {
                if client.channels.contains(channel) && !client.has(key) {
                    late.push(format!(
                        "client {number} did not get {key} on {channel} within {bound:?}"
                    ));
                }
            }
        }
        if late.is_empty() || Instant::now() > end {
            return late;
        }
        pause(Duration::from_millis(50));
    }
}

/// Publishes one message to every channel, again where it is not accepted. Returns channels and keys of what was.
fn publish_everywhere(run: &Run, name: &str, requests: &mut Vec<Request>) -> Vec<(String, String)> {
    let mut accepted = Vec::new();
    for channel in &run.channels {
        for attempt in 0..100 {
            let key = format!("{name}.{channel}.{attempt}.0");
            let server = attempt % SERVERS;
            let request = wire::publish(run, PUBLISHERS, server, channel, vec![key.clone()]);
            let is_accepted = matches!(request.answer, Answer::Accepted(..));
            requests.push(request);
            if is_accepted {
                accepted.push((channel.clone(), key));
                break;
            }
            pause(Duration::from_millis(100));
        }
    }
    accepted
}

/// Which channels a client follows: one to three, and `broadcast`.
fn channels_of(seed: u64, client: usize, channels: &[String]) -> Vec<String> {
    let mut random = Random::new(seed, 3000 + client as u64);
    let mut own = vec!["broadcast".to_string()];
    for _ in 0..=random.below(3) {
        let channel = &channels[random.below(channels.len() - 1)];
        if !own.contains(channel) {
            own.push(channel.clone());
        }
    }
    own
}

/// Everything that was recorded, in the order of time.
struct Story {
    requests: Vec<Request>,
    actions: Vec<(Duration, Action)>,
    clients: Vec<Client>,
    logs: Vec<String>,
}

impl Story {
    fn write(&self, path: &Path, verdict: &str) {
        let mut lines: Vec<(Duration, String)> = Vec::new();
        let actions = self.actions.iter();
        lines.extend(actions.map(|(at, action)| (*at, format!("*** {action:?}"))));
        lines.extend(self.requests.iter().map(|request| {
            (
                request.ended,
                format!("publisher {}: {request}", request.publisher),
            )
        }));
        for (number, client) in self.clients.iter().enumerate() {
            let seen = client.seen.iter();
            lines.extend(seen.map(|(at, seen)| (*at, format!("client {number}: {seen}"))));
        }
        lines.sort_by_key(|(at, _)| *at);
        let mut text = format!("{verdict}\n\n");
        for (at, line) in lines {
            let _ = writeln!(text, "{:8.3} {line}", at.as_secs_f64());
        }
        for (number, log) in self.logs.iter().enumerate() {
            let _ = writeln!(text, "\n--- log of server {number}\n{log}");
        }
        std::fs::write(path, text).expect("a file can be written under target/");
    }
}

/// One line: each kind of fault with its number and its first case.
fn in_one_line(faults: &Faults) -> String {
    let kinds = faults
        .iter()
        .map(|(kind, cases)| format!("{} {kind}: {}", cases.len(), cases[0]));
    kinds.collect::<Vec<_>>().join("; ")
}

fn perform(seed: u64, length: Duration) -> (Story, Verdict) {
    let mut stage = Stage::set();
    let mut channels: Vec<String> = (0..5).map(|n| format!("c{n}")).collect();
    channels.push("broadcast".into());
    let run = Run {
        seed,
        begun: Instant::now(),
        servers: stage.addrs(),
        is_calm: AtomicBool::new(true),
        is_published: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        channels,
    };
    let histories =
        (0..CLIENTS).map(|client| History::of(channels_of(seed, client, &run.channels)));
    let histories: Vec<History> = histories.collect();
    let (mut requests, mut actions, mut faults) = (Vec::new(), Vec::new(), Faults::new());
    assert!(
        stage.not_ready_within(HEALING).is_empty(),
        "all servers start"
    );
    std::thread::scope(|scope| {
        let _end = End(&run);
        let following = histories.iter().enumerate().map(|(client, history)| {
            let run = &run;
            scope.spawn(move || keep_following(run, client, history))
        });
        let following: Vec<_> = following.collect();
        // Who has an id is owed everything that comes after it.
        pause(Duration::from_secs(1));
        let keys = publish_everywhere(&run, "begin", &mut requests);
        let late = late_for(&keys, &histories, LAST_WORDS);
        assert!(late.is_empty(), "before anything is wrong: {}", late[0]);
        let publishing: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let run = &run;
                scope.spawn(move || keep_publishing(run, publisher))
            })
            .collect();
        run.is_calm.store(false, Ordering::SeqCst);
        let trouble = run.now();
        for (at, action) in schedule::schedule(seed, length, SERVERS) {
            pause((trouble + at).saturating_sub(run.now()));
            actions.push((run.now(), action));
            stage.act(action);
        }
        pause((trouble + length).saturating_sub(run.now()));
        stage.heal();
        let late = stage.not_ready_within(HEALING);
        if !late.is_empty() {
            let what = format!(
                "servers {late:?} are not ready {HEALING:?} after everything is well again"
            );
            faults.insert("not ready", vec![what]);
        }
        run.is_calm.store(true, Ordering::SeqCst);
        run.is_published.store(true, Ordering::SeqCst);
        for publisher in publishing {
            requests.extend(publisher.join().expect("it publishes"));
        }
        let keys = publish_everywhere(&run, "end", &mut requests);
        let late = late_for(&keys, &histories, LAST_WORDS);
        if keys.len() < run.channels.len() {
            let what = format!(
                "of {} channels {} took a last message",
                run.channels.len(),
                keys.len()
            );
            faults.insert("last message refused", vec![what]);
        }
        if !late.is_empty() {
            faults.insert("last message late", late);
        }
        run.is_over.store(true, Ordering::SeqCst);
        for client in following {
            client.join().expect("it follows");
        }
    });
    let clients = histories.iter().map(|history| Client {
        channels: history.channels.clone(),
        seen: history.all(),
    });
    let story = Story {
        requests,
        actions,
        clients: clients.collect(),
        logs: stage.end(),
    };
    let mut actions = story.actions.iter();
    let deletion = actions.find(|(_, action)| action.loses());
    let lost_from = deletion.map_or(Duration::MAX, |(at, _)| *at);
    let verdict = oracle::judge(&story.requests, &story.clients, lost_from);
    faults.extend(verdict.faults);
    (story, Verdict { faults, ..verdict })
}

#[test]
fn needs_redis_server_needs_cc_whatever_goes_wrong_nothing_accepted_is_lost() {
    // Takes the machine before anything is started.
    crate::common::turn::take();
    let seed = number("TORTURE_SEED").unwrap_or(1);
    let seconds = number("TORTURE_SECONDS").unwrap_or(20);
    let (story, Verdict { faults, excused }) = perform(seed, Duration::from_secs(seconds));
    let count = |wanted: fn(&record::Seen) -> bool| -> usize {
        let seen = story.clients.iter().flat_map(|client| &client.seen);
        seen.filter(|(_, seen)| wanted(seen)).count()
    };
    let accepted = story
        .requests
        .iter()
        .filter(|r| matches!(r.answer, Answer::Accepted(..)));
    let told = format!(
        "seed {seed}, {seconds} s, {} troubles: {} of {} publishes accepted, {} deliveries on {} streams, {excused} messages that {} gaps excuse",
        story.actions.len(),
        accepted.count(),
        story.requests.len(),
        count(|seen| matches!(seen, record::Seen::Message { .. })),
        count(|seen| matches!(seen, record::Seen::Joined)),
        count(|seen| matches!(seen, record::Seen::Gap { .. })),
    );
    println!("{told}");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("torture-{seed}.txt"));
    let verdict = format!("{told}\n{}", in_one_line(&faults).replace("; ", "\n"));
    story.write(&path, &verdict);
    assert!(
        faults.is_empty(),
        "TORTURE_SEED={seed}: {}; see {}",
        in_one_line(&faults),
        path.display()
    );
}
