#![doc = include_str!("README.md")]

mod addresses;
mod assets;
mod credentials;
mod health;
mod metrics;
mod openapi;
mod preflight;
mod publish;
mod stats;
mod subscribe;

pub use addresses::{Addresses, Place};
pub use publish::largest_body;

use crate::access::Access;
use crate::cluster::Cluster;
use crate::cors::{self, Origins};
use crate::event::ChannelName;
use crate::hub::{Hub, Refusal, Subscription};
use crate::problem::Problem;
use crate::query::{decode_segment, NotUtf8, Query};
use crate::reply::Reply;
use crate::request::{Method, Request};
use crate::statistics::LiveStatistics;
use crate::stats::Family;
use std::sync::Arc;

/// What the routes need to do their work.
#[derive(Debug)]
pub struct App {
    /// Channels and clients.
    pub hub: Arc<Hub>,
    /// The other servers, if there is a Redis between them.
    pub cluster: Option<Arc<Cluster>>,
    /// The statistics, as a stream.
    pub live: Arc<LiveStatistics>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Whose pages may use the server.
    pub origins: Origins,
    /// Size of the largest message, in bytes.
    pub max_message_bytes: usize,
    /// Streams of each client address.
    pub addresses: Addresses,
}

/// What a request comes to.
#[derive(Debug)]
pub enum Outcome {
    /// An answer.
    Reply(Reply),
    /// An event stream, from here on.
    Stream(Box<Stream>),
    /// An answer that is not there yet.
    Later(Later),
    /// Something that waits for somebody, and must not do so on a thread that others need.
    Waiting(Waiting),
    /// The body is needed, if it is no larger than this. Then the request has to come again, with it.
    ReadBody(usize),
}

/// The rest of the work on a request that has to wait for room or for another server.
pub struct Waiting(Box<dyn FnOnce() -> Outcome + Send>);

impl Waiting {
    fn new(work: impl FnOnce() -> Outcome + Send + 'static) -> Waiting {
        Waiting(Box::new(work))
    }

    /// Waits, and finishes the work. What comes of it waits no more.
    pub fn finish(self) -> Outcome {
        (self.0)()
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting(…)")
    }
}

/// What takes an answer to its client, from whatever thread, without waiting.
pub type Answer = Box<dyn FnOnce(Reply) + Send>;

/// An answer that comes when somebody else has done something, so that no thread has to wait for it.
pub struct Later(Box<dyn FnOnce(Answer) + Send>);

impl Later {
    fn new(begin: impl FnOnce(Answer) + Send + 'static) -> Later {
        Later(Box::new(begin))
    }

    /// Begins the work, which ends with a call of `answer`.
    pub fn begin(self, answer: Answer) {
        (self.0)(answer);
    }

    fn with_all(self, headers: Vec<(&'static str, String)>) -> Later {
        Later::new(move |answer| {
            self.begin(Box::new(move |reply| answer(reply.with_all(headers))));
        })
    }
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later(…)")
    }
}

/// An event stream that is ready to begin.
#[derive(Debug)]
pub struct Stream {
    /// The answer's head.
    pub head: Reply,
    /// What to write.
    pub subscription: Subscription,
    /// What the log calls the one who reads it.
    pub kind: &'static str,
    /// Heartbeats are events, not comments.
    pub heartbeat_is_event: bool,
    /// Its place among the streams of its client's address, if those are limited.
    pub place: Option<Place>,
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Outcome {
        Outcome::Reply(problem.into())
    }
}

/// Seconds after which a client that met a limit may try again.
const RETRY_AFTER: u32 = 5;

/// Handles one request. Every answer carries the CORS headers.
pub fn handle(app: &App, request: &Request) -> Outcome {
    let cors = cors_headers(app, request);
    with_cors(route(app, request).unwrap_or_else(Outcome::from), cors)
}

fn with_cors(outcome: Outcome, cors: Vec<cors::Header>) -> Outcome {
    match outcome {
        Outcome::Reply(reply) => Outcome::Reply(reply.with_all(cors)),
        Outcome::Later(later) => Outcome::Later(later.with_all(cors)),
        Outcome::Stream(mut stream) => {
            stream.head = stream.head.with_all(cors);
            Outcome::Stream(stream)
        }
        Outcome::Waiting(waiting) => {
            Outcome::Waiting(Waiting::new(move || with_cors(waiting.finish(), cors)))
        }
        Outcome::ReadBody(limit) => Outcome::ReadBody(limit),
    }
}

/// The answer to a request that was refused before it came to a route.
pub fn refuse(app: &App, problem: Problem) -> Reply {
    Reply::from(problem).with_all(app.origins.headers(None))
}

fn cors_headers(app: &App, request: &Request) -> Vec<cors::Header> {
    app.origins.headers(match origin(request) {
        Origin::Of(origin) => Some(origin),
        Origin::Absent | Origin::Disputed => None,
    })
}

/// Whose page a request is from, as its `Origin` says.
enum Origin<'a> {
    Absent,
    Of(&'a str),
    /// Two fields: no browser sends them, and whoever stands in between may have read the other one.
    Disputed,
}

fn origin(request: &Request) -> Origin<'_> {
    let mut fields = request.headers("Origin");
    match (fields.next(), fields.next()) {
        (None, _) => Origin::Absent,
        (Some(origin), None) => Origin::Of(origin),
        (Some(_), Some(_)) => Origin::Disputed,
    }
}

/// Which counter a request's answer goes to.
pub fn family(request: &Request) -> Family {
    match channel_segment(&request.target.path) {
        Some(("sse", _)) => Family::Subscribe,
        Some(("publish", _)) => Family::Publish,
        _ => Family::Other,
    }
}

