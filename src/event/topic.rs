//! What a client follows: channels by name, or by the beginning of their names.

use super::names::ChannelName;
use std::sync::Arc;

/// All channels but `broadcast` whose names begin with the stem. Written as the stem and a `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Every channel but `broadcast`.
    pub fn any() -> Prefix {
        Prefix("*".into())
    }

    /// What the names begin with; may be empty.
    pub fn stem(&self) -> &str {
        self.0.strip_suffix('*').unwrap_or(&self.0)
    }

    /// Whether the channel is one of them.
    pub fn covers(&self, name: &ChannelName) -> bool {
        name.as_str().starts_with(self.stem()) && !name.is_broadcast()
    }
}

/// One channel, or by a pattern all channels whose names begin so, future ones included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// One channel, which may be `broadcast`.
    Channel(ChannelName),
    /// All these channels.
    Prefix(Prefix),
}

impl Topic {
    /// Parses a decoded name, or the beginning of names and a `*`.
    ///
    /// # Errors
    /// One line for the client, if no channel can have such a name.
    pub fn parse(text: &str) -> Result<Topic, String> {
        let Some(star) = text.find('*') else {
            return ChannelName::parse(text).map(Topic::Channel);
        };
        if star + 1 < text.len() {
            return Err(format!(
                "the pattern {text:?} has a * before its end; * can only be the last character, as in \"news*\""
            ));
        }
        if star > 0 {
            ChannelName::parse(&text[..star])?;
        }
        Ok(Topic::Prefix(Prefix(text.into())))
    }

    /// Whether it is `broadcast` alone.
    pub fn is_broadcast(&self) -> bool {
        matches!(self, Topic::Channel(name) if name.is_broadcast())
    }

    /// Whether a client that follows it gets the channel's messages.
    pub fn covers(&self, name: &ChannelName) -> bool {
        match self {
            Topic::Channel(one) => one == name,
            Topic::Prefix(prefix) => prefix.covers(name),
        }
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        match self {
            Topic::Channel(name) => name.as_str(),
            Topic::Prefix(prefix) => &prefix.0,
        }
    }
}

/// Splits topics into names, sorted and each once, and prefixes, sorted and without those that begin with another one.
pub fn split(topics: impl Iterator<Item = Topic>) -> (Vec<ChannelName>, Vec<Prefix>) {
    let (mut names, mut prefixes) = (Vec::new(), Vec::new());
    for topic in topics {
        match topic {
            Topic::Channel(name) => names.push(name),
            Topic::Prefix(prefix) => prefixes.push(prefix),
        }
    }
    names.sort_unstable();
    names.dedup();
    prefixes.sort_unstable_by(|a, b| a.stem().cmp(b.stem()));
    // A shorter stem sorts before all that begin with it.
    prefixes.dedup_by(|longer, shorter| longer.stem().starts_with(shorter.stem()));
    (names, prefixes)
}

impl From<ChannelName> for Topic {
    fn from(name: ChannelName) -> Topic {
        Topic::Channel(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_makes_a_pattern() {
        for text in ["*", "a*", "ç*", "sensor-*", "broadcast*"] {
            let topic = Topic::parse(text).expect("a pattern");
            assert!(matches!(topic, Topic::Prefix(_)), "{text:?}");
            assert_eq!(topic.as_str(), text);
        }
        for text in ["a", "broadcast"] {
            let topic = Topic::parse(text).expect("a name");
            assert!(matches!(topic, Topic::Channel(_)), "{text:?}");
        }
        for bad in ["", "a*b", "**", "*a", "a/b", "a/*", "a b", "a,b", "\n*"] {
            assert!(Topic::parse(bad).is_err(), "{bad:?}");
        }
        let long = "x".repeat(129);
        assert!(Topic::parse(&long).is_err() && Topic::parse(&(long + "*")).is_err());
    }
}
