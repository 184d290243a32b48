//! Who follows channels by patterns, looked up by a channel's name. It knows no channels.

use super::audience::AudienceId;
use crate::event::{ChannelName, Prefix};
use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct Followers {
    pub(super) prefix: Prefix,
    pub(super) audiences: Vec<AudienceId>,
    pub(super) clients: usize,
}

/// Owned by the table, and guarded with it.
#[derive(Debug, Default)]
pub(super) struct PatternFollowers {
    by_stem: HashMap<Box<str>, Followers>,
    /// The number of stems of each length: a name is looked up once for each length, however many patterns there are.
    by_length: Vec<usize>,
}

impl PatternFollowers {
    /// `new_audience` is the client's audience, if that is new.
    pub(super) fn join(&mut self, prefixes: &[Prefix], new_audience: Option<AudienceId>) {
        for prefix in prefixes {
            let stem = prefix.stem();
            let by_length = &mut self.by_length;
            let followers = self.by_stem.entry(stem.into()).or_insert_with(|| {
                by_length.resize(by_length.len().max(stem.len() + 1), 0);
                by_length[stem.len()] += 1;
                Followers {
                    prefix: prefix.clone(),
                    audiences: Vec::new(),
                    clients: 0,
                }
            });
            followers.clients += 1;
            followers.audiences.extend(new_audience);
        }
    }

    /// `deserted` is the client's audience, if that is now empty.
    pub(super) fn leave(&mut self, prefixes: &[Prefix], deserted: Option<AudienceId>) {
        for prefix in prefixes {
            let stem = prefix.stem();
            let Some(followers) = self.by_stem.get_mut(stem) else {
                continue;
            };
            followers.clients -= 1;
            if deserted.is_some() {
                followers.audiences.retain(|&id| Some(id) != deserted);
            }
            if followers.clients == 0 {
                self.by_stem.remove(stem);
                self.by_length[stem.len()] -= 1;
            }
        }
    }

    /// Those whom a message to this channel reaches by patterns. No client appears twice: none of its patterns begins
    /// with another.
    pub(super) fn of<'a>(&'a self, name: &'a ChannelName) -> impl Iterator<Item = &'a Followers> {
        let text = name.as_str();
        let most = if name.is_broadcast() {
            0
        } else {
            text.len() + 1
        };
        let lengths = self.by_length.iter().enumerate().take(most);
        let lengths = lengths.filter(|&(_, &stems)| stems > 0);
        lengths.filter_map(move |(length, _)| self.by_stem.get(text.get(..length)?))
    }

    pub(super) fn by(&self, prefix: &Prefix) -> Option<&Followers> {
        self.by_stem.get(prefix.stem())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Followers> {
        self.by_stem.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Topic;

    fn prefix(text: &str) -> Prefix {
        match Topic::parse(text) {
            Ok(Topic::Prefix(prefix)) => prefix,
            other => panic!("no pattern: {other:?}"),
        }
    }

    fn found(patterns: &PatternFollowers, name: &str) -> Vec<(AudienceId, usize)> {
        let name = ChannelName::parse(name).expect("a name");
        let mut found: Vec<_> = patterns
            .of(&name)
            .flat_map(|followers| {
                followers
                    .audiences
                    .iter()
                    .map(|&id| (id, followers.clients))
            })
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn followers_are_found_by_each_beginning_of_a_name() {
        let mut patterns = PatternFollowers::default();
        patterns.join(&[prefix("*")], Some(1));
        patterns.join(&[prefix("a*"), prefix("ç*")], Some(2));
        patterns.join(&[prefix("a*"), prefix("ç*")], None);
        patterns.join(&[prefix("ab*")], Some(3));
        assert_eq!(found(&patterns, "abc"), [(1, 1), (2, 2), (3, 1)]);
        assert_eq!(found(&patterns, "a"), [(1, 1), (2, 2)]);
        assert_eq!(found(&patterns, "ça"), [(1, 1), (2, 2)]);
        assert_eq!(
            found(&patterns, "é"),
            [(1, 1)],
            "a length in the middle of a character"
        );
        assert_eq!(found(&patterns, "broadcast"), []);
        patterns.leave(&[prefix("a*"), prefix("ç*")], None);
        assert_eq!(found(&patterns, "a"), [(1, 1), (2, 1)]);
        patterns.leave(&[prefix("a*"), prefix("ç*")], Some(2));
        patterns.leave(&[prefix("*")], Some(1));
        assert_eq!(found(&patterns, "abc"), [(3, 1)]);
        patterns.leave(&[prefix("ab*")], Some(3));
        assert!(patterns.by_stem.is_empty());
        assert!(patterns.by_length.iter().all(|&stems| stems == 0));
    }
}
