//! What one client follows, in a normal form: two clients that follow the same have equal ones.

use crate::event::{self, ChannelName, Prefix, Topic};

/// A channel reaches the client by one of `channels` or by one of `prefixes`, never by two.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Topics {
    /// Sorted, without `broadcast`, and without those that a prefix covers.
    pub(super) channels: Box<[ChannelName]>,
    /// Channels that the client names although a prefix covers them.
    pub(super) covered: Box<[ChannelName]>,
    /// Sorted; none begins with another one.
    pub(super) prefixes: Box<[Prefix]>,
}

impl Topics {
    pub(super) fn new(topics: &[Topic]) -> Topics {
        let (mut channels, prefixes) = event::split(topics.iter().cloned());
        channels.retain(|name| !name.is_broadcast());
        let is_covered = |name: &ChannelName| prefixes.iter().any(|prefix| prefix.covers(name));
        let (covered, channels): (Vec<_>, Vec<_>) = channels.into_iter().partition(is_covered);
        Topics {
            channels: channels.into(),
            covered: covered.into(),
            prefixes: prefixes.into(),
        }
    }

    /// Channels that the client names. They exist while the client is connected.
    pub(super) fn named(&self) -> impl Iterator<Item = &ChannelName> {
        self.channels.iter().chain(&self.covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(list: &[&str]) -> Topics {
        let list: Result<Vec<_>, _> = list.iter().map(|text| Topic::parse(text)).collect();
        Topics::new(&list.expect("these are good"))
    }

    #[test]
    fn nothing_is_in_it_twice() {
        let one = topics(&["b", "a*", "ab", "broadcast", "abc*", "b", "a*", "c-*", "c-"]);
        assert_eq!(one, topics(&["c-*", "c-", "ab", "a*", "b"]));
        let names = |list: &[ChannelName]| -> Vec<String> {
            list.iter().map(|name| name.as_str().into()).collect()
        };
        assert_eq!(names(&one.channels), ["b"]);
        assert_eq!(names(&one.covered), ["ab", "c-"]);
        let stems: Vec<&str> = one.prefixes.iter().map(Prefix::stem).collect();
        assert_eq!(stems, ["a", "c-"]);
        assert!(topics(&["*", "a*", "x"]).channels.is_empty());
    }
}
