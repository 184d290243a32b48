//! Values as they stand in a log line: bare where nobody can take them for something else, quoted where they could be,
//! so that no client can forge a line or a `key=value` pair. Used wherever a client's or the system's text is logged.

use std::fmt;

/// A text that comes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a>(pub &'a str);

impl fmt::Display for Logged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_alphanumeric() || "-_.:,/@+~%".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            f.write_str(self.0)
        } else {
            // Escapes quotes, backslashes, and all that does not print.
            write!(f, "{:?}", self.0)
        }
    }
}
