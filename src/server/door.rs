//! The door: one thread that owns every connection from accept to close. It reads each request whole, bounded and timed,
//! sends its first line through tiny_http to the pool, and goes on when it was answered. What becomes an event stream has
//! a thread of its own, and the door only tells it when its client has gone.

use super::client::{Client, Step};
use super::connection::{Connection, Key};
use super::exchange::Exchange;
use super::line::{self, Line};
use super::listener::Listener;
use super::mailbox::{Mailbox, Note};
use super::pool::Pool;
use super::Settings;
use crate::host::{Event, Interest, Poll};
use crate::memory::Trimmer;
use crossbeam_channel::Sender;
use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens that are no connection's. Those count from 0.
const LISTENER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
const LINE: u64 = u64::MAX - 2;

/// Deadlines are looked at this often.
const SWEEP: Duration = Duration::from_secs(1);

/// The same while the server stops, and how long a client that was accepted may take to send its request then.
const LAST_SWEEP: Duration = Duration::from_millis(50);
const LAST_PATIENCE: Duration = Duration::from_millis(300);

/// Connections accepted in one go, so that a storm of new ones does not hold up those that are there.
const ACCEPTS_AT_ONCE: usize = 64;

/// This many connections leave memory behind that is worth giving back when they have gone.
const CROWD: usize = 100;

/// How soon accepting is tried again after an error that closing a connection does not end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// See the module's comment.
pub struct Door {
    poll: Poll,
    /// `None` once nothing new is accepted.
    listener: Option<Listener>,
    /// Connections may wait to be accepted.
    has_arrivals: bool,
    /// There is no room for them.
    is_full: bool,
    mailbox: Arc<Mailbox>,
    bell: UnixStream,
    line: Option<Line>,
    pool: Arc<Pool>,
    settings: Settings,
    clients: Clients,
    next_number: u64,
    /// Requests for the line, and what waits for them to come out.
    requests: Vec<u8>,
    exchanges: Vec<(u64, Exchange)>,
    next_sweep: Instant,
    trimmer: Trimmer,
    is_stopping: bool,
    is_finishing: bool,
    /// Dropped when a stopping server has nothing left to answer.
    answering: Option<Sender<Infallible>>,
    /// Dropped when the door has closed its last connection.
    _open: Sender<Infallible>,
}

/// The connections, each in a place that its key names.
#[derive(Default)]
struct Clients {
    places: Vec<Option<Client>>,
    free: Vec<usize>,
    /// Counts all connections, so that no two have the same key.
    count: u64,
    here: usize,
}

/// Bits of a key that name the place; the others are the connection's count.
const PLACE_BITS: u32 = 24;

impl Clients {
    fn place(key: Key) -> usize {
        (key & ((1 << PLACE_BITS) - 1)) as usize
    }

    /// Finds a place for a client that is made with its key.
    fn add(&mut self, make: impl FnOnce(Key) -> Client) -> Option<Key> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < 1 << PLACE_BITS => {
                self.places.push(None);
                self.places.len() - 1
            }
            None => return None,
        };
        self.count = (self.count + 1) % (1 << (63 - PLACE_BITS));
        let key = (self.count << PLACE_BITS) | place as u64;
        self.places[place] = Some(make(key));
        self.here += 1;
        Some(key)
    }

    fn get(&mut self, key: Key) -> Option<&mut Client> {
        let client = self.places.get_mut(Self::place(key))?.as_mut()?;
        (client.connection.key() == key).then_some(client)
    }

    fn remove(&mut self, key: Key) -> Option<Client> {
        self.get(key)?;
        let place = Self::place(key);
        let client = self.places[place].take();
        self.free.push(place);
        self.here -= 1;
        client
    }

    fn all(&self) -> impl Iterator<Item = &Client> {
        self.places.iter().flatten()
    }
}

impl Door {
    /// Opens the door, with a pool behind it. `run` is for a thread of its own.
    ///
    /// # Errors
    /// If the system gives no descriptor or no thread.
    pub fn open(
        listener: Listener,
        app: crate::routes::App,
        settings: Settings,
        open: Sender<Infallible>,
    ) -> io::Result<(Door, Arc<Mailbox>)> {
        let poll = Poll::new()?;
        let (mailbox, bell) = Mailbox::new()?;
        let line = Line::open()?;
        let pool = Pool::start(app, settings.clone(), &line)?;
        poll.add(listener.socket(), LISTENER, Interest::Read)?;
        poll.add(&bell, BELL, Interest::Read)?;
        poll.add(line.socket(), LINE, Interest::Read)?;
        let door = Door {
            poll,
            listener: Some(listener),
            has_arrivals: true,
            is_full: false,
            mailbox: mailbox.clone(),
            bell,
            line: Some(line),
            pool,
            settings,
            clients: Clients::default(),
            next_number: 0,
            requests: Vec::new(),
            exchanges: Vec::new(),
            next_sweep: Instant::now() + SWEEP,
            trimmer: Trimmer::new(CROWD),
            is_stopping: false,
            is_finishing: false,
            answering: None,
            _open: open,
        };
        Ok((door, mailbox))
    }

