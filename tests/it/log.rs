//! The log that an operator reads: the events and keys that the chapter on operations names, and no way to forge one.

use crate::common;

use common::documents::section;
use common::{bare_command, encode, wait_until, EventStream, Server, BOUND, TOKEN};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

/// Parses a line strictly: everything after the module's name is pairs, and a quoted value ends with its quote.
fn pairs(line: &str) -> BTreeMap<String, String> {
    let (_, mut rest) = line
        .split_once("] ")
        .unwrap_or_else(|| panic!("no module in {line:?}"));
    let mut pairs = BTreeMap::new();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .unwrap_or_else(|| panic!("{rest:?} is no pair in {line:?}"));
        let is_key = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(is_key && !key.is_empty(), "{key:?} is no key in {line:?}");
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted).unwrap_or_else(|| panic!("no closing quote: {line:?}")),
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                let value = &after[..end];
                assert!(!value.contains(['"', '=']), "{value:?} is bare in {line:?}");
                (value.to_string(), &after[end..])
            }
        };
        let is_new = pairs.insert(key.to_string(), value).is_none();
        assert!(is_new, "{key} twice in {line:?}");
        rest = match after.strip_prefix(' ') {
            Some(rest) => rest,
            None => {
                assert_eq!(after, "", "behind a value in {line:?}");
                after
            }
        };
    }
    pairs
}

/// The text of a quoted value, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((text, &quoted[at + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'u' => {
                    let digits: String = chars
                        .by_ref()
                        .map(|(_, c)| c)
                        .skip(1)
                        .take_while(|&c| c != '}')
                        .collect();
                    text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                'n' => text.push('\n'),
                c => text.push(c),
            },
            (_, c) => text.push(c),
        }
    }
}

fn events(log: &str, name: &str) -> Vec<BTreeMap<String, String>> {
    let all = log.lines().map(pairs);
    all.filter(|pairs| pairs["event"] == name).collect()
}

/// The chapter with the table of the log's lines.
const CHAPTER: &str = "assets/docs/operations.md";

/// That table: event to keys.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let section = section(CHAPTER, "The log");
    let names = |cell: &str| -> Vec<String> {
        let odd = cell.split('`').skip(1).step_by(2);
        odd.map(str::to_string).collect()
    };
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .skip(1);
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let keys: BTreeSet<String> = names(cells[2]).into_iter().collect();
        names(cells[1])
            .into_iter()
            .map(move |event| (event, keys.clone()))
    })
    .collect()
}

