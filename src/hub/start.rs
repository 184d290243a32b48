//! Where a stream or an answer begins.

use super::arrivals::LastId;

/// Where a stream or an answer begins.
#[derive(Clone, Debug)]
pub struct Start {
    pub from: From,
    /// Only the newest messages of that history, at most this many.
    pub last: Option<usize>,
}

/// Where history begins.
#[derive(Clone, Debug)]
pub enum From {
    /// No history: live messages only.
    Now,
    /// After the id that a returning client names. It is told of losses.
    Id(LastId),
    /// At a moment of the wall clock, in ms since the Unix epoch. Losses are not told: the client names no id.
    Moment(u64),
}

impl Start {
    pub const NOW: Start = Start {
        from: From::Now,
        last: None,
    };
}
