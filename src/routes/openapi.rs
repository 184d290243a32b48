//! `/openapi.json`: the description of the API, built into the program.

use crate::http::reply::Reply;

const DOCUMENT: &str = include_str!("../../assets/openapi.json");

pub(super) fn document() -> Reply {
    Reply::new(200).with_body("application/json", DOCUMENT)
}
