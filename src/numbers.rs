//! Numbers, lengths of time and places in a text, as people write them.

use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

/// Parses a number written in digits only: `parse` alone would take a sign as well.
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Parses `90s`, `10m`, `2h` or `1d`. A length that no clock can represent becomes the longest one.
pub fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let count: u64 = digits(&text[..text.len() - 1])?;
    Some(Duration::from_secs(count.saturating_mul(seconds)))
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The line of an error in `json`.
pub fn line_of<'a>(json: &'a [u8], error: &serde_json::Error) -> &'a [u8] {
    let mut lines = json.split(|&b| b == b'\n');
    let line = lines.nth(error.line().saturating_sub(1));
    line.unwrap_or_default()
}

/// The column of an error in `json`, counted in characters and from 1; the parser counts bytes, and 0 means that a line
/// has not begun.
pub fn column(json: &[u8], error: &serde_json::Error) -> usize {
    let bytes = line_of(json, error).iter().take(error.column());
    // All bytes of a character but its first are 10xxxxxx.
    bytes.filter(|&&b| b >> 6 != 0b10).count().max(1)
}
