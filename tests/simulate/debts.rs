//! What is owed to a client of several servers: each accepted message of its channels, once and in order, from when it came
//! first; or a notice that some of those before are lost. Ids come from outside, and streams of messages are replaced and lose
//! their newest entries, so what counts is when a message was published.

use crate::client::Judge;
use crate::event::EventId;
use crate::hub::{From, Hub, Start};
use crate::interest::{retained, Interest};
use crate::ledger::NAMES;
use crate::oracle::{read_gap, read_message};
use crate::parser::Received;
use crate::redis::{Stream, SERVERS};
use crate::turn::with_net;
use std::collections::{HashSet, VecDeque};

/// What a publisher was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    None,
    /// It was published, with these ids from the first message of the request to the last.
    Accepted(EventId, EventId),
    /// Perhaps.
    Unconfirmed,
    /// Nothing was published.
    Refused,
}

#[derive(Debug)]
pub struct Message {
    server: usize,
    pub channel: usize,
    pub answer: Answer,
    /// With which ids Redis has stored it.
    ids: Vec<EventId>,
    /// Its place among all that Redis has stored.
    stored: usize,
    /// Redis has lost it before its publisher had an answer: a server looks for it, and stores it again.
    is_lost_unanswered: bool,
    loss: Option<Loss>,
    /// Nobody who lives can know that it was lost.
    is_forgotten: bool,
}

/// Redis has gone back to an older copy of its stream, which does not have a message. The servers that had it notice, and have
/// everybody told; until then others may go on from there.
#[derive(Debug)]
struct Loss {
    had_by: [bool; SERVERS],
    /// How often a stream had begun by then.
    begun: usize,
}

/// Every message, in the order in which they were published.
#[derive(Debug, Default)]
pub struct Book {
    pub messages: Vec<Message>,
    stored: usize,
    /// How far each server's hub is.
    pub newest: [EventId; SERVERS],
}

impl Book {
    /// Somebody publishes so many messages by a server. Returns the number of the first.
    pub fn ask(&mut self, server: usize, channel: usize, count: usize) -> usize {
        let first = self.messages.len();
        let messages = (0..count).map(|_| Message {
            server,
            channel,
            answer: Answer::None,
            ids: Vec::new(),
            stored: 0,
            is_lost_unanswered: false,
            loss: None,
            is_forgotten: false,
        });
        self.messages.extend(messages);
        first
    }

    /// Redis has stored a message.
    pub fn store(&mut self, number: usize, id: EventId) -> Result<(), String> {
        let message = &mut self.messages[number];
        if !message.ids.is_empty() && !message.is_lost_unanswered {
            return Err(format!("message {number} was stored twice"));
        }
        message.ids.push(id);
        self.stored += 1;
        message.stored = self.stored;
        Ok(())
    }

    /// Redis has lost what has no answer yet, perhaps.
    pub fn lose(&mut self) {
        let open = self.messages.iter_mut();
        open.filter(|message| message.answer == Answer::None)
            .for_each(|message| message.is_lost_unanswered = true);
    }

    /// Redis has gone back, and does not have these messages any more.
    pub fn go_back(&mut self, lost: &[usize], begun: usize) {
        for &number in lost {
            let message = &mut self.messages[number];
            let id = message.ids.last().copied().unwrap_or_default();
            let had_by = self.newest.map(|newest| newest >= id);
            message.loss = Some(Loss { had_by, begun });
            message.is_forgotten |= had_by == [false; SERVERS];
        }
    }

    /// Somebody has taken this message out of the stream by hand. Who has not read it may be told of that late.
    pub fn delete(&mut self, number: usize) {
        self.messages[number].is_forgotten = true;
    }

    /// A server has died: its publishers get no answers. A stream has begun so often.
    pub fn forget(&mut self, server: usize, begun: usize) {
        for message in &mut self.messages {
            if let Some(loss) = message.loss.as_mut().filter(|loss| loss.begun == begun) {
                loss.had_by[server] = false;
                message.is_forgotten |= loss.had_by == [false; SERVERS];
            }
        }
        let open = self.messages.iter_mut();
        open.filter(|message| message.server == server && message.answer == Answer::None)
            .for_each(|message| message.answer = Answer::Unconfirmed);
    }

