//! One run: a server, publishers and clients, and what befalls them, all by a seed.

use crate::access::Permit;
use crate::client::{Client, Judge, Tally};
use crate::disk::Disk;
use crate::event::{ChannelName, EventId};
use crate::hub::{time, Attempted, LastId, Limits, Server};
use crate::interest::Interest;
use crate::ledger::{Ledger, NAMES};
use crate::oracle::{text_of, Oracle};
use crate::random::Random;
use crate::story::Story;
use std::time::Duration;

/// Steps of a run, before everything comes to rest.
const STEPS: usize = 1000;

/// Rounds of everybody that are more than enough to come to rest.
const ROUNDS: usize = 20_000;

/// The server does not notice a step of the clock that is not larger.
const UNNOTICED_STEP_MS: i64 = 1;

pub struct World {
    random: Random,
    limits: Limits,
    server: Server,
    /// What outlives the server.
    disk: Option<Disk>,
    clients: Vec<Client<Oracle>>,
    ledger: Ledger,
    tally: Tally,
    is_closing: bool,
    /// A millisecond passes once in so many steps.
    steps_in_a_ms: usize,
    /// Nothing is lost, so nobody has to be told of a gap.
    is_calm: bool,
    /// The most that the wall clock was set ahead while this server ran.
    most_ahead_ms: i64,
    pub story: Story,
}

impl World {
    pub fn new(seed: u64, with_story: bool) -> World {
        World::with(seed, with_story, false)
    }

    /// With a disk: no restart loses anything.
    pub fn on_disk(seed: u64, with_story: bool) -> World {
        World::with(seed, with_story, true)
    }

    fn with(seed: u64, with_story: bool, has_disk: bool) -> World {
        time::reset();
        let mut random = Random::new(seed);
        let is_calm = random.once_in(5);
        let mut limits = limits(&mut random, is_calm);
        limits.ids_come_from_outside = has_disk;
        let clients = (0..2 + random.below(5))
            .map(|number| Client::new(number, Oracle::new(Interest::draw(&mut random))));
        let mut world = World {
            clients: clients.collect(),
            server: Server::start(limits.clone()),
            disk: has_disk.then(Disk::new),
            ledger: Ledger::default(),
            tally: Tally::default(),
            is_closing: false,
            steps_in_a_ms: random.pick(&[1, 3, 3, 200]),
            is_calm,
            most_ahead_ms: 0,
            story: Story::new(with_story),
            limits,
            random,
        };
        world.begin_run();
        world.fill();
        world
    }

    /// The server gets what the disk has.
    fn fill(&mut self) {
        if let Some(disk) = &mut self.disk {
            let filled = disk.fill(&self.server.hub);
            filled.expect("what was stored can be read");
        }
    }

    pub fn run(&mut self) -> Result<Tally, String> {
        self.story.tell(|| format!("{:?}", self.limits));
        for _ in 0..STEPS {
            self.act()?;
        }
        self.come_to_rest()?;
        for client in &mut self.clients {
            self.tally.gaps += client.oracle.gaps;
            self.tally.replayed += client.oracle.replays;
            self.tally.chosen += client.oracle.chosen;
            self.tally.by_pattern += client.oracle.by_pattern;
            client.hang_up(&mut self.tally);
        }
        if self.is_calm && self.tally.gaps > 0 {
            return Err("a gap was told although nothing was lost".into());
        }
        Ok(std::mem::take(&mut self.tally))
    }

    fn begin_run(&mut self) {
        self.ledger.begin_run(EventId {
            ms: time::wall_ms() + 1,
            seq: 0,
        });
        self.most_ahead_ms = time::wall_offset_ms();
        self.is_closing = false;
    }

    fn act(&mut self) -> Result<(), String> {
        let client = self.random.below(self.clients.len());
        match self.random.below(100) {
            0..=19 => self.publish()?,
            20..=39 => self.server.announce(),
            40..=59 => self.clients[client].step(),
            60..=79 => self.read(client)?,
            80..=85 => self.connect(client)?,
            86 | 87 => self.hang_up(client),
            88 | 89 => self.server.keep_alive(),
            90..=92 => self.clients[client].appetite = self.random.pick(&[0, 3, 50, 300, 3000]),
            93..=95 => {
                let ms = self.random.pick(&[10, 100, 300, 1000, 3000]);
                time::pass(ms);
            }
            96 => self.revoke(),
            97 => self.step_clock(),
            98 if !self.is_calm || self.disk.is_some() => self.close_or_crash()?,
            _ => time::pass(1),
        }
        if self.is_closing && self.server.has_ended() && self.random.once_in(20) {
            self.restart();
        }
        if self.random.once_in(self.steps_in_a_ms) {
            time::pass(1);
        }
        self.sweep();
        Ok(())
    }

