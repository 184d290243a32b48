//! Where a stream or an answer begins.

use super::arrivals::LastId;

/// Where a stream or an answer begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// From here on.
    pub from: From,
    /// Of the history from there only the newest so many.
    pub last: Option<usize>,
}

/// Where history begins.
#[derive(Clone, Debug)]
pub enum From {
    /// There is none: with what comes live.
    Now,
    /// Behind the id with which a client comes back. It is told of what is lost.
    Id(LastId),
    /// At a moment of the wall clock, in ms since the Unix epoch. What is lost is not told: the client knows no id.
    Moment(u64),
}

impl Start {
    /// With what comes live.
    pub const NOW: Start = Start {
        from: From::Now,
        last: None,
    };

    /// Behind this id.
    pub fn after(last_id: LastId) -> Start {
        Start {
            from: From::Id(last_id),
            last: None,
        }
    }
}
