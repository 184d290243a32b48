//! The channels that a right covers: exact names, and patterns that end with `*`. Knows nothing of who has the right.

use super::object::text;
use crate::event::{self, ChannelName, Prefix, Topic};
use serde::de::{Deserialize, Deserializer};

/// A set of channels. `*` covers every channel but `broadcast`, which reaches everybody and has to be named in full.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    /// Sorted.
    exact: Box<[ChannelName]>,
    /// Sorted; none begins with another one.
    prefixes: Box<[Prefix]>,
}

impl Patterns {
    /// Every channel, `broadcast` included.
    pub fn everything() -> Patterns {
        Patterns::from(vec![
            Topic::Prefix(Prefix::any()),
            Topic::Channel(ChannelName::broadcast()),
        ])
    }

    /// Whether the set has the channel. Two binary searches.
    pub fn include(&self, channel: &ChannelName) -> bool {
        self.exact.binary_search(channel).is_ok()
            || (!channel.is_broadcast() && self.has_prefix_of(channel.as_str()))
    }

    /// Whether the set has every channel that the topic covers, now or ever.
    pub fn include_all_of(&self, topic: &Topic) -> bool {
        match topic {
            Topic::Channel(name) => self.include(name),
            Topic::Prefix(prefix) => self.has_prefix_of(prefix.stem()),
        }
    }

    /// Whether the set has no channel.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// Parses names, and beginnings of names followed by a `*`.
    ///
    /// # Errors
    /// One line about the first that no channel could have.
    pub fn parse<'a>(names: impl Iterator<Item = &'a str>) -> Result<Patterns, String> {
        let topics = names.map(Topic::parse).collect::<Result<Vec<_>, _>>();
        topics.map(Patterns::from)
    }

    /// As written, patterns first.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let prefixes = self
            .prefixes
            .iter()
            .map(|prefix| format!("{}*", prefix.stem()));
        prefixes.chain(self.exact.iter().map(|name| name.as_str().to_string()))
    }

    /// One of the channels, to try.
    pub fn example(&self) -> Option<String> {
        let prefix = self.prefixes.first().map(|prefix| match prefix.stem() {
            "" => "news".to_string(),
            prefix if prefix.ends_with(char::is_alphanumeric) => prefix.to_string(),
            prefix => format!("{prefix}1"),
        });
        prefix.or_else(|| self.exact.first().map(|name| name.as_str().to_string()))
    }

    /// Anything that sorts between a prefix of the name and the name also begins with that prefix, and so is not in the
    /// list: only the last one that does not sort after the name can be a prefix.
    fn has_prefix_of(&self, name: &str) -> bool {
        let behind = self
            .prefixes
            .partition_point(|prefix| prefix.stem() <= name);
        let candidate = behind.checked_sub(1).and_then(|i| self.prefixes.get(i));
        candidate.is_some_and(|prefix| name.starts_with(prefix.stem()))
    }
}

impl From<Vec<Topic>> for Patterns {
    fn from(patterns: Vec<Topic>) -> Patterns {
        let (exact, prefixes) = event::split(patterns.into_iter());
        Patterns {
            exact: exact.into(),
            prefixes: prefixes.into(),
        }
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Patterns, D::Error> {
        let items = Vec::<Item>::deserialize(deserializer)?;
        let topics: Vec<Topic> = items.into_iter().map(|Item(topic)| topic).collect();
        Ok(topics.into())
    }
}

struct Item(Topic);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
        let expected = "a channel's name or a pattern such as \"news*\"";
        text(deserializer, expected, |text| Topic::parse(text).map(Item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Patterns {
        let list: Result<Vec<_>, _> = list.iter().map(|text| Topic::parse(text)).collect();
        Patterns::from(list.expect("these are good"))
    }

    #[test]
    fn a_pattern_covers_what_begins_with_it() {
        for (list, name, covered) in [
            (vec!["a"], "a", true),
            (vec!["a"], "ab", false),
            (vec!["a"], "A", false),
            (vec!["a*"], "a", true),
            (vec!["a*"], "ab", true),
            (vec!["a*"], "A", false),
            (vec!["a*"], "ba", false),
            (vec!["ab*", "a*", "abc*"], "ad", true),
            (vec!["ab*", "ad*", "b*"], "ac", false),
            (vec!["ab*", "ad*", "b*"], "adx", true),
            (vec!["a", "ç*"], "ção", true),
            (vec!["*"], "anything", true),
            (vec!["*"], "broadcast", false),
            (vec!["b*", "broadcast*"], "broadcast", false),
            (vec!["broadcast*"], "broadcasts", true),
            (vec!["broadcast"], "broadcast", true),
            (vec![], "a", false),
        ] {
            let channel = ChannelName::parse(name).expect("it is a name");
            assert_eq!(
                patterns(&list).include(&channel),
                covered,
                "{list:?} and {name}"
            );
        }
    }

    #[test]
    fn a_pattern_is_included_if_all_that_it_can_match_is() {
        for (list, topic, included) in [
            (vec!["a*"], "a*", true),
            (vec!["a*"], "ab*", true),
            (vec!["ab*"], "a*", false),
            (vec!["a*"], "*", false),
            (vec!["*"], "*", true),
            (vec!["*"], "a*", true),
            (vec!["*"], "broadcast", false),
            (vec!["*"], "broadcast*", true),
            (vec!["broadcast"], "broadcast*", false),
            (vec!["a", "ab", "abc"], "a*", false),
            (vec!["a*", "b*"], "bc*", true),
            (vec!["a"], "a", true),
            (vec![], "a*", false),
        ] {
            let asked = Topic::parse(topic).expect("a topic");
            assert_eq!(
                patterns(&list).include_all_of(&asked),
                included,
                "{list:?} and {topic}"
            );
        }
    }
}
