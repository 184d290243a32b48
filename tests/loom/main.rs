//! The model of `src/hub/handoff.rs`. Loom runs each test under every interleaving of its threads, and with every value
//! that a load may see by the memory model. A lost wake-up shows as a deadlock, a write at the wrong time as a client that
//! was sent something else.

use loom::sync::atomic::{AtomicBool, AtomicUsize};
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[path = "../../src/hub/handoff.rs"]
mod handoff;

/// Loom's own in the place of `src/hub/sync.rs`.
mod sync {
    pub(super) use loom::sync::atomic::{fence, AtomicU8, Ordering};
    pub(super) use loom::thread::{current, park, Thread};
}

use handoff::Handoff;

/// The most that is queued or written in one test.
const ROOM: usize = 8;

/// A frame is written in two parts, frame 3 as 30 and 31. A frame that is queued is known by the part that is next.
const HEARTBEAT: usize = 9;

/// One client: what it was sent, and what is queued for it. What only the one who may write touches is relaxed, so nothing
/// but the handoff keeps the two threads apart.
struct Client {
    handoff: Handoff,
    sent: [AtomicUsize; ROOM],
    sent_count: AtomicUsize,
    queue: [AtomicUsize; ROOM],
    /// Places in the queue: the first that is taken, and the first that is free.
    head: AtomicUsize,
    tail: AtomicUsize,
    /// The rest of a heartbeat that the stream's thread has to write; 0 for none.
    heartbeat: AtomicUsize,
    /// The stream ends when nothing is queued.
    is_closed: AtomicBool,
    /// The stream ends at once.
    is_cut: AtomicBool,
}

impl Client {
    fn new() -> Arc<Client> {
        Arc::new(Client {
            handoff: Handoff::new(),
            sent: Default::default(),
            sent_count: AtomicUsize::new(0),
            queue: Default::default(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            heartbeat: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
        })
    }

    fn write(&self, part: usize) {
        let count = self.sent_count.load(Relaxed);
        self.sent[count].store(part, Relaxed);
        self.sent_count.store(count + 1, Relaxed);
    }

    fn enqueue(&self, part: usize) {
        let tail = self.tail.load(Relaxed);
        self.queue[tail].store(part, Relaxed);
        self.tail.store(tail + 1, Release);
    }

    fn queue_is_empty(&self) -> bool {
        self.head.load(Relaxed) == self.tail.load(Acquire)
    }

    fn dequeue(&self) -> Option<usize> {
        if self.queue_is_empty() {
            return None;
        }
        let head = self.head.load(Relaxed);
        self.head.store(head + 1, Relaxed);
        Some(self.queue[head].load(Relaxed))
    }

    /// The announcer: `Subscriber::send`, to a client that takes the frame whole, or only its first part.
    fn send(&self, frame: usize, takes_all: bool) {
        let first = 10 * frame;
        let write = || {
            if self.has_unwritten() {
                self.enqueue(first);
                return false;
            }
            self.write(first);
            if takes_all {
                self.write(first + 1);
            } else {
                self.enqueue(first + 1);
            }
            takes_all
        };
        match self.handoff.write_in_place(write) {
            // Nothing is left for the thread.
            Some(true) => return,
            Some(false) => {}
            None => self.enqueue(first),
        }
        self.handoff.wake();
    }

    fn has_unwritten(&self) -> bool {
        let has_heartbeat = self.heartbeat.load(Relaxed) != 0;
        !self.queue_is_empty() || has_heartbeat || self.is_cut.load(Acquire)
    }

    /// The janitor: `Subscriber::keep_alive`.
    fn keep_alive(&self, takes_all: bool) {
        let write = || {
            if self.has_unwritten() {
                return;
            }
            self.write(10 * HEARTBEAT);
            if takes_all {
                self.write(10 * HEARTBEAT + 1);
            } else {
                self.heartbeat.store(10 * HEARTBEAT + 1, Relaxed);
            }
        };
        self.handoff.write_in_place(write);
        if self.heartbeat.load(Relaxed) != 0 {
            self.handoff.wake();
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Release);
        self.handoff.wake();
    }

    fn cut(&self) {
        self.is_cut.store(true, Release);
        self.handoff.wake();
    }

    /// The stream's thread.
    fn stream(&self) {
        loop {
            let rest = self.heartbeat.load(Relaxed);
            if rest != 0 {
                self.heartbeat.store(0, Relaxed);
                self.write(rest);
            }
            if self.is_cut.load(Acquire) {
                return;
            }
            // In this order: what was queued before the close is there after it was seen.
            let is_closed = self.is_closed.load(Acquire);
            if let Some(part) = self.dequeue() {
                for part in part..=part / 10 * 10 + 1 {
                    self.write(part);
                }
            } else if is_closed {
                return;
            } else {
                let has_news = || self.is_closed.load(Acquire) || self.has_unwritten();
                self.handoff.sleep(has_news, thread::park);
            }
        }
    }

    /// What the client was sent, without heartbeats, which have to be whole.
    fn received(&self) -> Vec<usize> {
        let sent: Vec<usize> = self.sent.iter().map(|part| part.load(Relaxed)).collect();
        let sent = &sent[..self.sent_count.load(Relaxed)];
        for pair in sent.chunks(2) {
            let is_whole = pair.len() < 2 || pair[0] + 1 == pair[1];
            assert!(is_whole, "something between the parts of a frame: {sent:?}");
        }
        let is_heartbeat = |part: &usize| part / 10 == HEARTBEAT;
        sent.iter()
            .copied()
            .filter(|part| !is_heartbeat(part))
            .collect()
    }
}

/// Every interleaving in which a thread is interrupted at most four times where it could have gone on; what it waits for does not
/// count. Without a bound it takes hours.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(model);
}

fn start(client: &Arc<Client>, run: impl FnOnce(&Client) + 'static) -> thread::JoinHandle<()> {
    let client = client.clone();
    thread::spawn(move || run(&client))
}

#[test]
fn every_frame_comes_whole_and_in_order() {
    for takes_all in [true, false] {
        explore(move || {
            let client = Client::new();
            let stream = start(&client, Client::stream);
            client.send(1, takes_all);
            client.send(2, takes_all);
            client.close();
            stream.join().expect("the stream's thread ends");
            assert_eq!(client.received(), [10, 11, 20, 21]);
        });
    }
}

#[test]
fn a_heartbeat_does_not_come_between() {
    for takes_all in [true, false] {
        explore(move || {
            let client = Client::new();
            let stream = start(&client, Client::stream);
            let janitor = start(&client, move |client| client.keep_alive(takes_all));
            client.send(1, takes_all);
            janitor.join().expect("the janitor ends");
            client.close();
            stream.join().expect("the stream's thread ends");
            assert_eq!(client.received(), [10, 11]);
        });
    }
}

#[test]
fn a_client_cut_off_while_the_announcer_writes_ends() {
    for takes_all in [true, false] {
        explore(move || {
            let client = Client::new();
            let stream = start(&client, Client::stream);
            let door = start(&client, Client::cut);
            client.send(1, takes_all);
            stream.join().expect("the stream's thread ends");
            door.join().expect("the door ends");
            let received = client.received();
            assert!([10, 11].starts_with(&received), "{received:?}");
        });
    }
}
