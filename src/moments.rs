//! Moments, on the wall clock and in running time.

use std::time::{Duration, Instant, SystemTime};

/// The beginning of the year 10000, since the Unix epoch. A time as late as this is no time: it was given in milliseconds
/// for seconds, or made up.
pub const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

/// Time since the Unix epoch; before 1970 counts as 1970.
pub fn since_1970(moment: SystemTime) -> Duration {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The moment this long before another one. Running time may begin with the machine: what is before that becomes `moment`.
pub fn before(moment: Instant, age: Duration) -> Instant {
    moment.checked_sub(age).unwrap_or(moment)
}
