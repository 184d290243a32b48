//! The disk's own files that do no I/O, over a simulated store: what is committed is there after a crash, and nothing else is.

#[path = "../../../src/disk/contents.rs"]
mod contents;
#[path = "../../../src/disk/draft.rs"]
mod draft;
#[path = "../../../src/disk/lot.rs"]
mod lot;
#[path = "../../../src/disk/record.rs"]
mod record;

use crate::event::{ChannelName, EventId};
use crate::hub::{time, Attempted, Hub, Published, Refusal};
use contents::Contents;
use draft::Draft;
use lot::{NumberedLot, Numbering};
use record::{meta_value, Batch, Meta, META_KEY};
use std::collections::BTreeMap;

/// What the writer of `src/disk` has, and its store.
#[derive(Debug, Default)]
pub struct Disk {
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
    draft: Draft,
    meta: Meta,
}

impl Disk {
    /// An empty folder.
    pub fn new() -> Disk {
        let begin = EventId {
            ms: time::wall_ms() + 1,
            seq: 0,
        };
        let mut disk = Disk::default();
        disk.meta.newest = begin;
        disk.meta.lost = begin;
        disk.commit(Vec::new());
        disk
    }

    /// A server starts with what is stored.
    pub fn fill(&mut self, hub: &Hub) -> Result<(), String> {
        let mut contents = Contents::default();
        for (key, value) in &self.stored {
            contents.take(key, value)?;
        }
        contents.finish("", None);
        let Contents { kept, meta, .. } = contents;
        self.draft = Draft::new(&kept.channels, Batch::new());
        self.draft.forgotten = kept.forgotten;
        self.meta = meta;
        hub.feed().fill(kept);
        Ok(())
    }

    /// As a route and the writer do.
    pub fn try_publish(
        &mut self,
        hub: &Hub,
        channel: &ChannelName,
        messages: Vec<Box<str>>,
    ) -> Result<Attempted, Refusal> {
        if !hub.has_room_for(channel) {
            return Ok(Attempted::NoRoom(messages));
        }
        let _place = hub.feed().reserve(channel)?;
        let mut numbering = Numbering::new(hub, time::wall_ms(), time::now());
        let events = numbering.take(channel, None, messages);
        let lot = NumberedLot::of_all(events, Vec::new());
        self.draft.note(hub.feed().take_changes());
        self.meta.newest = lot.newest();
        self.commit(lot.records());
        let ids = lot.events.iter().map(|kept| kept.event.id);
        let first = ids.min().unwrap_or_default();
        let published = Published {
            clients: hub.feed().clients_of(channel),
            ..Published::new(first, lot.newest(), lot.events.len())
        };
        let events = lot.events.into_iter().map(|kept| kept.event);
        hub.feed().append(events.collect());
        Ok(Attempted::Published(published))
    }

    /// What the writer does now and then, or at the end.
    pub fn keep_house(&mut self, hub: &Hub, is_end: bool) {
        self.draft.note(hub.feed().take_changes());
        self.draft
            .note_records(hub.feed().records(), time::wall_ms(), is_end);
        self.commit(Vec::new());
    }

    fn commit(&mut self, records: Vec<(Vec<u8>, Vec<u8>)>) {
        self.meta.forgotten = self.draft.forgotten;
        if records.is_empty() {
            for (key, value) in self.draft.writes() {
                match value {
                    Some(value) => self.stored.insert(key.into(), value.into()),
                    None => self.stored.remove(key),
                };
            }
            self.draft.clear();
        }
        self.stored.extend(records);
        self.stored.insert(META_KEY.into(), meta_value(&self.meta));
    }
}
