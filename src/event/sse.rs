//! Events as an event stream (WHATWG HTML, section 9.2.5).

use super::message::Event;
use super::text::{lines_of, push_display, push_json_message};

/// One event whose data is the message.
pub(super) fn push_plain(event: &Event, out: &mut Vec<u8>) {
    push_fields(event, out);
    out.reserve(event.text.len() + 16);
    for line in lines_of(&event.text) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// One event whose data is JSON.
pub(super) fn push_json(event: &Event, out: &mut Vec<u8>) {
    push_fields(event, out);
    out.extend_from_slice(b"data: {");
    push_json_message(event, None, out);
    out.extend_from_slice(b"}\n\n");
}

fn push_fields(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    push_display(out, &event.id);
    out.push(b'\n');
    if let Some(name) = &event.name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_str().as_bytes());
        out.push(b'\n');
    }
}
