//! What a client asks for: channels and patterns, and how much of what was before it came. It knows by itself what that is,
//! and not by what the hub makes of it.

use crate::event::{Event, EventId, Form, Topic};
use crate::hub::{time, From, Hub, Start};
use crate::ledger::{BROADCAST, NAMES};
use crate::oracle::number_in;
use crate::random::Random;
use std::collections::VecDeque;
use std::sync::Arc;

/// `broadcast` is in none of them.
const PATTERNS: [&str; 5] = ["*", "a*", "ab*", "b*", "br*"];

#[derive(Debug)]
pub struct Interest {
    /// As it names them.
    names: Vec<&'static str>,
    /// By what it is told of gaps, and the channels that this stands for, by number. No channel is in two of them.
    groups: Vec<(&'static str, Vec<usize>)>,
    pub form: Form,
    /// It begins with the newest so many.
    last: Option<usize>,
    /// It begins with what was published within so many ms.
    since_ms: Option<u64>,
}

impl Interest {
    pub fn draw(random: &mut Random) -> Interest {
        let count = random.below(4);
        let names = (0..count).map(|_| match random.once_in(3) {
            true => random.pick(&PATTERNS),
            false => NAMES[random.below(BROADCAST)],
        });
        let mut names: Vec<_> = names.chain([NAMES[BROADCAST]]).collect();
        names.sort_unstable();
        names.dedup();
        let is_said_by = |one: &str, other: &str| one != other && covers(other, one);
        let told = names.iter().filter(|one| {
            let mut others = names.iter();
            !others.any(|other| is_said_by(one, other))
        });
        let channels_of = |name: &str| {
            let all = 0..NAMES.len();
            all.filter(|&channel| covers(name, NAMES[channel]))
                .collect()
        };
        let groups = told.map(|&name| (name, channels_of(name))).collect();
        let form = random.pick(&[Form::Plain, Form::Json]);
        let has_wish = random.once_in(2);
        let since_ms = random.pick(&[5, 100, 3000, 100_000]);
        let last = random.pick(&[1, 2, 5, 20, 10_000]);
        Interest {
            names,
            groups,
            form,
            last: (has_wish && !random.once_in(3)).then_some(last),
            since_ms: (has_wish && random.once_in(3)).then_some(since_ms),
        }
    }

    pub fn topics(&self) -> Vec<Topic> {
        let topics = self.names.iter().map(|name| Topic::parse(name));
        topics.collect::<Result<_, _>>().expect("good names")
    }

    pub fn covers(&self, channel: usize) -> bool {
        self.groups.iter().any(|(_, all)| all.contains(&channel))
    }

    /// Whether it has the channel by a pattern.
    pub fn has_by_pattern(&self, channel: usize) -> bool {
        let mut patterns = self.groups.iter().filter(|(name, _)| name.ends_with('*'));
        patterns.any(|(_, all)| all.contains(&channel))
    }

    /// The channels of which a notice says that something is lost.
    pub fn group(&self, name: &str) -> Option<&[usize]> {
        let mut groups = self.groups.iter();
        groups
            .find(|(own, _)| *own == name)
            .map(|(_, all)| &all[..])
    }

    /// Where it begins when it comes for the first time.
    pub fn start(&self) -> Start {
        if self.last.is_none() && self.since_ms.is_none() {
            return Start::NOW;
        }
        let moment = |ago| time::wall_ms().saturating_sub(ago);
        Start {
            from: From::Moment(self.since_ms.map_or(0, moment)),
            last: self.last,
        }
    }

    /// Where it begins with this id; once in a while, of what came after that, with the newest few alone.
    pub fn start_after(&self, last_id: crate::hub::LastId, random: &mut Random) -> Start {
        let last = self.last.filter(|_| random.once_in(2));
        Start {
            from: From::Id(last_id),
            last,
        }
    }

    /// What it gets of these events, by number, if it begins so and has everything up to `after`.
    pub fn choose(&self, from: &[Kept], start: &Start, after: EventId) -> VecDeque<usize> {
        let since_ms = match start.from {
            From::Moment(ms) => ms,
            _ => 0,
        };
        let fitting = from.iter().filter(|kept| {
            self.covers(kept.channel)
                && kept.event.id > after
                && kept.event.timestamp_ms >= since_ms
        });
        let mut chosen: VecDeque<usize> = fitting.map(|kept| kept.number).collect();
        let surplus = start
            .last
            .map_or(0, |most| chosen.len().saturating_sub(most));
        chosen.drain(..surplus);
        chosen
    }
}

fn covers(topic: &str, name: &str) -> bool {
    match topic.strip_suffix('*') {
        Some(stem) => name.starts_with(stem) && name != NAMES[BROADCAST],
        None => topic == name,
    }
}

/// A message that a hub retains.
pub struct Kept {
    pub number: usize,
    pub channel: usize,
    pub event: Arc<Event>,
}

/// All that the hub retains, in order, or nothing if it is not filled.
pub fn retained(hub: &Hub) -> Result<Vec<Kept>, String> {
    let everything = Start {
        from: From::Moment(0),
        last: None,
    };
    let all = Topic::parse("*")?;
    let Ok(reading) = hub.read(&[all], everything) else {
        return Ok(Vec::new());
    };
    let events = reading.replay.events;
    let (count, all) = (events.len(), hub.stats().history_messages);
    if count != all {
        return Err(format!("{all} messages are retained, and {count} are read"));
    }
    let kept = events.into_iter().map(|event| {
        let name = event.channel.as_str();
        let channel = NAMES.iter().position(|own| *own == name);
        let (number, channel) = number_in(&event.text).zip(channel)?;
        Some(Kept {
            number,
            channel,
            event,
        })
    });
    let kept: Option<Vec<_>> = kept.collect();
    kept.ok_or_else(|| "something is retained that nobody has published".into())
}
