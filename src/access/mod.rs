#![doc = include_str!("README.md")]

mod denial;
mod file;
mod grant;
mod jwt;
mod object;
mod operators;
mod patterns;
mod rules;
mod token;

pub use denial::Denial;
pub use grant::{Action, Grant};
pub use jwt::{Claims, Secrets};
pub use patterns::Patterns;
pub use rules::{FileFault, Rules, OPERATOR_NAME};
pub use token::Token;

use crate::event::{ChannelName, Topic};
use crate::log::Logged;
use crate::moments;
use rules::Entry;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};
use token::Digest;

/// Whose token it is. In a permit: whom the rules know it belongs to.
#[derive(Clone, Debug)]
enum Identity {
    /// There is no token.
    Anyone,
    /// The holder of `AUTH_TOKEN`.
    Operator,
    Listed(Arc<Entry>),
    /// The holder of a signed token.
    Bearer(Arc<Claims>),
}

/// Who sends a request, as far as the token tells, and the rules in force.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Identity,
    token: Option<Digest>,
    rules: Arc<Rules>,
}

/// A stream's right to go on.
#[derive(Clone, Debug)]
pub struct Permit {
    identity: Identity,
    /// What the rules have to grant while the stream lasts.
    needs: Needs,
    /// It includes each channel's figures.
    pub is_for_channel_figures: bool,
    /// When it expires, if it does. A moment of the wall clock, as the token names it: the time left changes when the clock
    /// is set.
    pub expires: Option<SystemTime>,
}

#[derive(Clone, Debug)]
enum Needs {
    /// The right to follow these.
    Topics(Box<[Topic]>),
    /// The right to see each channel's figures.
    ChannelFigures,
}

/// Decides who may do what, by the current rules.
#[derive(Debug)]
pub struct Access {
    operator: Option<Digest>,
    secrets: Option<Secrets>,
    /// Held to copy or replace the pointer, never during a check.
    rules: RwLock<Arc<Rules>>,
}

impl Access {
    /// Access by the operator's token, by signed tokens, and by rules; each is optional.
    pub fn new(operator: Option<Token>, secrets: Option<Secrets>, rules: Rules) -> Access {
        Access {
            operator: operator.map(|token| token.digest()),
            secrets,
            rules: RwLock::new(Arc::new(rules)),
        }
    }

    /// Reads the rules again, and returns their number of tokens. Open streams are not affected: ask `still_grants` for
    /// each of them.
    ///
    /// # Errors
    /// What is wrong with the file. The rules then stay as they were.
    pub fn reload(&self, path: &Path) -> Result<usize, FileFault> {
        let rules = Rules::read(path, self.operator)?;
        let tokens = rules.token_count();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        Ok(tokens)
    }

    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read();
        rules.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds out whose token it is.
    ///
    /// # Errors
    /// `TokenWrong`, even where no token is needed: whoever sends one wants it to count.
    pub fn identify(&self, token: Option<&str>) -> Result<Caller, Denial> {
        let rules = self.rules();
        let digest = token.map(Digest::of);
        let identity = match (token, digest) {
            (Some(token), Some(digest)) => self.look_up(token, digest, &rules)?,
            _ => Identity::Anyone,
        };
        Ok(Caller {
            identity,
            token: digest,
            rules,
        })
    }

    fn look_up(&self, token: &str, digest: Digest, rules: &Rules) -> Result<Identity, Denial> {
        if self.operator == Some(digest) {
            return Ok(Identity::Operator);
        }
        if let Some(entry) = rules.find(&digest) {
            return Ok(Identity::Listed(entry.clone()));
        }
        // Three parts: this is meant as a signed token.
        let looks_signed = token.bytes().filter(|&b| b == b'.').count() == 2;
        match &self.secrets {
            Some(secrets) if looks_signed => secrets
                .read(token, SystemTime::now())
                .map(|claims| Identity::Bearer(Arc::new(claims))),
            _ => Err(Denial::wrong("this server does not know the token")),
        }
    }

    /// Whether the current rules still grant what the permit is for. A token that the rules no longer know is invalid,
    /// and an invalid token is refused even where none is needed.
    pub fn still_grants(&self, permit: &Permit) -> bool {
        let rules = self.rules();
        let identity = match &permit.identity {
            Identity::Listed(entry) => match rules.find(&entry.digest) {
                Some(entry) => Identity::Listed(entry.clone()),
                None => return false,
            },
            other => other.clone(),
        };
        let caller = Caller {
            identity,
            token: None,
            rules,
        };
        match &permit.needs {
            Needs::Topics(topics) => topics.iter().all(|topic| caller.may_follow(topic).is_ok()),
            Needs::ChannelFigures => caller.may_see_channels(),
        }
    }
}

impl Caller {
    /// Checks an action on a channel.
    ///
    /// # Errors
    /// Why it is denied.
    pub fn check(&self, action: Action, channel: &ChannelName) -> Result<(), Denial> {
        self.require(|grant| grant.allows(action, channel))
    }

    fn may_follow(&self, topic: &Topic) -> Result<(), Denial> {
        self.require(|grant| grant.channels(Action::Subscribe).include_all_of(topic))
    }

