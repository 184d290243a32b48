//! What all forms need: a message's lines, and JSON.

use super::message::Event;
use super::names::EventName;
use std::borrow::Cow;
use std::fmt;
use std::io::Write;

/// The lines of a message: CR, LF and CRLF each end one (WHATWG HTML, section 9.2.6). After a final line end there is
/// one empty line.
pub(super) fn lines_of(text: &str) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text.as_bytes());
    std::iter::from_fn(move || {
        let bytes = rest?;
        let Some(end) = bytes.iter().position(|&b| b == b'\n' || b == b'\r') else {
            rest = None;
            return Some(bytes);
        };
        let line_end = if bytes[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = Some(&bytes[end + line_end..]);
        Some(&bytes[..end])
    })
}

/// The members `canal`, `event` (if `name` is given), `mensagem` and `timestamp`, without braces.
pub(super) fn push_json_message(event: &Event, name: Option<&EventName>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"canal\":");
    push_json_string(out, event.channel.as_str());
    if let Some(name) = name {
        out.extend_from_slice(b",\"event\":");
        push_json_string(out, name.as_str());
    }
    out.extend_from_slice(b",\"mensagem\":");
    push_json_string(out, &with_lf(&event.text));
    out.extend_from_slice(b",\"timestamp\":");
    push_display(out, &event.timestamp_ms);
}

/// The text with LF for each line end.
fn with_lf(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        text.into()
    }
}

pub(super) fn push_display(out: &mut Vec<u8>, value: &dyn fmt::Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

pub(super) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_end_ends_a_line() {
        for (text, lines) in [
            ("", vec![""]),
            ("a", vec!["a"]),
            ("a\n", vec!["a", ""]),
            ("a\r\nb\rc\n\rd", vec!["a", "b", "c", "", "d"]),
        ] {
            let seen: Vec<&[u8]> = lines_of(text).collect();
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(seen, lines, "{text:?}");
            assert_eq!(with_lf(text).split('\n').count(), lines.len(), "{text:?}");
        }
    }
}
