//! Judges a run by its record.
//!
//! Each message that was accepted, or that anybody has seen, is owed to every client of its channel, once. It is excused
//! only by an `sse-gap` of its channel that was told after the message was sent, and that names an id before it. (Where in
//! the replay that follows the gap something is missing, a gap does not tell.) Ids grow for every client, and are the same
//! for everybody.

use super::record::{Answer, Id, Request, Seen};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// What one client follows, and what it saw.
pub struct Client {
    pub channels: Vec<String>,
    pub seen: Vec<(Duration, Seen)>,
}

/// The faults, by kind, in words.
pub type Faults = BTreeMap<&'static str, Vec<String>>;

pub struct Verdict {
    pub faults: Faults,
    /// Messages that did not reach a client, and that a gap excuses.
    pub excused: usize,
}

/// A message, and what is known of it.
struct Message<'a> {
    request: &'a Request,
    /// Its place in the batch.
    place: usize,
    /// As the first client saw it.
    id: Option<Id>,
}

/// Everything that is wrong. Before `lost_from` nothing was lost, so no gap may be told.
pub fn judge(requests: &[Request], clients: &[Client], lost_from: Duration) -> Verdict {
    let mut faults = Faults::new();
    let mut messages: HashMap<&str, Message> = HashMap::new();
    for request in requests {
        if let Answer::Wrong(_) = request.answer {
            add(&mut faults, "wrong answer", request.to_string());
        }
        for (place, key) in request.keys.iter().enumerate() {
            let message = Message {
                request,
                place,
                id: None,
            };
            messages.insert(key, message);
        }
    }
    for (number, client) in clients.iter().enumerate() {
        look_at_what_came(number, client, &mut messages, &mut faults);
    }
    look_at_publishers(requests, &mut faults);
    let owed = owed(requests, &messages);
    let mut excused = 0;
    for (number, client) in clients.iter().enumerate() {
        for (at, seen) in &client.seen {
            if matches!(seen, Seen::Gap { .. }) && *at < lost_from {
                let what = format!("client {number} at {:.3}: {seen}", at.as_secs_f64());
                add(&mut faults, "needless gap", what);
            }
        }
        excused += look_for_losses(number, client, &owed, &mut faults);
    }
    Verdict { faults, excused }
}

fn add(faults: &mut Faults, kind: &'static str, what: String) {
    faults.entry(kind).or_default().push(what);
}

/// Whether what a client got was published, to it, once, in order, and with the id that everybody has.
fn look_at_what_came<'a>(
    number: usize,
    client: &'a Client,
    messages: &mut HashMap<&str, Message<'a>>,
    faults: &mut Faults,
) {
    let mut had: HashSet<&str> = HashSet::new();
    let mut newest = (0, 0);
    let mut is_behind_gap = false;
    for (at, seen) in &client.seen {
        // A stream that begins with gaps may have begun at the beginning of what is retained.
        match seen {
            Seen::Gap { .. } => is_behind_gap = true,
            Seen::Asked { .. } => is_behind_gap = false,
            _ => {}
        }
        let told = |what: &str| format!("client {number} at {:.3}: {seen}{what}", at.as_secs_f64());
        let Seen::Message { channel, id, key } = seen else {
            if let Seen::Wrong(_) = seen {
                add(faults, "wrong event", told(""));
            }
            continue;
        };
        let Some(message) = messages.get_mut(key.as_str()) else {
            add(faults, "never published", told(""));
            continue;
        };
        if !had.insert(key) {
            let kind = if is_behind_gap {
                "twice behind a gap"
            } else {
                "twice"
            };
            add(faults, kind, told(""));
        } else if *id <= newest {
            let after = format!(", after {}-{}", newest.0, newest.1);
            add(faults, "out of order", told(&after));
        }
        newest = newest.max(*id);
        let request = message.request;
        if *channel != request.channel || !client.channels.contains(channel) {
            add(faults, "wrong channel", told(&format!(", of {request}")));
        }
        if request.answer == Answer::Refused {
            add(faults, "refused and came", told(&format!(", of {request}")));
        }
        let known = *message.id.get_or_insert(*id);
        let agrees = match request.answer {
            Answer::Accepted(first, last) => {
                let begins = message.place > 0 || *id == first;
                let ends = message.place + 1 < request.keys.len() || *id == last;
                begins && ends && (first..=last).contains(id)
            }
            _ => true,
        };
        if known != *id || !agrees {
            let others = format!(", others {}-{}, of {request}", known.0, known.1);
            add(faults, "two ids", told(&others));
        }
    }
}

/// Whether ids grow from answer to answer.
fn look_at_publishers(requests: &[Request], faults: &mut Faults) {
    let mut newest: HashMap<usize, Id> = HashMap::new();
    for request in requests {
        let Answer::Accepted(first, last) = request.answer else {
            continue;
        };
        let before = newest.entry(request.publisher).or_default();
        if first <= *before || last < first {
            let what = format!("{request}, after {}-{}", before.0, before.1);
            add(faults, "answers out of order", what);
        }
        *before = last;
    }
}

/// Messages that every client of their channel has to get: their keys, ids and requests. Of a batch all or none.
fn owed<'a>(
    requests: &'a [Request],
    messages: &HashMap<&str, Message>,
) -> Vec<(&'a str, Id, &'a Request)> {
    let mut owed = Vec::new();
    for request in requests {
        let seen = |key: &String| messages.get(key.as_str()).and_then(|message| message.id);
        let accepted = match request.answer {
            Answer::Accepted(first, _) => Some(first),
            _ => None,
        };
        let Some(about) = accepted.or_else(|| request.keys.iter().find_map(seen)) else {
            continue;
        };
        for key in &request.keys {
            owed.push((key.as_str(), seen(key).unwrap_or(about), request));
        }
    }
    owed
}

/// How many of the owed messages did not come, and are excused.
fn look_for_losses(
    number: usize,
    client: &Client,
    owed: &[(&str, Id, &Request)],
    faults: &mut Faults,
) -> usize {
    let mut excused = 0;
    let mut had: HashSet<&str> = HashSet::new();
    let mut gaps: HashMap<&str, Vec<(Duration, Id)>> = HashMap::new();
    for (at, seen) in &client.seen {
        match seen {
            Seen::Message { key, .. } => {
                had.insert(key);
            }
            Seen::Gap { channel, after } => gaps.entry(channel).or_default().push((*at, *after)),
            _ => {}
        }
    }
    for (key, id, request) in owed {
        if had.contains(key) || !client.channels.contains(&request.channel) {
            continue;
        }
        let of_channel = gaps.get(request.channel.as_str());
        let excuses = |(at, after): &(Duration, Id)| after < id && request.begun <= *at;
        if of_channel.is_some_and(|gaps| gaps.iter().any(excuses)) {
            excused += 1;
        } else {
            let what = format!(
                "client {number} never got {key} ({}-{}), of {request}",
                id.0, id.1
            );
            add(faults, "lost", what);
        }
    }
    excused
}
