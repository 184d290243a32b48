//! `OPTIONS`, on every path: the answer to a CORS preflight.

use crate::cors;
use crate::reply::Reply;
use crate::request::Request;

pub(super) fn answer(request: &Request) -> Reply {
    let asked = request.headers("Access-Control-Request-Headers");
    Reply::new(204).with_all(cors::preflight_headers(asked))
}
