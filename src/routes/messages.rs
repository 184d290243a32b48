//! `GET /messages`: what a script reads. What is retained, at once; or the first message that comes; or all that come.

use super::app::App;
use super::credentials::{denied, identify};
use super::history::{self, Since};
use super::joining::{find_room, Joining};
use super::outcome::Outcome;
use super::parameters::{parsed, refused, single, topics};
use crate::event::{encode, encode_gap, Event, Form, Topic};
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::request::{Method, Request};
use crate::http::rest::Rest;
use crate::hub::{Polled, Reading, Start, Subscription};
use crate::numbers::digits;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Seconds that a request may wait.
const MOST_WAIT: u64 = 300;

/// What a client asks for.
struct Wish {
    topics: Vec<Topic>,
    form: Form,
    since: Option<Since>,
    last: Option<usize>,
    until: Until,
    /// `HEAD` of what may wait: `GET` would need room if there is nothing yet.
    would_wait: bool,
}

/// How long there is something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// What is there now is all.
    Now,
    /// The first message, waiting at most this long.
    First(Duration),
    /// It does not end.
    Ever,
}

pub(super) fn read(
    app: &App,
    request: &Request,
    segment: Option<&str>,
) -> Result<Outcome, Problem> {
    let caller = identify(app, request)?;
    let mut wish = parse(request, segment)?;
    let permit = caller.follow(&wish.topics).map_err(denied)?;
    if wish.until != Until::Ever && wish.since.is_none() && wish.last.is_none() {
        // All that is retained.
        wish.since = Some(Since::Moment(0));
    }
    let place = match wish.until {
        Until::Now => None,
        _ => app.addresses.take_place(&request.peer)?,
    };
    if request.method == Method::Head {
        if wish.until == Until::Ever {
            // What `GET` would say, without a stream.
            find_room(&app.hub, &wish.topics)?;
            return Ok(Outcome::Reply(head_of_lines(wish.form)));
        }
        // Nothing of it will be seen but the head.
        wish.would_wait = matches!(wish.until, Until::First(_));
        wish.until = Until::Now;
    }
    let (since, last) = (wish.since.take(), wish.last);
    let joining = Joining::new(app, place, request.peer, caller, permit);
    let reader = Reader { joining, wish };
    history::begin(app, since, last, |start| reader.read(start))
}

/// A client that may have what it asks for.
struct Reader {
    joining: Joining,
    wish: Wish,
}

impl Reader {
    fn read(self, start: Start) -> Result<Outcome, Problem> {
        let (hub, form) = (&self.joining.hub, self.wish.form);
        let topics = &self.wish.topics;
        match self.wish.until {
            Until::Now => {
                let reading = hub.read(topics, start).map_err(refused)?;
                if self.wish.would_wait && reading.is_empty(form) {
                    find_room(hub, topics)?;
                }
                self.answer(reading)
            }
            Until::First(time) => {
                let until = Instant::now() + time;
                let permit = self.joining.permit.clone();
                match hub.poll(topics, form, start, permit).map_err(refused)? {
                    Polled::There(reading) => self.answer(reading),
                    Polled::Waits(subscription) => {
                        self.stream(subscription, answer_of(form), Some(until))
                    }
                }
            }
            Until::Ever => {
                let permit = self.joining.permit.clone();
                let subscription = hub.subscribe(topics, form, start, permit);
                self.stream(subscription.map_err(refused)?, head_of_lines(form), None)
            }
        }
    }

    fn answer(&self, reading: Reading) -> Result<Outcome, Problem> {
        self.joining.check()?;
        let form = self.wish.form;
        let replay = reading.replay;
        let delivered = &self.joining.hub.counters().delivered;
        delivered.add(replay.events.len() as u64);
        let mut body = Vec::new();
        for topic in &replay.gaps {
            encode_gap(topic, &replay.after, form, &mut body);
        }
        let mut pieces = Pieces {
            events: replay.events.into_iter(),
            form,
        };
        pieces.encode_next(&mut body);
        // A second time, for the length that the head has to tell.
        let size = pieces.clone().map(|piece| piece.len()).sum();
        let reply = answer_of(form)
            .with("Last-Event-ID", reading.up_to.to_string())
            .with_content(body, (size > 0).then(|| Rest::new(size, pieces)));
        Ok(Outcome::Reply(reply))
    }

    fn stream(
        self,
        subscription: Subscription,
        head: Reply,
        answer_by: Option<Instant>,
    ) -> Result<Outcome, Problem> {
        let topics = self.wish.topics;
        self.joining
            .stream(subscription, topics, head, false, answer_by)
    }
}

/// An answer is held in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

/// What is retained, a piece at a time: the history is not held a second time, however large it is.
#[derive(Clone)]
struct Pieces {
    events: std::vec::IntoIter<Arc<Event>>,
    form: Form,
}

impl Pieces {
    /// Appends the next events, about a piece of them.
    fn encode_next(&mut self, out: &mut Vec<u8>) {
        while out.len() < PIECE_BYTES {
            let Some(event) = self.events.next() else {
                return;
            };
            encode(&event, self.form, out);
        }
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::new();
        self.encode_next(&mut piece);
        (!piece.is_empty()).then_some(piece)
    }
}

fn content_type(form: Form) -> &'static str {
    match form {
        Form::Text => "text/plain; charset=utf-8",
        _ => "application/x-ndjson",
    }
}

/// An answer that ends, as yet without a body.
fn answer_of(form: Form) -> Reply {
    Reply::new(200).with("Content-Type", content_type(form))
}

/// One that does not.
fn head_of_lines(form: Form) -> Reply {
    answer_of(form).endless()
}

fn parse(request: &Request, segment: Option<&str>) -> Result<Wish, Problem> {
    let query = &request.target.query;
    if let Some(id) = single(query, "last_event_id")?.filter(|id| !id.is_empty()) {
        return Err(Problem::bad_request(format!(
            "the parameter last_event_id is {id:?}; give that as since, and last_event_id only to /sse"
        )));
    }
    Ok(Wish {
        topics: topics(request, segment)?,
        form: parsed(query, "format", "ndjson or text", |form| match form {
            "ndjson" => Some(Form::Ndjson),
            "text" => Some(Form::Text),
            _ => None,
        })?
        .unwrap_or(Form::Ndjson),
        since: history::since(query)?,
        last: history::last(query)?,
        until: until(query)?,
        would_wait: false,
    })
}

fn until(query: &Query) -> Result<Until, Problem> {
    let follows = parsed(query, "follow", "1, or leave it out", |text| {
        (text == "1").then_some(())
    })?;
    if follows.is_some() && query.has("wait") {
        return Err(Problem::bad_request(
            "both wait and follow are given; give one of the two",
        ));
    }
    let right = format!("seconds from 1 to {MOST_WAIT}");
    let seconds = parsed(query, "wait", &right, |text| {
        digits(text).filter(|seconds| (1..=MOST_WAIT).contains(seconds))
    })?;
    Ok(match (seconds, follows) {
        (Some(seconds), _) => Until::First(Duration::from_secs(seconds)),
        (None, Some(())) => Until::Ever,
        (None, None) => Until::Now,
    })
}
