//! The forms in which clients get events.

use super::frame::Frame;
use super::lines;
use super::message::{Event, Kind};
use super::sse;
use super::text::push_json_string;
use super::topic::Topic;
use std::sync::OnceLock;

/// The form in which a client gets its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An event stream, in which `data:` is the message.
    Plain,
    /// An event stream, in which `data:` is `{"canal":…,"mensagem":…,"timestamp":…}`.
    Json,
    /// Lines of JSON, one for each message and each notice.
    Ndjson,
    /// The bare messages, each followed by a line end.
    Text,
}

impl Form {
    /// The number of forms.
    pub const COUNT: usize = 4;
}

/// Appends one event; a notice is nothing in a form that has none.
pub fn encode(event: &Event, form: Form, out: &mut Vec<u8>) {
    if let Kind::Gap { of, after } = &event.kind {
        return encode_gap(of, &after.to_string(), form, out);
    }
    match form {
        Form::Plain => sse::push_plain(event, out),
        Form::Json => sse::push_json(event, out),
        Form::Ndjson => lines::push_json(event, out),
        Form::Text => lines::push_text(event, out),
    }
}

/// Appends the notice that messages of `of` after the client's id `after` are, or may be, lost.
pub fn encode_gap(of: &Topic, after: &str, form: Form, out: &mut Vec<u8>) {
    encode_notice(
        "gap",
        &[("canal", of.as_str()), ("after", after)],
        form,
        out,
    );
}

/// Appends the notice that the stream ends because its token no longer allows it.
pub fn encode_expired(reason: &str, form: Form, out: &mut Vec<u8>) {
    encode_notice("expired", &[("reason", reason)], form, out);
}

fn encode_notice(name: &str, members: &[(&str, &str)], form: Form, out: &mut Vec<u8>) {
    let (begin, end) = match form {
        Form::Plain | Form::Json => (format!("event: sse-{name}\ndata: "), "}\n\n"),
        Form::Ndjson => (format!("{{\"{name}\":"), "}}\n"),
        Form::Text => return,
    };
    out.extend_from_slice(begin.as_bytes());
    for (number, (key, value)) in members.iter().enumerate() {
        out.push(if number == 0 { b'{' } else { b',' });
        push_json_string(out, key);
        out.push(b':');
        push_json_string(out, value);
    }
    out.extend_from_slice(end.as_bytes());
}

/// What keeps connections alive. `as_event` lets pages see it. Empty in a form that has no place for it.
pub fn heartbeat(form: Form, as_event: bool) -> &'static [u8] {
    match form {
        Form::Plain | Form::Json if as_event => b"event: sse-heartbeat\ndata: {}\n\n",
        Form::Plain | Form::Json => b":\n",
        Form::Ndjson => b"\n",
        Form::Text => b"",
    }
}

/// A heartbeat as a frame, the same for all clients; `None` in a form that has no place for it.
pub fn heartbeat_frame(form: Form, as_event: bool) -> Option<&'static Frame> {
    static FRAMES: [OnceLock<Option<Frame>>; 2 * Form::COUNT] =
        [const { OnceLock::new() }; 2 * Form::COUNT];
    let number = 2 * form as usize + usize::from(as_event);
    let build = || Frame::build(|out| out.extend_from_slice(heartbeat(form, as_event)));
    FRAMES[number].get_or_init(build).as_ref()
}
