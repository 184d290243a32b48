//! What publishers were told: every acknowledged message, in order.

use crate::event::EventId;

/// Channels by number; the last one is `broadcast`.
pub const NAMES: [&str; 6] = ["a", "ab", "abc", "b", "bc", "broadcast"];
pub const BROADCAST: usize = NAMES.len() - 1;

#[derive(Debug)]
pub struct Message {
    pub channel: usize,
    /// Its place among its channel's messages.
    pub place: usize,
    /// Not below the first and not above the last id of its batch.
    first: EventId,
    last: EventId,
    /// As the first client has seen it.
    id: Option<EventId>,
    pub timestamp_ms: u64,
    /// The run of the server that took it.
    pub run: usize,
}

#[derive(Debug, Default)]
pub struct Ledger {
    messages: Vec<Message>,
    by_channel: [Vec<usize>; NAMES.len()],
    /// Number of the present run.
    pub run: usize,
    /// The first run whose messages are not lost with it.
    pub first_run: usize,
    /// Number of each channel's messages at the end of each run before.
    ends: Vec<[usize; NAMES.len()]>,
    /// The newest id of this run.
    pub newest: EventId,
    /// Ids of this run from this one on cannot be confused with those of earlier runs, as long as the clock of those was not
    /// ahead.
    pub sure_from: EventId,
    /// The clock was seen to be set ahead, and no id was given since.
    pub has_clock_jumped: bool,
}

impl Ledger {
    /// Takes note of an acknowledged publish of the messages that begin with number `number`.
    pub fn acknowledge(
        &mut self,
        channel: usize,
        count: usize,
        ids: (EventId, EventId),
        timestamp_ms: u64,
    ) -> Result<(), String> {
        let (first, last) = ids;
        if first <= self.newest {
            return Err(format!("id {first} was given after {}", self.newest));
        }
        if (first == last) != (count == 1) || first > last {
            return Err(format!("{count} messages have the ids {first} to {last}"));
        }
        self.newest = last;
        if std::mem::take(&mut self.has_clock_jumped) {
            self.sure_from = first;
        }
        for _ in 0..count {
            let place = self.by_channel[channel].len();
            self.by_channel[channel].push(self.messages.len());
            self.messages.push(Message {
                channel,
                place,
                first,
                last,
                id: None,
                timestamp_ms,
                run: self.run,
            });
        }
        Ok(())
    }

    /// A server starts, whose ids begin here.
    pub fn begin_run(&mut self, sure_from: EventId) {
        self.go_on();
        self.first_run = self.run;
        self.newest = EventId::ZERO;
        self.has_clock_jumped = false;
        self.sure_from = sure_from;
    }

    /// A server starts that has everything that the one before had.
    pub fn go_on(&mut self) {
        if self.run > 0 {
            let counts = std::array::from_fn(|channel| self.count(channel));
            self.ends.push(counts);
        }
        self.run += 1;
    }

    /// Number of the channel's messages up to the end of a run.
    pub fn count_until(&self, run: usize, channel: usize) -> usize {
        let end = self.ends.get(run - 1);
        end.map_or_else(|| self.count(channel), |counts| counts[channel])
    }

    /// The number that the next message will have.
    pub fn next_number(&self) -> usize {
        self.messages.len()
    }

    pub fn is_of_this_run(&self, number: usize) -> bool {
        self.messages
            .get(number)
            .is_some_and(|message| message.run >= self.first_run)
    }

    pub fn message(&self, number: usize) -> Option<&Message> {
        self.messages.get(number)
    }

    /// Number of the channel's messages.
    pub fn count(&self, channel: usize) -> usize {
        self.by_channel[channel].len()
    }

    /// Number of the channel's messages up to the one with this number, which may be another channel's.
    pub fn count_up_to(&self, channel: usize, number: usize) -> usize {
        self.by_channel[channel].partition_point(|&other| other <= number)
    }

    /// Checks the id with which a message has come.
    pub fn check_id(&mut self, number: usize, id: EventId) -> Result<(), String> {
        let message = &mut self.messages[number];
        let known = *message.id.get_or_insert(id);
        if known != id || id < message.first || id > message.last {
            let (first, last) = (message.first, message.last);
            return Err(format!(
                "message {number} came as {id}; it was acknowledged as {first} to {last}, and has come as {known}"
            ));
        }
        Ok(())
    }
}
