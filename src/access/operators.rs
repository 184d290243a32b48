//! What operators may see and do beside channels, and what they are told of who asks: names, never tokens.

use super::rules::OPERATOR_NAME;
use super::{Caller, Denial, Identity};

/// Longest subject that is shown, in characters.
const MAX_SUBJECT_CHARS: usize = 64;

impl Caller {
    /// Whether it may see who is connected: with a token of its own that may see statistics. That these are public does not
    /// make clients' addresses so.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_sees_clients(&self) -> Result<(), Denial> {
        match self.token_grant() {
            _ if matches!(self.identity, Identity::Operator) => Ok(()),
            None => Err(Denial::TokenMissing),
            Some(grant) if grant.stats => Ok(()),
            Some(_) => Err(Denial::NotAllowed),
        }
    }

    /// Whether it is the operator, who has `AUTH_TOKEN`.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check_is_operator(&self) -> Result<(), Denial> {
        match self.identity {
            Identity::Operator => Ok(()),
            Identity::Anyone => Err(Denial::TokenMissing),
            _ => Err(Denial::NotAllowed),
        }
    }

    /// What the log and the rules call its token.
    pub fn token_name(&self) -> Option<&str> {
        match &self.identity {
            Identity::Operator => Some(OPERATOR_NAME),
            Identity::Listed(entry) => Some(&entry.name),
            Identity::Anyone | Identity::Bearer(_) => None,
        }
    }

    /// The subject of a signed token, as much of it as the log shows.
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
