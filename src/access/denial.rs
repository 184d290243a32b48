//! Why a request is denied.

/// Why something is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A token is needed and none was given.
    TokenMissing,
    /// The token is invalid.
    TokenWrong {
        /// What is wrong with it, in words that a header can carry (RFC 6750, section 3).
        why: &'static str,
        /// Details for the answer's body; may be empty.
        more: String,
    },
    /// The token is valid, but does not have this right.
    NotAllowed,
}

impl Denial {
    pub(super) fn wrong(why: &'static str) -> Denial {
        Denial::TokenWrong {
            why,
            more: String::new(),
        }
    }
}
