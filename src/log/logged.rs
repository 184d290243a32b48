//! Values in a log line: bare if they cannot be mistaken for something else, quoted if they could, so that no client
//! can forge a line or a `key=value` pair. For all text from clients or the system.

use std::fmt;

/// A text from outside.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a>(pub &'a str);

impl fmt::Display for Logged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_alphanumeric() || "-_.:,/@+~%".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            f.write_str(self.0)
        } else {
            // Escapes quotes, backslashes, and everything that does not print.
            write!(f, "{:?}", self.0)
        }
    }
}
