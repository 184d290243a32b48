//! The follower: one thread that reads the stream from the id that it has seen last, and appends what comes to the hub. It
//! never writes a message. Started by the cluster.
//!
//! It knows when something was trimmed before it could read it: now and then, and whenever it was behind, it reads with
//! `XINFO STREAM` in the same transaction, which tells how many entries there were ever and how many there are. Between two
//! such looks it waits with `XREAD BLOCK`, and fewer entries than it asked for prove that nothing was trimmed, because the
//! stream always keeps more than that.

use super::connection::{Connection, Fault};
use super::entry::{self, Entry, STREAM};
use super::position::Stream;
use super::state::Side;
use super::{Backoff, Shared};
use ::redis::{cmd, Value};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long Redis waits for something new before it answers that there is nothing.
const BLOCK: Duration = Duration::from_secs(1);

/// How long an answer may take: a connection that is silent for longer is lost.
const PATIENCE: Duration = Duration::from_millis(2500);

/// How often it looks whether something was trimmed, at least.
const LOOK: Duration = Duration::from_secs(1);

/// After this long without an answer (this process was stopped, or the hub had no room) it looks first.
const LONG: Duration = Duration::from_secs(10);

/// The pause after an answer with nothing new: the writer is busy and reads what comes.
const BREATH: Duration = Duration::from_millis(2);

pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("follower".into());
    thread.spawn(move || run(&shared))?;
    Ok(())
}

fn run(shared: &Shared) {
    let mut backoff = Backoff::default();
    while !shared.hub.is_closing() {
        let follower = Follower { shared };
        let Err(fault) = follower.follow(&mut backoff);
        shared.state.down(Side::Follower, &fault);
        shared.waiting.give_up();
        std::thread::park_timeout(backoff.next());
    }
}

struct Follower<'a> {
    shared: &'a Shared,
}

impl Follower<'_> {
    fn follow(self, backoff: &mut Backoff) -> Result<Infallible, Fault> {
        let mut connection = Connection::open(&self.shared.address, PATIENCE)?;
        self.catch_up(&mut connection)?;
        let hub = &self.shared.hub;
        hub.set_filled();
        self.shared.state.up(Side::Follower);
        backoff.reset();
        let mut looked = Instant::now();
        loop {
            let asked = Instant::now();
            let wanted = self.shared.at_once();
            let entries = self.wait_for_entries(&mut connection, wanted)?;
            let is_sure = entries.len() < wanted && asked.elapsed() < LONG;
            if is_sure && !entries.is_empty() && !self.shared.take(entries) {
                std::thread::park_timeout(BREATH);
            }
            if !is_sure || looked.elapsed() >= LOOK {
                self.catch_up(&mut connection)?;
                looked = Instant::now();
            }
        }
    }

    /// Reads all that there is, and looks each time whether something was lost.
    fn catch_up(&self, connection: &mut Connection) -> Result<(), Fault> {
        let hub = &self.shared.hub;
        loop {
            let wanted = self.shared.at_once();
            let seen = hub.newest();
            let claims = hub.claims();
            let (stream, entries) = self.look(connection, wanted)?;
            let is_all = entries.len() < wanted;
            self.judge(&stream);
            self.shared.take(entries);
            if !is_all {
                continue;
            }
            if stream.newest < seen {
                // Redis has lost what it had. Ids have to grow all the same.
                self.raise(connection)?;
            } else {
                self.shared.has_all_of(&stream);
                hub.settle(&claims, stream.newest);
            }
            return Ok(());
        }
    }

    /// One transaction: what the stream is like, and what comes after what was seen last.
    fn look(
        &self,
        connection: &mut Connection,
        wanted: usize,
    ) -> Result<(Stream, Vec<Entry>), Fault> {
        let mut packed = Vec::new();
        cmd("MULTI").write_packed_command(&mut packed);
        cmd("XINFO")
            .arg("STREAM")
            .arg(STREAM)
            .write_packed_command(&mut packed);
        self.read_command(wanted, None)
            .write_packed_command(&mut packed);
        cmd("EXEC").write_packed_command(&mut packed);
        let mut answers = connection.ask_all(&packed, 3, 1)?;
        let Some(Value::Array(mut parts)) = answers.pop() else {
            return Err(Fault::protocol());
        };
        let read = parts.pop().ok_or_else(Fault::protocol)?;
        let info = parts.pop().ok_or_else(Fault::protocol)?;
        let stream = match info {
            Value::ServerError(error) if is_no_such_key(&error) => Stream::default(),
            Value::ServerError(error) => return Err(Fault::from_answer(&error)),
            info => Stream::read(&info),
        };
        if let Value::ServerError(error) = read {
            return Err(Fault::from_answer(&error));
        }
        let entries = entry::entries(read).ok_or_else(Fault::protocol)?;
        Ok((stream, entries))
    }

    fn wait_for_entries(
        &self,
        connection: &mut Connection,
        wanted: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let answer = connection.ask(self.read_command(wanted, Some(BLOCK)))?;
        entry::entries(answer).ok_or_else(Fault::protocol)
    }

    fn read_command(&self, wanted: usize, block: Option<Duration>) -> ::redis::Cmd {
        entry::read_after(self.shared.hub.newest(), wanted, block)
    }

    /// Whether something was taken out of the stream that was not read.
    fn judge(&self, stream: &Stream) {
        let hub = &self.shared.hub;
        if !hub.is_filled() {
            hub.begin_after(stream.begin());
            self.shared.begin_with(stream);
        } else if let Some((seen, lost)) = self.shared.find_loss(stream) {
            log::warn!(
                "event=redis_gap after={seen} up_to={lost} hint=\"messages were trimmed from Redis before this server had read them; its clients were told\""
            );
            hub.send_away_ahead_of(seen);
            hub.lose_up_to(lost);
        }
    }

    /// Makes the stream's next id larger than any that this server has seen, and says that nothing before it is there.
    fn raise(&self, connection: &mut Connection) -> Result<(), Fault> {
        let seen = self.shared.hub.newest();
        let mut command = cmd("EVAL");
        command
            .arg(RAISE)
            .arg(1)
            .arg(STREAM)
            .arg(seen.ms)
            .arg(seen.seq);
        let raised = connection.ask(command)?;
        if raised == Value::Int(1) {
            log::warn!(
                "event=redis_history_lost up_to={seen} hint=\"Redis has lost messages that it had stored; turn appendonly on\""
            );
        }
        Ok(())
    }
}

fn is_no_such_key(error: &::redis::ServerError) -> bool {
    error
        .details()
        .is_some_and(|details| details.contains("no such key"))
}

/// Several servers may come with it at the same time: the largest id stays. Returns 1 if something was changed.
const RAISE: &str = r"
local key, ms, seq = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local info = redis.pcall('XINFO', 'STREAM', key)
local last, added = '0-0', 0
if info.err then
  if not string.find(info.err, 'no such key', 1, true) then return info end
  redis.call('XGROUP', 'CREATE', key, 'none', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', key, 'none')
else
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
  end
end
local last_ms, last_seq = string.match(last, '^(%d+)-(%d+)$')
last_ms, last_seq = tonumber(last_ms), tonumber(last_seq)
if last_ms > ms or (last_ms == ms and last_seq >= seq) then return 0 end
local id = ARGV[1] .. '-' .. ARGV[2]
redis.call('XSETID', key, id, 'ENTRIESADDED', added + 1, 'MAXDELETEDID', id)
return 1
";