    fn publish(&mut self) -> Result<(), String> {
        let channel = self.random.below(NAMES.len());
        let count = if self.random.once_in(4) {
            1 + self.random.below(8)
        } else {
            1
        };
        self.publish_to(channel, count).map(|_| ())
    }

    /// Returns whether there was room.
    fn publish_to(&mut self, channel: usize, count: usize) -> Result<bool, String> {
        let first = self.ledger.next_number();
        let texts = (first..first + count).map(|number| text_of(number).into_boxed_str());
        let name = ChannelName::parse(NAMES[channel])?;
        let (hub, texts) = (&self.server.hub, texts.collect());
        let attempt = match &mut self.disk {
            Some(disk) => disk.try_publish(hub, &name, texts),
            None => hub.try_publish(&name, None, texts),
        };
        let name = NAMES[channel];
        match attempt {
            Ok(Attempted::Published(published)) => {
                let ids = (published.first, published.last);
                self.story
                    .tell(|| format!("{first} and {count} in all to {name} as {ids:?}"));
                self.look_at_clocks();
                self.ledger
                    .acknowledge(channel, count, ids, time::wall_ms())?;
            }
            Ok(Attempted::NoRoom(_)) => {
                self.story.tell(|| format!("no room for {name}"));
                self.tally.no_room += 1;
                return Ok(false);
            }
            Err(refusal) => {
                self.story.tell(|| format!("{name} refused: {refusal:?}"));
                self.tally.refused += 1;
            }
        }
        Ok(true)
    }

    fn read(&mut self, client: usize) -> Result<(), String> {
        self.clients[client].read(&mut self.ledger, &mut self.tally, &mut self.story)
    }

    fn connect(&mut self, client: usize) -> Result<(), String> {
        let joining = &mut self.clients[client];
        if joining.is_connected() {
            return Ok(());
        }
        let last_id = joining
            .oracle
            .last
            .map(|(_, id)| LastId::of_this_server(id.to_string()));
        let comes_back = last_id.is_some();
        let start = joining.start(last_id, &mut self.random);
        self.story.tell(|| {
            format!(
                "{joining} comes from {start:?}: {:?}",
                joining.oracle.interest()
            )
        });
        let hub = &self.server.hub;
        let is_accepted = joining.connect(hub, 0, start, &self.ledger, &mut self.random)?;
        self.tally.came_back += usize::from(is_accepted && comes_back);
        self.tally.refused += usize::from(!is_accepted);
        Ok(())
    }

    fn hang_up(&mut self, client: usize) {
        self.story.tell(|| format!("client {client} hangs up"));
        self.clients[client].hang_up(&mut self.tally);
    }

    /// Takes about half of the permits away.
    fn revoke(&mut self) {
        let Self {
            random, clients, ..
        } = self;
        let permits = clients.iter().filter_map(Client::permit);
        let revoked: Vec<_> = permits
            .filter(|_| random.once_in(2))
            .map(std::ptr::from_ref)
            .collect();
        let still_grants = |permit: &Permit| !revoked.contains(&std::ptr::from_ref(permit));
        self.server.hub.revoke(still_grants);
        self.story.tell(|| "permits are revoked".into());
    }

    fn step_clock(&mut self) {
        if self.is_calm {
            return;
        }
        let ms = self.random.pick(&[2, 5, 100, 3000, 60_000]);
        let ms = if self.random.once_in(2) { ms } else { -ms };
        time::step_wall(ms);
        self.story.tell(|| format!("the clock is set by {ms} ms"));
    }

    /// The server looks at its clocks: a step ahead that was taken back before is none.
    fn look_at_clocks(&mut self) {
        let ahead_ms = time::wall_offset_ms() - self.most_ahead_ms;
        // Ids that are on a disk are known whatever the clock shows.
        if ahead_ms <= 0 || self.disk.is_some() {
            return;
        }
        self.most_ahead_ms += ahead_ms;
        // Several steps together may be too small to be told from two clocks that do not quite agree.
        self.ledger.has_clock_jumped |= ahead_ms > UNNOTICED_STEP_MS;
    }

