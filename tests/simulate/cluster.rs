//! One run of two servers with one stream of messages behind them, and clients that move between them, all by a seed.

use crate::access::{Access, Rules};
use crate::client::{Client, Tally};
use crate::event::{ChannelName, EventId};
use crate::hub::{time, Limits, Server};
use crate::ledger::{Ledger, BROADCAST, NAMES};
use crate::oracle::Oracle;
use crate::random::Random;
use crate::store::{Follower, Store};
use std::time::Duration;

const STEPS: usize = 1000;
const ROUNDS: usize = 20_000;

struct Member {
    server: Server,
    follower: Follower,
    limits: Limits,
}

pub struct Cluster {
    random: Random,
    store: Store,
    members: [Member; 2],
    access: Access,
    clients: Vec<Client>,
    ledger: Ledger,
    tally: Tally,
    /// Entries that a follower asks for at once.
    wanted: usize,
    steps_in_a_ms: usize,
    /// Nothing is lost.
    is_calm: bool,
    story: Option<Vec<String>>,
}

impl Cluster {
    pub fn new(seed: u64, with_story: bool) -> Cluster {
        time::reset();
        let mut random = Random::new(seed);
        let is_calm = random.once_in(5);
        let members = [0, 1].map(|_| {
            let limits = limits(&mut random, is_calm);
            Member {
                server: Server::start(limits.clone()),
                follower: Follower::default(),
                limits,
            }
        });
        let clients = (0..2 + random.below(5)).map(|_| {
            let count = random.below(4);
            let channels = (0..count).map(|_| random.below(BROADCAST)).collect();
            let mut oracle = Oracle::new(channels, random.once_in(2));
            oracle.ids_come_from_outside = true;
            Client::new(oracle)
        });
        let mut ledger = Ledger::default();
        ledger.begin_run(EventId::ZERO);
        Cluster {
            clients: clients.collect(),
            members,
            store: Store::default(),
            access: Access::new(None, None, Rules::without_file()),
            ledger,
            tally: Tally::default(),
            wanted: random.pick(&[1, 2, 5, 100]),
            steps_in_a_ms: random.pick(&[1, 3, 3, 200]),
            is_calm,
            story: with_story.then(Vec::new),
            random,
        }
    }

    /// What has happened, one line each.
    pub fn story(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }

    fn tell(&mut self, line: impl FnOnce(&Cluster) -> String) {
        if self.story.is_some() {
            let line = format!("{:>7} ms  {}", time::running_ms(), line(self));
            self.story.get_or_insert_default().push(line);
        }
    }

    pub fn run(&mut self) -> Result<Tally, String> {
        self.tell(|cluster| {
            format!(
                "{:?}, {:?}",
                cluster.members[0].limits, cluster.members[1].limits
            )
        });
        for _ in 0..STEPS {
            self.act()?;
        }
        self.come_to_rest()?;
        for client in &mut self.clients {
            self.tally.gaps += client.oracle.gaps;
            self.tally.replayed += client.oracle.replays;
            client.hang_up(&mut self.tally);
        }
        Ok(std::mem::take(&mut self.tally))
    }

    fn act(&mut self) -> Result<(), String> {
        let client = self.random.below(self.clients.len());
        let member = self.random.below(2);
        match self.random.below(100) {
            0..=14 => self.publish(member)?,
            15..=29 => self.follow(member),
            30..=44 => self.members[member].server.announce(),
            45..=59 => self.clients[client].step(),
            60..=79 => self.read(client)?,
            80..=85 => self.connect(client, member),
            86 | 87 => {
                self.tell(|_| format!("client {client} hangs up"));
                self.clients[client].hang_up(&mut self.tally);
            }
            88 | 89 => self.clients[client].time_out(),
            90..=92 => self.clients[client].appetite = self.random.pick(&[0, 3, 50, 300, 3000]),
            93..=95 => time::pass(self.random.pick(&[10, 100, 300, 1000, 3000])),
            96 => {
                let until = time::running_ms() + self.random.pick(&[5, 50, 2000]);
                self.members[member].follower.cut_until_ms = until;
                self.tell(|_| format!("server {member} has no Redis until {until} ms"));
            }
            97 if !self.is_calm => {
                let ms = self.random.pick(&[-3000, -5, 2, 100, 3000]);
                time::step_wall(ms);
                self.tell(|_| format!("the clock is set by {ms} ms"));
            }
            98 if !self.is_calm && self.random.once_in(2) => {
                let before = self.store_figures();
                self.store.lose(&mut self.random);
                self.tell(|cluster| {
                    format!(
                        "the stream was {before}, and is {}",
                        cluster.store_figures()
                    )
                });
            }
            99 if self.random.once_in(3) => self.restart(member),
            _ => time::pass(1),
        }
        if self.random.once_in(self.steps_in_a_ms) {
            time::pass(1);
        }
        self.sweep();
        Ok(())
    }

    fn store_figures(&self) -> String {
        format!("{:?}", self.store)
    }

    fn sweep(&mut self) {
        for member in &mut self.members {
            member.server.sweep();
        }
    }

    fn publish(&mut self, member: usize) -> Result<(), String> {
        let channel = self.random.below(NAMES.len());
        self.publish_to(member, channel)
    }