    /// Checks an action without a channel, for a request that does not name a valid one: whether any channel would
    /// allow it.
    ///
    /// # Errors
    /// Why it is denied.
    pub fn check_any(&self, action: Action) -> Result<(), Denial> {
        self.require(|grant| !grant.channels(action).is_empty())
    }

    /// Whether the caller may see each channel's figures.
    pub fn may_see_channels(&self) -> bool {
        self.require(|grant| grant.stats).is_ok()
    }

    /// Bytes that tell this caller from those with other tokens; callers without a token share theirs. Not to be shown:
    /// a weak token can be guessed from them.
    pub fn scope(&self) -> &[u8] {
        self.token.as_ref().map_or(&[], Digest::bytes)
    }

    /// The rights of its token, apart from the public ones; `None` means everything.
    pub fn own_grant(&self) -> Option<Grant> {
        let is_operator = matches!(self.identity, Identity::Operator);
        (!is_operator).then(|| self.token_grant().cloned().unwrap_or_default())
    }

    /// The rights of its token, unless that is the operator's.
    fn token_grant(&self) -> Option<&Grant> {
        match &self.identity {
            Identity::Operator | Identity::Anyone => None,
            Identity::Listed(entry) => Some(&entry.grant),
            Identity::Bearer(claims) => Some(&claims.grant),
        }
    }

    /// The operator may do everything, everybody what is public, and a token's holder what the token grants.
    fn require(&self, allows: impl Fn(&Grant) -> bool) -> Result<(), Denial> {
        if allows(&self.rules.public) {
            return Ok(());
        }
        self.require_own(allows)
    }

    /// As `require`, whatever is public.
    fn require_own(&self, allows: impl Fn(&Grant) -> bool) -> Result<(), Denial> {
        match self.token_grant() {
            _ if matches!(self.identity, Identity::Operator) => Ok(()),
            None => Err(Denial::TokenMissing),
            Some(grant) if allows(grant) => Ok(()),
            Some(_) => Err(Denial::NotAllowed),
        }
    }

    /// A permit to follow all these topics.
    ///
    /// # Errors
    /// Why one of them is denied.
    pub fn follow(&self, topics: &[Topic]) -> Result<Permit, Denial> {
        for topic in topics {
            self.may_follow(topic)?;
        }
        let is_needed = |topic: &&Topic| match &self.identity {
            Identity::Bearer(claims) => {
                let granted = claims.grant.channels(Action::Subscribe);
                !granted.include_all_of(topic)
            }
            _ => true,
        };
        let needed = topics.iter().filter(is_needed).cloned().collect();
        Ok(self.permit(Needs::Topics(needed), false))
    }

    /// A permit to watch the statistics, with everything that the caller may see.
    pub fn watch(&self) -> Permit {
        let with_channels = self.may_see_channels();
        let is_lasting = matches!(&self.identity, Identity::Bearer(claims) if claims.grant.stats);
        let needs = if with_channels && !is_lasting {
            Needs::ChannelFigures
        } else {
            Needs::Topics([].into())
        };
        self.permit(needs, with_channels)
    }

    /// No rules can take back what a signed token itself grants before it expires. So its claims, which may be large,
    /// are not kept while the stream lasts.
    fn permit(&self, needs: Needs, is_for_channel_figures: bool) -> Permit {
        let (identity, expires) = match &self.identity {
            Identity::Bearer(claims) => (Identity::Anyone, Some(claims.expires)),
            other => (other.clone(), None),
        };
        Permit {
            identity,
            needs,
            is_for_channel_figures,
            expires,
        }
    }
}

impl Permit {
    /// When it expires in running time, given that `now` is `wall` on the wall clock. Only right until somebody sets
    /// the wall clock, so it is computed anew each time. `None` also if running time cannot represent it.
    pub fn valid_until(&self, now: Instant, wall: SystemTime) -> Option<Instant> {
        match self.expires?.duration_since(wall) {
            Ok(left) => now.checked_add(left),
            Err(over) => Some(moments::before(now, over.duration())),
        }
    }
}

impl fmt::Display for Caller {
    /// As a `key=value` pair for the log. A signed token's subject has its own key, so that it cannot pass for a name
    /// in the rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject() {
            Some(subject) => write!(f, "subject={}", Logged(&subject)),
            None => write!(f, "token={}", self.token_name().unwrap_or("-")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_permit_runs_out_by_the_wall_clock_however_that_is_set() {
        let second = Duration::from_secs(1);
        let wall = SystemTime::UNIX_EPOCH + 1_764_000_000 * second;
        let now = Instant::now() + 10_000 * second;
        let permit = |expires| Permit {
            identity: Identity::Anyone,
            needs: Needs::ChannelFigures,
            is_for_channel_figures: true,
            expires,
        };
        let minute = permit(Some(wall + 60 * second));
        for (wall, until) in [
            (wall, now + 60 * second),
            // A second later.
            (wall + second, now + 59 * second),
            // Set an hour back, and an hour ahead.
            (wall - 3600 * second, now + 3660 * second),
            (wall + 3600 * second, now - 3540 * second),
            (wall + 60 * second, now),
        ] {
            assert_eq!(minute.valid_until(now, wall), Some(until), "at {wall:?}");
        }
        assert_eq!(permit(None).valid_until(now, wall), None);
    }
}