    fn sweep(&mut self) {
        if self.server.sweep() {
            self.look_at_clocks();
        }
        if let Some(disk) = &mut self.disk {
            if self.random.once_in(30) {
                disk.keep_house(&self.server.hub, false);
            }
        }
    }

    fn close_or_crash(&mut self) -> Result<(), String> {
        if self.random.once_in(2) {
            self.story.tell(|| "the hub closes".into());
            self.server.hub.close();
            self.is_closing = true;
            if self.random.once_in(2) {
                self.await_end()?;
            }
        } else if self.random.once_in(2) {
            self.restart();
        }
        Ok(())
    }

    /// Everybody reads what there is: all streams have to end.
    fn await_end(&mut self) -> Result<(), String> {
        for client in &mut self.clients {
            client.hurry();
        }
        // A wire may take so little at a time, again and again, that the last bytes need a few rounds more.
        for _ in 0..3 {
            self.go_round()?;
            if !self.clients.iter().any(Client::is_connected) {
                return Ok(());
            }
        }
        let going_on = self.clients.iter().position(Client::is_connected);
        Err(format!(
            "the hub was closed, and the stream of client {going_on:?} goes on"
        ))
    }

    fn restart(&mut self) {
        self.story.tell(|| "the server starts again".into());
        for client in &mut self.clients {
            client.lose_server(0);
            if self.random.once_in(2) {
                client.hang_up(&mut self.tally);
            }
        }
        if self.random.once_in(2) {
            time::pass(self.random.pick(&[1, 50, 2000]));
        }
        if self.random.once_in(3) {
            self.step_clock();
        }
        if let (Some(disk), true) = (&mut self.disk, self.server.has_ended()) {
            disk.keep_house(&self.server.hub, true);
        }
        self.server = Server::start(self.limits.clone());
        if self.disk.is_some() {
            self.ledger.go_on();
        } else {
            self.begin_run();
        }
        self.is_closing = false;
        self.fill();
        self.tally.restarts += 1;
    }

    /// Everybody reads, comes back, and gets what there is: nothing may be left.
    fn come_to_rest(&mut self) -> Result<(), String> {
        if self.is_closing {
            self.restart();
        }
        for client in 0..self.clients.len() {
            self.clients[client].hurry();
            self.connect(client)?;
        }
        // Cut off, or revoked: some have to come once more.
        for _ in 0..3 {
            self.go_round()?;
            for client in 0..self.clients.len() {
                self.connect(client)?;
                self.clients[client].hurry();
            }
        }
        for (channel, name) in NAMES.iter().enumerate() {
            if !self.publish_to(channel, 1)? {
                return Err(format!("there is no room for {name}, for ever"));
            }
        }
        self.go_round()?;
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
        for _ in 0..ROUNDS {
            let before = self.tally.received;
            self.server.announce();
            self.sweep();
            for client in 0..self.clients.len() {
                self.clients[client].step();
                self.read(client)?;
            }
            time::pass(1);
            quiet = if self.tally.received == before {
                quiet + 1
            } else {
                0
            };
            if quiet > 12 {
                return Ok(());
            }
        }
        Err("it does not come to rest".into())
    }
}

fn limits(random: &mut Random, is_calm: bool) -> Limits {
    if is_calm {
        return Limits {
            history_events: 100_000,
            history_bytes: 1 << 30,
            history_age: None,
            channel_ttl: Duration::from_secs(100_000),
            max_clients: 100,
            max_channels: 100,
            client_queue: 1 + random.below(30),
            heartbeat: Duration::from_secs(1),
            ids_come_from_outside: false,
        };
    }
    Limits {
        history_events: random.pick(&[0, 1, 2, 3, 5, 10, 30, 1000]),
        history_bytes: random.pick(&[300, 1000, 3000, 10_000, 1 << 20]),
        history_age: None,
        channel_ttl: Duration::from_millis(random.pick(&[500, 2000, 8000, 1 << 30])),
        max_clients: random.pick(&[2, 4, 10]),
        max_channels: random.pick(&[1, 2, 3, 5, 10]),
        client_queue: random.pick(&[1, 2, 4, 8, 20]),
        heartbeat: Duration::from_secs(1),
        ids_come_from_outside: false,
    }
}
