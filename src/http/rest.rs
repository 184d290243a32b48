//! The rest of a body that is too large to be held whole: each piece is made when the client has taken what was before.

use std::fmt;

pub struct Rest {
    size: usize,
    pieces: Box<dyn Iterator<Item = Vec<u8>> + Send>,
}

impl Rest {
    /// `size` is that of all pieces together, in bytes.
    pub fn new(size: usize, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Rest {
        Rest {
            size,
            pieces: Box::new(pieces),
        }
    }

    /// Bytes that are still to come.
    pub fn size(&self) -> usize {
        self.size
    }
}

impl Iterator for Rest {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.next()?;
        self.size = self.size.saturating_sub(piece.len());
        Some(piece)
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rest({} bytes)", self.size)
    }
}
