//! Redis's protocol (RESP2), the server's end.

use crate::event::EventId;

pub type Command = Vec<Vec<u8>>;

/// An answer.
#[derive(Clone, Debug)]
pub enum Reply {
    Simple(&'static str),
    Error(&'static str),
    Number(i64),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
    Nil,
}

impl Reply {
    pub fn text(text: impl Into<String>) -> Reply {
        Reply::Bulk(text.into().into_bytes())
    }

    pub fn id(id: EventId) -> Reply {
        Reply::text(id.to_string())
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Simple(text) => out.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Reply::Error(text) => out.extend_from_slice(format!("-{text}\r\n").as_bytes()),
            Reply::Number(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Reply::Bulk(bytes) => {
                out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Reply::Array(parts) => {
                out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
                parts.iter().for_each(|part| part.encode(out));
            }
            Reply::Nil => out.extend_from_slice(b"$-1\r\n"),
        }
    }
}

/// Commands that were packed whole.
pub fn commands(bytes: &[u8]) -> Vec<Command> {
    let mut rest = bytes;
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let count = number(&mut rest, b'*');
        let parts = (0..count).map(|_| {
            let length = number(&mut rest, b'$');
            let (part, after) = rest.split_at(length);
            rest = &after[2..];
            part.to_vec()
        });
        commands.push(parts.collect());
    }
    commands
}

fn number(rest: &mut &[u8], kind: u8) -> usize {
    let end = rest.windows(2).position(|two| two == b"\r\n");
    let end = end.expect("commands are sent whole");
    assert_eq!(rest[0], kind, "{}", String::from_utf8_lossy(rest));
    let text = std::str::from_utf8(&rest[1..end]).expect("a number");
    *rest = &rest[end + 2..];
    text.parse().expect("a number")
}
