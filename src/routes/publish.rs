//! `POST /publish`: ask access, read the message, hand it to the hub, answer with its id.

use super::app::App;
use super::credentials::{denied, identify};
use super::idempotency;
use super::outcome::{Later, Outcome, Waiting};
use super::parameters::{channels, refused, refused_try, single};
use super::store::MessageStore;
use crate::access::{Action, Caller};
use crate::counters::Counters;
use crate::event::{ChannelName, EventName};
use crate::http::problem::{Problem, RETRY_AFTER};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::request::{BodyError, NoBody, Peer, Request};
use crate::hub::{Attempted, Published, Refusal};
use crate::idempotency::{Attempt, Begun, Claim, Publication};
use crate::numbers::column;
use serde::de::IgnoredAny;
use serde::Serialize;

pub(super) fn publish(
    app: &App,
    request: &Request,
    segment: Option<&str>,
) -> Result<Outcome, Problem> {
    // Before anything else: without the right nobody learns more than that, or makes us read a body.
    let caller = identify(app, request)?;
    let channel = channel(request, segment);
    match &channel {
        Ok(channel) => caller.check(Action::Publish, channel),
        Err(_) => caller.check_any(Action::Publish),
    }
    .map_err(denied)?;
    let channel = channel?;
    let key = idempotency::key(request)?;
    let query = &request.target.query;
    let event_name = single(query, "event")?
        .map_or(Ok(None), EventName::parse)
        .map_err(Problem::bad_request)?;
    let is_batch = request.header("Content-Type").is_some_and(is_ndjson);
    let limit = if is_batch {
        largest_body(app.max_message_bytes)
    } else {
        app.max_message_bytes
    };
    let body = match request.body(limit) {
        Ok(body) => body,
        // Nobody is asked for a body that would be refused.
        Err(NoBody::NotYet) if query.has("msg") => return Err(two_messages(is_batch)),
        Err(NoBody::NotYet) => return Ok(Outcome::ReadBody(limit)),
        Err(NoBody::Failed(BodyError::TooLarge)) if is_batch => {
            return Err(Problem::batch_too_large(limit, MAX_BATCH_LINES))
        }
        Err(NoBody::Failed(error)) => return Err(bad_body(error, limit)),
    };
    let messages = if is_batch {
        batch(app, query, body)?
    } else {
        vec![message(app, query, body)?]
    };

    let attempt = key.map(|key| {
        let name = event_name.as_ref();
        Attempt::new(caller.scope(), &channel, key, name, is_batch, &messages)
    });
    let publication = Publication {
        channel,
        event_name,
        messages,
        attempt,
    };
    let report = Report {
        channel: publication.channel.clone(),
        bytes: publication.bytes(),
        is_batch,
        peer: request.peer,
        caller,
    };
    let claim = match attempt.map(|attempt| app.keys.begin(attempt)) {
        None => None,
        Some(Begun::First(claim)) => Some(claim),
        Some(Begun::Known(published)) => {
            let reply = report.again(Ok(published), app.hub.counters());
            return Ok(Outcome::Reply(reply));
        }
        Some(Begun::OtherContent) => return Err(refused(Refusal::KeyUsed)),
        Some(Begun::UnderWay(first)) => {
            let hub = app.hub.clone();
            return Ok(Outcome::Later(Later::new(move |answer| {
                first.then(move |outcome| answer(report.again(outcome, hub.counters())));
            })));
        }
    };
    let end = Finish { report, claim };
    Ok(match MessageStore::of(app) {
        Some(store) => publish_by(store, app, publication, end),
        None => publish_here(app, publication, end),
    })
}

fn publish_here(app: &App, publication: Publication, end: Finish) -> Outcome {
    let (channel, name) = (publication.channel, publication.event_name);
    let attempted = app
        .hub
        .try_publish(&channel, name.as_ref(), publication.messages);
    let published = match attempted {
        Ok(Attempted::Published(published)) => Ok(published),
        Ok(Attempted::NoRoom(messages)) => {
            let hub = app.hub.clone();
            return Outcome::Waiting(Waiting::new(move || {
                let published = hub.publish(&channel, name.as_ref(), messages);
                Outcome::Reply(end.answer(published, hub.counters()))
            }));
        }
        Err(refusal) => Err(refusal),
    };
    Outcome::Reply(end.answer(published, app.hub.counters()))
}

