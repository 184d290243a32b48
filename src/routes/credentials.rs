//! The token of a request, wherever it is, and the answers to a bad one.

use super::app::App;
use super::parameters::{origin, RequestOrigin};
use crate::access::{Access, Caller, Denial, Permit};
use crate::http::cors::{self, Origins};
use crate::http::problem::Problem;
use crate::http::request::Request;

/// The cookie that may carry a token.
const COOKIE: &str = "sse_token";

/// Who sends the request: the token is in the `Authorization` header, in `?access_token=`, or else in the cookie.
pub(super) fn identify(app: &App, request: &Request) -> Result<Caller, Problem> {
    app.access
        .identify(token(&app.origins, request)?)
        .map_err(denied)
}

/// Two tokens are refused, even if they are the same: servers that read the first one and servers that read the last
/// one would not agree on who asks (RFC 6750, sections 2 and 3.1). The sender does not choose its cookies, so a cookie
/// may come with another token, which wins.
fn token<'a>(origins: &Origins, request: &'a Request) -> Result<Option<&'a str>, Problem> {
    let bearer = one(
        request.headers("Authorization").filter_map(bearer_token),
        "two Authorization fields",
    )?;
    let parameters = request.target.query.all("access_token");
    let parameters = parameters.map(Result::unwrap_or_default);
    let parameter = one(parameters, "two access_token parameters")?;
    match (bearer, parameter) {
        (Some(_), Some(_)) => Err(repeated(
            "the Authorization field and the parameter access_token",
        )),
        (None, None) => Ok(cookie(request).filter(|_| may_use_cookies(origins, request))),
        (token, None) | (None, token) => Ok(token),
    }
}

fn one<'a>(
    mut tokens: impl Iterator<Item = &'a str>,
    places: &str,
) -> Result<Option<&'a str>, Problem> {
    let first = tokens.next();
    match tokens.next() {
        None => Ok(first),
        Some(_) => Err(repeated(places)),
    }
}

fn repeated(places: &str) -> Problem {
    Problem::invalid_request(
        "more than one token is given",
        format!("{places} give a token; give one token, in one place"),
    )
}

/// The token of an `Authorization` field of the scheme Bearer (RFC 6750, section 2.1), in any case (RFC 9110, section
/// 11.1); empty if none follows the scheme. Another scheme is meant for somebody else: proxies pass on what they were
/// sent.
fn bearer_token(value: &str) -> Option<&str> {
    let value = value.trim();
    let (scheme, token) = value.split_once([' ', '\t']).unwrap_or((value, ""));
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| token.trim_start())
}

/// The first cookie of this name (RFC 6265, section 4.2.1): browsers send the most specific one first (section 5.4). An
/// empty one is what remains of a deleted one.
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

/// A browser sends cookies whichever page asks. So they count only for pages of this server's own host and of listed
/// origins: no other page may publish in its visitor's name, or make him follow something. Browsers omit `Origin` if a
/// page only reads without asking for the answer, as links and images do (WHATWG Fetch, section 3.1). `Sec-Fetch-Site`
/// then says where the page is from (W3C Fetch Metadata, section 2.3); it is missing in browsers from before 2023, and
/// without TLS.
fn may_use_cookies(origins: &Origins, request: &Request) -> bool {
    let mut sites = request.headers("Sec-Fetch-Site");
    // `none`: no page asks; the address was typed in.
    let is_at_home = sites.all(|site| matches!(site.trim(), "same-origin" | "none"));
    match origin(request) {
        RequestOrigin::Absent => is_at_home,
        RequestOrigin::Disputed => false,
        RequestOrigin::Of(origin) => {
            let host = request.header("Host").unwrap_or_default();
            origins.list(origin) || is_at_home && cors::is_of_host(origin, host)
        }
    }
}

/// Checks once more what was granted: the rules may have been read again since.
///
/// # Errors
/// The refusal.
pub(super) fn check_again(access: &Access, permit: &Permit) -> Result<(), Problem> {
    if access.still_grants(permit) {
        return Ok(());
    }
    Err(denied(Denial::NotAllowed))
}

/// The answer to a request that is not allowed.
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
            Problem::invalid_token(
                why,
                format!("{why}{more}; send a valid one, or none where none is required"),
            )
        }
        Denial::NotAllowed => Problem::forbidden(
            "the token does not have this right",
            "the token is valid, but does not have this right for this channel; ask whoever issued it for one that does",
        ),
    }
}
