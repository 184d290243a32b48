//! What is remembered of channels without a history: the newest id of each, so that a returning client is told of a gap
//! only if it missed something there. Bounded: all channels that are forgotten share one id.

use crate::event::{ChannelName, EventId, Prefix};
use std::collections::{BTreeSet, HashMap};

/// Owned by the history.
#[derive(Debug, Default)]
pub(super) struct FormerChannels {
    newest: HashMap<ChannelName, EventId>,
    by_age: BTreeSet<(EventId, ChannelName)>,
    /// Every channel that is not listed may have had messages up to this id.
    forgotten: EventId,
    most: usize,
}

impl FormerChannels {
    pub(super) fn new(most: usize) -> FormerChannels {
        FormerChannels {
            most,
            ..FormerChannels::default()
        }
    }

    /// The newest id that the channel had, or may have had.
    pub(super) fn newest_of(&self, name: &ChannelName) -> EventId {
        self.newest.get(name).copied().unwrap_or(self.forgotten)
    }

    /// Whether one of these channels had, or may have had, something after `id`.
    pub(super) fn has_had_after(&self, prefix: &Prefix, id: EventId) -> bool {
        let newest_first = self.by_age.iter().rev();
        let mut newer = newest_first.take_while(|(newest, _)| *newest > id);
        // The forgotten channels may include any of them.
        self.forgotten > id || newer.any(|(_, name)| prefix.covers(name))
    }

    /// As `newest_of`, for a channel that has a history again. It is removed here.
    pub(super) fn take(&mut self, name: &ChannelName) -> EventId {
        match self.newest.remove_entry(name) {
            Some((name, newest)) => {
                self.by_age.remove(&(newest, name));
                newest
            }
            None => self.forgotten,
        }
    }

    /// Remembers that a channel had messages up to `newest`, or further if that is known. Returns the channel that is
    /// forgotten in its place.
    pub(super) fn remember(&mut self, name: ChannelName, newest: EventId) -> Option<ChannelName> {
        let newest = newest.max(self.take(&name));
        if newest <= self.forgotten {
            return None;
        }
        self.by_age.insert((newest, name.clone()));
        self.newest.insert(name, newest);
        if self.newest.len() <= self.most {
            return None;
        }
        let (oldest, name) = self.by_age.pop_first()?;
        self.newest.remove(&name);
        self.forgotten = oldest;
        Some(name)
    }

    /// Every channel that is not listed may have had messages up to this id.
    pub(super) fn forgotten(&self) -> EventId {
        self.forgotten
    }

    /// The newest id of a listed channel.
    pub(super) fn known(&self, name: &ChannelName) -> Option<EventId> {
        self.newest.get(name).copied()
    }

    /// Each listed channel, and its newest id.
    pub(super) fn all(&self) -> impl Iterator<Item = (&ChannelName, EventId)> {
        self.newest.iter().map(|(name, newest)| (name, *newest))
    }

    /// Records that any channel may have had messages up to `id`.
    pub(super) fn forget_up_to(&mut self, id: EventId) {
        self.forgotten = self.forgotten.max(id);
        while let Some((oldest, _)) = self.by_age.first() {
            if *oldest > self.forgotten {
                return;
            }
            if let Some((_, name)) = self.by_age.pop_first() {
                self.newest.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EventId {
        EventId { ms, seq: 0 }
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).expect("a good name")
    }

    #[test]
    fn each_channel_is_known_by_its_own_id_until_there_are_too_many() {
        let mut former = FormerChannels::new(2);
        former.remember(name("a"), id(1));
        former.remember(name("b"), id(5));
        assert_eq!(former.newest_of(&name("a")), id(1));
        assert_eq!(former.newest_of(&name("other")), EventId::ZERO);
        former.remember(name("c"), id(7));
        assert_eq!(former.newest_of(&name("a")), id(1), "by the id for all");
        assert_eq!(former.newest_of(&name("other")), id(1));
        assert_eq!(former.newest_of(&name("b")), id(5));
    }

    #[test]
    fn a_channel_that_exists_again_is_taken_out() {
        let mut former = FormerChannels::new(2);
        former.remember(name("a"), id(3));
        assert_eq!(former.take(&name("a")), id(3));
        assert_eq!(former.take(&name("a")), EventId::ZERO);
        assert!(former.by_age.is_empty());
    }

    #[test]
    fn what_is_known_of_a_channel_does_not_go_back() {
        let mut former = FormerChannels::new(2);
        former.remember(name("a"), id(5));
        former.remember(name("a"), EventId::ZERO);
        assert_eq!(former.newest_of(&name("a")), id(5));
        former.remember(name("a"), id(2));
        assert_eq!(former.newest_of(&name("a")), id(5));
    }

    #[test]
    fn a_loss_is_known_of_every_channel() {
        let mut former = FormerChannels::new(9);
        former.remember(name("a"), id(3));
        former.remember(name("b"), id(8));
        former.forget_up_to(id(5));
        assert_eq!(former.newest_of(&name("a")), id(5));
        assert_eq!(former.newest_of(&name("b")), id(8));
    }
}
