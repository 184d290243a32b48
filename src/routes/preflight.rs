//! `OPTIONS`, on every path: the answer to a CORS preflight.

use crate::cors::Origins;
use crate::reply::Reply;

pub(super) fn answer() -> Reply {
    Reply::new(204).with_all(Origins::preflight_headers())
}