fn route(app: &App, request: &Request) -> Result<Outcome, Problem> {
    let path = request.target.path.as_str();
    let reply = match path {
        "/" => reading(request, |request| Ok(assets::page(request))),
        "/openapi.json" => reading(request, |_| Ok(openapi::document())),
        "/health" => reading(request, |_| Ok(health::alive(app))),
        "/health/ready" => reading(request, |_| health::ready(app)),
        "/stats" => reading(request, |request| stats::snapshot(app, request)),
        "/stats/stream" => return watching(app, request),
        "/metrics" => reading(request, |_| Ok(metrics::metrics(app))),
        "*" if request.method == Method::Options => Ok(preflight::answer(request)),
        _ => match channel_segment(path) {
            Some(("sse", segment)) => return subscribing(app, request, segment),
            Some(("publish", segment)) => return publishing(app, request, segment),
            _ => Err(Problem::not_found(format!(
                "{path:?} is not a path of this server; / (the page), /sse, /publish, /stats, /metrics and /health are"
            ))),
        },
    };
    reply.map(Outcome::Reply)
}

/// Takes `/sse`, `/sse/` or `/sse/{segment}` apart, and the same for `/publish`. Names cannot contain a slash, so there
/// is nothing with two segments.
fn channel_segment(path: &str) -> Option<(&str, Option<&str>)> {
    let (family, segment) = match path.strip_prefix('/')?.split_once('/') {
        None => (path.strip_prefix('/')?, None),
        Some((_, segment)) if segment.contains('/') => return None,
        Some((family, segment)) => (family, Some(segment)),
    };
    matches!(family, "sse" | "publish").then_some((family, segment))
}

const READING: &str = "GET, HEAD, OPTIONS";
const WRITING: &str = "POST, PUT, OPTIONS";

fn reading(
    request: &Request,
    answer: impl FnOnce(&Request) -> Result<Reply, Problem>,
) -> Result<Reply, Problem> {
    match request.method {
        Method::Get | Method::Head => answer(request),
        Method::Options => Ok(preflight::answer(request)),
        _ => Err(wrong_method(request, READING)),
    }
}

fn subscribing(app: &App, request: &Request, segment: Option<&str>) -> Result<Outcome, Problem> {
    match request.method {
        Method::Get => subscribe::open(app, request, segment),
        Method::Head => subscribe::describe(app, request, segment).map(Outcome::Reply),
        Method::Options => Ok(Outcome::Reply(preflight::answer(request))),
        _ => Err(wrong_method(request, READING)),
    }
}

fn watching(app: &App, request: &Request) -> Result<Outcome, Problem> {
    match request.method {
        Method::Get | Method::Head => stats::stream(app, request),
        Method::Options => Ok(Outcome::Reply(preflight::answer(request))),
        _ => Err(wrong_method(request, READING)),
    }
}

fn publishing(app: &App, request: &Request, segment: Option<&str>) -> Result<Outcome, Problem> {
    match request.method {
        Method::Post | Method::Put => publish::publish(app, request, segment),
        Method::Options => Ok(Outcome::Reply(preflight::answer(request))),
        _ => Err(wrong_method(request, WRITING)),
    }
}

fn wrong_method(request: &Request, allowed: &str) -> Problem {
    let method = request.method.to_string();
    Problem::method_not_allowed(&method, &request.target.path, allowed)
}

/// The channels that a request names, in the path or in the query, each once.
fn channels(request: &Request, segment: Option<&str>) -> Result<Vec<ChannelName>, Problem> {
    let query = &request.target.query;
    let lists =
        match segment {
            Some(_) if query.has("canal") => return Err(Problem::bad_request(
                "a channel stands in the path and in the query; name channels in one of the two",
            )),
            Some(segment) => {
                vec![decode_segment(segment).map_err(|NotUtf8| not_utf8("the channel name"))?]
            }
            None => query
                .all("canal")
                .map(|list| list.map(str::to_string))
                .collect::<Result<_, NotUtf8>>()
                .map_err(|NotUtf8| not_utf8("the parameter canal"))?,
        };
    let mut names: Vec<ChannelName> = Vec::new();
    for item in lists.iter().flat_map(|list| list.split(',')) {
        if item.is_empty() {
            continue;
        }
        let name = ChannelName::parse(item).map_err(Problem::bad_request)?;
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
        return Err(Problem::bad_request(
            "no channel is named; give one in the path (/sse/news) or in the query (?canal=news)",
        ));
    }
    Ok(names)
}

/// Channels that one stream can have.
const MAX_CHANNELS_PER_REQUEST: usize = 64;

fn not_utf8(what: &str) -> Problem {
    Problem::bad_request(format!(
        "{what} is not UTF-8 after percent-decoding; encode it as UTF-8"
    ))
}

/// One parameter that may be given once.
fn single<'a>(query: &'a Query, name: &'a str) -> Result<Option<&'a str>, Problem> {
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

fn refused(refusal: Refusal) -> Problem {
    let detail = match refusal {
        Refusal::TooManyClients(limit) => {
            format!("{limit} clients are connected, the limit (MAX_CLIENTS); try again later")
        }
        Refusal::TooManyChannels(limit) => {
            format!("{limit} channels exist, the limit (MAX_CHANNELS); try again later")
        }
        Refusal::Closing => "the server shuts down; try again when it is back".into(),
        Refusal::RedisAway => "the server's Redis is away, takes no writes or is far behind; nothing was published, try again later".into(),
        Refusal::Unconfirmed => "the server's Redis did not confirm the message in time; it may have been published all the same, try again later".into(),
    };
    Problem::unavailable(detail, RETRY_AFTER)
}
