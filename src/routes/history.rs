//! How far back a request wants to read: `last`, `since`, and ids that have to be judged first.

use super::app::App;
use super::outcome::{Outcome, Waiting};
use super::parameters::parsed;
use crate::event::EventId;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::hub::{From, LastId, Start};
use crate::moments::since_1970;
use crate::numbers::{digits, duration};
use std::time::SystemTime;

/// The largest `last`.
const MOST_LAST: usize = 10_000;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// After this id.
    Id(String),
    /// At this moment, in ms since the Unix epoch.
    Moment(u64),
}

pub(super) fn last(query: &Query) -> Result<Option<usize>, Problem> {
    let right = format!("a number from 1 to {MOST_LAST}");
    parsed(query, "last", &right, |value| {
        digits(value).filter(|number| (1..=MOST_LAST).contains(number))
    })
}

pub(super) fn since(query: &Query) -> Result<Option<Since>, Problem> {
    let right =
        "an id (1764000000000-0), a time ago (90s, 10m, 2h or 1d), or milliseconds since 1970";
    let since = parsed(query, "since", right, |value| match value {
        // Whoever goes on from an id has none at first.
        "" => Some(None),
        value => read_since(value, SystemTime::now()).map(Some),
    });
    since.map(Option::flatten)
}

fn read_since(value: &str, now: SystemTime) -> Option<Since> {
    if let Some(ms) = digits(value) {
        return Some(Since::Moment(ms));
    }
    if value.contains('-') {
        return EventId::parse(value).map(|id| Since::Id(id.to_string()));
    }
    let ago = duration(value)?;
    let moment = since_1970(now).saturating_sub(ago);
    Some(Since::Moment(moment.as_millis() as u64))
}

/// Calls `go_on` with the place to begin. If an id has to be judged first, that happens on a thread that may wait.
pub(super) fn begin(
    app: &App,
    since: Option<Since>,
    last: Option<usize>,
    go_on: impl FnOnce(Start) -> Result<Outcome, Problem> + Send + 'static,
) -> Result<Outcome, Problem> {
    let id = match (since, last) {
        (Some(Since::Id(id)), _) => id,
        (Some(Since::Moment(ms)), _) => return go_on(from(From::Moment(ms), last)),
        (None, Some(_)) => return go_on(from(From::Moment(0), last)),
        (None, None) => return go_on(Start::NOW),
    };
    match app.cluster.clone() {
        Some(cluster) if cluster.has_to_wait_for(&id) => {
            Ok(Outcome::Waiting(Waiting::new(move || {
                let id = cluster.judge(id);
                go_on(from(From::Id(id), last)).unwrap_or_else(Outcome::from)
            })))
        }
        _ => go_on(from(From::Id(LastId::of_this_server(id)), last)),
    }
}

fn from(from: From, last: Option<usize>) -> Start {
    Start { from, last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_moment_is_told_from_an_id() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let moment = |ms| Some(Since::Moment(ms));
        for (value, since) in [
            ("0", moment(0)),
            ("1764000000000", moment(1_764_000_000_000)),
            ("90s", moment(999_910_000)),
            ("10m", moment(999_400_000)),
            ("2h", moment(992_800_000)),
            ("1d", moment(913_600_000)),
            ("99999d", moment(0)),
            ("18446744073709551615d", moment(0)),
            ("1764000000000-7", Some(Since::Id("1764000000000-7".into()))),
            ("0-0", Some(Since::Id("0-0".into()))),
        ] {
            assert_eq!(read_since(value, now), since, "{value:?}");
        }
        for bad in [
            "",
            "s",
            "-",
            "1-",
            "-1s",
            "+1s",
            "1.5h",
            "1w",
            "1 h",
            "10M",
            "é",
            "1é",
            "18446744073709551616",
        ] {
            assert_eq!(read_since(bad, now), None, "{bad:?}");
        }
    }
}