fn publish_by(store: MessageStore, app: &App, publication: Publication, end: Finish) -> Outcome {
    let has_room = app.hub.has_room_for(&publication.channel);
    let (to, hub) = (publication.channel.clone(), app.hub.clone());
    let publish = move || {
        Outcome::Later(Later::new(move |answer| {
            store.publish(publication, move |published| {
                answer(end.answer(published, hub.counters()));
            });
        }))
    };
    if has_room {
        return publish();
    }
    let hub = app.hub.clone();
    Outcome::Waiting(Waiting::new(move || {
        hub.wait_until_room_for(&to);
        publish()
    }))
}

/// What to do when the result is known.
struct Finish {
    report: Report,
    /// The key's, if there is one.
    claim: Option<Claim>,
}

impl Finish {
    fn answer(self, outcome: Result<Published, Refusal>, counters: &Counters) -> Reply {
        let has_key = self.claim.is_some();
        // Before the answer: whoever has the answer finds the record.
        if let Some(claim) = self.claim {
            claim.end(&outcome);
        }
        match outcome {
            Ok(published) if published.is_repeated => self.report.again(Ok(published), counters),
            Ok(published) => self.report.of(&published),
            Err(refusal) => refused_try(refusal, has_key).into(),
        }
    }
}

/// What the log and the publisher are told.
struct Report {
    channel: ChannelName,
    bytes: usize,
    is_batch: bool,
    peer: Peer,
    caller: Caller,
}

impl Report {
    /// The answer to a repeated try, which published nothing itself.
    fn again(&self, outcome: Result<Published, Refusal>, counters: &Counters) -> Reply {
        let published = match outcome {
            Ok(published) => published,
            Err(refusal) => return refused_try(refusal, true).into(),
        };
        counters.repeated.add(1);
        let Published { first, last, .. } = published;
        let (channel, peer, caller) = (&self.channel, self.peer, &self.caller);
        log::info!(
            "event=publish_again first={first} last={last} channel={channel} peer={peer} {caller}"
        );
        self.reply(&published).with("Idempotency-Replayed", "true")
    }

    fn of(&self, published: &Published) -> Reply {
        let (channel, bytes, peer) = (&self.channel, self.bytes, self.peer);
        let caller = &self.caller;
        let Published {
            first,
            last,
            count,
            clients,
            ..
        } = published;
        if self.is_batch {
            log::info!("event=publish first={first} last={last} count={count} channel={channel} bytes={bytes} clients={clients} peer={peer} {caller}");
        } else {
            log::info!("event=publish id={last} channel={channel} bytes={bytes} clients={clients} peer={peer} {caller}");
        }
        self.reply(published)
    }

    fn reply(&self, published: &Published) -> Reply {
        let canal = self.channel.as_str();
        let clients = published.clients;
        if self.is_batch {
            Reply::json(&PublishedBatch {
                first: published.first.to_string(),
                last: published.last.to_string(),
                count: published.count,
                canal,
                clients,
            })
        } else {
            Reply::json(&PublishedMessage {
                id: published.last.to_string(),
                canal,
                clients,
            })
        }
    }
}

#[derive(Serialize)]
struct PublishedMessage<'a> {
    id: String,
    canal: &'a str,
    clients: usize,
}

#[derive(Serialize)]
struct PublishedBatch<'a> {
    first: String,
    last: String,
    count: usize,
    canal: &'a str,
    clients: usize,
}

fn channel(request: &Request, segment: Option<&str>) -> Result<ChannelName, Problem> {
    let mut channels = channels(request, segment)?;
    match channels.pop() {
        Some(channel) if channels.is_empty() => Ok(channel),
        _ => Err(Problem::bad_request(
            "more than one channel is named; a message goes to one channel, or to broadcast",
        )),
    }
}

