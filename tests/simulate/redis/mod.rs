//! A simulated Redis, and the lines that lead to it: what is sent takes its time, and lines are cut, fall silent in one
//! direction or both, or cannot be made.

mod resp;
mod stream;

use crate::event::EventId;
use crate::hub::time::running_ms;
use crate::random::Random;
use resp::{commands, Command, Reply};
use std::collections::VecDeque;
use std::io;
pub use stream::{Redis, Stream};

/// How many servers there are.
pub const SERVERS: usize = 2;

/// What a socket finds.
pub enum Reading {
    Bytes(usize),
    Closed,
    Nothing,
}

/// The way from one server to Redis.
#[derive(Debug, Default)]
struct Line {
    refuses_until_ms: u64,
    /// What is sent until then, to Redis and from it, comes later.
    is_silent_until_ms: [u64; 2],
}

/// Bytes under way, each with the time at which they arrive.
type Way = VecDeque<(u64, Vec<u8>)>;

#[derive(Debug, Default)]
struct Connection {
    server: usize,
    to_redis: Way,
    from_redis: Way,
    /// Each end notices for itself.
    is_open_here: bool,
    is_open_there: bool,
    /// What Redis has yet to do for it.
    commands: VecDeque<Command>,
    /// What it has queued since `MULTI`, and whether it has refused some of that.
    queued: Option<Vec<Command>>,
    is_refused: bool,
    /// A command that waits, and until when.
    waits_until_ms: Option<u64>,
}

pub struct Net {
    pub redis: Redis,
    random: Random,
    lines: [Line; SERVERS],
    /// By number. Redis calls each by that, too.
    connections: Vec<Connection>,
    run: usize,
    /// Answers with more bytes are cut off.
    pub most_bytes: usize,
    /// How long each way takes, at most, in ms.
    pub delay_ms: u64,
}

impl Net {
    pub fn new(random: Random) -> Net {
        Net {
            redis: Redis::default(),
            random,
            lines: Default::default(),
            connections: Vec::new(),
            run: 0,
            most_bytes: usize::MAX,
            delay_ms: 1,
        }
    }

