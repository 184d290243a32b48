//! A request's body as it comes in, by its length or in chunks (RFC 9112, sections 6.3 and 7.1), within bounds.

use super::head::{Framing, MAX_FIELDS};
use crate::http::request::{is_token, BodyError};

/// Bytes of a chunk's size line, its extension included.
const MAX_SIZE_LINE: usize = 256;

/// Bytes of all extensions and trailers of a body. Nobody here wants them.
const MAX_EXTRAS: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// This many bytes of the body or, with chunks, of the chunk.
    Bytes(u64),
    /// The line end after a chunk.
    ChunkEnd,
    SizeLine,
    Trailer,
    Nothing,
}

/// Reads a body as it arrives, in pieces of any size. Useless once it has failed.
#[derive(Debug)]
pub struct BodyReader {
    is_chunked: bool,
    expected: Expected,
    bytes: Vec<u8>,
    /// The beginning of a line.
    line: Vec<u8>,
    extras: usize,
    trailers: usize,
    /// Nothing of it has arrived.
    is_untouched: bool,
}

impl BodyReader {
    pub fn new(framing: Framing) -> BodyReader {
        let (is_chunked, expected) = match framing {
            Framing::Length(0) => (false, Expected::Nothing),
            Framing::Length(length) => (false, Expected::Bytes(length)),
            Framing::Chunked => (true, Expected::SizeLine),
        };
        BodyReader {
            is_chunked,
            expected,
            bytes: Vec::new(),
            line: Vec::new(),
            extras: 0,
            trailers: 0,
            is_untouched: true,
        }
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.expected == Expected::Nothing
    }

    /// Whether nothing of it is here.
    pub fn is_untouched(&self) -> bool {
        self.is_untouched
    }

    /// A lower bound of the body's size in bytes, as far as known.
    pub fn least_size(&self) -> u64 {
        let due = match self.expected {
            Expected::Bytes(due) => due,
            _ => 0,
        };
        due.saturating_add(self.bytes.len() as u64)
    }

    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes what has arrived, up to the end of the body, which may have `limit` bytes. Returns the number of bytes
    /// taken.
    ///
    /// # Errors
    /// If it is larger, or malformed.
    pub fn take(&mut self, arrived: &[u8], limit: usize) -> Result<usize, BodyError> {
        let mut at = 0;
        self.is_untouched &= arrived.is_empty();
        while at < arrived.len() && !self.is_whole() {
            let rest = &arrived[at..];
            at += match self.expected {
                Expected::Bytes(due) => self.take_bytes(rest, due, limit)?,
                _ => self.take_line(rest)?,
            };
        }
        Ok(at)
    }

    fn take_bytes(&mut self, arrived: &[u8], due: u64, limit: usize) -> Result<usize, BodyError> {
        let count = usize::try_from(due).map_or(arrived.len(), |due| due.min(arrived.len()));
        if count > limit.saturating_sub(self.bytes.len()) {
            return Err(BodyError::TooLarge);
        }
        self.bytes.extend_from_slice(&arrived[..count]);
        let due = due - count as u64;
        self.expected = match (due, self.is_chunked) {
            (0, true) => Expected::ChunkEnd,
            (0, false) => Expected::Nothing,
            _ => Expected::Bytes(due),
        };
        Ok(count)
    }

