//! `/openapi.json`: the description of the wire contract, which is part of the program.

use crate::http::reply::Reply;

const DOCUMENT: &str = include_str!("../../assets/openapi.json");

pub(super) fn document() -> Reply {
    Reply::new(200).with_body("application/json", DOCUMENT)
}
