//! Three servers, each with its own line to one durable Redis, and everything that can be done to them.

use super::schedule::Action;
use super::wire::{is_ready, pause};
use crate::common;

use common::clock::Clock;
use common::port::free_address;
use common::redis::{Proxy, Redis};
use common::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const SERVERS: usize = 3;

const STREAM: &str = "sse-server:events";

/// Where a server is.
enum Place {
    Empty,
    /// Without Redis a server takes 3 seconds until it listens; the trouble goes on meanwhile.
    Starting(JoinHandle<Server>),
    Running(Server),
}

pub struct Stage {
    redis: Redis,
    /// Whether it runs and answers.
    redis_is_up: bool,
    redis_is_gone: bool,
    redis_is_full: bool,
    /// Follows it, until it takes its place.
    replica: Option<Redis>,
    lines: Vec<Proxy>,
    addrs: Vec<SocketAddr>,
    servers: Vec<Place>,
    /// The first server's.
    clock: Arc<Clock>,
    redis_clock: Arc<Clock>,
    /// The logs of servers that are gone.
    logs: Vec<String>,
}

impl Stage {
    pub fn set() -> Stage {
        // What it has answered is on disk.
        let redis_clock = Arc::new(Clock::new("torture-redis"));
        let [redis, replica] = [0, 1].map(|_| {
            let durable = ["--appendonly", "yes", "--appendfsync", "always"];
            Redis::start_by(Some(redis_clock.clone()), &durable)
        });
        let (host, port) = (redis.addr.ip().to_string(), redis.addr.port().to_string());
        replica.command(&["REPLICAOF", &host, &port]);
        let mut stage = Stage {
            redis_is_up: true,
            redis_is_gone: false,
            redis_is_full: false,
            lines: (0..SERVERS).map(|_| Proxy::start(redis.addr)).collect(),
            addrs: (0..SERVERS).map(|_| free_address()).collect(),
            servers: (0..SERVERS).map(|_| Place::Empty).collect(),
            clock: Arc::new(Clock::new("torture")),
            redis_clock: redis_clock.clone(),
            replica: Some(replica),
            logs: vec![String::new(); SERVERS],
            redis,
        };
        (0..SERVERS).for_each(|server| stage.start(server));
        stage
    }

    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.addrs.clone()
    }

    fn start(&mut self, server: usize) {
        if !matches!(self.servers[server], Place::Empty) {
            return;
        }
        let (listen, url) = (self.addrs[server].to_string(), self.lines[server].url());
        let clock = (server == 0).then(|| self.clock.clone());
        let starting = std::thread::spawn(move || {
            // A history that holds all of the run: what is not retained is lost.
            let variables = [
                ("LISTEN", listen.as_str()),
                ("REDIS_URL", url.as_str()),
                ("HEARTBEAT", "1"),
                ("HISTORY_EVENTS", "1000000"),
                ("HISTORY_BYTES", "1000000000"),
            ];
            Server::start_with(&variables, |command| {
                if let Some(clock) = clock {
                    clock.give_to(command);
                }
            })
        });
        self.servers[server] = Place::Starting(starting);
    }

    /// Takes a server off, once it listens if it starts.
    fn take(&mut self, server: usize) -> Option<Server> {
        match std::mem::replace(&mut self.servers[server], Place::Empty) {
            Place::Empty => None,
            Place::Starting(starting) => Some(starting.join().expect("a server starts")),
            Place::Running(running) => Some(running),
        }
    }

    fn kill(&mut self, server: usize) {
        if let Some(mut gone) = self.take(server) {
            gone.stop(libc::SIGKILL);
            self.logs[server] += &format!("{}\n--- killed\n", gone.log());
        }
    }

    fn signal(&mut self, server: usize, signal: i32) {
        if let Some(running) = self.take(server) {
            // SAFETY: a signal to a child that was not waited for yet.
            unsafe { libc::kill(running.pid() as i32, signal) };
            self.servers[server] = Place::Running(running);
        }
    }

    fn tell_redis(&self, words: &[&str]) {
        if self.redis_is_up {
            self.redis.command(words);
        }
    }

    /// As it should be; a Redis that does not answer is told when it does.
    fn limit_memory(&self) {
        let bytes = if self.redis_is_full { "1" } else { "0" };
        self.tell_redis(&["CONFIG", "SET", "maxmemory", bytes]);
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::KillServer(server) => self.kill(server),
            Action::StartServer(server) => self.start(server),
            Action::PauseServer(server) => self.signal(server, libc::SIGSTOP),
            Action::ResumeServer(server) => self.signal(server, libc::SIGCONT),
            Action::SilenceLine(line) => self.lines[line].fall_silent(),
            Action::SilenceRequests(line) => self.lines[line].swallow_requests(),
            Action::SilenceAnswers(line) => self.lines[line].swallow_answers(),
            Action::CutLine(line) => self.lines[line].cut(),
            Action::MendLine(line) => self.lines[line].mend(),
            Action::KillConnections => self.tell_redis(&["CLIENT", "KILL", "TYPE", "normal"]),
            Action::KillRedis => {
                self.redis.kill();
                (self.redis_is_up, self.redis_is_gone) = (false, true);
            }
            // Unless a replica has taken its place.
            Action::StartRedis if !self.redis_is_gone => {}
            Action::StartRedis => {
                self.redis.start_again();
                (self.redis_is_up, self.redis_is_gone) = (true, false);
                self.limit_memory();
            }
            Action::PauseRedis => {
                self.redis.signal(libc::SIGSTOP);
                self.redis_is_up = false;
            }
            Action::ResumeRedis => {
                self.redis.signal(libc::SIGCONT);
                self.redis_is_up = true;
                self.limit_memory();
            }
            Action::DeleteStream => self.tell_redis(&["DEL", STREAM]),
            Action::RenameStream => self.tell_redis(&["RENAME", STREAM, "gone"]),
            Action::FlushAll => self.tell_redis(&["FLUSHALL"]),
            Action::CopyStream => self.tell_redis(&["COPY", STREAM, "copy", "REPLACE"]),
            Action::PutCopyBack => self.tell_redis(&["RENAME", "copy", STREAM]),
            Action::PauseReplica => {
                if let Some(replica) = &self.replica {
                    replica.signal(libc::SIGSTOP);
                }
            }
            Action::FailOver => self.fail_over(),
            Action::SetRedisClock(seconds) => self.redis_clock.set_seconds_off(seconds),
            Action::FillRedis | Action::EmptyRedis => {
                self.redis_is_full = action == Action::FillRedis;
                self.limit_memory();
            }
            Action::SetClock(seconds) => self.clock.set_seconds_off(seconds),
        }
    }

    /// The replica takes the place of Redis, with what it has.
    fn fail_over(&mut self) {
        let Some(replica) = self.replica.take() else {
            return;
        };
        // What it has not read by now is lost with the primary.
        drop(std::mem::replace(&mut self.redis, replica));
        self.redis.signal(libc::SIGCONT);
        self.redis.command(&["REPLICAOF", "NO", "ONE"]);
        let lines = self.lines.iter();
        lines.for_each(|line| line.lead_to(self.redis.addr));
        (self.redis_is_up, self.redis_is_gone) = (true, false);
        self.limit_memory();
    }

    /// Ends all trouble.
    pub fn heal(&mut self) {
        self.act(if self.redis_is_gone {
            Action::StartRedis
        } else {
            Action::ResumeRedis
        });
        self.act(Action::EmptyRedis);
        self.act(Action::SetClock(0));
        self.act(Action::SetRedisClock(0));
        for server in 0..SERVERS {
            self.act(Action::MendLine(server));
            self.act(Action::ResumeServer(server));
            self.act(Action::StartServer(server));
        }
    }

    /// Waits until all servers are ready. Returns those that are not within the bound.
    pub fn not_ready_within(&self, bound: Duration) -> Vec<usize> {
        let end = Instant::now() + bound;
        loop {
            let late = (0..SERVERS).filter(|&server| !is_ready(self.addrs[server]));
            let late: Vec<usize> = late.collect();
            if late.is_empty() || Instant::now() > end {
                return late;
            }
            pause(Duration::from_millis(20));
        }
    }

    /// What each server has logged. Ends them.
    pub fn end(mut self) -> Vec<String> {
        for server in 0..SERVERS {
            if let Some(running) = self.take(server) {
                self.logs[server] += &format!("{}\n", running.log());
            }
        }
        self.logs
    }
}
