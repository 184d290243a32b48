//! A request's head: where it ends, and what it says (RFC 9112, sections 2 to 6). Strict: what two servers could read
//! differently is refused, and so is what is not HTTP, as soon as that is visible.

use crate::http::problem::Problem;
use crate::http::request::{is_token, Peer, KNOWN_FIELDS};

/// A head has at most this many bytes and fields.
pub const MAX_HEAD_BYTES: usize = 16 << 10;
pub const MAX_FIELDS: usize = 100;

/// Longer than any real method.
const MAX_METHOD_BYTES: usize = 32;

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes; 0 means no body.
    Length(u64),
    /// It comes in chunks.
    Chunked,
}

/// The parts of a head that matter here.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The method, as it was sent.
    pub method: String,
    /// The target in ASCII: bytes beyond it are percent-encoded.
    pub target: String,
    /// HTTP/1.0.
    pub is_old: bool,
    /// The fields that routes use, in their order.
    pub fields: Vec<(&'static str, String)>,
    /// How long the body is.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The client wants to send another request after this one.
    pub keeps_alive: bool,
}

/// What the door has read of a request, except its first line, which crosses to tiny_http.
#[derive(Debug)]
pub struct Parts {
    /// The fields that routes use.
    pub fields: Vec<(&'static str, String)>,
    /// Who sent the request.
    pub peer: Peer,
    /// It is HTTP/1.0.
    pub is_old: bool,
    /// The connection may serve another request after this one.
    pub keeps_alive: bool,
}

/// Looks for the end of a head in what has arrived, and returns the number of bytes up to it. `scanned` is the number
/// of bytes searched before.
///
/// # Errors
/// If this cannot become a valid head.
pub fn find_end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Problem> {
    // One empty line before a request is skipped (RFC 9112, section 2.2).
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let mut at = start.max(*scanned);
    let mut is_first_line = !bytes[start..at].contains(&b'\n');
    if is_first_line {
        check_method(&bytes[start..])?;
    }
    let mut end = None;
    // Only control characters matter here.
    while end.is_none() {
        let next = bytes[at..].iter().position(u8::is_ascii_control);
        at += next.unwrap_or(bytes.len() - at);
        match (bytes.get(at), bytes.get(at + 1)) {
            // Of an end of line, the LF is still to come.
            (None, _) | (Some(b'\r'), None) => break,
            (Some(b'\r'), Some(b'\n')) => {
                if is_first_line {
                    RequestLine::parse(&bytes[start..at])?;
                    is_first_line = false;
                }
                at += 2;
                if bytes[start..at].ends_with(b"\r\n\r\n") {
                    end = Some(at);
                }
            }
            (Some(b'\r' | b'\n'), _) => return Err(bare_line_end()),
            (Some(b'\t'), _) if !is_first_line => at += 1,
            _ => return Err(control_character()),
        }
    }
    *scanned = at;
    if end.unwrap_or(bytes.len()) > MAX_HEAD_BYTES {
        return Err(Problem::head_too_large(MAX_HEAD_BYTES, MAX_FIELDS));
    }
    Ok(end)
}

/// Whether a request can begin like this. What comes behind the method is not looked at.
fn check_method(line: &[u8]) -> Result<(), Problem> {
    let beginning = line.iter().take(MAX_METHOD_BYTES + 1);
    let length = beginning.take_while(|byte| is_token(byte)).count();
    let may_end = |byte: &u8| *byte == b' ' || byte.is_ascii_control();
    if length <= MAX_METHOD_BYTES && line.get(length).is_none_or(may_end) {
        Ok(())
    } else {
        Err(no_http())
    }
}

/// Whether this byte is allowed in a host and its port (RFC 3986, section 3.2.2). Names beyond ASCII do not concern us.
fn is_in_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"-._~%!$&'()*+,;=:[]".contains(byte)
}

struct RequestLine<'a> {
    method: &'a str,
    target: &'a str,
    is_old: bool,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<RequestLine<'a>, Problem> {
        let line = std::str::from_utf8(line).map_err(|_| {
            Problem::bad_request("the request's target is not UTF-8; encode it as UTF-8")
        })?;
        let mut parts = line.split(' ');
        let parts = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(method), Some(target), Some(version), None) = parts else {
            return Err(no_http());
        };
        let is_http = version.strip_prefix("HTTP/").is_some_and(|number| {
            matches!(number.as_bytes(), [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
        });
        let is_method = !method.is_empty() && method.bytes().all(|byte| is_token(&byte));
        if !is_http || !is_method || target.is_empty() {
            return Err(no_http());
        }
        let is_old = match version {
            "HTTP/1.1" => false,
            "HTTP/1.0" => true,
            _ => return Err(Problem::version_not_supported(version)),
        };
        Ok(RequestLine {
            method,
            target,
            is_old,
        })
    }
}

