//! The follower: one thread that reads the stream from the last id it has seen, and appends to the hub. It never writes
//! a message.
//!
//! It notices when something was lost before it could read it. Now and then it looks at the whole stream in the same
//! transaction. Between two looks it waits with `XREAD BLOCK`, and also reads the last entry that it had: while that is
//! there, nothing after it was trimmed, and the stream is the same. If it is gone, the follower looks.

use super::entry::{self, StreamEntry};
use super::fault::Fault;
use super::link::Link;
use super::outage::Outage;
use super::position::{is_broken, Next};
use super::resp::Answer;
use super::shared::ClusterShared;
use super::state::Side;
use super::stream;
use super::system;
use crate::event::EventId;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How long Redis waits for something new before it answers with nothing.
const BLOCK: Duration = Duration::from_secs(1);

/// How long an answer may take. A connection that is silent for longer counts as lost.
const PATIENCE: Duration = Duration::from_millis(2500);

/// How often it looks for losses, at least.
const LOOK: Duration = Duration::from_secs(1);

/// The pause after an answer with nothing new: the writer is busy, and reads what comes.
const BREATH: Duration = Duration::from_millis(2);

pub(super) fn start(shared: Arc<ClusterShared>) -> std::io::Result<()> {
    system::spawn("follower", move || run(&shared))
}

fn run(shared: &ClusterShared) {
    let mut outage = Outage::default();
    while !shared.hub.is_closing() {
        let Err(fault) = follow(shared, &mut outage);
        let pause = outage.note(&fault, None);
        let is_to_be_told = !shared.state.is_up() || !outage.may_pass(&fault);
        if is_to_be_told {
            shared.state.down(Side::Follower, &fault);
        }
        if is_to_be_told || fault.is_silence() {
            // What is stored has waited long enough for its answer.
            shared.answers.give_up();
        }
        system::pause(pause);
    }
}

fn follow(shared: &ClusterShared, outage: &mut Outage) -> Result<Infallible, Fault> {
    let mut link = Link::open(&shared.address, PATIENCE, outage.bound())?;
    catch_up(shared, &mut link)?;
    shared.state.up(Side::Follower, outage.end());
    let mut looked = system::now();
    loop {
        let (entries, is_sure) = wait_for_news(shared, &mut link)?;
        if is_sure && !entries.is_empty() && !shared.take(entries) {
            system::pause(BREATH);
        }
        if !is_sure || system::now() - looked >= LOOK {
            catch_up(shared, &mut link)?;
            looked = system::now();
        }
    }
}

/// What comes next, and whether that is all that came after what the hub has.
fn wait_for_news(
    shared: &ClusterShared,
    link: &mut Link,
) -> Result<(Vec<StreamEntry>, bool), Fault> {
    let seen = shared.hub.feed().newest();
    let mut packed = entry::read_after(seen, shared.at_once(), Some(BLOCK));
    packed.extend(entry::read_one(seen));
    let answers = link.ask_all(&packed, 2)?;
    let [read, last] = answers.all()[..] else {
        return Err(Fault::protocol());
    };
    if let Answer::Error(error) = read {
        return Err(Fault::from_answer(error));
    }
    let entries = entry::entries(read).ok_or_else(Fault::protocol)?;
    let is_sure = entries.is_empty() || entry::has_one(last);
    Ok((entries, is_sure))
}

/// Reads everything, and looks for losses each time.
fn catch_up(shared: &ClusterShared, link: &mut Link) -> Result<(), Fault> {
    let hub = &shared.hub;
    loop {
        let wanted = shared.at_once();
        let seen = hub.feed().newest();
        let claims = hub.feed().claims();
        let (stream, entries) = shared.look(link, seen, wanted)?;
        let is_all = entries.len() < wanted;
        let next = Next {
            entries: &entries,
            is_all,
        };
        let goes_on = shared.goes_on(&stream, &next);
        if is_all && (!goes_on || is_broken(&stream)) {
            if stream.newest < seen {
                log::warn!(
                    "event=redis_history_lost up_to={seen} hint=\"Redis has lost messages that it had stored; turn on appendonly\""
                );
                if !stream::can_grow(seen) {
                    shared.start_over();
                    continue;
                }
            }
            let known = stream.generation.or(stream.known);
            stream::begin(link, hub.feed().newest(), known.as_deref())?;
            continue;
        }
        shared.judge(&stream, &next);
        shared.take(entries);
        if !is_all {
            continue;
        }
        shared.has_all_of(&stream);
        hub.feed().set_filled();
        hub.feed().settle(&claims, stream.newest);
        if stream.newest == LAST_ID {
            return Err(Fault::no_more_ids());
        }
        return Ok(());
    }
}

/// The largest id.
const LAST_ID: EventId = EventId {
    ms: u64::MAX,
    seq: u64::MAX,
};
