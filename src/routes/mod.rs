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
mod publish;
mod recent;
mod stats;
mod store;
mod subscribe;

pub use addresses::{AddressPlace, Addresses};
pub use app::App;
pub use connected::{ConnectedClients, ListedClient};
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

/// The answer to a request that was refused before it reached a route.
pub fn refuse(app: &App, problem: Problem) -> Reply {
    Reply::from(problem).with_all(app.origins.headers(None))
}

fn cors_headers(app: &App, request: &Request) -> Vec<cors::Header> {
    app.origins.headers(match origin(request) {
        RequestOrigin::Of(origin) => Some(origin),
        RequestOrigin::Absent | RequestOrigin::Disputed => None,
    })
}

/// The counter for a request's answer.
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
    match path {
        "/" => reading(request, &|| Ok(assets::page(request))),
        "/sse-client.js" => reading(request, &|| Ok(assets::client(request))),
        "/sse-client.d.ts" => reading(request, &|| Ok(assets::client_types(request))),
        "/llms.txt" => reading(request, &|| Ok(assets::for_assistants(request))),
        "/openapi.json" => reading(request, &|| Ok(openapi::document())),
        "/health" => reading(request, &|| Ok(health::alive(app))),
        "/health/ready" => reading(request, &|| health::ready(app)),
        "/stats" => reading(request, &|| stats::snapshot(app, request)),
        "/stats/stream" => taking(request, READING, &|| stats::stream(app, request)),
        "/stats/history" => reading(request, &|| stats::history(app, request)),
        "/clients" => reading(request, &|| clients::list(app, request)),
        "/metrics" => reading(request, &|| Ok(metrics::metrics(app))),
        "*" if request.method == Method::Options => Ok(Outcome::Reply(preflight(request))),
        _ => match channel_segment(path) {
            Some(("sse", segment)) => {
                taking(request, READING, &|| subscribe::open(app, request, segment))
            }
            Some(("publish", segment)) => {
                taking(request, WRITING, &|| publish::publish(app, request, segment))
            }
            Some(("messages", segment)) => {
                taking(request, READING, &|| messages::read(app, request, segment))
            }
            Some(("clients", Some(number))) => taking(request, ENDING, &|| {
                clients::end(app, request, number).map(Outcome::Reply)
            }),
            _ => Err(Problem::not_found(format!(
                "{path:?} is not a path of this server; / (the page), /sse, /messages, /publish, /stats, /clients, /metrics and /health are"
            ))),
        },
    }
}

/// Splits `/sse`, `/sse/` or `/sse/{segment}`, and the same for the other families. A name cannot contain a slash, so
/// no path has two segments.
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
    answer: &dyn Fn() -> Result<Reply, Problem>,
) -> Result<Outcome, Problem> {
    taking(request, READING, &|| answer().map(Outcome::Reply))
}

/// Answers a request with one of the `allowed` methods. `OPTIONS` is always answered here.
fn taking(
    request: &Request,
    allowed: &str,
    answer: &dyn Fn() -> Result<Outcome, Problem>,
) -> Result<Outcome, Problem> {
    let method = request.method.name();
    if request.method == Method::Options {
        Ok(Outcome::Reply(preflight(request)))
    } else if allowed.split(", ").any(|name| name == method) {
        answer()
    } else {
        let path = &request.target.path;
        Err(Problem::method_not_allowed(method, path, allowed))
    }
}

fn preflight(request: &Request) -> Reply {
    let asked = request.headers("Access-Control-Request-Headers");
    Reply::new(204).with_all(cors::preflight_headers(asked))
}