impl Head {
    /// Parses a head whose end was found.
    ///
    /// # Errors
    /// If it is too large, or ambiguous.
    pub fn parse(bytes: &[u8]) -> Result<Head, Problem> {
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let line_end = bytes.iter().position(|&byte| byte == b'\r').unwrap_or(0);
        let line = RequestLine::parse(&bytes[..line_end])?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let fields = match httparse::parse_headers(&bytes[line_end + 2..], &mut fields) {
            Ok(httparse::Status::Complete((_, fields))) => fields,
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Problem::head_too_large(MAX_HEAD_BYTES, MAX_FIELDS))
            }
            Ok(httparse::Status::Partial) | Err(_) => return Err(Problem::bad_request(
                "a header field is malformed; send each as \"Name: value\" on a line of its own",
            )),
        };
        let mut reading = Reading {
            is_old: line.is_old,
            ..Reading::default()
        };
        for field in fields {
            reading.take(field)?;
        }
        reading.finish(&line)
    }
}

/// A head while its fields are read.
#[derive(Default)]
struct Reading {
    is_old: bool,
    fields: Vec<(&'static str, String)>,
    length: Option<u64>,
    is_chunked: bool,
    expects_continue: bool,
    wants_close: bool,
    wants_keep_alive: bool,
    hosts: usize,
    has_bad_host: bool,
}

impl Reading {
    fn take(&mut self, field: &httparse::Header) -> Result<(), Problem> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("Content-Length") {
            if self.length.is_some() {
                return Err(Problem::bad_request(
                    "Content-Length is given more than once; send it once",
                ));
            }
            self.length = Some(parse_length(field.value)?);
        } else if is("Transfer-Encoding") {
            if self.is_chunked || self.is_old || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Problem::bad_request(
                    "Transfer-Encoding is supported as \"chunked\", once, in HTTP/1.1; send the body that way, or with Content-Length",
                ));
            }
            self.is_chunked = true;
        } else if is("Expect") {
            if !field.value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Problem::expectation_failed());
            }
            // An HTTP/1.0 client does not know it (RFC 9110, section 10.1.1).
            self.expects_continue = !self.is_old;
        } else if is("Connection") {
            for option in field.value.split(|&byte| byte == b',') {
                let option = option.trim_ascii();
                self.wants_close |= option.eq_ignore_ascii_case(b"close");
                self.wants_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("Host") {
            self.hosts += 1;
            self.has_bad_host |= !field.value.iter().all(is_in_host);
        }
        if let Some(name) = KNOWN_FIELDS.iter().find(|name| is(name)) {
            let value = String::from_utf8_lossy(field.value).into_owned();
            self.fields.push((name, value));
        }
        Ok(())
    }

    fn finish(self, line: &RequestLine) -> Result<Head, Problem> {
        if self.is_chunked && self.length.is_some() {
            return Err(Problem::bad_request(
                "Content-Length and Transfer-Encoding are both given; send one of the two",
            ));
        }
        if self.hosts > 1 || (self.hosts == 0 && !self.is_old) {
            return Err(Problem::bad_request(
                "the field Host is missing or given more than once; send it once (RFC 9112, section 3.2)",
            ));
        }
        if self.has_bad_host {
            return Err(Problem::bad_request(
                "the field Host is not a host; send a name or an address, and a port if it is not the default",
            ));
        }
        let may_go_on = !self.is_old || self.wants_keep_alive;
        Ok(Head {
            method: line.method.to_string(),
            target: in_ascii(line.target),
            is_old: self.is_old,
            fields: self.fields,
            framing: if self.is_chunked {
                Framing::Chunked
            } else {
                Framing::Length(self.length.unwrap_or(0))
            },
            expects_continue: self.expects_continue,
            // What follows CONNECT is not HTTP.
            keeps_alive: may_go_on && !self.wants_close && line.method != "CONNECT",
        })
    }
}

/// Saturates: no route takes that much.
fn parse_length(value: &[u8]) -> Result<u64, Problem> {
    let text = String::from_utf8_lossy(value);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::bad_request(format!(
            "Content-Length is {text:?}; give the body's size in bytes"
        )));
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// Characters beyond ASCII as people type them into curl, percent-encoded.
fn in_ascii(target: &str) -> String {
    if target.is_ascii() {
        return target.to_string();
    }
    target.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii() {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn no_http() -> Problem {
    Problem::bad_request(
        "this is not an HTTP/1.1 request; begin with a line such as \"GET /health HTTP/1.1\"",
    )
}

fn control_character() -> Problem {
    Problem::bad_request(
        "the request's head contains a NUL or another control character; leave it out",
    )
}

fn bare_line_end() -> Problem {
    Problem::bad_request(
        "a line of the request's head does not end with CR LF; end every line with both",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_found_wherever_the_head_is_cut() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..head.len() {
            let mut scanned = 0;
            let first = find_end(&head[..cut], &mut scanned);
            assert_eq!(first, Ok(None), "{cut} bytes are no head");
            let whole = find_end(head, &mut scanned);
            assert_eq!(whole, Ok(Some(head.len())), "after {cut} bytes");
        }
    }

    #[test]
    fn a_target_beyond_ascii_is_percent_encoded() {
        let head = Head::parse("GET /é?a=ã HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes());
        let target = head.map(|head| head.target);
        assert_eq!(target, Ok("/%C3%A9?a=%C3%A3".into()));
    }
}