    /// The publisher of these messages has its answer.
    pub fn answer(&mut self, first: usize, count: usize, answer: Answer) -> Result<(), String> {
        let own = &mut self.messages[first..first + count];
        if let Answer::Accepted(first_id, last_id) = answer {
            let is_so = own[0].ids.contains(&first_id) && own[count - 1].ids.contains(&last_id);
            if !is_so {
                return Err(format!(
                    "message {first} and {count} in all were accepted as {first_id} to {last_id}, and stored as {:?}",
                    own.iter().map(|message| &message.ids).collect::<Vec<_>>()
                ));
            }
        }
        own.iter_mut().for_each(|message| message.answer = answer);
        Ok(())
    }
}

impl Message {
    /// Its id, if it was accepted.
    fn accepted_as(&self) -> Option<EventId> {
        let is_accepted = matches!(self.answer, Answer::Accepted(..));
        self.ids.last().copied().filter(|_| is_accepted)
    }
}

/// What a client asks for, and what it has had, over all its connections.
#[derive(Debug)]
pub struct Debts {
    interest: Interest,
    /// The id with which it comes back.
    pub last: Option<EventId>,
    pub server: usize,
    /// How far its server has come, or had when it died.
    pub so_far: EventId,
    /// The first message that it is owed.
    from: usize,
    had: HashSet<usize>,
    excused: HashSet<usize>,
    /// What has to come before anything else, by number, where that is known one by one.
    history: VecDeque<usize>,
    pub chosen: usize,
    /// The newest id of this connection.
    newest: EventId,
    /// Channels of which it was told on this connection, before anything else, that the server does not know what it has.
    may_repeat: HashSet<usize>,
    /// Nothing was lost since it connected, and the server had everything.
    pub is_calm: bool,
    pub gaps: usize,
}

impl Debts {
    pub fn new(interest: Interest) -> Debts {
        Debts {
            interest,
            last: None,
            server: 0,
            so_far: EventId::ZERO,
            from: 0,
            had: HashSet::new(),
            excused: HashSet::new(),
            history: VecDeque::new(),
            chosen: 0,
            newest: EventId::ZERO,
            may_repeat: HashSet::new(),
            is_calm: false,
            gaps: 0,
        }
    }

    /// Messages that were accepted, and have neither come nor are excused.
    fn owed<'a>(&'a self, book: &'a Book) -> impl Iterator<Item = (usize, EventId)> + 'a {
        let messages = book.messages.iter().enumerate().skip(self.from);
        messages.filter_map(|(number, message)| {
            let id = message.accepted_as()?;
            let is_owed = self.interest.covers(message.channel)
                && !message.is_forgotten
                && !self.had.contains(&number)
                && !self.excused.contains(&number);
            is_owed.then_some((number, id))
        })
    }

    /// Where it asks for some of the history alone.
    fn choose(&mut self, hub: &Hub, start: &Start) -> Result<(), String> {
        let after = match &start.from {
            From::Moment(_) => EventId::ZERO,
            From::Id(named) if start.last.is_some() => {
                let id = self.last.unwrap_or_default();
                let is_known = id <= hub.feed().newest() || named.may_be_ahead;
                if is_known {
                    id
                } else {
                    EventId::ZERO
                }
            }
            _ => return Ok(()),
        };
        let retained = retained(hub)?;
        self.history = self.interest.choose(&retained, start, after);
        // It does not want the rest.
        let new = retained.iter().filter(|kept| kept.event.id > after);
        self.excused.extend(
            new.map(|kept| kept.number)
                .filter(|number| !self.history.contains(number)),
        );
        Ok(())
    }

