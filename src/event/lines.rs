//! Events as lines: newline-delimited JSON, and the bare text of messages.

use super::message::Event;
use super::text::{lines_of, push_display, push_json_message};

/// One message as a line of JSON.
pub(super) fn push_json(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    push_display(out, &event.id);
    out.extend_from_slice(b"\",");
    push_json_message(event, event.name.as_ref(), out);
    out.extend_from_slice(b"}\n");
}

pub(super) fn push_text(event: &Event, out: &mut Vec<u8>) {
    for line in lines_of(&event.text) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
}
