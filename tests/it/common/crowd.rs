//! Many subscribers on one thread: non-blocking sockets and poll(2), so that the test leaves the machine to the server.

use super::event_stream::{Event, Parser};
use super::http::Dechunker;
use super::{wait_until, Address, Server};
use socket2::Socket;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub struct Client {
    connection: Socket,
    head: Vec<u8>,
    dechunker: Option<Dechunker>,
    parser: Parser,
    begun: Instant,
    /// Time from the connect to the first bytes of the stream.
    pub served_after: Option<Duration>,
    pub events: Vec<Event>,
    pub has_ended_cleanly: bool,
    pub is_closed: bool,
}

impl Client {
    #[track_caller]
    fn connect(address: &Address, target: &str) -> Client {
        let begun = Instant::now();
        let mut connection = address.connect();
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        connection
            .write_all(request.as_bytes())
            .expect("the request is sent");
        connection
            .set_nonblocking(true)
            .expect("a socket option can be set");
        Client {
            connection,
            head: Vec::new(),
            dechunker: None,
            parser: Parser::default(),
            begun,
            served_after: None,
            events: Vec::new(),
            has_ended_cleanly: false,
            is_closed: false,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let content = match &mut self.dechunker {
            Some(dechunker) => dechunker.push(bytes),
            None => {
                self.head.extend_from_slice(bytes);
                let Some(end) = self.head.windows(4).position(|w| w == b"\r\n\r\n") else {
                    return;
                };
                assert!(
                    self.head.starts_with(b"HTTP/1.1 200 "),
                    "a client of the crowd is refused: {}",
                    String::from_utf8_lossy(&self.head)
                );
                self.served_after = Some(self.begun.elapsed());
                let rest = self.head.split_off(end + 4);
                self.dechunker.insert(Dechunker::default()).push(&rest)
            }
        };
        self.events.extend(self.parser.push(&content));
        self.has_ended_cleanly = self.dechunker.as_ref().is_some_and(|d| d.has_ended);
    }

    pub fn data(&self) -> Vec<&str> {
        self.events
            .iter()
            .map(|event| event.data.as_str())
            .collect()
    }
}

pub struct Crowd {
    clients: Arc<Mutex<Vec<Client>>>,
    is_done: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Connects `count` clients at once, and starts reading. Does not wait for their streams.
    pub fn connect(
        address: impl Into<Address>,
        target: impl Fn(usize) -> String,
        count: usize,
    ) -> Crowd {
        let address = address.into();
        raise_descriptor_limit();
        let clients = Arc::new(Mutex::new(Vec::with_capacity(count)));
        let is_done = Arc::new(AtomicBool::new(false));
        let crowd = Crowd {
            clients: clients.clone(),
            is_done: is_done.clone(),
            reader: Some(std::thread::spawn(move || read_all(&clients, &is_done))),
        };
        for number in 0..count {
            let client = Client::connect(&address, &target(number));
            crowd.clients.lock().unwrap().push(client);
        }
        crowd
    }

    /// `count` subscribers of one channel, all of them served.
    pub fn subscribe(server: &Server, channel: &str, count: usize) -> Crowd {
        let target = format!("/sse/{channel}");
        let crowd = Crowd::connect(&server.address, |_| target.clone(), count);
        crowd.wait_for_all("the crowd is served", |client| {
            client.served_after.is_some()
        });
        crowd
    }

    /// Waits until every client fits.
    #[track_caller]
    pub fn wait_for_all(&self, what: &str, fits: impl Fn(&Client) -> bool) {
        wait_until(what, Duration::from_secs(60), || {
            self.clients.lock().unwrap().iter().all(&fits)
        });
    }

    pub fn each(&self, mut look: impl FnMut(usize, &Client)) {
        for (number, client) in self.clients.lock().unwrap().iter().enumerate() {
            look(number, client);
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read_all(clients: &Mutex<Vec<Client>>, is_done: &AtomicBool) {
    // Little at a time, so that everybody has a turn soon.
    let mut buffer = vec![0; 32 << 10];
    while !is_done.load(Ordering::Relaxed) {
        let mut waiting: Vec<libc::pollfd> = clients
            .lock()
            .unwrap()
            .iter()
            .map(|client| libc::pollfd {
                fd: if client.is_closed {
                    -1
                } else {
                    client.connection.as_raw_fd()
                },
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        // SAFETY: pointer and length are those of the vector.
        unsafe { libc::poll(waiting.as_mut_ptr(), waiting.len() as libc::nfds_t, 10) };
        for (number, entry) in waiting.iter().enumerate() {
            if entry.revents == 0 {
                continue;
            }
            let mut clients = clients.lock().unwrap();
            let client = &mut clients[number];
            match client.connection.read(&mut buffer) {
                Ok(0) => client.is_closed = true,
                Ok(n) => client.take(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => client.is_closed = true,
            }
        }
    }
}

/// As far as the system lets us: a crowd takes many descriptors.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct is valid for both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}
