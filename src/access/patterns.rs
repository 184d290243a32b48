//! Which channels a right is for: exact names, and patterns that end with `*`. Knows nothing of who has the right.
//! Called by the rules and by signed tokens, which read it from JSON.

use crate::event::ChannelName;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// A set of channels. `*` covers every channel but `broadcast`, which reaches everybody and has to be named in full.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    /// Sorted.
    exact: Box<[ChannelName]>,
    /// Sorted, and none begins with another one.
    prefixes: Box<[Box<str>]>,
}

impl Patterns {
    /// Every channel, `broadcast` too.
    pub fn everything() -> Patterns {
        Patterns::from(vec![
            Pattern::Prefix("".into()),
            Pattern::Exact(ChannelName::broadcast()),
        ])
    }

    /// Whether the channel is one of them. Two binary searches.
    pub fn include(&self, channel: &ChannelName) -> bool {
        self.exact.binary_search(channel).is_ok()
            || (!channel.is_broadcast() && self.has_prefix_of(channel.as_str()))
    }

    /// Whether there is no channel in it.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// Takes names, and beginnings of names with a `*` behind them.
    ///
    /// # Errors
    /// One line about the first that no channel could ever have.
    pub fn parse<'a>(names: impl Iterator<Item = &'a str>) -> Result<Patterns, String> {
        // As the rules read them.
        let names: Vec<&str> = names.collect();
        serde_json::from_value(names.into()).map_err(|error| error.to_string())
    }

    /// As they are written, patterns first.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let prefixes = self.prefixes.iter().map(|prefix| format!("{prefix}*"));
        prefixes.chain(self.exact.iter().map(|name| name.as_str().to_string()))
    }

    /// One of the channels, for somebody to try.
    pub fn example(&self) -> Option<String> {
        let prefix = self.prefixes.first().map(|prefix| match &**prefix {
            "" => "news".to_string(),
            prefix if prefix.ends_with(char::is_alphanumeric) => prefix.to_string(),
            prefix => format!("{prefix}1"),
        });
        prefix.or_else(|| self.exact.first().map(|name| name.as_str().to_string()))
    }

    /// What sorts between a prefix of the name and the name begins with that prefix too, and would not be here beside
    /// it: so only the last that is not behind the name can be one.
    fn has_prefix_of(&self, name: &str) -> bool {
        let behind = self.prefixes.partition_point(|prefix| &**prefix <= name);
        let candidate = behind.checked_sub(1).and_then(|i| self.prefixes.get(i));
        candidate.is_some_and(|prefix| name.starts_with(&**prefix))
    }
}

impl From<Vec<Pattern>> for Patterns {
    fn from(patterns: Vec<Pattern>) -> Patterns {
        let mut exact = Vec::new();
        let mut prefixes = Vec::new();
        for pattern in patterns {
            match pattern {
                Pattern::Exact(name) => exact.push(name),
                Pattern::Prefix(prefix) => prefixes.push(prefix),
            }
        }
        exact.sort_unstable();
        exact.dedup();
        prefixes.sort_unstable();
        // A shorter one sorts before all that begin with it.
        prefixes.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        Patterns {
            exact: exact.into(),
            prefixes: prefixes.into(),
        }
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Patterns, D::Error> {
        Vec::<Pattern>::deserialize(deserializer).map(Patterns::from)
    }
}

/// One item of the list.
#[derive(Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This channel.
    Exact(ChannelName),
    /// All channels that begin so.
    Prefix(Box<str>),
}

impl Pattern {
    /// Takes a name, or the beginning of names with a `*` behind it.
    ///
    /// # Errors
    /// One line, if no channel could ever have such a name.
    fn parse(text: &str) -> Result<Pattern, String> {
        let Some(prefix) = text.strip_suffix('*') else {
            if text.contains('*') {
                return Err(misplaced_star(text));
            }
            return ChannelName::parse(text).map(Pattern::Exact);
        };
        if prefix.contains('*') {
            return Err(misplaced_star(text));
        }
        if !prefix.is_empty() {
            ChannelName::parse(prefix)?;
        }
        Ok(Pattern::Prefix(prefix.into()))
    }
}

fn misplaced_star(text: &str) -> String {
    format!("the pattern {text:?} has a * before its end; * can only be the last character, as in \"news*\"")
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        struct PatternVisitor;

        impl Visitor<'_> for PatternVisitor {
            type Value = Pattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a channel's name or a pattern such as \"news*\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Pattern, E> {
                Pattern::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(PatternVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Patterns {
        let list: Result<Vec<_>, _> = list.iter().map(|text| Pattern::parse(text)).collect();
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
    fn what_no_channel_is_called_is_no_pattern() {
        for bad in ["", "a*b", "**", "*a", "a/b", "a/*", "a b", "a,b", "\n*"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?} is no pattern");
        }
        let long = "x".repeat(129);
        assert!(Pattern::parse(&long).is_err() && Pattern::parse(&(long + "*")).is_err());
    }
}
