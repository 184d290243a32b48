//! Encoded events, framed as one chunk.

use std::ops::Range;

/// Bytes of an event stream, framed as one HTTP/1.1 chunk (RFC 9112, section 7.1), so that one encoding serves chunked
/// and plain connections.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    raw: Range<usize>,
    start: usize,
}

/// Room for the chunk's size line: a `usize` in hexadecimal and CRLF.
const SIZE_LINE: usize = 18;

impl Frame {
    /// Builds a frame around what `fill` appends. `None` without content: an empty chunk would end the stream.
    pub fn build(fill: impl FnOnce(&mut Vec<u8>)) -> Option<Frame> {
        let mut bytes = vec![0; SIZE_LINE];
        fill(&mut bytes);
        let raw = SIZE_LINE..bytes.len();
        if raw.is_empty() {
            return None;
        }
        let size_line = format!("{:x}\r\n", raw.len());
        let start = SIZE_LINE - size_line.len();
        bytes[start..SIZE_LINE].copy_from_slice(size_line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        Some(Frame { bytes, raw, start })
    }

    /// The chunk, or the bare content.
    pub fn bytes(&self, chunked: bool) -> &[u8] {
        if chunked {
            &self.bytes[self.start..]
        } else {
            &self.bytes[self.raw.clone()]
        }
    }

    /// Size of the content in bytes.
    pub fn size(&self) -> usize {
        self.raw.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_says_its_size() {
        let frame = Frame::build(|out| out.extend_from_slice(&[b'x'; 300])).expect("content");
        assert!(frame.bytes(true).starts_with(b"12c\r\nxxx"));
        assert!(frame.bytes(true).ends_with(b"x\r\n"));
        assert_eq!(frame.bytes(false).len(), 300);
        assert!(Frame::build(|_| {}).is_none());
    }
}
