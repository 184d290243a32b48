//! The token of a request, wherever it stands, and what is answered when it does not do. Called by the routes that need
//! to know who asks.

use super::App;
use crate::access::{Caller, Denial};
use crate::cors::Origins;
use crate::problem::Problem;
use crate::request::Request;

/// The cookie that may carry a token.
const COOKIE: &str = "sse_token";

/// Who the request comes from: the token of the `Authorization` header, or else of `?access_token=`, or else of the cookie.
pub(super) fn identify(app: &App, request: &Request) -> Result<Caller, Problem> {
    app.access
        .identify(token(&app.origins, request)?)
        .map_err(denied)
}

fn token<'a>(origins: &Origins, request: &'a Request) -> Result<Option<&'a str>, Problem> {
    if let Some(value) = request.header("Authorization") {
        return bearer_token(value).map(Some).ok_or_else(|| {
            Problem::unauthorized(
                "invalid_request",
                "the Authorization header is not a Bearer token",
                "the Authorization header is not of the form \"Bearer TOKEN\"",
            )
        });
    }
    if let Some(token) = request.target.query.first("access_token") {
        return Ok(Some(token.unwrap_or_default()));
    }
    let cookie = cookie(request).filter(|_| may_use_cookies(origins, request));
    Ok(cookie)
}

/// RFC 6750, section 2.1; the scheme may be in any case (RFC 9110, section 11.1).
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| token.trim_start())
}

/// The first cookie of the name (RFC 6265, section 4.2.1): browsers put the most specific first (section 5.4). An empty
/// one is what remains where it was taken away.
fn cookie(request: &Request) -> Option<&str> {
    let mut pairs = request.headers("Cookie").flat_map(|list| list.split(';'));
    let value = pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })?;
    let bare = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Some(bare.unwrap_or(value)).filter(|token| !token.is_empty())
}

/// A browser sends cookies along whichever page asks. So they count only for pages of this server's own host and of
/// listed origins: a page of anybody else must not publish in its visitor's name. Browsers leave `Origin` out where a
/// page reads from its own host, and nowhere where something is changed (WHATWG Fetch, section 3.1).
fn may_use_cookies(origins: &Origins, request: &Request) -> bool {
    let Some(origin) = request.header("Origin") else {
        return true;
    };
    let authority = origin.split_once("://").map_or("", |(_, rest)| rest);
    let host = request.header("Host").unwrap_or_default();
    let is_own = !host.is_empty() && authority.eq_ignore_ascii_case(host);
    is_own || origins.list(origin)
}

/// The answer to somebody who may not do what was asked.
pub(super) fn denied(denial: Denial) -> Problem {
    match denial {
        Denial::TokenMissing => Problem::token_missing(
            "a token is needed; send it as \"Authorization: Bearer TOKEN\"",
        ),
        Denial::TokenWrong { why, more } => {
            let more = match more.as_str() {
                "" => String::new(),
                more => format!(" ({more})"),
            };
            Problem::unauthorized(
                "invalid_token",
                why,
                format!("{why}{more}; send a valid one, or none where none is needed"),
            )
        }
        Denial::NotAllowed => Problem::forbidden(
            "the token is not for this",
            "the token is valid, but does not have this right for this channel; ask whoever gave it for one that has",
        ),
    }
}
