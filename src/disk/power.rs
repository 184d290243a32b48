//! Tests: the power fails between any two of the store's writes and syncs, and what the disk had not synced is there, torn
//! or not there. What was committed is found again, whole.

use super::fault::Fault;
use super::journal;
use super::record::{event_key, event_value, meta_value, Batch, Meta, META_KEY};
use super::store::Store;
use crate::event::{ChannelName, Event, EventId, Kind};
use crate::hub::KeptEvent;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// What was asked of the disk.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<u8>),
    Resize(usize),
    Sync,
}

/// A disk that remembers every step.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, Vec<Step>)>>);

impl Disk {
    fn of(bytes: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new((bytes, Vec::new()))))
    }

    fn step(&self, step: Step) {
        let mut disk = self.0.lock().unwrap();
        apply(&mut disk.0, &step);
        disk.1.push(step);
    }

    fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().1.clone()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let disk = self.0.lock().unwrap();
        let range = offset as usize..offset as usize + len;
        let bytes = disk.0.get(range).map(<[u8]>::to_vec);
        bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step(Step::Resize(len as usize));
        Ok(())
    }

    fn sync_data(&self, _: bool) -> io::Result<()> {
        self.step(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(Step::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

fn apply(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(offset, data) => {
            let end = offset + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset..end].copy_from_slice(data);
        }
        Step::Resize(length) => bytes.resize(*length, 0),
        Step::Sync => {}
    }
}

/// Numbers that a seed gives (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// What the disk has if the power fails after this many steps: all up to the last sync, and of the rest each sector or not.
fn after_power_failure(start: &[u8], steps: &[Step], random: &mut Random) -> Vec<u8> {
    let synced = steps.iter().rposition(|step| matches!(step, Step::Sync));
    let mut bytes = start.to_vec();
    let (safe, rest) = steps.split_at(synced.map_or(0, |place| place + 1));
    safe.iter().for_each(|step| apply(&mut bytes, step));
    // All of the rest, nothing of it, or some.
    let chance = random.below(4);
    for step in rest {
        let Step::Write(offset, data) = step else {
            // The length belongs to the file system, which keeps it in order.
            apply(&mut bytes, step);
            continue;
        };
        let begin = offset / SECTOR;
        for sector in begin..=(offset + data.len() - 1) / SECTOR {
            let from = (sector * SECTOR).max(*offset);
            let to = ((sector + 1) * SECTOR).min(offset + data.len());
            if random.below(3) < chance {
                let piece = data[from - offset..to - offset].to_vec();
                apply(&mut bytes, &Step::Write(from, piece));
            }
        }
    }
    bytes
}

type State = BTreeMap<EventId, Box<str>>;

fn event(number: u64, length: usize) -> KeptEvent {
    let event = Event {
        id: EventId { ms: number, seq: 0 },
        channel: ChannelName::parse("a").expect("a good name"),
        name: None,
        text: format!("{number} {}", "x".repeat(length)).into(),
        kind: Kind::Message,
        timestamp_ms: number,
        at: Instant::now(),
    };
    KeptEvent {
        event: Arc::new(event),
        before: EventId::ZERO,
        number,
    }
}

/// Commits at random. Returns after how many steps each was done, with what there was then.
fn work(store: &Store, disk: &Disk, mut state: State, random: &mut Random) -> Vec<(usize, State)> {
    let mut done = vec![(0, state.clone())];
    for _ in 0..12 {
        let mut batch = Batch::new();
        for _ in 0..1 + random.below(8) {
            let number = state.last_key_value().map_or(1, |(id, _)| id.ms + 1);
            let length = [10, 200, 3000, 20_000][random.below(4)];
            let kept = event(number, length);
            batch.insert(event_key(kept.event.id), Some(event_value(&kept)));
            state.insert(kept.event.id, kept.event.text.clone());
        }
        while state.len() > 30 {
            let (id, _) = state.pop_first().expect("there are more");
            batch.insert(event_key(id), None);
        }
        batch.insert(META_KEY.into(), Some(meta_value(&Meta::default())));
        let writes = batch.iter();
        let writes = writes.map(|(key, value)| (key.as_slice(), value.as_deref()));
        store.commit(writes).expect("the disk is good");
        done.push((disk.steps().len(), state.clone()));
    }
    done
}

fn load(bytes: Vec<u8>) -> Result<(Store, Disk, State), Fault> {
    let disk = Disk::of(bytes);
    let store = Store::check(disk.clone())?;
    let contents = store.load()?;
    let events = contents.kept.events.into_iter();
    let state = events.map(|kept| (kept.event.id, kept.event.text.clone()));
    Ok((store, disk, state.collect()))
}

#[test]
fn what_was_committed_is_there_after_a_loss_of_power_and_nothing_else() {
    let seeds = if cfg!(feature = "hostile-tests") {
        100
    } else {
        2
    };
    for seed in 1..=seeds {
        let mut random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let disk = Disk::default();
        let store = Store::begin(disk.clone()).expect("the disk is good");
        let meta = meta_value(&Meta::default());
        let first = [(META_KEY, Some(&meta[..]))];
        store.commit(first.into_iter()).expect("the disk is good");
        let mut start = disk.0.lock().unwrap().0.clone();
        drop(store);
        let mut state = State::new();
        // One loss of power after the other, each in the middle of what comes after the one before.
        for _ in 0..4 {
            let (store, disk, found) = load(start.clone()).expect("what was found can be read");
            assert!(
                found == state,
                "seed {seed}: it is another one the second time"
            );
            let done = work(&store, &disk, found, &mut random);
            let steps = disk.steps();
            // What stopping in order writes is not of this run.
            std::mem::forget(store);
            let last = steps.len() / 2 + random.below(steps.len() / 2);
            for cut in 0..=last {
                let bytes = after_power_failure(&start, &steps[..cut], &mut random);
                let kept = load(bytes.clone());
                let (store, _, found) = kept.unwrap_or_else(|fault| {
                    panic!("seed {seed}, {cut} of {} steps: {fault}", steps.len())
                });
                drop(store);
                let answered = done.iter().rposition(|(step, _)| *step <= cut).unwrap_or(0);
                let fits = done[answered..]
                    .iter()
                    .take(2)
                    .any(|(_, state)| *state == found);
                assert!(
                    fits,
                    "seed {seed}, {cut} steps: not what was committed last, or next"
                );
                if cut == last {
                    (start, state) = (bytes, found);
                    break;
                }
            }
        }
    }
}

#[test]
fn a_journal_gives_whole_parts_up_to_the_first_that_is_not_whole() {
    let folder = std::env::temp_dir().join(format!("sse-server-journal-{}", std::process::id()));
    let mut journal = journal::Journal::open(&folder, true).expect("it can be made");
    let after = EventId { ms: 7, seq: 1 };
    journal.begin(after).expect("it can be written");
    let pairs: Vec<_> = (1..=9_u8)
        .map(|n| (vec![n; 3], vec![n; n as usize * 20]))
        .collect();
    let mut ends = Vec::new();
    for part in pairs.chunks(3) {
        journal.append(part, || Ok(())).expect("it can be written");
        ends.push(journal.len() as usize);
    }
    let bytes = std::fs::read(&folder).expect("it is there");
    std::fs::remove_file(&folder).expect("it can be removed");
    assert_eq!(journal::read(after, &bytes), pairs);
    assert!(
        journal::read(EventId { ms: 7, seq: 0 }, &bytes).is_empty(),
        "of another time"
    );
    let bytes = &bytes[..*ends.last().expect("there are parts")];
    for cut in 0..bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let expected = pairs[..whole * 3].to_vec();
        assert_eq!(journal::read(after, &bytes[..cut]), expected, "{cut}");
        let mut torn = bytes.to_vec();
        torn[cut] ^= 1;
        assert_eq!(journal::read(after, &torn), expected, "{cut}");
    }
}

#[test]
fn what_a_newer_version_has_written_is_not_touched() {
    let disk = Disk::default();
    let store = Store::begin(disk).expect("the disk is good");
    let newer = 2_u32.to_be_bytes();
    let first = [(META_KEY, Some(&newer[..]))];
    store.commit(first.into_iter()).expect("the disk is good");
    let fault = store.load().expect_err("it is newer");
    assert_eq!(fault.kind, super::fault::Kind::Newer, "{fault}");
}
