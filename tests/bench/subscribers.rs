//! Many subscribers of one channel on one thread that does as little as it can: epoll(7), a count of the events of each
//! connection, and the time at which the last of them had each message.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take.
const BOUND: Duration = Duration::from_secs(30);

struct Client {
    connection: TcpStream,
    begun: Instant,
    is_served: bool,
    /// The last byte was a line end.
    after_line_end: bool,
    events: usize,
}

#[derive(Default)]
struct State {
    served: usize,
    slowest: Duration,
    /// When each message had reached every subscriber.
    complete_at: Vec<Instant>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    complete: AtomicUsize,
    delivered: AtomicUsize,
    /// What was read, from the moment on at which somebody wants to know.
    arrivals: Mutex<Option<Vec<Arrival>>>,
    is_done: AtomicBool,
}

/// Events that came to a subscriber at once.
pub struct Arrival {
    pub at: Instant,
    /// The first of them, counted from when it connected.
    pub first: usize,
    pub count: usize,
}

pub struct Subscribers {
    pub count: usize,
    /// The longest time from connecting to the first bytes of the stream.
    pub slowest: Duration,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

impl Subscribers {
    /// Connects all at once, and waits until all are served.
    pub fn connect(addr: SocketAddr, channel: &str, count: usize) -> Subscribers {
        Subscribers::connect_each(addr, count, |_| channel.into())
    }

    /// As `connect`, each with channels of its own.
    pub fn connect_each(
        addr: SocketAddr,
        count: usize,
        channels: impl Fn(usize) -> String,
    ) -> Subscribers {
        let clients = (0..count)
            .map(|number| {
                let channels = channels(number);
                let request = format!("GET /sse/{channels} HTTP/1.1\r\nHost: bench\r\n\r\n");
                let begun = Instant::now();
                let mut connection = TcpStream::connect(addr).expect("the server accepts");
                connection
                    .write_all(request.as_bytes())
                    .expect("the request is sent");
                Client {
                    connection,
                    begun,
                    is_served: false,
                    after_line_end: false,
                    events: 0,
                }
            })
            .collect();
        let shared = Arc::new(Shared::default());
        let reader = {
            let shared = shared.clone();
            std::thread::spawn(move || read_all(clients, &shared))
        };
        let state = shared.state.lock().unwrap();
        let (state, _) = shared
            .changed
            .wait_timeout_while(state, BOUND, |state| state.served < count)
            .unwrap();
        assert_eq!(state.served, count, "subscribers that are served");
        let slowest = state.slowest;
        drop(state);
        Subscribers {
            count,
            slowest,
            shared,
            reader: Some(reader),
        }
    }

    /// Events that arrived at all subscribers together.
    pub fn delivered(&self) -> usize {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// Messages that have reached every subscriber.
    pub fn messages_complete(&self) -> usize {
        self.shared.complete.load(Ordering::Acquire)
    }

    /// Notes from now on when what was delivered.
    pub fn record(&self) {
        *self.shared.arrivals.lock().unwrap() = Some(Vec::new());
    }

    /// What was noted.
    pub fn recorded(&self) -> Vec<Arrival> {
        self.shared
            .arrivals
            .lock()
            .unwrap()
            .take()
            .unwrap_or_default()
    }

    /// Waits until one message more than the last time has reached everybody, and tells when that was.
    pub fn wait_for_last(&self) -> Instant {
        let mut state = self.shared.state.lock().unwrap();
        let end = Instant::now() + BOUND;
        loop {
            if let Some(at) = state.complete_at.pop() {
                return at;
            }
            assert!(Instant::now() < end, "a message did not reach everybody");
            state = self.shared.changed.wait_timeout(state, BOUND).unwrap().0;
        }
    }

    /// Waits until this many messages have reached everybody.
    pub fn wait_for_complete(&self, messages: usize) {
        let end = Instant::now() + BOUND;
        while self.messages_complete() < messages {
            assert!(
                Instant::now() < end,
                "{} of {messages} messages reached everybody",
                self.messages_complete()
            );
            std::thread::park_timeout(Duration::from_micros(50));
        }
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        self.shared.is_done.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read_all(mut clients: Vec<Client>, shared: &Shared) {
    // SAFETY: plain system calls on descriptors that `clients` owns; pointers and lengths are those of the locals.
    let poll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(poll >= 0, "epoll is there");
    for (number, client) in clients.iter().enumerate() {
        let mut interest = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: number as u64,
        };
        // SAFETY: as above.
        let added = unsafe {
            let descriptor = client.connection.as_raw_fd();
            libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, descriptor, &mut interest)
        };
        assert_eq!(added, 0, "a connection can be watched");
    }
    let mut buffer = vec![0; 64 << 10];
    let mut ready = vec![libc::epoll_event { events: 0, u64: 0 }; 512];
    // How many clients have had each message, counted from the first that is not complete.
    let mut had = std::collections::VecDeque::new();
    let mut complete = 0;
    let count = clients.len();
    while !shared.is_done.load(Ordering::Relaxed) {
        // SAFETY: as above.
        let found = unsafe { libc::epoll_wait(poll, ready.as_mut_ptr(), ready.len() as i32, 100) };
        for entry in &ready[..usize::try_from(found).unwrap_or(0)] {
            let client = &mut clients[entry.u64 as usize];
            let size = client
                .connection
                .read(&mut buffer)
                .expect("the stream goes on");
            assert!(size > 0, "the server has ended a stream");
            let before = client.events;
            take(client, &buffer[..size], shared);
            let new = client.events - before;
            shared.delivered.fetch_add(new, Ordering::Relaxed);
            if let Some(arrivals) = shared.arrivals.lock().unwrap().as_mut().filter(|_| new > 0) {
                arrivals.push(Arrival {
                    at: Instant::now(),
                    first: before,
                    count: new,
                });
            }
            for number in before..client.events {
                while had.len() <= number - complete {
                    had.push_back(0);
                }
                had[number - complete] += 1;
            }
            while had.front() == Some(&count) {
                had.pop_front();
                complete += 1;
                shared
                    .state
                    .lock()
                    .unwrap()
                    .complete_at
                    .push(Instant::now());
                shared.changed.notify_all();
                shared.complete.store(complete, Ordering::Release);
            }
        }
    }
    // SAFETY: it is ours, and used by nobody any more.
    unsafe { libc::close(poll) };
}

/// Counts events: what ends with an empty line. (The chunks' framing has CR LF, events have LF.)
fn take(client: &mut Client, bytes: &[u8], shared: &Shared) {
    if !client.is_served {
        assert!(
            bytes.starts_with(b"HTTP/1.1 200 "),
            "a subscriber is refused"
        );
        client.is_served = true;
        let mut state = shared.state.lock().unwrap();
        state.served += 1;
        state.slowest = state.slowest.max(client.begun.elapsed());
        shared.changed.notify_all();
    }
    for &byte in bytes {
        let is_line_end = byte == b'\n';
        client.events += usize::from(is_line_end && client.after_line_end);
        client.after_line_end = is_line_end;
    }
}
