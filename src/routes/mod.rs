#![doc = include_str!("README.md")]

mod addresses;
mod app;
mod assets;
mod clients;
mod connected;
mod credentials;
mod health;
mod history;
mod idempotency;
mod joining;
pub mod live;
mod messages;
mod metrics;
mod openapi;
mod outcome;
mod parameters;
mod preflight;
mod publish;
mod recent;
mod stats;
mod store;
mod subscribe;

pub use addresses::{AddressPlace, Addresses};
pub use app::App;
pub use connected::{Clients, ListedClient};
pub use outcome::{Answer, Later, Outcome, Stream, Waiting};
pub use publish::largest_body;

use crate::counters::Family;
use crate::http::cors;
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::http::request::{Method, Request};
use parameters::{origin, RequestOrigin};

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
        RequestOrigin::Of(origin) => Some(origin),
        RequestOrigin::Absent | RequestOrigin::Disputed => None,
    })
}

/// Which counter a request's answer goes to.
pub fn family(request: &Request) -> Family {
    match channel_segment(&request.target.path) {
        Some(("sse", _)) => Family::Subscribe,
        Some(("publish", _)) => Family::Publish,
        Some(("messages", _)) => Family::Messages,
        _ => Family::Other,
    }
}

fn route(app: &App, request: &Request) -> Result<Outcome, Problem> {
    let path = request.target.path.as_str();
    let reply = match path {
        "/" => reading(request, |request| Ok(assets::page(request))),
        "/sse-client.js" => reading(request, |request| Ok(assets::client(request))),
        "/sse-client.d.ts" => reading(request, |request| Ok(assets::client_types(request))),
        "/llms.txt" => reading(request, |request| Ok(assets::for_assistants(request))),
        "/openapi.json" => reading(request, |_| Ok(openapi::document())),
        "/health" => reading(request, |_| Ok(health::alive(app))),
        "/health/ready" => reading(request, |_| health::ready(app)),
        "/stats" => reading(request, |request| stats::snapshot(app, request)),
        "/stats/stream" => return watching(app, request),
        "/stats/history" => reading(request, |request| stats::history(app, request)),
        "/clients" => reading(request, |request| clients::list(app, request)),
        "/metrics" => reading(request, |_| Ok(metrics::metrics(app))),
        "*" if request.method == Method::Options => Ok(preflight::answer(request)),
        _ => match channel_segment(path) {
            Some(("sse", segment)) => return subscribing(app, request, segment),
            Some(("publish", segment)) => return publishing(app, request, segment),
            Some(("messages", segment)) => return listing(app, request, segment),
            Some(("clients", Some(number))) => ending(app, request, number),
            _ => Err(Problem::not_found(format!(
                "{path:?} is not a path of this server; / (the page), /sse, /messages, /publish, /stats, /clients, /metrics and /health are"
            ))),
        },
    };
    reply.map(Outcome::Reply)
}

/// Takes `/sse`, `/sse/` or `/sse/{segment}` apart, and the same for the other families. Names cannot contain a slash, so there
/// is nothing with two segments.
fn channel_segment(path: &str) -> Option<(&str, Option<&str>)> {
    let (family, segment) = match path.strip_prefix('/')?.split_once('/') {
        None => (path.strip_prefix('/')?, None),
        Some((_, segment)) if segment.contains('/') => return None,
        Some((family, segment)) => (family, Some(segment)),
    };
    let is_family = matches!(family, "sse" | "messages" | "publish" | "clients");
    is_family.then_some((family, segment))
}

const READING: &str = "GET, HEAD, OPTIONS";
const WRITING: &str = "POST, PUT, OPTIONS";
const ENDING: &str = "DELETE, OPTIONS";

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

fn listing(app: &App, request: &Request, segment: Option<&str>) -> Result<Outcome, Problem> {
    match request.method {
        Method::Get | Method::Head => messages::read(app, request, segment),
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

fn ending(app: &App, request: &Request, number: &str) -> Result<Reply, Problem> {
    match request.method {
        Method::Delete => clients::end(app, request, number),
        Method::Options => Ok(preflight::answer(request)),
        _ => Err(wrong_method(request, ENDING)),
    }
}

fn wrong_method(request: &Request, allowed: &str) -> Problem {
    let method = request.method.to_string();
    Problem::method_not_allowed(&method, &request.target.path, allowed)
}
