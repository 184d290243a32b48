//! `OPTIONS` on every path: the answer to a CORS preflight.

use crate::http::cors;
use crate::http::reply::Reply;
use crate::http::request::Request;

pub(super) fn answer(request: &Request) -> Reply {
    let asked = request.headers("Access-Control-Request-Headers");
    Reply::new(204).with_all(cors::preflight_headers(asked))
}
