//! `/clients`: who is connected, for operators, and ending one client's stream. Covers this server alone: others have
//! their own clients and numbers.

use super::app::App;
use super::credentials::identify;
use super::parameters::channels;
use crate::access::Denial;
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::http::request::Request;
use serde_json::json;

const MOST_LISTED: usize = 1000;

/// Lists the clients that follow one of the channels in the request, or all clients.
pub(super) fn list(app: &App, request: &Request) -> Result<Reply, Problem> {
    let caller = identify(app, request)?;
    caller.check_sees_clients().map_err(|denial| {
        denied(
            denial,
            "a token with the right to see statistics is needed; send one as \"Authorization: Bearer TOKEN\"",
            "the token is valid, but may not see who is connected; that needs AUTH_TOKEN, or a token that itself has \"stats\": true",
        )
    })?;
    let wanted = match request.target.query.has("canal") {
        true => Some(channels(request, None)?),
        false => None,
    };
    let (clients, are_more) = app.clients.describe(wanted.as_deref(), MOST_LISTED);
    let mut answer = json!({ "clients": clients });
    if are_more {
        answer["more"] = true.into();
    }
    Ok(Reply::json(&answer))
}

pub(super) fn end(app: &App, request: &Request, number: &str) -> Result<Reply, Problem> {
    let caller = identify(app, request)?;
    caller.check_is_operator().map_err(|denial| {
        denied(
            denial,
            "AUTH_TOKEN is needed; send it as \"Authorization: Bearer TOKEN\"",
            "the token is valid, but only AUTH_TOKEN may end a client's stream",
        )
    })?;
    let parsed: Option<u64> = number.parse().ok();
    let written_so = parsed.filter(|parsed| parsed.to_string() == number);
    match written_so.filter(|&number| app.hub.end_client(number)) {
        Some(number) => {
            // The stream's own thread may take a moment to do this.
            app.clients.remove(number);
            Ok(Reply::new(204))
        }
        None if written_so.is_none() => Err(Problem::not_found(format!(
            "{number:?} is not a client's number; give one that GET /clients lists"
        ))),
        None => Err(Problem::not_found(
            "no client of this server has that number; GET /clients lists them",
        )),
    }
}

fn denied(denial: Denial, missing: &str, not_allowed: &str) -> Problem {
    match denial {
        Denial::TokenMissing => Problem::token_missing(missing),
        Denial::NotAllowed => Problem::forbidden("the token does not have this right", not_allowed),
        wrong @ Denial::TokenWrong { .. } => super::credentials::denied(wrong),
    }
}
