//! What a client may and must get: each acknowledged message of its channels once and in order, from where it has joined or
//! come back; or a notice that some of those before are lost.

use crate::client::Judge;
use crate::event::{EventId, Form};
use crate::hub::{From, Hub, Start};
use crate::interest::{retained, Interest};
use crate::ledger::{Ledger, NAMES};
use crate::parser::Received;
use std::collections::VecDeque;

/// What a client asks for, and what it has had, over all its connections.
#[derive(Debug)]
pub struct Oracle {
    interest: Interest,
    /// The last message that it has had, by number, and the id with which it comes back.
    pub last: Option<(usize, EventId)>,
    /// The run of the server that it is or was connected to, and the first one whose messages that has.
    run: usize,
    first_run: usize,
    /// It came back with an id that the server must know.
    is_known: bool,
    /// The newest id of this connection.
    newest: EventId,
    expected: [Expected; NAMES.len()],
    /// What has to come before anything else, by number, where that is known one by one.
    history: VecDeque<usize>,
    pub gaps: usize,
    pub replays: usize,
    pub chosen: usize,
    pub by_pattern: usize,
}

/// What has to come of one channel, by the places of its messages.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    next: usize,
    /// The channel's messages when the client connected: from here on there is no excuse.
    live_from: usize,
    /// What was before this may be left out: the notice was given.
    may_skip_to: usize,
    may_repeat: bool,
    /// Something of the channel has come, and what comes after it has no gaps.
    has_begun: bool,
}

impl Oracle {
    pub fn new(interest: Interest) -> Oracle {
        Oracle {
            interest,
            last: None,
            run: 0,
            first_run: 0,
            is_known: false,
            newest: EventId::ZERO,
            expected: Default::default(),
            history: VecDeque::new(),
            gaps: 0,
            replays: 0,
            chosen: 0,
            by_pattern: 0,
        }
    }

    /// It comes back with an id that an earlier run gave while its clock was ahead, and that this run has come to itself:
    /// nobody can tell it from one of this run.
    fn may_be_confused(&self, ledger: &Ledger) -> bool {
        self.last.is_some_and(|(number, id)| {
            let is_old = !ledger.is_of_this_run(number);
            is_old && id >= ledger.sure_from && id <= ledger.newest
        })
    }

    /// Where it asks for some of the history alone.
    fn choose(&mut self, hub: &Hub, start: &Start) -> Result<(), String> {
        let after = match (&start.from, self.last) {
            (From::Moment(_), _) => EventId::ZERO,
            (From::Id(_), Some((_, id))) if start.last.is_some() && self.is_known => id,
            _ => return Ok(()),
        };
        let retained = retained(hub)?;
        self.history = self.interest.choose(&retained, start, after);
        for (channel, expected) in self.expected.iter_mut().enumerate() {
            let count = retained
                .iter()
                .filter(|kept| kept.channel == channel)
                .count();
            // Or else something is lost, and it has to be told of that.
            if expected.next + count >= expected.live_from {
                expected.next = expected.live_from;
            }
        }
        Ok(())
    }

    fn take_message(&mut self, event: &Received, ledger: &mut Ledger) -> Result<(), String> {
        let (number, stamp) = read_message(event, self.interest.form)?;
        let unknown = || format!("nobody has published {event:?}");
        let message = ledger.message(number).ok_or_else(unknown)?;
        let (channel, place, run) = (message.channel, message.place, message.run);
        let what = format!("message {number} of {}", NAMES[channel]);
        if stamp.is_some_and(|(name, ms)| name != NAMES[channel] || ms != message.timestamp_ms) {
            return Err(format!("{what} has a wrong channel or time: {event:?}"));
        }
        if !self.interest.covers(channel) {
            return Err(format!(
                "{what} came to one who asks for {:?}",
                self.interest
            ));
        }
        let id = event.id.as_deref().and_then(EventId::parse);
        let id = id.ok_or_else(|| format!("{what} has no good id: {event:?}"))?;
        ledger.check_id(number, id)?;
        if run < self.first_run || run > self.run {
            return Err(format!("{what} is of another run of the server"));
        }
        if id <= self.newest {
            return Err(format!(
                "{what} has id {id}, and came after {}",
                self.newest
            ));
        }
        self.newest = id;
        self.last = Some((number, id));
        self.by_pattern += usize::from(self.interest.has_by_pattern(channel));
        if let Some(next) = self.history.pop_front() {
            self.chosen += 1;
            return match next == number {
                true => Ok(()),
                false => Err(format!(
                    "{what} came, and message {next} is the next of what was before"
                )),
            };
        }
        let expected = &mut self.expected[channel];
        self.replays += usize::from(place < expected.live_from);
        let taken = expected.take(place);
        expected.has_begun = true;
        taken.map_err(|fault| format!("{what} {fault}"))
    }