/// All string literals of the source that are log lines, as event and keys.
fn written(folder: &Path, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in std::fs::read_dir(folder).expect("the source is there") {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            written(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the source is text");
        for literal in text.split("\"event=").skip(1) {
            let (line, _) = unquote(literal).expect("a literal ends");
            let mut words = line.split(' ');
            let event = words.next().unwrap_or_default().to_string();
            let keys = found.entry(event).or_default();
            for (place, word) in words.enumerate() {
                match word.split_once('=') {
                    // The kind of a stream.
                    Some(("{kind}" | "{}", _)) => {
                        keys.extend(["client".to_string(), "watcher".to_string()]);
                    }
                    Some((key, _)) => {
                        keys.insert(key.to_string());
                    }
                    // Whose token it is.
                    // Who has a stream, with its address.
                    None if word == "{}" && place == 0 => {
                        keys.extend(["client", "watcher", "peer"].map(str::to_string));
                    }
                    None if word == "{caller}" => {
                        keys.extend(["token".to_string(), "subject".to_string()]);
                    }
                    // A word of a quoted hint.
                    None => {}
                }
            }
        }
    }
}

#[test]
fn the_chapter_names_every_event_and_key() {
    let mut written_events = BTreeMap::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    written(&source, &mut written_events);
    let documented = documented();
    for (event, keys) in &written_events {
        let in_chapter = documented
            .get(event)
            .unwrap_or_else(|| panic!("event={event} is not in {CHAPTER}, section The log"));
        assert_eq!(
            keys, in_chapter,
            "keys of event={event}: code and {CHAPTER}"
        );
    }
    for event in documented.keys() {
        let is_written = written_events.contains_key(event);
        assert!(
            is_written,
            "{CHAPTER} names event={event}, and nothing logs it"
        );
    }
}

#[test]
fn a_day_in_the_life_of_a_server_is_in_the_log() {
    let variables = [("CHANNEL_TTL", "0"), ("MAX_CLIENTS", "1000000")];
    let mut server = Server::start(&variables);
    let mut stream = server.subscribe("a");
    let watcher = server.subscribe_with("/stats/stream", &[]);
    let id = server.publish("a", "four");
    let batch = [
        ("Authorization", "Bearer test-token-of-16-bytes"),
        ("Content-Type", "application/x-ndjson"),
    ];
    let reply = server.request("POST", "/publish/a", &batch, b"\"x\"\n\"y\"\n");
    assert_eq!(reply.status, 200, "{}", reply.text());
    stream.data_until("y");
    wait_until("all deliveries are counted", BOUND, || {
        server.stat("messages_delivered") == 3
    });
    let peer = stream.local_addr().to_string();
    drop((stream, watcher));
    server.wait_for_log("event=disconnect watcher=");
    server.wait_for_log_within(BOUND * 2, "event=expire channel=a");
    let _last = server.subscribe("b");
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
    server.wait_for_log("event=stopped");

    let log = server.log();
    let one = |name: &str| events(&log, name).remove(0);
    let address = server.addr.to_string();
    let listening = one("listening");
    assert_eq!(listening["address"], address);
    assert_eq!(
        listening["hint"],
        format!("listen with: curl -N http://{address}/sse/news")
    );
    let connected = one("connect");
    assert_eq!(
        (
            &connected["client"][..],
            &connected["peer"],
            &connected["channels"][..]
        ),
        ("1", &peer, "a")
    );
    let ended = events(&log, "disconnect");
    let clients: Vec<_> = ended.iter().filter(|e| e.contains_key("client")).collect();
    assert_eq!(clients[0]["reason"], "gone");
    assert_eq!(clients[0]["messages"], "3");
    assert_eq!(clients[1]["reason"], "shutdown");
    let published = events(&log, "publish");
    assert_eq!(published[0]["id"], id);
    assert_eq!(published[0]["bytes"], "4");
    assert_eq!(published[0]["clients"], "1");
    assert_eq!(published[1]["count"], "2");
    assert!(published[1]["first"] < published[1]["last"]);
    let expired = one("expire");
    assert_eq!(
        (&expired["messages"][..], &expired["history"][..]),
        ("3", "3")
    );
    assert_eq!(one("stopping")["signal"], "SIGTERM");
    assert_eq!(one("stopping")["clients"], "1");
    assert_eq!(one("stopped")["published"], "3");
    // Keys of what happened are keys of the table; what each lacks is what the table says it may lack.
    let documented = documented();
    for line in log.lines() {
        let mut pairs = pairs(line);
        let event = pairs.remove("event").expect("every line has an event");
        for key in pairs.keys() {
            assert!(documented[&event].contains(key), "{key} in {line}");
        }
    }
    assert!(!log.contains(TOKEN), "the token is in the log: {log}");
}

#[test]
fn a_token_that_was_made_up_is_shown_once() {
    let mut server = Server::start_with(&[], |command| {
        command.env_remove("AUTH_TOKEN");
    });
    let token = events(&server.log(), "token").remove(0);
    let authorization = format!("Bearer {}", token["token"]);
    let headers = [("Authorization", authorization.as_str())];
    let reply = server.request("POST", "/publish/a", &headers, b"x");
    assert_eq!(reply.status, 200, "{}", reply.text());
    server.terminate();
    let log = server.log();
    assert_eq!(log.matches(&token["token"]).count(), 1, "{log}");
}

/// Valid names that try to be something else in a log line.
const HOSTILE: [&str; 12] = [
    "a=b",
    "\"",
    "x\"y",
    "\\",
    "\\\"",
    "peer=6.6.6.6:6",
    "\"event=publish",
    "'",
    "a\u{202e}b",
    "a\u{feff}b",
    "{}",
    "canção-🦀",
];

#[test]
fn no_channel_name_forges_a_pair_or_a_line() {
    let mut server = Server::start(&[("CHANNEL_TTL", "0")]);
    for name in HOSTILE {
        server.publish(name, "x");
        let stream = server.subscribe(name);
        wait_until("the client is there", BOUND, || {
            server.stat("connected_clients") == 1
        });
        drop(stream);
        wait_until("the client has left", BOUND, || {
            server.stat("connected_clients") == 0
        });
    }
    let list: Vec<String> = HOSTILE.iter().map(|name| encode(name)).collect();
    let all = server.subscribe_with(&format!("/sse?canal={}", list.join(",")), &[]);
    drop(all);
    let hostile: BTreeSet<String> = HOSTILE.map(str::to_string).into();
    wait_until("all channels are told to be gone", BOUND * 2, || {
        let names: BTreeSet<String> = events(&server.log(), "expire")
            .into_iter()
            .filter_map(|mut pairs| pairs.remove("channel"))
            .collect();
        names == hostile
    });
    server.terminate();
    server.wait_for_log("event=stopped");

    let log = server.log();
    let of = |event: &str, key: &str| -> Vec<String> {
        let found = events(&log, event).into_iter();
        found
            .map(|mut pairs| pairs.remove(key).expect("it is there"))
            .collect()
    };
    assert_eq!(of("publish", "channel"), HOSTILE);
    let connected = of("connect", "channels");
    assert_eq!(connected[..HOSTILE.len()], HOSTILE);
    let mut together: Vec<&str> = connected[HOSTILE.len()].split(',').collect();
    together.sort_unstable();
    let mut hostile = HOSTILE;
    hostile.sort_unstable();
    assert_eq!(together, hostile);
}

#[test]
fn nothing_else_that_a_client_sends_is_in_the_log() {
    let mut server = Server::start(&[("RUST_LOG", "trace")]);
    let evil = "evil\r\nevent=forged";
    let target = format!(
        "/publish/a?event={}&access_token={}",
        encode("evil event=forged"),
        TOKEN
    );
    assert_eq!(
        server.request("POST", &target, &[], evil.as_bytes()).status,
        200
    );
    let agent = [("User-Agent", "evil"), ("Authorization", "Bearer evil")];
    assert_eq!(
        server.request("POST", "/publish/a", &agent, b"evil").status,
        401
    );
    assert_eq!(server.get("/evil?event=forged").status, 404);
    assert_eq!(server.request("EVIL", "/stats", &[], b"").status, 405);
    let last = EventStream::open(server.addr, "/sse/a?last_event_id=evil", &[]);
    assert_eq!(last.status, 200);
    drop(last);
    server.terminate();
    server.wait_for_log("event=stopped");
    for word in ["evil", "forged", "EVIL", TOKEN] {
        assert!(!server.log().contains(word), "{word}: {}", server.log());
    }
}

#[test]
fn too_few_descriptors_are_logged() {
    // More than any system gives.
    let server = Server::start(&[("MAX_CLIENTS", "1000000")]);
    let limited = events(&server.log(), "low_descriptor_limit");
    for pairs in &limited {
        assert_eq!(pairs["wanted"], "1001024");
        assert!(pairs["hint"].contains("ulimit -n 1001024"), "{pairs:?}");
    }
    let allowed = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    if allowed
        .trim()
        .parse()
        .is_ok_and(|most: u64| most < 1_500_512)
    {
        assert_eq!(limited.len(), 1, "{}", server.log());
    }
}

#[test]
fn the_log_goes_to_standard_error_alone() {
    let mut child = bare_command()
        .env("LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut log = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let begun = log.any(|line| line.is_ok_and(|line| line.contains("event=listening")));
    assert!(begun, "it listens");
    // SAFETY: a signal to a child that was not waited for yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let mut output = String::new();
    let mut stdout = child.stdout.take().expect("stdout is piped");
    stdout.read_to_string(&mut output).expect("it is text");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    assert_eq!(output, "");
}
