//! Redis's protocol, RESP2: how commands are packed, and how answers are read, in one pass and without a copy. No I/O
//! here. (<https://redis.io/docs/latest/develop/reference/protocol-spec/>)

use std::io::Write;

/// Bytes of a line that ends an answer or says how long it is: Redis's own texts are far shorter.
const LONGEST_LINE: usize = 64 << 10;

/// Bytes of a text: what Redis allows by default (`proto-max-bulk-len`).
const LONGEST_TEXT: usize = 512 << 20;

/// Appends a command: its name and arguments.
pub(super) fn pack(out: &mut Vec<u8>, command: &[&str]) {
    // Writing to memory does not fail.
    let _ = write!(out, "*{}\r\n", command.len());
    for argument in command {
        let _ = write!(out, "${}\r\n", argument.len());
        out.extend_from_slice(argument.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// A command alone, packed.
pub(super) fn packed(command: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    pack(&mut out, command);
    out
}

/// An answer of Redis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer<'a> {
    Nil,
    Int(i64),
    Text(&'a [u8]),
    /// A refusal: a code, a blank, and details.
    Error(&'a [u8]),
    List(List<'a>),
}

impl<'a> Answer<'a> {
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Answer::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub(super) fn list(self) -> Option<List<'a>> {
        match self {
            Answer::List(list) => Some(list),
            _ => None,
        }
    }

    /// The value under a name, in a list of alternating names and values.
    pub(super) fn field(self, name: &str) -> Option<Answer<'a>> {
        let mut items = self.list()?;
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            if key == Answer::Text(name.as_bytes()) {
                return Some(value);
            }
        }
        None
    }
}

/// The items of a list that are left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct List<'a> {
    bytes: &'a [u8],
    nodes: &'a [Node],
}

impl<'a> List<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.nodes.is_empty()
    }
}

impl<'a> Iterator for List<'a> {
    type Item = Answer<'a>;

    fn next(&mut self) -> Option<Answer<'a>> {
        let (node, mut rest) = self.nodes.split_first()?;
        let answer = match *node {
            Node::Nil => Answer::Nil,
            Node::Int(number) => Answer::Int(number),
            Node::Text { begin, end } => Answer::Text(&self.bytes[begin..end]),
            Node::Error { begin, end } => Answer::Error(&self.bytes[begin..end]),
            Node::List { nodes } => {
                let (own, after) = rest.split_at(nodes);
                rest = after;
                Answer::List(List {
                    bytes: self.bytes,
                    nodes: own,
                })
            }
        };
        self.nodes = rest;
        Some(answer)
    }
}

/// A part of an answer. Texts are places in the bytes that came.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Nil,
    Int(i64),
    Text {
        begin: usize,
        end: usize,
    },
    Error {
        begin: usize,
        end: usize,
    },
    /// Its items are the `nodes` behind it, those within its items included.
    List {
        nodes: usize,
    },
}

/// Bytes that no Redis sends.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed;

/// Answers as they come in. Bytes that came are read once, however they were cut.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// What came. Whoever receives appends to it.
    pub(super) bytes: Vec<u8>,
    /// How much of that was read.
    read: usize,
    nodes: Vec<Node>,
    /// Answers that have not begun.
    missing: usize,
    /// Lists that have begun, from the outside in: their places, and the items that each lacks.
    open: Vec<(usize, usize)>,
}

impl Answers {
    /// For this many answers.
    pub(super) fn new(wanted: usize) -> Answers {
        Answers {
            missing: wanted,
            ..Answers::default()
        }
    }

    /// Reads what came. Returns whether all answers are there.
    ///
    /// # Errors
    /// If that is no answer, or more than was asked for.
    pub(super) fn are_whole(&mut self) -> Result<bool, Malformed> {
        while self.missing > 0 || !self.open.is_empty() {
            let Some(node) = self.next_node()? else {
                return Ok(false);
            };
            self.add(node);
        }
        if self.read < self.bytes.len() {
            return Err(Malformed);
        }
        Ok(true)
    }

