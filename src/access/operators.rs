//! What operators may see and do apart from channels, and how they see callers: by names, never by tokens.

use super::rules::OPERATOR_NAME;
use super::{Caller, Denial, Identity};

/// The longest subject that is shown, in characters.
const MAX_SUBJECT_CHARS: usize = 64;

impl Caller {
    /// Checks the right to see who is connected: that takes a token that may see statistics. Even if everybody may see
    /// those, clients' addresses are not public.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_sees_clients(&self) -> Result<(), Denial> {
        self.require_own(|grant| grant.stats)
    }

    /// Checks that the caller is the operator, who has `AUTH_TOKEN`.
    ///
    /// # Errors
    /// Why it is denied.
    pub fn check_is_operator(&self) -> Result<(), Denial> {
        match self.identity {
            Identity::Operator => Ok(()),
            Identity::Anyone => Err(Denial::TokenMissing),
            _ => Err(Denial::NotAllowed),
        }
    }

    /// The name of its token in the log and in the rules.
    pub fn token_name(&self) -> Option<&str> {
        match &self.identity {
            Identity::Operator => Some(OPERATOR_NAME),
            Identity::Listed(entry) => Some(&entry.name),
            Identity::Anyone | Identity::Bearer(_) => None,
        }
    }

    /// The subject of a signed token, cut to the length that the log shows.
    pub fn subject(&self) -> Option<String> {
        match &self.identity {
            Identity::Bearer(claims) => {
                let subject = claims.subject.as_deref().unwrap_or_default();
                Some(subject.chars().take(MAX_SUBJECT_CHARS).collect())
            }
            _ => None,
        }
    }
}
