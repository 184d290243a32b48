//! A client: it connects, reads as fast as its mood is, hangs up, and comes back with the last id that it has seen.

use crate::access::{Access, Permit, Rules};
use crate::counters::End;
use crate::hub::{Hub, LastId, Start, Stream};
use crate::interest::Interest;
use crate::parser::{Parser, Received};
use crate::random::Random;
use crate::story::Story;
use crate::wire::Wire;
use std::fmt::{self, Display, Formatter};

/// Who judges what a client gets, by what the publishers were told.
pub trait Judge {
    /// What the publishers were told.
    type Book;

    /// What the client asks for.
    fn interest(&self) -> &Interest;

    /// It was accepted by a server with this hub.
    fn connect(
        &mut self,
        book: &Self::Book,
        server: usize,
        hub: &Hub,
        start: &Start,
    ) -> Result<(), String>;

    /// It has got an event.
    fn take(&mut self, event: &Received, book: &mut Self::Book) -> Result<(), String>;

    /// Whether all has come that had to.
    fn check_complete(&self, book: &Self::Book) -> Result<(), String>;
}

pub struct Client<J> {
    number: usize,
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
    pub chosen: usize,
    pub by_pattern: usize,
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
    fn fields(&mut self) -> [&mut usize; 16] {
        [
            &mut self.received,
            &mut self.replayed,
            &mut self.chosen,
            &mut self.by_pattern,
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

/// Everybody may follow everything.
pub fn permit() -> Result<Permit, String> {
    let access = Access::new(None, None, Rules::without_file());
    let caller = access.identify(None).map_err(|e| format!("{e:?}"))?;
    caller.follow(&[]).map_err(|e| format!("{e:?}"))
}

impl<J> Display for Client<J> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.number)
    }
}

impl<J: Judge> Client<J> {
    pub fn new(number: usize, oracle: J) -> Client<J> {
        Client {
            number,
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

    /// Where it begins, with this id if it comes back.
    pub fn start(&self, last_id: Option<LastId>, random: &mut Random) -> Start {
        let interest = self.oracle.interest();
        match last_id {
            Some(id) => interest.start_after(id, random),
            None => interest.start(),
        }
    }

    /// Comes to a server, which may refuse it. Returns whether it was accepted.
    pub fn connect(
        &mut self,
        hub: &Hub,
        server: usize,
        start: Start,
        book: &J::Book,
        random: &mut Random,
    ) -> Result<bool, String> {
        let interest = self.oracle.interest();
        let permit = permit()?;
        let Ok(subscription) =
            hub.subscribe(&interest.topics(), interest.form, start.clone(), permit)
        else {
            return Ok(false);
        };
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
        self.oracle.connect(book, server, hub, &start)?;
        Ok(true)
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

    /// Reads as much as it likes to. At the end of its stream it sees the end of the connection.
    pub fn read(
        &mut self,
        book: &mut J::Book,
        tally: &mut Tally,
        story: &mut Story,
    ) -> Result<(), String> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let bytes = connection.wire.read(self.appetite);
        let events = connection.parser.take(&bytes);
        for event in events.map_err(|fault| format!("{self}: {fault}"))? {
            story.tell(|| format!("{self} gets {event:?}"));
            let taken = self.oracle.take(&event, book);
            taken.map_err(|fault| format!("{self}: {fault}"))?;
            tally.received += 1;
        }
        if bytes.is_empty() && self.appetite > 0 && !self.is_served() {
            story.tell(|| format!("{self} is at the end"));
            let ended = self.end(book, tally);
            ended.map_err(|fault| format!("{self}: {fault}"))?;
        }
        Ok(())
    }

    fn end(&mut self, book: &J::Book, tally: &mut Tally) -> Result<(), String> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let (is_clean, end) = (connection.parser.has_ended(), connection.end);
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