    fn publish_to(&mut self, member: usize, channel: usize) -> Result<(), String> {
        let name = ChannelName::parse(NAMES[channel])?;
        if self.members[member].server.hub.would_take(&name).is_err() {
            self.tally.refused += 1;
            return Ok(());
        }
        let number = self.ledger.next_number();
        let id = self.store.add(number);
        self.tell(|_| format!("{number} to {} as {id}", NAMES[channel]));
        self.ledger.acknowledge(channel, 1, (id, id), id.ms)
    }

    fn follow(&mut self, member: usize) {
        let Member {
            server, follower, ..
        } = &mut self.members[member];
        let before = server.hub.newest();
        let was_filled = server.hub.is_filled();
        follower.step(
            member,
            &server.hub,
            &self.store,
            &mut self.ledger,
            self.wanted,
        );
        let (newest, is_filled) = (server.hub.newest(), server.hub.is_filled());
        if newest != before || is_filled != was_filled {
            self.tell(|_| format!("server {member} is at {newest}, filled: {is_filled}"));
        }
    }

    fn read(&mut self, client: usize) -> Result<(), String> {
        let reader = &mut self.clients[client];
        let was_connected = reader.is_connected();
        let before = self.tally.received;
        let result = reader.read(reader.appetite, &mut self.ledger, &mut self.tally);
        let count = self.tally.received - before;
        if count > 0 || (was_connected && !self.clients[client].is_connected()) {
            self.tell(|cluster| {
                let reader = &cluster.clients[client];
                let state = if reader.is_connected() {
                    ""
                } else {
                    ", and the end"
                };
                format!(
                    "client {client}: {count} events, up to {:?}{state}",
                    reader.oracle.last
                )
            });
        }
        result.map_err(|fault| format!("client {client}: {fault}"))
    }

    fn connect(&mut self, client: usize, member: usize) {
        if self.clients[client].is_connected() {
            return;
        }
        let permit = self
            .access
            .identify(None)
            .and_then(|caller| caller.follow(&[]));
        let Ok(permit) = permit else { return };
        let hub = self.members[member].server.hub.clone();
        let joining = &mut self.clients[client];
        let result = joining.connect(&hub, member, permit, &self.ledger, &mut self.random);
        let last = joining.oracle.last;
        self.tally.came_back += usize::from(result.is_ok() && last.is_some());
        self.tally.refused += usize::from(result.is_err());
        self.tell(|cluster| {
            let channels = &cluster.clients[client].oracle.channels;
            format!("client {client} connects to server {member} and {channels:?} with {last:?}: {result:?}")
        });
    }

    fn restart(&mut self, member: usize) {
        self.tell(|_| format!("server {member} starts again"));
        for client in &mut self.clients {
            client.lose_server(member);
        }
        let restarted = &mut self.members[member];
        restarted.server = Server::start(restarted.limits.clone());
        restarted.follower = Follower::default();
        self.tally.restarts += 1;
    }

    /// Everybody reads, comes back, and gets what there is: nothing may be left.
    fn come_to_rest(&mut self) -> Result<(), String> {
        for round in 0..5 {
            for client in 0..self.clients.len() {
                let member = self.random.below(2);
                self.connect(client, member);
                self.clients[client].hurry();
            }
            if round == 4 {
                for channel in 0..NAMES.len() {
                    self.publish_to(channel % 2, channel)?;
                }
            }
            self.go_round()?;
        }
        for (number, client) in self.clients.iter().enumerate() {
            if client.is_connected() {
                let complete = client.oracle.check_complete(&self.ledger);
                complete.map_err(|fault| format!("client {number}, at the end: {fault}"))?;
            }
        }
        Ok(())
    }

    /// Gives everybody turns until nothing comes any more.
    fn go_round(&mut self) -> Result<(), String> {
        let mut quiet = 0;
        for member in &mut self.members {
            member.follower.cut_until_ms = 0;
        }
        for _ in 0..ROUNDS {
            let before = self.tally.received;
            let places = self.members.each_ref().map(|m| m.server.hub.newest());
            for member in 0..2 {
                self.follow(member);
                self.members[member].server.announce();
            }
            self.sweep();
            for client in 0..self.clients.len() {
                self.clients[client].step();
                self.read(client)?;
            }
            time::pass(1);
            let is_quiet = self.tally.received == before
                && places == self.members.each_ref().map(|m| m.server.hub.newest());
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet > 12 {
                return Ok(());
            }
        }
        Err("it does not come to rest".into())
    }
}

fn limits(random: &mut Random, is_calm: bool) -> Limits {
    let ample = Limits {
        history_events: 100_000,
        history_bytes: 1 << 30,
        channel_ttl: Duration::from_secs(100_000),
        max_clients: 100,
        max_channels: 100,
        client_queue: 1 + random.below(30),
        ids_come_from_outside: true,
    };
    if is_calm {
        return ample;
    }
    Limits {
        history_events: random.pick(&[0, 1, 2, 3, 5, 10, 30, 1000]),
        history_bytes: random.pick(&[300, 1000, 3000, 10_000, 1 << 20]),
        channel_ttl: Duration::from_millis(random.pick(&[500, 2000, 8000, 1 << 30])),
        max_channels: random.pick(&[1, 2, 3, 5, 10]),
        ..ample
    }
}