/// The message: the request's body, or the parameter `msg`.
fn message(app: &App, query: &Query, body: &[u8]) -> Result<Box<str>, Problem> {
    let limit = app.max_message_bytes;
    let msg = single(query, "msg")?;
    let text = match msg {
        Some(_) if !body.is_empty() => return Err(two_messages(false)),
        Some(msg) => msg,
        None => std::str::from_utf8(body)
            .map_err(|_| Problem::bad_request("the message is not UTF-8; encode it as UTF-8"))?,
    };
    if text.len() > limit {
        return Err(Problem::too_large(limit));
    }
    if text.is_empty() {
        return Err(Problem::bad_request(
            "the message is empty; send it as the request's body, or as the parameter msg",
        ));
    }
    Ok(text.into())
}

/// A batch's largest size, in messages of the largest size.
const BATCH_MESSAGES_OF_LARGEST_SIZE: usize = 16;

/// Bytes that a body may have if a message may have `max_message_bytes`.
pub fn largest_body(max_message_bytes: usize) -> usize {
    max_message_bytes * BATCH_MESSAGES_OF_LARGEST_SIZE
}

/// Lines in a batch.
const MAX_BATCH_LINES: usize = 10_000;

fn is_ndjson(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-ndjson")
}

/// The messages of a body with one message per line: a JSON string, or any other JSON value, taken as its text. Blank
/// lines are skipped.
fn batch(app: &App, query: &Query, body: &[u8]) -> Result<Vec<Box<str>>, Problem> {
    if query.has("msg") {
        return Err(two_messages(true));
    }
    let limit = largest_body(app.max_message_bytes);
    let body = std::str::from_utf8(body).map_err(|error| {
        let before = &body[..error.valid_up_to()];
        let number = before.iter().filter(|&&b| b == b'\n').count() + 1;
        bad_line(number, "is not UTF-8; encode it as UTF-8")
    })?;
    let mut messages = Vec::new();
    for (number, line) in body.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if messages.len() == MAX_BATCH_LINES {
            return Err(Problem::batch_too_large(limit, MAX_BATCH_LINES));
        }
        messages.push(line_message(line, number + 1, app.max_message_bytes)?);
    }
    if messages.is_empty() {
        return Err(Problem::bad_request(
            "the batch has no message; send one JSON value a line",
        ));
    }
    Ok(messages)
}

fn line_message(line: &str, number: usize, limit: usize) -> Result<Box<str>, Problem> {
    // What is taken as its text is not read further: no number is too large, nothing is nested too deep.
    let text = if line.starts_with('"') {
        serde_json::from_str::<Box<str>>(line)
    } else {
        serde_json::from_str::<IgnoredAny>(line).map(|_| line.into())
    };
    let text = text.map_err(|error| {
        let column = column(line.as_bytes(), &error);
        let wrong = format!("is not JSON (column {column}); send one JSON value a line");
        bad_line(number, &wrong)
    })?;
    if text.is_empty() {
        return Err(bad_line(number, "is an empty message; leave it out"));
    }
    if text.len() > limit {
        return Err(Problem::line_too_large(number, limit));
    }
    Ok(text)
}

fn bad_line(number: usize, wrong: &str) -> Problem {
    Problem::bad_request(format!(
        "line {number} of the batch {wrong}, nothing was published"
    ))
}

fn two_messages(is_batch: bool) -> Problem {
    Problem::bad_request(if is_batch {
        "a batch comes as the request's body; leave msg out"
    } else {
        "the message is given both as the body and as msg; give one of the two"
    })
}

fn bad_body(error: BodyError, limit: usize) -> Problem {
    match error {
        BodyError::TooLarge => Problem::too_large(limit),
        BodyError::TooSlow => {
            Problem::timeout("the body did not arrive in time; send it without pauses")
        }
        BodyError::Broken => Problem::bad_request(
            "the body ended early or is malformed; send as many bytes as Content-Length announces, or valid chunks",
        ),
        BodyError::NoRoom => Problem::unavailable(
            "the server holds too many incomplete bodies; send it again, without pauses",
            RETRY_AFTER,
        ),
    }
}
