//! Errors as clients see them: `application/problem+json` (RFC 9457).

use super::reply::Reply;
use super::status::reason;
use serde_json::json;

/// Seconds after which a client that met a limit may try again.
pub const RETRY_AFTER: u32 = 5;

/// An answer that says what was wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: u16,
    detail: String,
    headers: Vec<(&'static str, String)>,
}

impl Problem {
    fn new(status: u16, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(400, detail)
    }

    /// `400` for contradictory tokens: `invalid_request` of RFC 6750, section 3.1. `description` has no quotes and no
    /// backslashes.
    pub fn invalid_request(description: &str, detail: impl Into<String>) -> Problem {
        let challenge = challenge("invalid_request", description);
        Problem::new(400, detail).with("WWW-Authenticate", challenge)
    }

    /// `401` without a token: the challenge of RFC 6750, section 3, without an error.
    pub fn token_missing(detail: impl Into<String>) -> Problem {
        Problem::new(401, detail).with("WWW-Authenticate", "Bearer")
    }

    /// `401` for an invalid token. `description` has no quotes and no backslashes.
    pub fn invalid_token(description: &str, detail: impl Into<String>) -> Problem {
        let challenge = challenge("invalid_token", description);
        Problem::new(401, detail).with("WWW-Authenticate", challenge)
    }

    /// `403` for a valid token without the right.
    pub fn forbidden(description: &str, detail: impl Into<String>) -> Problem {
        let challenge = challenge("insufficient_scope", description);
        Problem::new(403, detail).with("WWW-Authenticate", challenge)
    }

    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(404, detail)
    }

    /// `405`, with the methods that the path takes.
    pub fn method_not_allowed(method: &str, path: &str, allowed: &str) -> Problem {
        Problem::new(
            405,
            format!("{path} does not take {method}; use one of {allowed}"),
        )
        .with("Allow", allowed)
    }

    pub fn timeout(detail: impl Into<String>) -> Problem {
        Problem::new(408, detail)
    }

    pub fn too_large(limit: usize) -> Problem {
        Problem::new(
            413,
            format!("the message is larger than {limit} bytes, the limit (MAX_MESSAGE_BYTES); send a smaller one"),
        )
    }

    pub fn line_too_large(number: usize, limit: usize) -> Problem {
        Problem::new(
            413,
            format!("line {number} of the batch is larger than {limit} bytes, the limit (MAX_MESSAGE_BYTES); send a shorter one, nothing was published"),
        )
    }

    pub fn batch_too_large(bytes: usize, lines: usize) -> Problem {
        Problem::new(
            413,
            format!("the batch is larger than {bytes} bytes or has more than {lines} lines, the limits; send it in parts"),
        )
    }

    pub fn expectation_failed() -> Problem {
        Problem::new(417, "the field Expect is not 100-continue; leave it out")
    }

    pub fn unprocessable(detail: impl Into<String>) -> Problem {
        Problem::new(422, detail)
    }

    pub fn too_many(detail: impl Into<String>) -> Problem {
        Problem::new(429, detail).with("Retry-After", RETRY_AFTER.to_string())
    }

    pub fn version_not_supported(version: &str) -> Problem {
        Problem::new(
            505,
            format!("{version} is not served here; send HTTP/1.1 or HTTP/1.0"),
        )
    }

    pub fn head_too_large(bytes: usize, fields: usize) -> Problem {
        Problem::new(
            431,
            format!("the request's head is larger than {bytes} bytes or has more than {fields} fields, the limits; send less"),
        )
    }

    pub fn internal() -> Problem {
        Problem::new(500, "the server failed on this request; its log says why")
    }

    /// `503`, with the seconds after which to try again.
    pub fn unavailable(detail: impl Into<String>, retry_after_seconds: u32) -> Problem {
        Problem::new(503, detail).with("Retry-After", retry_after_seconds.to_string())
    }
}

fn challenge(error: &str, description: &str) -> String {
    format!("Bearer error=\"{error}\", error_description=\"{description}\"")
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Reply {
        let body = json!({
            "type": "about:blank",
            "title": reason(problem.status),
            "status": problem.status,
            "detail": problem.detail,
        });
        Reply::new(problem.status)
            .with_body("application/problem+json", format!("{body}\n"))
            .with_all(problem.headers)
    }
}
