//! Numbers and lengths of time, as people write them.

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
