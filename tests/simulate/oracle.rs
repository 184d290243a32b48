//! What a client may and must get: each acknowledged message of its channels once and in order, from where it has joined or
//! come back; or a notice that some of those before are lost.

use crate::event::EventId;
use crate::ledger::{Ledger, BROADCAST, NAMES};
use crate::parser::Received;

/// A client's channels, and what it has had, over all its connections.
#[derive(Debug)]
pub struct Oracle {
    /// Sorted, with `broadcast`.
    pub channels: Vec<usize>,
    pub is_json: bool,
    /// There are several servers, with one stream of messages behind them.
    pub ids_come_from_outside: bool,
    /// The last message that it has had, by number, and the id with which it comes back.
    pub last: Option<(usize, EventId)>,
    /// The run of the server that it is or was connected to.
    run: usize,
    server: usize,
    /// It came without an id, before the server knew anything.
    is_early: bool,
    /// It came back with an id that the server must know.
    is_known: bool,
    /// The newest id of this connection.
    newest: EventId,
    expected: [Expected; NAMES.len()],
    pub gaps: usize,
    pub replays: usize,
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
    pub fn new(mut channels: Vec<usize>, is_json: bool) -> Oracle {
        channels.push(BROADCAST);
        channels.sort_unstable();
        channels.dedup();
        Oracle {
            channels,
            is_json,
            ids_come_from_outside: false,
            last: None,
            run: 0,
            server: 0,
            is_early: false,
            is_known: false,
            newest: EventId::ZERO,
            expected: Default::default(),
            gaps: 0,
            replays: 0,
        }
    }

    /// The client was accepted by a server that had come to the id `newest`.
    pub fn connect(&mut self, ledger: &Ledger, server: usize, newest: EventId) {
        self.server = server;
        self.is_early = self.last.is_none() && newest == EventId::ZERO;
        self.newest = EventId::ZERO;
        self.run = ledger.run;
        self.is_known = self
            .last
            .is_some_and(|(number, id)| ledger.is_of_this_run(number) && id >= ledger.sure_from);
        for (channel, expected) in self.expected.iter_mut().enumerate() {
            let live_from = if self.ids_come_from_outside {
                ledger.count_up_to_id(channel, newest)
            } else {
                ledger.count(channel)
            };
            *expected = Expected {
                next: live_from,
                live_from,
                ..Expected::default()
            };
            if let Some((number, _)) = self.last {
                expected.next = ledger.count_up_to(channel, number);
            } else {
                // What was published before it came, and was not there yet, may come or not.
                expected.may_skip_to = ledger.count(channel);
            }
        }
        if self.may_be_confused(ledger) {
            for expected in &mut self.expected {
                expected.may_skip_to = expected.live_from;
            }
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

    pub fn take(&mut self, event: &Received, ledger: &mut Ledger) -> Result<(), String> {
        match event.name.as_str() {
            "" => self.take_message(event, ledger),
            "sse-gap" => self.take_gap(event, ledger),
            "sse-expired" => Ok(()),
            other => Err(format!("nobody has published an event {other:?}")),
        }
    }

    fn take_message(&mut self, event: &Received, ledger: &mut Ledger) -> Result<(), String> {
        let unknown = || format!("nobody has published {event:?}");
        let mut text = event.data.clone();
        let mut stamp = None;
        if self.is_json {
            let value: serde_json::Value = serde_json::from_str(&text).map_err(|_| unknown())?;
            stamp = Some((value["canal"].clone(), value["timestamp"].clone()));
            text = value["mensagem"].as_str().ok_or_else(unknown)?.into();
        }
        let number = text.split(' ').next().and_then(|n| n.parse().ok());
        let number: usize = number.ok_or_else(unknown)?;
        let message = ledger.message(number).ok_or_else(unknown)?;
        let (channel, place, run) = (message.channel, message.place, message.run);
        let what = format!("message {number} of {}", NAMES[channel]);
        if text != text_of(number) {
            return Err(format!("{what} came as {text:?}"));
        }
        if stamp.is_some_and(|(name, ms)| name != NAMES[channel] || ms != message.timestamp_ms) {
            return Err(format!("{what} has a wrong channel or time: {event:?}"));
        }
        if !self.channels.contains(&channel) {
            return Err(format!(
                "{what} came to one who follows {:?}",
                self.channels
            ));
        }
        let id = event.id.as_deref().and_then(EventId::parse);
        let id = id.ok_or_else(|| format!("{what} has no good id: {event:?}"))?;
        ledger.check_id(number, id)?;
        if run != self.run {
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
        let expected = &mut self.expected[channel];
        self.replays += usize::from(place < expected.live_from);
        if self.is_early {
            let begun = ledger.begun_of(self.server, channel);
            expected.may_skip_to = expected.may_skip_to.max(begun);
        }
        let taken = expected.take(place);
        expected.has_begun = !self.ids_come_from_outside;
        taken.map_err(|fault| format!("{what} {fault}"))
    }

    fn take_gap(&mut self, event: &Received, ledger: &Ledger) -> Result<(), String> {
        let value: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
        let named = |&&channel: &&usize| value["canal"] == NAMES[channel];
        let Some(&channel) = self.channels.iter().find(named) else {
            return Err(format!(
                "a gap in a channel that it does not follow: {event:?}"
            ));
        };
        self.gaps += 1;
        if self.ids_come_from_outside {
            // At any time: what comes after it may still be from before the loss.
            let expected = &mut self.expected[channel];
            let lost = ledger.lost_of(self.server, channel);
            expected.may_skip_to = expected.live_from.max(lost);
            return Ok(());
        }
        let Some((_, id)) = self.last else {
            return Err(format!("a gap although it came without an id: {event:?}"));
        };
        if value["after"] != id.to_string() || self.newest != EventId::ZERO {
            return Err(format!(
                "a gap in the wrong place, or after a wrong id: {event:?}"
            ));
        }
        let expected = &mut self.expected[channel];
        expected.may_skip_to = expected.live_from;
        expected.may_repeat = !self.is_known;
        Ok(())
    }

    /// Whether all has come that had to.
    pub fn check_complete(&self, ledger: &Ledger) -> Result<(), String> {
        for &channel in &self.channels {
            let mut expected = self.expected[channel];
            if self.is_early {
                let begun = ledger.begun_of(self.server, channel);
                expected.may_skip_to = expected.may_skip_to.max(begun);
            }
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

/// What the message with this number says: the number, and some more.
pub fn text_of(number: usize) -> String {
    let more = (number * 7919) % 61;
    let line_end = if number % 5 == 0 { "\n" } else { "" };
    format!("{number} {line_end}{}", "x".repeat(more))
}
