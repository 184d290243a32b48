//! Bytes that mean nothing: whatever arrives, nothing panics, and nobody else notices. The seed is fixed.

use crate::common;

use common::witness::Witness;
use common::{http, Server};
use sse_server::config::Config;
use sse_server::event::{encode, ChannelName, Event, EventId, EventName, Form, Kind};
use sse_server::http::cors::Origins;
use sse_server::http::query::{decode_segment, Target};
use std::io::{Read, Write};
use std::time::Duration;

/// xorshift64: the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| self.roll() as u8).collect()
    }

    /// Words of the protocol, shaken together, with a few random bytes among them.
    fn soup(&mut self, words: &[&str], most: usize) -> Vec<u8> {
        let count = self.below(most);
        let mut soup = Vec::new();
        for _ in 0..count {
            match self.below(8) {
                0 => soup.extend(self.bytes(6)),
                _ => soup.extend_from_slice(words[self.below(words.len())].as_bytes()),
            }
        }
        soup
    }
}

const HTTP: [&str; 28] = [
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS ",
    "/sse/a",
    "/publish/a",
    "/stats",
    "?canal=",
    "&msg=",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: x\r\n",
    "Content-Length: ",
    "5",
    "99999999999",
    "\r\n",
    "\r\n\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Connection: upgrade\r\n",
    "Connection: close\r\n",
    "TE: gzip;q=x, a;q=NaN, b;q=1e99\r\n",
    "Authorization: Bearer ",
    "test-token-of-16-bytes\r\n",
    "Last-Event-ID: ",
    "0\r\n\r\n",
    ": ",
    "\0",
];

#[test]
fn five_thousand_connections_of_random_bytes() {
    let mut server = Server::start(&[]);
    let witness = Witness::start(&server);
    let mut dice = Dice(0x5EED_5EED_5EED_5EED);
    for number in 0..5000 {
        let bytes = match number % 3 {
            0 => dice.bytes(600),
            1 => dice.soup(&HTTP, 40),
            _ => {
                let mut bytes = b"POST /publish/x HTTP/1.1\r\nHost: x\r\n".to_vec();
                bytes.extend(dice.soup(&HTTP, 30));
                bytes
            }
        };
        let mut connection = http::connect(server.addr);
        connection
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("a timeout can be set");
        let _ = connection.write_all(&bytes);
        let _ = connection.read(&mut [0; 512]);
    }
    assert!(server.is_running());
    assert!(
        !server.log().contains("event=panic"),
        "a worker panicked:\n{}",
        server.log()
    );
    assert!(
        !server.log().contains("panicked at"),
        "a thread panicked:\n{}",
        server.log()
    );
    witness.testifies("5,000 connections of random bytes");
}

const NAMES: [&str; 18] = [
    "a", "é", "/", ",", "*", " ", "\t", "\0", "%", "%2", "%ff", "%00", "%C3%A9", "+", "&", "=",
    "?canal=", "🦀",
];

#[test]
fn targets_names_and_queries() {
    let mut dice = Dice(1);
    for _ in 0..300_000 {
        let soup = dice.soup(&NAMES, 20);
        let text = String::from_utf8_lossy(&soup);
        let target = Target::parse(&text);
        for value in target.query.all("canal").flatten() {
            if let Ok(name) = ChannelName::parse(value) {
                assert_eq!(name.as_str(), value);
                assert!((1..=128).contains(&name.as_str().len()));
                assert!(!name
                    .as_str()
                    .contains(['/', ',', '*', ' ', '\n', '\r', '\0', '\t']));
            }
        }
        let _ = decode_segment(&target.path);
        if let Ok(Some(name)) = EventName::parse(&text) {
            let event = Event {
                id: EventId::ZERO,
                channel: ChannelName::broadcast(),
                name: Some(name),
                text: text.as_ref().into(),
                kind: Kind::Message,
                timestamp_ms: 0,
                at: std::time::Instant::now(),
            };
            for form in [Form::Plain, Form::Json] {
                let mut out = Vec::new();
                encode(&event, form, &mut out);
                let events = common::event_stream::Parser::default().push(&out);
                assert!(events.len() <= 1, "{text:?} makes one event");
                if form == Form::Plain && !text.is_empty() {
                    assert_eq!(
                        events[0].data,
                        text.replace("\r\n", "\n").replace('\r', "\n")
                    );
                }
            }
        }
    }
}

#[test]
fn ids() {
    let mut dice = Dice(2);
    for _ in 0..300_000 {
        let soup = dice.soup(
            &[
                "0",
                "1",
                "9",
                "-",
                "+",
                " ",
                ".",
                "18446744073709551615",
                "e",
            ],
            8,
        );
        let text = String::from_utf8_lossy(&soup);
        if let Some(id) = EventId::parse(&text) {
            assert_eq!(EventId::parse(&id.to_string()), Some(id), "{text:?}");
            assert!(
                text.bytes().all(|b| b.is_ascii_digit() || b == b'-'),
                "{text:?}"
            );
        }
    }
}

#[test]
fn configurations() {
    let words = [
        "0",
        "1",
        "8080",
        "-",
        ":",
        "unix:",
        "/",
        "*",
        ",",
        "https://",
        "example.org",
        "[::1]",
        "info",
        " ",
        "\t",
        "é",
        "99999999999999999999",
    ];
    let names = [
        "LISTEN",
        "PORT",
        "AUTH_TOKEN",
        "CORS_ORIGINS",
        "HISTORY_EVENTS",
        "HISTORY_BYTES",
        "HISTORY_AGE",
        "CHANNEL_TTL",
        "HEARTBEAT",
        "MAX_CLIENTS",
        "MAX_CHANNELS",
        "MAX_MESSAGE_BYTES",
        "CLIENT_QUEUE",
        "RUST_LOG",
    ];
    let mut dice = Dice(3);
    for _ in 0..100_000 {
        let name = names[dice.below(names.len())];
        let value = String::from_utf8_lossy(&dice.soup(&words, 5)).into_owned();
        let _ = Origins::parse(&value);
        if let Err(bad) = Config::read(|asked| (asked == name).then(|| value.clone().into())) {
            let line = bad.to_string();
            assert!(
                line.starts_with(name),
                "{name}={value:?} is answered with {line:?}"
            );
            assert_eq!(line.lines().count(), 1, "{line:?}");
        }
    }
}
