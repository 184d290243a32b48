//! Status codes.

/// The statuses that this server uses, with their reason phrases (RFC 9110, section 15).
pub const STATUSES: [(u16, &str); 17] = [
    (200, "OK"),
    (204, "No Content"),
    (304, "Not Modified"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (408, "Request Timeout"),
    (413, "Content Too Large"),
    (417, "Expectation Failed"),
    (422, "Unprocessable Content"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (500, "Internal Server Error"),
    (503, "Service Unavailable"),
    (505, "HTTP Version Not Supported"),
];

/// The reason phrase of a status; empty for one that is not used.
pub fn reason(status: u16) -> &'static str {
    let found = STATUSES.iter().find(|(known, _)| *known == status);
    found.map_or("", |(_, reason)| reason)
}
