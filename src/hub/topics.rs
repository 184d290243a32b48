//! What one client follows, in the one form in which two that follow the same are equal.

use crate::event::{ChannelName, Prefix, Topic};

/// What one client follows. A channel reaches it by one of `channels` or by one of `prefixes`, and never by two.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Topics {
    /// Sorted, without `broadcast`, and without what a prefix covers.
    pub(super) channels: Box<[ChannelName]>,
    /// Channels that the client names, and has by a prefix.
    pub(super) covered: Box<[ChannelName]>,
    /// Sorted, and none begins with another one.
    pub(super) prefixes: Box<[Prefix]>,
}

impl Topics {
    pub(super) fn new(topics: &[Topic]) -> Topics {
        let mut channels = Vec::new();
        let mut prefixes: Vec<Prefix> = Vec::new();
        for topic in topics {
            match topic {
                Topic::Channel(name) if name.is_broadcast() => {}
                Topic::Channel(name) => channels.push(name.clone()),
                Topic::Prefix(prefix) => prefixes.push(prefix.clone()),
            }
        }
        channels.sort_unstable();
        channels.dedup();
        prefixes.sort_unstable_by(|a, b| a.stem().cmp(b.stem()));
        // A shorter one sorts before all that begin with it.
        prefixes.dedup_by(|longer, shorter| longer.stem().starts_with(shorter.stem()));
        let is_covered = |name: &ChannelName| prefixes.iter().any(|prefix| prefix.covers(name));
        let (covered, channels): (Vec<_>, Vec<_>) = channels.into_iter().partition(is_covered);
        Topics {
            channels: channels.into(),
            covered: covered.into(),
            prefixes: prefixes.into(),
        }
    }

    /// Channels that the client names: these exist for as long as it is there.
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