    /// The answers that are there.
    pub(super) fn all(&self) -> Vec<Answer<'_>> {
        let all = List {
            bytes: &self.bytes,
            nodes: &self.nodes,
        };
        all.collect()
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            Some((_, missing)) => *missing -= 1,
            None => self.missing -= 1,
        }
        if let Node::List { nodes } = node {
            self.open.push((self.nodes.len(), nodes));
        }
        self.nodes.push(node);
        while let Some(&(place, 0)) = self.open.last() {
            let nodes = self.nodes.len() - place - 1;
            self.nodes[place] = Node::List { nodes };
            self.open.pop();
        }
    }

    /// The next part, if it is there as a whole. A list is its head, with the number of its items.
    fn next_node(&mut self) -> Result<Option<Node>, Malformed> {
        let rest = &self.bytes[self.read..];
        let Some(length) = rest.iter().take(LONGEST_LINE).position(|&b| b == b'\n') else {
            return if rest.len() < LONGEST_LINE {
                Ok(None)
            } else {
                Err(Malformed)
            };
        };
        let line = rest[..length].strip_suffix(b"\r").ok_or(Malformed)?;
        let (kind, value) = line.split_first().ok_or(Malformed)?;
        let begin = self.read + 1;
        let end = begin + value.len();
        let after = self.read + length + 1;
        let node = match (kind, value) {
            (b'+', _) => Node::Text { begin, end },
            (b'-', _) => Node::Error { begin, end },
            (b':', _) => Node::Int(number(value)?),
            (b'$' | b'*', b"-1") => Node::Nil,
            (b'*', _) => Node::List {
                nodes: number(value)?,
            },
            (b'$', _) => {
                let length: usize = number(value)?;
                if length > LONGEST_TEXT {
                    return Err(Malformed);
                }
                let end = after + length;
                let Some(tail) = self.bytes.get(end..end + 2) else {
                    return Ok(None);
                };
                if tail != b"\r\n" {
                    return Err(Malformed);
                }
                self.read = end + 2;
                return Ok(Some(Node::Text { begin: after, end }));
            }
            _ => return Err(Malformed),
        };
        self.read = after;
        Ok(Some(node))
    }
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Result<T, Malformed> {
    let digits = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    digits.parse().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads these bytes, in pieces of this size.
    fn read(bytes: &[u8], wanted: usize, piece: usize) -> Result<(bool, Answers), Malformed> {
        let mut answers = Answers::new(wanted);
        let mut is_whole = answers.are_whole()?;
        for piece in bytes.chunks(piece) {
            assert!(!is_whole, "whole before the last byte");
            answers.bytes.extend_from_slice(piece);
            is_whole = answers.are_whole()?;
        }
        Ok((is_whole, answers))
    }

    fn show(answer: Answer) -> String {
        match answer {
            Answer::Nil => "nil".into(),
            Answer::Int(number) => number.to_string(),
            Answer::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
            Answer::Error(text) => format!("!{:?}", String::from_utf8_lossy(text)),
            Answer::List(list) => {
                let items: Vec<String> = list.map(show).collect();
                format!("[{}]", items.join(" "))
            }
        }
    }

    #[test]
    fn answers_are_read_however_they_are_cut() {
        let bytes = b"+OK\r\n:-7\r\n$-1\r\n*-1\r\n*0\r\n-ERR no\r\n$4\r\na\r\nb\r\n*3\r\n*2\r\n$0\r\n\r\n*1\r\n*0\r\n*1\r\n:1\r\n+x\r\n$3\r\n\xC3\xA9!\r\n";
        for piece in 1..=bytes.len() {
            let (is_whole, answers) = read(bytes, 9, piece).expect("these are answers");
            assert!(is_whole, "in pieces of {piece}");
            let shown: Vec<String> = answers.all().into_iter().map(show).collect();
            assert_eq!(
                shown.join(" "),
                r#""OK" -7 nil nil [] !"ERR no" "a\r\nb" [["" [[]]] [1] "x"] "é!""#,
                "in pieces of {piece}"
            );
        }
        for end in 0..bytes.len() {
            let (is_whole, _) = read(&bytes[..end], 9, 7).expect("it is a beginning");
            assert!(!is_whole, "cut after {end} bytes");
        }
    }

    #[test]
    fn what_no_redis_sends_is_noticed() {
        let long = [b"+".as_slice(), &[b'x'; LONGEST_LINE]].concat();
        for bytes in [
            b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
            b"\r\n",
            b"\n",
            b"+OK\n",
            b"$x\r\n",
            b"$\r\n",
            b"$-2\r\n",
            b"$3\r\nabcd\r\n",
            b"$99999999999\r\n",
            b"$99999999999999999999\r\n",
            b"*-2\r\n",
            b":1.5\r\n",
            b":\r\n",
            b"_\r\n",
            b"+OK\r\n+OK\r\n",
            b"*1\r\n\xFF\r\n",
            &long,
        ] {
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(read(bytes, 1, 1 << 20).err(), Some(Malformed), "{shown:?}");
        }
    }

    #[test]
    fn a_deep_answer_needs_no_stack() {
        let bytes = b"*1\r\n".repeat(1_000_000);
        let (is_whole, _) = read(&bytes, 1, 4096).expect("it is a beginning");
        assert!(!is_whole);
    }

    #[test]
    fn fields_are_found_by_name() {
        let (_, answers) = read(b"*4\r\n$1\r\na\r\n*1\r\n:1\r\n$1\r\nb\r\n:2\r\n", 1, 99).unwrap();
        let info = answers.all()[0];
        assert_eq!(info.field("b"), Some(Answer::Int(2)));
        assert_eq!(info.field("c"), None);
        assert_eq!(Answer::Nil.field("a"), None);
    }

    #[test]
    fn commands_are_packed_with_their_lengths_in_bytes() {
        assert_eq!(
            packed(&["SET", "é", ""]),
            b"*3\r\n$3\r\nSET\r\n$2\r\n\xC3\xA9\r\n$0\r\n\r\n"
        );
    }
}
