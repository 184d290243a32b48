//! Three servers, each with a line of its own to one durable Redis, and everything that can be done to them.

use super::schedule::Action;
use super::wire::{is_ready, pause};
use crate::common;

use common::clock::Clock;
use common::port::free_address;
use common::redis::{Proxy, Redis};
use common::Server;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub const SERVERS: usize = 3;

/// See the module's comment.
pub struct Stage {
    redis: Redis,
    redis_is_up: bool,
    lines: Vec<Proxy>,
    addrs: Vec<SocketAddr>,
    servers: Vec<Option<Server>>,
    /// The first server's.
    clock: Clock,
    /// What servers logged that are gone.
    logs: Vec<String>,
}

impl Stage {
    pub fn set() -> Stage {
        // What it has answered is on disk.
        let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let mut stage = Stage {
            redis_is_up: true,
            lines: (0..SERVERS).map(|_| Proxy::start(redis.addr)).collect(),
            addrs: (0..SERVERS).map(|_| free_address()).collect(),
            servers: (0..SERVERS).map(|_| None).collect(),
            clock: Clock::new("torture"),
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
        if self.servers[server].is_some() {
            return;
        }
        let (listen, url) = (self.addrs[server].to_string(), self.lines[server].url());
        // A history that holds all of the run: what is not retained is lost.
        let variables = [
            ("LISTEN", listen.as_str()),
            ("REDIS_URL", url.as_str()),
            ("HEARTBEAT", "1"),
            ("HISTORY_EVENTS", "1000000"),
            ("HISTORY_BYTES", "1000000000"),
        ];
        let started = Server::start_with(&variables, |command| {
            if server == 0 {
                self.clock.give_to(command);
            }
        });
        self.servers[server] = Some(started);
    }

    fn kill(&mut self, server: usize) {
        if let Some(mut gone) = self.servers[server].take() {
            gone.stop(libc::SIGKILL);
            self.logs[server] += &format!("{}\n--- killed\n", gone.log());
        }
    }

    fn signal(&self, server: usize, signal: i32) {
        if let Some(server) = &self.servers[server] {
            // SAFETY: a signal to a child that was not waited for yet.
            unsafe { libc::kill(server.pid() as i32, signal) };
        }
    }

    fn tell_redis(&self, words: &[&str]) {
        if self.redis_is_up {
            self.redis.command(words);
        }
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::KillServer(server) => self.kill(server),
            Action::StartServer(server) => self.start(server),
            Action::PauseServer(server) => self.signal(server, libc::SIGSTOP),
            Action::ResumeServer(server) => self.signal(server, libc::SIGCONT),
            Action::SilenceLine(line) => self.lines[line].fall_silent(),
            Action::CutLine(line) => self.lines[line].cut(),
            Action::MendLine(line) => self.lines[line].mend(),
            Action::KillConnections => self.tell_redis(&["CLIENT", "KILL", "TYPE", "normal"]),
            Action::KillRedis => {
                self.redis.kill();
                self.redis_is_up = false;
            }
            Action::StartRedis if self.redis_is_up => {}
            Action::StartRedis => {
                self.redis.start_again();
                self.redis_is_up = true;
            }
            Action::DeleteStream => self.tell_redis(&["DEL", "sse-server:events"]),
            Action::FillRedis => self.tell_redis(&["CONFIG", "SET", "maxmemory", "1"]),
            Action::EmptyRedis => self.tell_redis(&["CONFIG", "SET", "maxmemory", "0"]),
            Action::SetClock(seconds) => self.clock.set_seconds_off(seconds),
        }
    }

    /// Ends all trouble.
    pub fn heal(&mut self) {
        self.act(Action::StartRedis);
        self.act(Action::EmptyRedis);
        self.act(Action::SetClock(0));
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

    /// What each server has logged.
    pub fn logs(&self) -> Vec<String> {
        let running = self.servers.iter().map(|server| server.as_ref());
        let running = running.map(|server| server.map_or_else(String::new, Server::log));
        let all = self.logs.iter().zip(running);
        all.map(|(gone, running)| format!("{gone}{running}\n"))
            .collect()
    }
}
