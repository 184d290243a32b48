//! Who may do what: tokens, and what a request's token allows. No HTTP types and no I/O here. Called by the routes.

use crate::event::ChannelName;
use std::fmt;

/// A bearer token: visible ASCII characters, as a header can carry them. It is never shown, also not in `Debug`.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// Takes a token as it was configured.
    pub fn parse(text: &str) -> Option<Token> {
        let visible = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        visible.then(|| Token(text.into()))
    }

    /// A token of 32 random bytes, in hexadecimal.
    pub fn from_random(bytes: [u8; 32]) -> Token {
        Token(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// The token itself, for the one place that may show it: the log line of a token that was made up at start.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the lengths alone, so that answers do not tell how much was right.
    fn matches(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let differences = own
            .iter()
            .zip(given)
            .fold(0, |found, (a, b)| std::hint::black_box(found | (a ^ b)));
        own.len() == given.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to a channel.
    Publish,
    /// Follow a channel.
    Subscribe,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A token is needed and none was given.
    TokenMissing,
    /// The token that was given is none of ours.
    TokenWrong,
}

/// Who a request comes from, as far as its token tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// No token.
    Anyone,
    /// The holder of `AUTH_TOKEN`.
    Operator,
}

/// The rules: everyone subscribes, `AUTH_TOKEN` does everything.
#[derive(Clone, Debug)]
pub struct Access {
    token: Token,
}

impl Access {
    /// Rules with one token.
    pub fn new(token: Token) -> Access {
        Access { token }
    }

    /// Looks a token up.
    ///
    /// # Errors
    /// `TokenWrong`, also where none would be needed: whoever sends one wants it to count.
    pub fn identify(&self, token: Option<&str>) -> Result<Identity, Denial> {
        match token {
            None => Ok(Identity::Anyone),
            Some(given) if self.token.matches(given) => Ok(Identity::Operator),
            Some(_) => Err(Denial::TokenWrong),
        }
    }

    /// Whether `identity` may do this to this channel.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(
        &self,
        identity: Identity,
        action: Action,
        _channel: &ChannelName,
    ) -> Result<(), Denial> {
        match (identity, action) {
            (Identity::Operator, _) | (Identity::Anyone, Action::Subscribe) => Ok(()),
            (Identity::Anyone, Action::Publish) => Err(Denial::TokenMissing),
        }
    }

    /// Whether `identity` may see the list of channels.
    pub fn may_see_channels(&self, identity: Identity) -> bool {
        identity == Identity::Operator
    }
}
