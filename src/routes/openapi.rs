//! `/openapi.json`: the description of the wire contract, which is part of the program.

use crate::http::reply::Reply;

const DOCUMENT: &[u8] = include_bytes!("../../assets/openapi.json");

/// Without the white space that is there for people, but for a line's end: 53 KB less in the binary, and on the wire.
static SHORT: [u8; shorten::<0>().1] = shorten().0;

/// The document as far as it fits, and how long it is as a whole.
const fn shorten<const MOST: usize>() -> ([u8; MOST], usize) {
    let mut short = [0; MOST];
    let (mut from, mut to) = (0, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    while from < DOCUMENT.len() {
        let byte = DOCUMENT[from];
        if in_text || !byte.is_ascii_whitespace() {
            if to < MOST {
                short[to] = byte;
            }
            to += 1;
        }
        in_text ^= byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        from += 1;
    }
    if to < MOST {
        short[to] = b'\n';
    }
    (short, to + 1)
}

pub(super) fn document() -> Reply {
    Reply::new(200).with_body("application/json", &SHORT[..])
}
