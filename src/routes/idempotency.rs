//! The `Idempotency-Key` of a request.

use crate::http::problem::Problem;
use crate::http::request::Request;

const MAX_KEY_CHARS: usize = 128;

/// The key, if one is given. Quotes around it are the syntax of a structured field (RFC 8941, section 3.3.3), not part
/// of it.
pub(super) fn key(request: &Request) -> Result<Option<&str>, Problem> {
    let mut fields = request.headers("Idempotency-Key");
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(Problem::bad_request(
            "two Idempotency-Key fields are given; give one",
        ));
    }
    let field = field.trim_matches([' ', '\t']);
    let bare = field
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let key = bare.unwrap_or(field);
    let is_visible = key.bytes().all(|b| b.is_ascii_graphic());
    if !is_visible || key.is_empty() || key.len() > MAX_KEY_CHARS {
        return Err(Problem::bad_request(format!(
            "the Idempotency-Key is empty, too long, or contains a character that is not allowed; give 1 to {MAX_KEY_CHARS} characters from ! to ~, as uuidgen prints them"
        )));
    }
    Ok(Some(key))
}
