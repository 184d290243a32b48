//! A client: it connects, reads as fast as its mood is, hangs up, and comes back with the last id that it has seen.

use crate::access::Permit;
use crate::event::{EventId, Form, Topic};
use crate::hub::{End, Hub, LastId, Refusal, Start, Stream};
use crate::ledger::NAMES;
use crate::parser::{Parser, Received};
use crate::random::Random;
use crate::wire::Wire;

/// Who judges what a client gets, by what the publishers were told.
pub trait Judge {
    /// What the publishers were told.
    type Book;

    /// The channels that the client follows, by number.
    fn channels(&self) -> &[usize];

    /// Whether it wants its events as JSON.
    fn is_json(&self) -> bool;

    /// It was accepted by a server that had come to the id `newest`.
    fn connect(&mut self, book: &Self::Book, server: usize, newest: EventId);

    /// It has got an event.
    fn take(&mut self, event: &Received, book: &mut Self::Book) -> Result<(), String>;

    /// Whether all has come that had to.
    fn check_complete(&self, book: &Self::Book) -> Result<(), String>;
}

pub struct Client<J> {
    pub oracle: J,
    /// Bytes that it reads at a time; 0 for one that does not read.
    pub appetite: usize,
    connection: Option<Connection>,
}

struct Connection {
    /// The server's end, until it has ended or crashed.
    stream: Option<Stream>,
    end: Option<End>,
    server: usize,
    wire: std::sync::Arc<Wire>,
    parser: Parser,
}

/// What has happened, to see that the simulation comes everywhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub received: usize,
    pub replayed: usize,
    pub gaps: usize,
    pub direct: usize,
    pub direct_parts: usize,
    pub came_back: usize,
    pub slow: usize,
    pub revoked: usize,
    pub sent_away: usize,
    pub shutdowns: usize,
    pub restarts: usize,
    pub refused: usize,
    pub no_room: usize,
    pub unconfirmed: usize,
}

impl Tally {
    fn fields(&mut self) -> [&mut usize; 14] {
        [
            &mut self.received,
            &mut self.replayed,
            &mut self.gaps,
            &mut self.direct,
            &mut self.direct_parts,
            &mut self.came_back,
            &mut self.slow,
            &mut self.revoked,
            &mut self.sent_away,
            &mut self.shutdowns,
            &mut self.restarts,
            &mut self.refused,
            &mut self.no_room,
            &mut self.unconfirmed,
        ]
    }

    pub fn add(&mut self, mut other: Tally) {
        for (sum, more) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    pub fn reaches_everything(&mut self) -> bool {
        self.fields().iter().all(|count| **count > 0)
    }
}

impl<J: Judge> Client<J> {
    pub fn new(oracle: J) -> Client<J> {
        Client {
            oracle,
            appetite: 100,
            connection: None,
        }
    }

    /// Whether its stream goes on.
    pub fn is_served(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.stream.is_some())
    }

    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub fn connect(
        &mut self,
        hub: &Hub,
        server: usize,
        permit: Permit,
        last: Option<LastId>,
        book: &J::Book,
        random: &mut Random,
    ) -> Result<(), Refusal> {
        let topic = |&channel: &usize| Topic::parse(NAMES[channel]).expect("a good name");
        let topics: Vec<Topic> = self.oracle.channels().iter().map(topic).collect();
        let form = if self.oracle.is_json() {
            Form::Json
        } else {
            Form::Plain
        };
        let start = last.map_or(Start::NOW, Start::after);
        let subscription = hub.subscribe(&topics, form, start, permit)?;
        let wire = Wire::new(20 + random.below(400), random.fork());
        self.connection = Some(Connection {
            stream: Some(Stream::start(
                subscription,
                wire.clone(),
                !random.once_in(5),
            )),
            end: None,
            server,
            wire,
            parser: Parser::default(),
        });
        self.oracle.connect(book, server, hub.feed().newest());
        Ok(())
    }

    /// One step of its stream's thread.
    pub fn step(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(stream) = &mut connection.stream else {
            return;
        };
        stream.step();
        if let Some(end) = stream.end() {
            connection.end = Some(end);
            connection.stream = None;
        }
    }

    /// A heartbeat is due.
    pub fn time_out(&mut self) {
        let stream = self.connection.as_mut().and_then(|c| c.stream.as_mut());
        if let Some(stream) = stream {
            stream.time_out();
        }
    }

    /// Reads. At the end of its stream it sees the end of the connection.
    pub fn read(
        &mut self,
        most: usize,
        book: &mut J::Book,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let bytes = connection.wire.read(most);
        for event in connection.parser.take(&bytes)? {
            self.oracle.take(&event, book)?;
            tally.received += 1;
        }
        if bytes.is_empty() && most > 0 && connection.stream.is_none() {
            let is_clean = connection.parser.has_ended();
            let end = connection.end;
            match end {
                Some(End::Shutdown | End::Revoked | End::SentAway) if !is_clean => {
                    return Err(format!("{end:?} without a last chunk"));
                }
                Some(End::Shutdown) => self.oracle.check_complete(book)?,
                _ => {}
            }
            tally.slow += usize::from(end == Some(End::Slow));
            tally.revoked += usize::from(end == Some(End::Revoked));
            tally.sent_away += usize::from(end == Some(End::SentAway));
            tally.shutdowns += usize::from(end == Some(End::Shutdown));
            self.hang_up(tally);
        }
        Ok(())
    }

    /// What its stream is allowed for.
    pub fn permit(&self) -> Option<&Permit> {
        Some(self.connection.as_ref()?.stream.as_ref()?.permit())
    }

    /// Leaves; what is on its way to it is lost.
    pub fn hang_up(&mut self, tally: &mut Tally) {
        if let Some(connection) = self.connection.take() {
            let [whole, parts] = connection.wire.direct();
            tally.direct += whole;
            tally.direct_parts += parts;
        }
    }

    /// The server is gone from one moment to the next.
    pub fn lose_server(&mut self, server: usize) {
        let connection = self.connection.as_mut();
        if let Some(connection) = connection.filter(|c| c.server == server) {
            connection.stream = None;
        }
    }

    /// From now on it takes whatever comes.
    pub fn hurry(&mut self) {
        self.appetite = 10_000;
        if let Some(connection) = &self.connection {
            connection.wire.set_room(10_000);
        }
    }
}