    /// Connects a server, if somebody answers.
    pub fn connect(&mut self, server: usize) -> Option<io::Result<usize>> {
        let line = &self.lines[server];
        let now = running_ms();
        if now < line.refuses_until_ms {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        if line.is_silent_until_ms.iter().any(|&until| now < until) {
            return None;
        }
        self.connections.push(Connection {
            server,
            is_open_here: true,
            is_open_there: true,
            ..Connection::default()
        });
        Some(Ok(self.connections.len() - 1))
    }

    fn arrival(&mut self, number: usize, direction: usize) -> u64 {
        let connection = &self.connections[number];
        let way = [&connection.to_redis, &connection.from_redis][direction];
        let last = way.back().map_or(0, |(due, _)| *due);
        let silent = self.lines[connection.server].is_silent_until_ms[direction];
        let due = running_ms() + self.random.below(self.delay_ms as usize + 1) as u64;
        due.max(last).max(silent)
    }

    pub fn send(&mut self, number: usize, bytes: &[u8]) -> io::Result<()> {
        if !self.connections[number].is_open_here {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let due = self.arrival(number, 0);
        let connection = &mut self.connections[number];
        connection.to_redis.push_back((due, bytes.to_vec()));
        Ok(())
    }

    pub fn receive(&mut self, number: usize, buffer: &mut [u8]) -> Reading {
        let is_silent = self.is_silent(number);
        let connection = &mut self.connections[number];
        if !connection.is_open_here {
            return Reading::Closed;
        }
        match connection.from_redis.front_mut() {
            Some((due, bytes)) if *due <= running_ms() => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                bytes.drain(..count);
                if bytes.is_empty() {
                    connection.from_redis.pop_front();
                }
                Reading::Bytes(count)
            }
            Some(_) => Reading::Nothing,
            None if !connection.is_open_there && !is_silent => Reading::Closed,
            None => Reading::Nothing,
        }
    }

    fn is_silent(&self, number: usize) -> bool {
        let line = &self.lines[self.connections[number].server];
        running_ms() < line.is_silent_until_ms[1]
    }

    pub fn has_news_for(&self, number: usize) -> bool {
        let connection = &self.connections[number];
        match connection.from_redis.front() {
            Some((due, _)) => *due <= running_ms(),
            None => {
                !connection.is_open_here || !connection.is_open_there && !self.is_silent(number)
            }
        }
    }

    /// A server is done with a connection. What it has sent arrives all the same.
    pub fn hang_up(&mut self, number: usize) {
        self.connections[number].is_open_here = false;
    }

    /// When something arrives next.
    pub fn next_ms(&self) -> u64 {
        let open = self.connections.iter().filter(|c| c.is_open_there);
        let times = open.flat_map(|connection| {
            let sent = connection.to_redis.front().map(|(due, _)| *due);
            let answered = connection.from_redis.front().map(|(due, _)| *due);
            let (answered, waits) = (
                answered.filter(|_| connection.is_open_here),
                connection.waits_until_ms,
            );
            [sent, answered, waits].into_iter().flatten()
        });
        times.min().unwrap_or(u64::MAX)
    }

    /// Redis does what has arrived.
    pub fn serve(&mut self) {
        let count = self.connections.len();
        let first = self.random.below(count.max(1));
        for number in (0..count).map(|place| (first + place) % count) {
            self.serve_one(number);
        }
        // Who waits has its answer with what came meanwhile.
        for number in 0..count {
            if self.connections[number].waits_until_ms.is_some() {
                self.serve_one(number);
            }
        }
    }

    fn serve_one(&mut self, number: usize) {
        let now = running_ms();
        loop {
            let connection = &mut self.connections[number];
            if !connection.is_open_there {
                return;
            }
            let has_come = |(due, _): &&(u64, Vec<u8>)| *due <= now;
            while connection.to_redis.front().filter(has_come).is_some() {
                let bytes = connection.to_redis.pop_front().map(|(_, bytes)| bytes);
                connection
                    .commands
                    .extend(commands(&bytes.unwrap_or_default()));
            }
            let Some(command) = connection.commands.front().cloned() else {
                let is_left = !connection.is_open_here && connection.to_redis.is_empty();
                connection.is_open_there = !is_left;
                return;
            };
            let Some(reply) = self.answer(number, &command) else {
                return;
            };
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            let due = self.arrival(number, 1);
            let is_too_large = bytes.len() > self.most_bytes;
            let connection = &mut self.connections[number];
            connection.commands.pop_front();
            if is_too_large {
                connection.is_open_there = false;
                return;
            }
            connection.from_redis.push_back((due, bytes));
        }
    }

    /// The answer to a command, if it does not have to wait.
    fn answer(&mut self, number: usize, command: &Command) -> Option<Reply> {
        let refusal = self.redis.refusal(command);
        let connection = &mut self.connections[number];
        let name = command[0].as_slice();
        if let Some(mut queued) = connection.queued.take_if(|_| name == b"EXEC") {
            let is_refused = std::mem::take(&mut connection.is_refused);
            return Some(if is_refused {
                Reply::Error("EXECABORT Transaction discarded because of previous errors.")
            } else {
                let done = queued.drain(..).map(|command| self.redis.perform(&command));
                Reply::Array(done.collect())
            });
        }
        if let Some(queued) = &mut connection.queued {
            if let Some(refusal) = refusal {
                connection.is_refused = true;
                return Some(Reply::Error(refusal));
            }
            queued.push(command.clone());
            return Some(Reply::Simple("QUEUED"));
        }
        if let Some(refusal) = refusal {
            return Some(Reply::Error(refusal));
        }
        Some(match (name, command.get(1).map(Vec::as_slice)) {
            (b"MULTI", _) => {
                connection.queued = Some(Vec::new());
                Reply::Simple("OK")
            }
            (b"INFO", _) => Reply::text(format!(
                "redis_version:7.2.0\r\nrun_id:{}\r\nrole:master\r\nloading:0\r\n",
                self.run
            )),
            (b"CLIENT", Some(b"ID")) => Reply::Number(number as i64),
            (b"CLIENT", _) => self.kill(&command[3]),
            (b"XREAD", _) => return self.read(number, command),
            _ => self.redis.perform(command),
        })
    }

    fn kill(&mut self, number: &[u8]) -> Reply {
        let number = std::str::from_utf8(number).unwrap_or_default().parse();
        let connection = number.ok().and_then(|n: usize| self.connections.get_mut(n));
        let killed = connection.filter(|connection| connection.is_open_there);
        Reply::Number(killed.map_or(0, |connection| {
            connection.close_there();
            1
        }))
    }

    fn read(&mut self, number: usize, command: &Command) -> Option<Reply> {
        let (after, count, block) = stream::reading(command);
        let reply = self.redis.read(after, count);
        let connection = &mut self.connections[number];
        let Some(block) = block.filter(|_| matches!(reply, Reply::Nil)) else {
            connection.waits_until_ms = None;
            return Some(reply);
        };
        let until = *connection
            .waits_until_ms
            .get_or_insert(running_ms() + block);
        if running_ms() < until {
            return None;
        }
        connection.waits_until_ms = None;
        Some(Reply::Nil)
    }

    /// Ids of messages that were added since the last call.
    pub fn added(&mut self) -> Vec<(usize, EventId)> {
        std::mem::take(&mut self.redis.added)
    }

    /// A line carries nothing to Redis (0) or from it (1) for so long.
    pub fn silence(&mut self, server: usize, direction: usize, ms: u64) {
        let until = running_ms() + ms;
        self.lines[server].is_silent_until_ms[direction] = until;
        let own = self.connections.iter_mut().filter(|c| c.server == server);
        for connection in own {
            let way = [&mut connection.to_redis, &mut connection.from_redis];
            let [to, from] = way;
            let way = if direction == 0 { to } else { from };
            way.iter_mut().for_each(|(due, _)| *due = (*due).max(until));
        }
    }

    /// No connection can be made for so long.
    pub fn refuse(&mut self, server: usize, ms: u64) {
        self.lines[server].refuses_until_ms = running_ms() + ms;
    }

    /// Cuts the server's connections: at its end alone, so that Redis goes on with what it was sent, or at both.
    pub fn cut(&mut self, server: usize) {
        for number in 0..self.connections.len() {
            if self.connections[number].server == server && self.random.once_in(2) {
                let connection = &mut self.connections[number];
                connection.is_open_here = false;
                if self.random.once_in(2) {
                    connection.close_there();
                }
            }
        }
    }

    /// Redis starts again, or another takes its place.
    pub fn start_again(&mut self) {
        self.run += 1;
        for connection in &mut self.connections {
            connection.close_there();
        }
    }

    /// Everything is well again.
    pub fn heal(&mut self) {
        self.redis.refuses = None;
        self.most_bytes = usize::MAX;
        self.delay_ms = 1;
        for server in 0..SERVERS {
            self.lines[server].refuses_until_ms = 0;
            self.lines[server].is_silent_until_ms = [0, 0];
        }
    }
}

impl Connection {
    fn close_there(&mut self) {
        self.is_open_there = false;
        self.to_redis.clear();
        self.commands.clear();
        self.waits_until_ms = None;
    }
}
