//! The follower: one thread that reads the stream from the id that it has seen last, and appends what comes to the hub. It
//! never writes a message. Started by the cluster.
//!
//! It knows when something was lost before it could read it: now and then, and whenever it was behind, it looks at the stream
//! as a whole in the same transaction. Between two such looks it waits with `XREAD BLOCK`, and fewer entries than it asked for
//! prove that nothing was trimmed, because the stream always keeps more than that.

use super::entry;
use super::fault::Fault;
use super::link::Link;
use super::outage::Outage;
use super::position::is_broken;
use super::shared::ClusterShared;
use super::state::Side;
use super::stream;
use super::system;
use crate::event::EventId;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How long Redis waits for something new before it answers that there is nothing.
const BLOCK: Duration = Duration::from_secs(1);

/// How long an answer may take: a connection that is silent for longer is lost.
const PATIENCE: Duration = Duration::from_millis(2500);

/// How often it looks whether something was lost, at least.
const LOOK: Duration = Duration::from_secs(1);

/// After this long without an answer (this process was stopped, or the hub had no room) it looks first.
const LONG: Duration = Duration::from_secs(10);

/// The pause after an answer with nothing new: the writer is busy and reads what comes.
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
            // What is stored has waited long enough.
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
        let asked = system::now();
        let wanted = shared.at_once();
        let read = entry::read_after(shared.hub.newest(), wanted, Some(BLOCK));
        let entries = entry::entries(link.ask(&read)?).ok_or_else(Fault::protocol)?;
        let is_sure = entries.len() < wanted && system::now() - asked < LONG;
        if is_sure && !entries.is_empty() && !shared.take(entries) {
            system::pause(BREATH);
        }
        if !is_sure || system::now() - looked >= LOOK {
            catch_up(shared, &mut link)?;
            looked = system::now();
        }
    }
}

/// Reads all that there is, and looks each time whether something was lost.
fn catch_up(shared: &ClusterShared, link: &mut Link) -> Result<(), Fault> {
    let hub = &shared.hub;
    loop {
        let wanted = shared.at_once();
        let seen = hub.newest();
        let claims = hub.claims();
        let (stream, entries) = shared.look(link, seen, wanted)?;
        let is_all = entries.len() < wanted;
        if is_all && is_broken(&stream, &entries) {
            if stream.newest < seen {
                log::warn!(
                    "event=redis_history_lost up_to={seen} hint=\"Redis has lost messages that it had stored; turn appendonly on\""
                );
                if !stream::can_grow(seen) {
                    shared.start_over();
                    continue;
                }
            }
            let known = stream.generation.or(stream.known);
            stream::begin(link, hub.newest(), known.as_deref())?;
            continue;
        }
        shared.judge(&stream, &entries);
        shared.take(entries);
        if !is_all {
            continue;
        }
        if !shared.has_all_of(&stream) {
            stream::begin(link, hub.newest(), stream.generation.as_deref())?;
            continue;
        }
        hub.set_filled();
        hub.settle(&claims, stream.newest);
        if stream.newest == LAST_ID {
            return Err(Fault::no_more_ids());
        }
        return Ok(());
    }
}

/// After this id there is none.
const LAST_ID: EventId = EventId {
    ms: u64::MAX,
    seq: u64::MAX,
};