    fn take_gap(&mut self, event: &Received) -> Result<(), String> {
        let (lost, after) = read_gap(event, &self.interest)?;
        self.gaps += 1;
        let Some((_, id)) = self.last else {
            return Err(format!("a gap although it came without an id: {event:?}"));
        };
        if after != id.to_string() || self.newest != EventId::ZERO {
            return Err(format!(
                "a gap in the wrong place, or after a wrong id: {event:?}"
            ));
        }
        for &channel in lost {
            let expected = &mut self.expected[channel];
            expected.may_skip_to = expected.live_from;
            expected.may_repeat = !self.is_known;
        }
        Ok(())
    }
}

impl Judge for Oracle {
    type Book = Ledger;

    fn interest(&self) -> &Interest {
        &self.interest
    }

    fn connect(
        &mut self,
        ledger: &Ledger,
        _: usize,
        hub: &Hub,
        start: &Start,
    ) -> Result<(), String> {
        self.newest = EventId::ZERO;
        self.run = ledger.run;
        self.first_run = ledger.first_run;
        self.is_known = self
            .last
            .is_some_and(|(number, id)| ledger.is_of_this_run(number) && id >= ledger.sure_from);
        for (channel, expected) in self.expected.iter_mut().enumerate() {
            let live_from = ledger.count(channel);
            *expected = Expected {
                next: live_from,
                live_from,
                ..Expected::default()
            };
            if let Some((number, _)) = self.last {
                expected.next = ledger.count_up_to(channel, number);
            }
        }
        if self.may_be_confused(ledger) {
            for expected in &mut self.expected {
                expected.may_skip_to = expected.live_from;
            }
        }
        self.history.clear();
        self.choose(hub, start)
    }

    fn take(&mut self, event: &Received, ledger: &mut Ledger) -> Result<(), String> {
        match event.name.as_str() {
            "" => self.take_message(event, ledger),
            "sse-gap" => self.take_gap(event),
            "sse-expired" => Ok(()),
            other => Err(format!("nobody has published an event {other:?}")),
        }
    }

    fn check_complete(&self, ledger: &Ledger) -> Result<(), String> {
        if let Some(next) = self.history.front() {
            return Err(format!("message {next} is retained, and did not come"));
        }
        let own = (0..NAMES.len()).filter(|&channel| self.interest.covers(channel));
        for channel in own {
            let expected = &self.expected[channel];
            let count = ledger.count_until(self.run, channel);
            let least = if expected.has_begun {
                expected.next
            } else {
                expected.may_skip_to.max(expected.next)
            };
            if least < count {
                return Err(format!(
                    "{} of {count} messages of {} did not come, and no gap was told",
                    count - least,
                    NAMES[channel]
                ));
            }
        }
        Ok(())
    }
}

impl Expected {
    fn take(&mut self, place: usize) -> Result<(), String> {
        let may_skip = !self.has_begun && place <= self.may_skip_to;
        if place > self.next && !may_skip {
            let missing = place - self.next;
            return Err(format!(
                "came, {missing} before it did not, and no gap was told"
            ));
        }
        if place < self.next && (self.has_begun || !self.may_repeat) {
            return Err("came once more".into());
        }
        self.next = place + 1;
        Ok(())
    }
}

/// The number of the message that an event is, and the channel and the time that it names if it is JSON.
pub fn read_message(
    event: &Received,
    form: Form,
) -> Result<(usize, Option<(String, u64)>), String> {
    let unknown = || format!("nobody has published {event:?}");
    let (mut text, mut stamp) = (event.data.clone(), None);
    if form == Form::Json {
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|_| unknown())?;
        let name = value["canal"].as_str().ok_or_else(unknown)?.to_string();
        stamp = Some((name, value["timestamp"].as_u64().ok_or_else(unknown)?));
        text = value["mensagem"].as_str().ok_or_else(unknown)?.into();
    }
    let number = number_in(&text).ok_or_else(unknown)?;
    if text != text_of(number) {
        return Err(format!("message {number} came as {text:?}"));
    }
    Ok((number, stamp))
}

/// The channels in which a gap is told, and after which id.
pub fn read_gap<'a>(
    event: &Received,
    interest: &'a Interest,
) -> Result<(&'a [usize], String), String> {
    let value: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
    let lost = interest.group(value["canal"].as_str().unwrap_or_default());
    let lost = lost.ok_or_else(|| format!("a gap in what it does not follow: {event:?}"))?;
    let after = value["after"].as_str().unwrap_or_default().to_string();
    Ok((lost, after))
}

/// The number of the message that says this.
pub fn number_in(text: &str) -> Option<usize> {
    text.split(' ').next()?.parse().ok()
}

/// What the message with this number says: the number, and some more.
pub fn text_of(number: usize) -> String {
    let more = (number * 7919) % 61;
    let line_end = if number % 5 == 0 { "\n" } else { "" };
    format!("{number} {line_end}{}", "x".repeat(more))
}