    /// Takes bytes up to the end of a line.
    fn take_line(&mut self, arrived: &[u8]) -> Result<usize, BodyError> {
        let (count, has_ended) = match arrived.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (arrived.len(), false),
        };
        let (most, is_extra) = match self.expected {
            Expected::ChunkEnd => (2, false),
            Expected::Trailer => (MAX_EXTRAS, true),
            _ => (MAX_SIZE_LINE, false),
        };
        if self.line.len() + count > most {
            return Err(BodyError::Broken);
        }
        self.line.extend_from_slice(&arrived[..count]);
        self.count_extras(if is_extra { count } else { 0 })?;
        if has_ended {
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r\n").ok_or(BodyError::Broken)?;
            self.end_line(line)?;
        } else {
            self.check_start()?;
        }
        Ok(count)
    }

    /// Refuses a bad line without waiting for its end.
    fn check_start(&self) -> Result<(), BodyError> {
        let is_good = match (self.expected, self.line.as_slice()) {
            (Expected::ChunkEnd, line) => line == b"\r",
            (Expected::SizeLine, [first, ..]) => first.is_ascii_hexdigit(),
            _ => true,
        };
        if is_good {
            Ok(())
        } else {
            Err(BodyError::Broken)
        }
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), BodyError> {
        let has_control = |bytes: &[u8]| bytes.iter().any(|b| b.is_ascii_control() && *b != b'\t');
        if has_control(line) {
            return Err(BodyError::Broken);
        }
        self.expected = match self.expected {
            Expected::ChunkEnd if line.is_empty() => Expected::SizeLine,
            Expected::SizeLine => match self.chunk_size(line)? {
                0 => Expected::Trailer,
                size => Expected::Bytes(size),
            },
            Expected::Trailer if line.is_empty() => Expected::Nothing,
            Expected::Trailer if is_field(line) && self.trailers < MAX_FIELDS => {
                self.trailers += 1;
                Expected::Trailer
            }
            _ => return Err(BodyError::Broken),
        };
        Ok(())
    }

    /// Parses `SIZE` or `SIZE;EXTENSION`. Nothing may precede or directly follow the digits.
    fn chunk_size(&mut self, line: &[u8]) -> Result<u64, BodyError> {
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let extension = &line[digits..];
        self.count_extras(extension.len())?;
        if digits == 0 || !(extension.is_empty() || extension.starts_with(b";")) {
            return Err(BodyError::Broken);
        }
        let size_line = [&line[..digits], b"\r\n"].concat();
        match httparse::parse_chunk_size(&size_line) {
            Ok(httparse::Status::Complete((_, size))) => Ok(size),
            _ => Err(BodyError::Broken),
        }
    }

    fn count_extras(&mut self, count: usize) -> Result<(), BodyError> {
        self.extras += count;
        if self.extras > MAX_EXTRAS {
            return Err(BodyError::Broken);
        }
        Ok(())
    }
}

/// Whether a line is a field: a name, a colon, and any value.
fn is_field(line: &[u8]) -> bool {
    let mut parts = line.splitn(2, |&byte| byte == b':');
    let name = parts.next().unwrap_or_default();
    parts.next().is_some() && !name.is_empty() && name.iter().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, if it is whole after these bytes, and the number of bytes behind it.
    fn read(framing: Framing, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, BodyError> {
        let mut reader = BodyReader::new(framing);
        let taken = reader.take(bytes, 1000)?;
        let rest = bytes.len() - taken;
        Ok(reader.is_whole().then(|| (reader.into_bytes(), rest)))
    }

    #[test]
    fn chunks_are_joined_and_trailers_are_dropped() {
        let bytes = b"3\r\nabc\r\n2;x=\"y\"\r\nde\r\n0\r\nA: b\r\n\r\nGET";
        assert_eq!(
            read(Framing::Chunked, bytes),
            Ok(Some((b"abcde".to_vec(), 3)))
        );
    }

    #[test]
    fn what_two_servers_could_read_in_two_ways_is_broken() {
        for line in [
            "+5",
            " 5",
            "5 ",
            "5\t",
            "5\x0b",
            "0x5",
            "5_0",
            "",
            ";",
            "g",
            "5\r",
            "-1",
            "11111111111111111",
            "5 ;a",
            "5;\x00",
        ] {
            let bytes = format!("{line}\r\nhello\r\n0\r\n\r\n");
            let found = read(Framing::Chunked, bytes.as_bytes());
            assert_eq!(found, Err(BodyError::Broken), "size line {line:?}");
        }
        for bytes in [
            "5;\nhello\r\n0\r\n\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "5\r\nhello\n",
        ] {
            let found = read(Framing::Chunked, bytes.as_bytes());
            assert_eq!(found, Err(BodyError::Broken), "{bytes:?}");
        }
    }

    #[test]
    fn sizes_extensions_and_trailers_end_somewhere() {
        let mut reader = BodyReader::new(Framing::Chunked);
        let zeros = vec![b'0'; MAX_SIZE_LINE + 1];
        assert_eq!(reader.take(&zeros, 10), Err(BodyError::Broken));
        let mut reader = BodyReader::new(Framing::Chunked);
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(200));
        let mut results = (0..1000).map(|_| reader.take(chunk.as_bytes(), 1000));
        assert!(
            results.any(|result| result.is_err()),
            "200 KB of extensions"
        );
        let mut reader = BodyReader::new(Framing::Chunked);
        assert_eq!(reader.take(b"0\r\n", 10), Ok(3));
        let mut results = (0..9000).map(|_| reader.take(b"a:\r\n", 10));
        assert!(results.any(|result| result.is_err()), "36 KB of trailers");
    }
}
