//! A client that loops over `wait` with the id of the last answer, over restarts and over several servers with a Redis.

use crate::common;

use common::redis::{server_with, Redis};
use common::{http, wait_until, Publisher, Server, BOUND};
use serde_json::Value;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

const HISTORY: [(&str, &str); 2] = [
    ("HISTORY_EVENTS", "1000000"),
    ("HISTORY_BYTES", "1000000000"),
];

/// What one client has read.
#[derive(Default)]
struct Reader {
    texts: Vec<String>,
    gaps: Vec<String>,
    next: Option<String>,
}

impl Reader {
    /// One request, as `curl --retry` would repeat it: an incomplete answer does not count.
    fn poll(&mut self, address: SocketAddr, way: &str) {
        let since = self.next.as_deref().unwrap_or("0");
        let request = format!(
            "GET /messages/a,b?since={since}{way} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        let Ok(mut connection) = TcpStream::connect(address) else {
            std::thread::park_timeout(Duration::from_millis(5));
            return;
        };
        let set = connection.set_read_timeout(Some(7 * BOUND));
        set.expect("a timeout can be set");
        if connection.write_all(request.as_bytes()).is_err() {
            return;
        }
        let Ok(reply) = http::read_reply(&mut connection, false) else {
            return;
        };
        if reply.status != 200 {
            assert_eq!(reply.status, 503, "{}", reply.text());
            std::thread::park_timeout(Duration::from_millis(5));
            return;
        }
        self.next = reply.header("Last-Event-ID").map(ToString::to_string);
        for line in reply.text().lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            match line["mensagem"].as_str() {
                Some(text) => self.texts.push(text.into()),
                None => self.gaps.push(line.to_string()),
            }
        }
    }

    #[track_caller]
    fn has_each_once(&self, count: usize) {
        assert!(self.gaps.is_empty(), "told of gaps: {:?}", self.gaps);
        let mut numbers: Vec<usize> = self.texts.iter().map(|t| t.parse().unwrap()).collect();
        let is_in_order = numbers.is_sorted();
        numbers.sort_unstable();
        assert!(
            numbers.iter().copied().eq(0..count),
            "{count} were published, and {} came",
            numbers.len()
        );
        assert!(is_in_order, "they came in another order");
    }
}

#[test]
fn needs_redis_server_a_loop_over_wait_gets_each_message_once_across_restarts() {
    let redis = Redis::start();
    loop_over_restarts(|listen| {
        server_with(
            &redis.url(),
            &[&HISTORY[..], &[("LISTEN", listen)]].concat(),
        )
    });
}

#[cfg(feature = "disk")]
#[test]
fn a_loop_over_wait_gets_each_message_once_across_restarts_of_a_server_with_a_disk() {
    let folder = common::Folder::new("polling");
    let path = folder.0.to_str().expect("the path is UTF-8");
    loop_over_restarts(|listen| {
        Server::start(&[&HISTORY[..], &[("LISTEN", listen), ("DATA_DIR", path)]].concat())
    });
}

/// Restarts a server while a client reads from it: some are orderly, most are not.
fn loop_over_restarts(start: impl Fn(&str) -> Server) {
    const COUNT: usize = 10_000;
    const RESTARTS: usize = 50;
    let server = start("127.0.0.1:0");
    let (listen, address) = (server.addr.to_string(), server.addr);
    let server = RwLock::new(Some(server));
    let read = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = Reader::default();
            while reader.texts.len() < COUNT && reader.gaps.is_empty() {
                reader.poll(address, "&wait=60");
                read.store(reader.texts.len(), Ordering::SeqCst);
            }
            reader.has_each_once(COUNT);
        });
        for restart in 0..=RESTARTS {
            {
                let running = server.read().expect("nobody panics with it");
                let mut publisher = Publisher::new(running.as_ref().expect("it runs"));
                let (from, to) = (
                    restart * COUNT / (RESTARTS + 1),
                    (restart + 1) * COUNT / (RESTARTS + 1),
                );
                for number in from..to {
                    publisher.publish(["a", "b", "broadcast"][number % 3], number.to_string());
                }
            }
            if restart < RESTARTS {
                // Some are in the middle of reading, some wait.
                if restart % 2 == 0 {
                    let to = (restart + 1) * COUNT / (RESTARTS + 1);
                    wait_until("all was read", 6 * BOUND, || {
                        read.load(Ordering::SeqCst) == to
                    });
                }
                let mut running = server.write().expect("nobody panics with it");
                if restart % 3 == 0 {
                    running.as_mut().expect("it runs").terminate();
                }
                *running = None;
                *running = Some(start(&listen));
            }
        }
    });
}

#[test]
fn needs_redis_server_a_client_that_hops_between_servers_gets_each_message_once() {
    const COUNT: usize = 10_000;
    let redis = Redis::start();
    let servers: Vec<Server> = (0..3)
        .map(|_| server_with(&redis.url(), &HISTORY))
        .collect();
    let published = Arc::new(Mutex::new(0));
    std::thread::scope(|scope| {
        // One after another, so that there is one order; each to another server.
        scope.spawn(|| {
            let mut publishers: Vec<_> = servers.iter().map(Publisher::new).collect();
            for number in 0..COUNT {
                let channel = ["a", "b", "broadcast"][number % 3];
                publishers[number % 7 % 3].publish(channel, number.to_string());
                *published.lock().expect("nobody panics with it") += 1;
            }
        });
        for (number, way) in ["&wait=60", "", "&wait=1"].into_iter().enumerate() {
            let servers = &servers;
            scope.spawn(move || {
                let mut reader = Reader::default();
                let mut newest = (0, Instant::now());
                for hop in number.. {
                    if reader.texts.len() >= COUNT {
                        break;
                    }
                    reader.poll(servers[hop % 3].addr, way);
                    // All of it takes as long as the machine needs.
                    let came = reader.texts.len();
                    if came > newest.0 {
                        newest = (came, Instant::now());
                    }
                    assert!(newest.1.elapsed() < BOUND, "nothing after {came}");
                }
                reader.has_each_once(COUNT);
            });
        }
    });
}
