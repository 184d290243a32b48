//! What several routes read from a request, and how they refuse.

use crate::event::{ChannelName, Topic};
use crate::http::problem::{Problem, RETRY_AFTER};
use crate::http::query::{decode_segment, NotUtf8, Query};
use crate::http::request::Request;
use crate::hub::Refusal;

/// The origin of the page that sends a request, according to `Origin`.
pub enum RequestOrigin<'a> {
    /// The field is missing.
    Absent,
    /// This one.
    Of(&'a str),
    /// Two fields: no browser sends them, and a proxy may have read the other one.
    Disputed,
}

/// The request's origin.
pub fn origin(request: &Request) -> RequestOrigin<'_> {
    let mut fields = request.headers("Origin");
    match (fields.next(), fields.next()) {
        (None, _) => RequestOrigin::Absent,
        (Some(origin), None) => RequestOrigin::Of(origin),
        (Some(_), Some(_)) => RequestOrigin::Disputed,
    }
}

/// The channels that a request names, in the path or in the query, each once.
pub fn channels(request: &Request, segment: Option<&str>) -> Result<Vec<ChannelName>, Problem> {
    named(request, segment, ChannelName::parse)
}

/// The same, for channels and patterns.
pub fn topics(request: &Request, segment: Option<&str>) -> Result<Vec<Topic>, Problem> {
    named(request, segment, Topic::parse)
}

fn named<T: PartialEq>(
    request: &Request,
    segment: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Problem> {
    let query = &request.target.query;
    let lists = match segment {
        Some(_) if query.all("canal").any(is_named) => {
            return Err(Problem::bad_request(
                "channels are named in the path and in the query; name them in one of the two",
            ))
        }
        Some(segment) => {
            vec![decode_segment(segment).map_err(|NotUtf8| not_utf8("the channel name"))?]
        }
        None => query
            .all("canal")
            .map(|list| list.map(str::to_string))
            .collect::<Result<_, NotUtf8>>()
            .map_err(|NotUtf8| not_utf8("the parameter canal"))?,
    };
    let mut names: Vec<T> = Vec::new();
    for item in lists.iter().flat_map(|list| list.split(',')) {
        if item.is_empty() {
            continue;
        }
        let name = parse(item).map_err(Problem::bad_request)?;
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > MAX_CHANNELS_PER_REQUEST {
            return Err(Problem::bad_request(format!(
                "more than {MAX_CHANNELS_PER_REQUEST} channels are named; one stream can have up to {MAX_CHANNELS_PER_REQUEST}"
            )));
        }
    }
    if names.is_empty() {
        let path = match request.target.path.split('/').nth(1) {
            Some(route) if route != "clients" => format!("in the path (/{route}/news) or "),
            _ => String::new(),
        };
        return Err(Problem::bad_request(format!(
            "no channel is named; give one {path}in the query (?canal=news)"
        )));
    }
    Ok(names)
}

/// Whether a list has anything but empty items.
fn is_named(list: Result<&str, NotUtf8>) -> bool {
    list.map(|list| list.trim_matches(',')) != Ok("")
}

/// Channels of one stream.
const MAX_CHANNELS_PER_REQUEST: usize = 64;

fn not_utf8(what: &str) -> Problem {
    Problem::bad_request(format!(
        "{what} is not UTF-8 after percent-decoding; encode it as UTF-8"
    ))
}

/// A parameter that may be given once.
pub fn single<'a>(query: &'a Query, name: &'a str) -> Result<Option<&'a str>, Problem> {
    let mut values = query.all(name);
    let first = values
        .next()
        .transpose()
        .map_err(|NotUtf8| not_utf8(&format!("the parameter {name}")))?;
    if values.next().is_some() {
        return Err(Problem::bad_request(format!(
            "the parameter {name} is given more than once; give it once"
        )));
    }
    Ok(first)
}

/// A parameter that may be given once, and that `read` takes. A refusal says what would be `right`.
pub fn parsed<T>(
    query: &Query,
    name: &str,
    right: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let Some(value) = single(query, name)? else {
        return Ok(None);
    };
    let wrong = || Problem::bad_request(format!("the parameter {name} is {value:?}; give {right}"));
    read(value).map(Some).ok_or_else(wrong)
}

/// The answer to what the hub refuses.
pub fn refused(refusal: Refusal) -> Problem {
    refused_try(refusal, false)
}

/// The same, for a publish that may have an `Idempotency-Key`. With one, an earlier try may have been published though
/// this one was not, and a new key would publish it twice.
pub fn refused_try(refusal: Refusal, has_key: bool) -> Problem {
    let (nothing, again) = if has_key {
        (
            "this try published nothing",
            "try again later with the same Idempotency-Key",
        )
    } else {
        ("nothing was published", "try again later")
    };
    let detail = match refusal {
        Refusal::TooManyClients(limit) => {
            format!("the limit of connected clients is reached (MAX_CLIENTS={limit}); {again}")
        }
        Refusal::TooManyChannels(limit) => {
            format!("the limit of channels is reached (MAX_CHANNELS={limit}); {again}")
        }
        Refusal::Closing => "the server is shutting down; try again when it is back".into(),
        Refusal::NotFilled => "the server has not read the history from Redis yet; try again later".into(),
        Refusal::RedisAway => format!("Redis is unreachable, takes no writes or is far behind; {nothing}, {again}"),
        Refusal::RedisRefused(reason) => {
            format!("Redis refused the message: {reason}; {nothing}, {again}")
        }
        Refusal::DiskFailed(reason) => {
            format!("the disk refused the message: {reason}; {nothing}, {again}")
        }
        Refusal::Unconfirmed => format!("Redis did not confirm the message in time; it may have been published, {again}"),
        Refusal::KeyUsed => return Problem::unprocessable(
            "this Idempotency-Key was used for another message or event on this channel; send a new message with a new key",
        ),
        Refusal::GivenUp => format!("the earlier request with this Idempotency-Key was abandoned; {again}"),
    };
    Problem::unavailable(detail, RETRY_AFTER)
}