    fn take_message(&mut self, event: &Received, book: &mut Book) -> Result<(), String> {
        let (number, stamp) = read_message(event, self.interest.form)?;
        let unknown = || format!("nobody has published {event:?}");
        let message = book.messages.get(number).ok_or_else(unknown)?;
        let channel = message.channel;
        let what = format!("message {number} of {}", NAMES[channel]);
        if message.answer == Answer::Refused {
            return Err(format!("{what} was refused, and came"));
        }
        if !self.interest.covers(channel) {
            return Err(format!(
                "{what} came to one who asks for {:?}",
                self.interest
            ));
        }
        let id = event.id.as_deref().and_then(EventId::parse);
        let id = id
            .filter(|id| message.ids.contains(id))
            .ok_or_else(|| format!("{what} has another id than in Redis: {event:?}"))?;
        if stamp.is_some_and(|(name, ms)| name != NAMES[channel] || ms != id.ms) {
            return Err(format!("{what} has a wrong channel or time: {event:?}"));
        }
        if id <= self.newest {
            let newest = self.newest;
            return Err(format!("{what} has id {id}, and came after {newest}"));
        }
        if let Some(next) = self.history.pop_front() {
            self.chosen += 1;
            if next != number {
                return Err(format!(
                    "{what} came, and message {next} is the next of what was before"
                ));
            }
        }
        let may_repeat = self.may_repeat.contains(&channel) || message.is_lost_unanswered;
        if !self.had.insert(number) && !may_repeat {
            return Err(format!("{what} came once more"));
        }
        self.newest = id;
        self.last = Some(id);
        // A Redis that has gone back to an older copy, and whose clock is behind, gives smaller ids to what comes later: of
        // that a gap is told later.
        let stored = message.stored;
        let mut owed = self.owed(book).filter(|(number, _)| {
            let other = &book.messages[*number];
            other.loss.is_none() && other.stored < stored
        });
        if let Some((missing, its)) = owed.find(|(_, its)| *its < id) {
            return Err(format!(
                "{what} came as {id}, before it message {missing}, accepted as {its}, did not, and no gap was told"
            ));
        }
        Ok(())
    }

    fn take_gap(&mut self, event: &Received, book: &Book) -> Result<(), String> {
        let (lost, after) = read_gap(event, &self.interest)?;
        self.gaps += 1;
        if self.is_calm {
            return Err(format!("a gap although nothing was lost: {event:?}"));
        }
        let is_of_replay = self.last.is_some_and(|last| last.to_string() == after);
        if self.newest == EventId::ZERO && is_of_replay {
            self.may_repeat.extend(lost);
        }
        let messages = book.messages.iter().enumerate().skip(self.from);
        // Ids of a stream that begins anew may be smaller, where nobody is left who knew the old one.
        let there = with_net(|net| net.redis.stream.as_ref().map(Stream::numbers));
        let there = there.unwrap_or_default();
        let excused = messages.filter(|(number, message)| {
            let is_had = |id: &EventId| *id <= self.so_far || !there.contains(number);
            lost.contains(&message.channel) && message.ids.last().is_some_and(is_had)
        });
        self.excused.extend(excused.map(|(number, _)| number));
        Ok(())
    }
}

impl Judge for Debts {
    type Book = Book;

    fn interest(&self) -> &Interest {
        &self.interest
    }

    fn connect(
        &mut self,
        book: &Book,
        server: usize,
        hub: &Hub,
        start: &Start,
    ) -> Result<(), String> {
        self.server = server;
        self.newest = EventId::ZERO;
        self.may_repeat.clear();
        if self.last.is_none() {
            self.from = book.messages.len();
            self.excused.clear();
        }
        self.history.clear();
        self.choose(hub, start)
    }

    fn take(&mut self, event: &Received, book: &mut Book) -> Result<(), String> {
        match event.name.as_str() {
            "" => self.take_message(event, book),
            "sse-gap" => self.take_gap(event, book),
            "sse-expired" => Ok(()),
            other => Err(format!("nobody has published an event {other:?}")),
        }
    }

    fn check_complete(&self, book: &Book) -> Result<(), String> {
        if let Some(next) = self.history.front() {
            return Err(format!("message {next} is retained, and did not come"));
        }
        match self.owed(book).next() {
            Some((number, id)) => Err(format!(
                "message {number} of {}, accepted as {id}, did not come, and no gap was told",
                NAMES[book.messages[number].channel]
            )),
            None => Ok(()),
        }
    }
}