    /// The door's life. It ends when it was told to stop and the last connection is closed.
    pub fn run(mut self) {
        let mut events = Vec::new();
        while !(self.is_finishing && self.clients.here == 0) {
            if let Err(error) = self.wait(&mut events) {
                // Nothing can be served any more. The panic hook ends the process.
                panic!("cannot wait for sockets: {error}");
            }
            for note in self.mailbox.take(&self.bell) {
                self.heed(note);
            }
            for event in &events {
                self.meet(event);
            }
            self.accept();
            self.send();
            self.sweep();
            self.report_answers();
        }
        self.pool.stop();
        if let Some(line) = &self.line {
            line.close(self.pool.workers());
        }
    }

    /// Waits until something happens. Whoever was just busy looks once more after others have had a turn: under load they
    /// bring the next requests meanwhile, which then cross the line in one write.
    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        if !events.is_empty() {
            std::thread::yield_now();
            self.poll.wait(events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                return Ok(());
            }
        }
        let timeout = if self.mailbox.may_sleep() {
            self.timeout()
        } else {
            Some(Duration::ZERO)
        };
        self.poll.wait(events, timeout)
    }

    /// For ever while nothing has a deadline.
    fn timeout(&self) -> Option<Duration> {
        if self.has_arrivals && self.listener.is_some() {
            // The others after those who are here; or when there is room again.
            return Some(if self.is_full {
                ACCEPT_PAUSE
            } else {
                Duration::ZERO
            });
        }
        let has_deadlines = self.line.is_none() || self.clients.here > 0;
        has_deadlines.then(|| self.next_sweep.saturating_duration_since(Instant::now()))
    }

    fn meet(&mut self, event: &Event) {
        match event.token {
            LISTENER => self.has_arrivals = true,
            BELL => {}
            LINE => self.lose_line("it was closed"),
            key => {
                if let Some(client) = self.clients.get(key) {
                    client.note(event);
                    self.advance(key);
                }
            }
        }
    }

    fn heed(&mut self, note: Note) {
        let key = match note {
            Note::Answered(key) => key,
            Note::Unsent(key, is_last) => {
                if let Some(client) = self.clients.get(key) {
                    client.send_rest(is_last);
                    let socket = client.connection.socket();
                    // Without it the deadline ends it.
                    let _ = self.poll.change(socket, key, Interest::ReadWrite);
                }
                key
            }
            Note::ReadBody(key, limit, parts) => {
                if let Some(client) = self.clients.get(key) {
                    client.read_body(limit, parts);
                }
                key
            }
            Note::Streams(key, progress) => {
                if let Some(client) = self.clients.get(key) {
                    client.streams(progress);
                    let socket = client.connection.socket();
                    // What has come to an end already is told once more.
                    let _ = self.poll.change(socket, key, Interest::End);
                }
                return;
            }
            Note::Ended(key) => {
                if let Some(client) = self.clients.get(key) {
                    client.linger();
                    let socket = client.connection.socket();
                    let _ = self.poll.change(socket, key, Interest::Read);
                }
                key
            }
            Note::Stop(answering) => {
                self.answering = Some(answering);
                return self.stop();
            }
            Note::Finish => return self.finish(),
        };
        self.advance(key);
    }

    /// Goes as far with a connection as it goes without waiting.
    fn advance(&mut self, key: Key) {
        loop {
            let Some(client) = self.clients.get(key) else {
                return;
            };
            match client.step(&self.pool, &self.settings, self.is_stopping) {
                Step::Wait => return,
                Step::Again => {}
                Step::Close => return self.close(key),
                Step::Dispatch {
                    method,
                    target,
                    exchange,
                } => {
                    let number = self.next_number;
                    self.next_number += 1;
                    line::write_request(&method, &target, number, &mut self.requests);
                    self.exchanges.push((number, exchange));
                    return;
                }
            }
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(client) = self.clients.remove(key) {
            self.poll.remove(client.connection.socket());
            // Somebody may still hold it.
            client.connection.cut();
        }
    }

    /// Sends the requests of this round, all in one write.
    fn send(&mut self) {
        if self.exchanges.is_empty() {
            return;
        }
        self.pool.expect(self.exchanges.drain(..));
        let sent = match &self.line {
            Some(line) => line.send(&self.requests),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        self.requests.clear();
        // What a storm has left.
        self.requests.shrink_to(64 << 10);
        if let Err(error) = sent {
            self.lose_line(&error.to_string());
        }
    }

    /// The line is of no use any more: opens another.
    fn lose_line(&mut self, why: &str) {
        if let Some(line) = self.line.take() {
            log::error!("event=line_lost reason={why:?}");
            self.poll.remove(line.socket());
            self.open_line();
            self.pool.change_line(self.line.as_ref());
            line.close(self.pool.workers());
        } else {
            self.pool.change_line(None);
        }
    }

    fn open_line(&mut self) {
        match Line::open() {
            Ok(line) => {
                if self.poll.add(line.socket(), LINE, Interest::Read).is_ok() {
                    self.line = Some(line);
                }
            }
            Err(error) => log::error!("event=no_line error={:?}", error.to_string()),
        }
    }

    /// Accepts who has come.
    fn accept(&mut self) {
        self.is_full = false;
        for _ in 0..ACCEPTS_AT_ONCE {
            if !self.has_arrivals {
                return;
            }
            if self.clients.here >= self.settings.max_connections && !self.make_room() {
                self.is_full = true;
                return;
            }
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((socket, peer)) => {
                    let mailbox = self.mailbox.clone();
                    let key = self.clients.add(|key| {
                        Client::new(Arc::new(Connection::new(socket, key, peer, mailbox)))
                    });
                    if let Some(key) = key {
                        self.welcome(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.has_arrivals = false;
                    return;
                }
                Err(error) => {
                    log::debug!("event=accept_failed error={:?}", error.to_string());
                    // Without descriptors only an end of something helps; all other errors are of that one connection.
                    let lacks = matches!(
                        error.raw_os_error(),
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
                    );
                    if lacks && !self.make_room() {
                        self.is_full = true;
                        return;
                    }
                }
            }
        }
    }

    fn welcome(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        let socket = client.connection.socket();
        if self.poll.add(socket, key, Interest::Read).is_err() {
            return self.close(key);
        }
        // Most have sent their request by now.
        self.advance(key);
    }

    /// Closes the newest connection that does nothing. Returns whether there was one.
    fn make_room(&mut self) -> bool {
        let idle = self.clients.all().filter(|client| client.is_idle());
        let newest = idle.max_by_key(|client| client.since());
        match newest.map(|client| client.connection.key()) {
            Some(key) => {
                self.close(key);
                true
            }
            None => false,
        }
    }

    /// Ends what has gone on for too long.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + if self.is_finishing { LAST_SWEEP } else { SWEEP };
        if self.line.is_none() {
            self.open_line();
            if self.line.is_some() {
                self.pool.change_line(self.line.as_ref());
            }
        }
        let overdue: Vec<Key> = self
            .places_to_sweep(now)
            .map(|client| client.connection.key())
            .collect();
        for key in overdue {
            if let Some(client) = self.clients.get(key) {
                client.end_in_time(&self.pool, now);
                self.advance(key);
            }
        }
        self.trimmer.note(self.clients.here);
    }

    fn places_to_sweep(&self, now: Instant) -> impl Iterator<Item = &Client> {
        self.clients
            .all()
            .filter(move |client| client.is_overdue(now))
    }

    /// From now on each connection is closed behind its answer. A listener that our parent has as well is left to our
    /// successor, with those who wait in it.
    fn stop(&mut self) {
        self.is_stopping = true;
        if self.listener.as_ref().is_some_and(Listener::is_inherited) {
            self.stop_listening();
        }
        self.close_idle(None);
    }

    fn close_idle(&mut self, patience: Option<Duration>) {
        let keys: Vec<Key> = self.clients.all().map(|c| c.connection.key()).collect();
        for key in keys {
            if let Some(client) = self.clients.get(key) {
                client.close_when_idle(patience);
                self.advance(key);
            }
        }
    }

    /// Accepts those who wait already, and then nobody.
    fn finish(&mut self) {
        self.is_finishing = true;
        while self.listener.is_some() && self.has_arrivals && !self.is_full {
            self.accept();
        }
        self.stop_listening();
        self.close_idle(Some(LAST_PATIENCE));
        self.next_sweep = Instant::now();
    }

    fn stop_listening(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.poll.remove(listener.socket());
        }
    }

    /// Tells whoever waits for it that all but the streams have their answers.
    fn report_answers(&mut self) {
        if self.answering.is_some() && self.clients.all().all(Client::is_stream) {
            self.answering = None;
        }
    }
}
