//! The door: one thread that owns every connection from accept to close. It reads each request whole, bounded and timed,
//! sends its first line through tiny_http to the pool, and goes on when it was answered. What becomes an event stream has
//! a thread of its own, and the door only tells it when its client has gone.

use super::client::{Client, Step};
use super::clients::Clients;
use super::connection::Connection;
use super::dispatcher::Dispatcher;
use super::listener::Listener;
use super::mailbox::{Key, Mailbox, Note};
use super::settings::Settings;
use crate::host::memory::Trimmer;
use crate::host::{Interest, Poll, Readiness};
use crate::http::request::BodyError;
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

/// A door that has waited no longer than this is busy, and looks for news for this long before it sleeps again. With 4
/// publishers at once that was worth 57,000 publishes a second instead of 38,000, and a fan-out costs the same.
const BUSY_TIME: Duration = Duration::from_micros(200);
const LOOK_TIME: Duration = Duration::from_micros(100);

/// The door's own thread has it, and nobody else.
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
    dispatcher: Dispatcher,
    settings: Settings,
    clients: Clients,
    next_sweep: Instant,
    /// The last wait was short.
    is_busy: bool,
    trimmer: Trimmer,
    is_stopping: bool,
    /// Set when nothing new is accepted. What is incomplete then is answered so.
    last_moment: Option<Instant>,
    /// Dropped when a stopping server has nothing left to answer.
    answering: Option<Sender<Infallible>>,
    /// Dropped when the door has closed its last connection.
    _open: Sender<Infallible>,
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
        let dispatcher = Dispatcher::open(app, &settings, &poll, LINE)?;
        poll.add(listener.socket(), LISTENER, Interest::Read)?;
        poll.add(&bell, BELL, Interest::Read)?;
        let door = Door {
            poll,
            listener: Some(listener),
            has_arrivals: true,
            is_full: false,
            mailbox: mailbox.clone(),
            bell,
            dispatcher,
            settings,
            clients: Clients::default(),
            next_sweep: Instant::now() + SWEEP,
            is_busy: false,
            trimmer: Trimmer::new(CROWD),
            is_stopping: false,
            last_moment: None,
            answering: None,
            _open: open,
        };
        Ok((door, mailbox))
    }

    /// The door's life. It ends when it was told to stop and the last connection is closed.
    pub fn run(mut self) {
        let mut events = Vec::new();
        while self.last_moment.is_none() || self.clients.len() > 0 {
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
            self.sweep();
            self.dispatcher.send(&self.poll);
            self.report_answers();
        }
        self.dispatcher.close();
    }

    /// Waits until something happens. While requests follow each other closely it does not sleep at once: others work
    /// meanwhile, and to wake a thread that sleeps on another core takes longer than a publish.
    fn wait(&mut self, events: &mut Vec<Readiness>) -> io::Result<()> {
        let begin = Instant::now();
        if self.is_busy && !self.has_arrivals {
            while begin.elapsed() < LOOK_TIME {
                std::thread::yield_now();
                self.poll.wait(events, Some(Duration::ZERO))?;
                if !events.is_empty() || !self.mailbox.is_empty() {
                    return Ok(());
                }
            }
        }
        let timeout = if self.mailbox.may_sleep() {
            self.timeout()
        } else {
            Some(Duration::ZERO)
        };
        self.poll.wait(events, timeout)?;
        self.is_busy = begin.elapsed() < BUSY_TIME;
        Ok(())
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
        let has_deadlines = !self.dispatcher.has_line() || self.clients.len() > 0;
        has_deadlines.then(|| self.next_sweep.saturating_duration_since(Instant::now()))
    }

    fn meet(&mut self, event: &Readiness) {
        match event.token {
            LISTENER => self.has_arrivals = true,
            BELL => {}
            LINE => self.dispatcher.lose_line("it was closed", &self.poll),
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
            Note::Streams(key, progress, answers_once) => {
                if let Some(client) = self.clients.get(key) {
                    client.streams(progress, answers_once);
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
            Note::Finish(last_moment) => return self.finish(last_moment),
        };
        self.advance(key);
    }

    /// Goes as far with a connection as it goes without waiting, and looks that all together do not hold too much.
    fn advance(&mut self, key: Key) {
        self.go_on(key);
        if self.clients.is_too_much(key, self.settings.max_held) {
            if let Some(client) = self.clients.get(key) {
                client.give_up(self.dispatcher.pool(), BodyError::NoRoom);
                self.go_on(key);
            }
        }
    }

    fn go_on(&mut self, key: Key) {
        loop {
            let Some(client) = self.clients.get(key) else {
                return;
            };
            match client.step(self.dispatcher.pool(), &self.settings, self.is_stopping) {
                Step::Wait => return,
                Step::Again => {}
                Step::Close => return self.close(key),
                Step::Dispatch(method, target, exchange) => {
                    return self.dispatcher.add(&method, &target, exchange);
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

    /// Accepts who has come.
    fn accept(&mut self) {
        self.is_full = false;
        for _ in 0..ACCEPTS_AT_ONCE {
            if !self.has_arrivals {
                return;
            }
            if self.clients.len() >= self.settings.max_connections && !self.make_room() {
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

    /// Makes room for whoever waits, if somebody does: closes the newest connections that do nothing. Returns whether
    /// accepting may go on.
    fn make_room(&mut self) -> bool {
        // A limit shows before it is known whether somebody waits.
        self.has_arrivals = self.listener.as_ref().is_some_and(Listener::has_arrivals);
        if !self.has_arrivals {
            return false;
        }
        let idle = self.clients.newest_idle();
        for &key in &idle {
            self.close(key);
        }
        self.is_full = idle.is_empty();
        !self.is_full
    }

    /// Ends what has gone on for too long.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now < self.next_sweep {
            return;
        }
        let is_finishing = self.last_moment.is_some();
        self.next_sweep = now + if is_finishing { LAST_SWEEP } else { SWEEP };
        self.dispatcher.reopen(&self.poll);
        let is_last = self.last_moment.is_some_and(|moment| now >= moment);
        for key in self
            .clients
            .keys(|client| is_last || client.is_overdue(now))
        {
            if let Some(client) = self.clients.get(key) {
                client.give_up(self.dispatcher.pool(), BodyError::TooSlow);
                self.advance(key);
            }
        }
        self.trimmer.note(self.clients.len());
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
        for key in self.clients.keys(|_| true) {
            if let Some(client) = self.clients.get(key) {
                client.close_when_idle(patience);
                self.advance(key);
            }
        }
    }

    /// Accepts those who wait already, and then nobody. What is incomplete at the last moment is answered so.
    fn finish(&mut self, last_moment: Instant) {
        self.last_moment = Some(last_moment);
        // They may have come since the last look.
        self.has_arrivals = true;
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
