//! One run of two servers with one Redis behind them: the writer, the follower, and clients that arrive are tasks, and
//! everything happens that can happen to Redis and to the lines that lead to it, all by a seed.

use crate::client::{Client, Judge, Tally};
use crate::cluster::{Cluster, RedisAddress};
use crate::debts::{Answer, Book, Debts};
use crate::event::{ChannelName, EventId};
use crate::hub::{time, LastId, Limits, Published, Refusal, Server};
use crate::idempotency::Publication;
use crate::interest::Interest;
use crate::ledger::NAMES;
use crate::oracle::text_of;
use crate::random::Random;
use crate::redis::{Net, Stream, SERVERS};
use crate::story::Story;
use crate::turn::{self, with_net, Task};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const STEPS: usize = 1200;
const ROUNDS: usize = 20_000;

/// Servers are back within this time once everything is well, in ms.
const BACK_MS: u64 = 4000;

struct Member {
    server: Server,
    cluster: Arc<Cluster>,
    limits: Limits,
    /// The follower and the writer.
    tasks: Vec<Task>,
    /// How far its hub was when it was filled. Who joins before it is further may be told of a gap without need.
    filled_at: Option<EventId>,
}

impl Member {
    fn start(number: usize, limits: Limits) -> Result<Member, String> {
        let server = Server::start(limits.clone());
        let address = RedisAddress::parse(&format!("redis://10.0.0.{number}:6379"))?;
        let cluster = Cluster::start(address, server.hub.clone(), format!("server-{number}"));
        Ok(Member {
            server,
            cluster: cluster.map_err(|error| error.to_string())?,
            limits,
            tasks: turn::started(),
            filled_at: None,
        })
    }
}

/// A client that is yet to be accepted.
struct Arrival {
    client: usize,
    server: usize,
    task: Task,
    judged: Arc<Mutex<Option<LastId>>>,
}

/// The first message of a publish, how many there are, and what came of it.
type Outcome = (usize, usize, Result<Published, Refusal>);

pub struct Servers {
    random: Random,
    members: Vec<Member>,
    arrivals: Vec<Arrival>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    clients: Vec<Client<Debts>>,
    book: Book,
    tally: Tally,
    /// Older copies of the stream.
    copies: Vec<Option<Stream>>,
    /// How often a stream had begun when one of them was put in its place. Until somebody has noticed that there are no other
    /// copies: a stream that goes back twice takes the notices of the first time along.
    went_back: Option<usize>,
    steps_in_a_ms: usize,
    most_in_a_batch: usize,
    /// Nothing is lost.
    is_calm: bool,
    /// Clocks may be set back; or else the stream may be lost or replaced. Where both happen at once Redis gives ids a second
    /// time, and nobody can tell what they are of.
    clocks_go_back: bool,
    pub story: Story,
}

impl Servers {
    pub fn new(seed: u64, with_story: bool) -> Servers {
        time::reset();
        let mut random = Random::new(seed);
        turn::begin(Net::new(random.fork()), random.fork());
        let is_calm = random.once_in(4);
        let clients = (0..2 + random.below(5))
            .map(|number| Client::new(number, Debts::new(Interest::draw(&mut random))));
        let clients = clients.collect();
        let members = (0..SERVERS).map(|number| {
            let limits = limits(&mut random, is_calm);
            Member::start(number, limits).expect("tasks can always be started")
        });
        Servers {
            clients,
            members: members.collect(),
            arrivals: Vec::new(),
            outcomes: Arc::default(),
            book: Book::default(),
            tally: Tally::default(),
            copies: Vec::new(),
            went_back: None,
            steps_in_a_ms: random.pick(&[1, 3, 3, 200]),
            most_in_a_batch: random.pick(&[1, 3, 3, 3, 60]),
            is_calm,
            clocks_go_back: random.once_in(2),
            story: Story::new(with_story),
            random,
        }
    }

    pub fn run(&mut self) -> Result<Tally, String> {
        self.story.tell(|| {
            let limits = self.members.iter().map(|member| &member.limits);
            format!("{:?}, calm: {}", limits.collect::<Vec<_>>(), self.is_calm)
        });
        for _ in 0..STEPS {
            self.act()?;
        }
        self.come_to_rest()?;
        for client in &mut self.clients {
            self.tally.gaps += client.oracle.gaps;
            self.tally.chosen += client.oracle.chosen;
            client.hang_up(&mut self.tally);
        }
        Ok(std::mem::take(&mut self.tally))
    }

    fn act(&mut self) -> Result<(), String> {
        let client = self.random.below(self.clients.len());
        let member = self.random.below(SERVERS);
        match self.random.below(100) {
            0..=14 => self.publish(member),
            15..=34 => {
                let tasks = &self.members[member].tasks;
                tasks[self.random.below(tasks.len())].step();
            }
            35..=44 => with_net(Net::serve),
            45..=52 => self.members[member].server.announce(),
            53..=62 => self.clients[client].step(),
            63..=76 => self.read(client)?,
            77..=82 => self.connect(client, member)?,
            83 => {
                self.story.tell(|| format!("client {client} hangs up"));
                self.clients[client].hang_up(&mut self.tally);
            }
            84 => self.members[member].server.keep_alive(),
            85 | 86 => self.clients[client].appetite = self.random.pick(&[0, 3, 50, 300, 3000]),
            87..=90 => {
                let ms = self.random.pick(&[10, 50, 100, 300, 1000, 3000]);
                self.go_on_for(ms)?;
            }
            91 => {
                let ms = self.random.pick(&[3, 20, 300, 3000]);
                self.story.tell(|| format!("nobody has a turn for {ms} ms"));
                time::pass(ms);
            }
            92..=94 => self.trouble(member),
            95 if !self.is_calm => self.lose(),
            96 if !self.is_calm && self.random.once_in(2) => self.set_clock(),
            97 if !self.is_calm && self.random.once_in(3) => self.restart(member)?,
            _ => time::pass(1),
        }
        if self.random.once_in(self.steps_in_a_ms) {
            time::pass(1);
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), String> {
        self.look_at_what_came()?;
        self.look_at_servers()
    }

    /// What was stored, and what publishers were told.
    fn look_at_what_came(&mut self) -> Result<(), String> {
        for (number, id) in with_net(Net::added) {
            self.story
                .tell(|| format!("Redis has message {number} as {id}"));
            self.book.store(number, id)?;
        }
        for (first, count, outcome) in self.take_outcomes() {
            let answer = match &outcome {
                Ok(published) => Answer::Accepted(published.first, published.last),
                Err(Refusal::Unconfirmed) => Answer::Unconfirmed,
                Err(_) => Answer::Refused,
            };
            self.tally.refused += usize::from(answer == Answer::Refused);
            self.tally.unconfirmed += usize::from(answer == Answer::Unconfirmed);
            self.story
                .tell(|| format!("message {first} and {count} in all: {outcome:?}"));
            self.book.answer(first, count, answer)?;
        }
        Ok(())
    }

    fn look_at_servers(&mut self) -> Result<(), String> {
        for number in 0..SERVERS {
            let member = &mut self.members[number];
            member.server.sweep();
            let newest = member.server.hub.feed().newest();
            let was = std::mem::replace(&mut self.book.newest[number], newest);
            let is_filled = member.server.hub.feed().is_filled();
            if is_filled {
                member.filled_at.get_or_insert(newest);
            }
            if member.tasks.iter().any(Task::has_ended) {
                return Err(format!("a thread of server {number} has ended"));
            }
            if was != newest {
                self.story
                    .tell(|| format!("server {number} is at {newest}, filled: {is_filled}"));
            }
        }
        self.accept()
    }

    fn take_outcomes(&self) -> Vec<Outcome> {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *outcomes)
    }

    fn publish(&mut self, member: usize) {
        let channel = self.random.below(NAMES.len());
        let most = self.most_in_a_batch;
        let count = if self.random.once_in(3) {
            1 + self.random.below(most)
        } else {
            1
        };
        self.publish_to(member, channel, count);
    }

    fn publish_to(&mut self, member: usize, channel: usize, count: usize) {
        let Ok(name) = ChannelName::parse(NAMES[channel]) else {
            return;
        };
        let first = self.book.ask(member, channel, count);
        let texts = (first..first + count).map(|number| text_of(number).into_boxed_str());
        let outcomes = self.outcomes.clone();
        self.story
            .tell(|| format!("publish {first} and {count} in all to {channel} by server {member}"));
        let then = move |outcome| {
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.push((first, count, outcome));
        };
        let cluster = &self.members[member].cluster;
        let publication = Publication {
            channel: name,
            event_name: None,
            messages: texts.collect(),
            attempt: None,
        };
        cluster.publish(publication, then);
    }

    fn read(&mut self, client: usize) -> Result<(), String> {
        self.note_progress(client);
        self.clients[client].read(&mut self.book, &mut self.tally, &mut self.story)
    }

    /// What a client is told from now on may be of all that its server has.
    fn note_progress(&mut self, client: usize) {
        let reader = &mut self.clients[client];
        if reader.is_served() {
            reader.oracle.so_far = self.book.newest[reader.oracle.server];
        }
    }

    /// As `routes::subscribe` does.
    fn connect(&mut self, client: usize, server: usize) -> Result<(), String> {
        let is_coming = self.arrivals.iter().any(|arrival| arrival.client == client);
        if self.clients[client].is_connected() || is_coming {
            return Ok(());
        }
        let last = self.clients[client].oracle.last.map(|id| id.to_string());
        let cluster = self.members[server].cluster.clone();
        match last {
            Some(id) if cluster.has_to_wait_for(&id) => {
                self.story
                    .tell(|| format!("client {client} waits to join server {server} with {id}"));
                let judged = Arc::new(Mutex::new(None));
                let then = judged.clone();
                let task = turn::start(move || {
                    let last = cluster.judge(id);
                    *then.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
                });
                self.arrivals.push(Arrival {
                    client,
                    server,
                    task,
                    judged,
                });
            }
            last => self.join(client, server, last.map(LastId::of_this_server))?,
        }
        Ok(())
    }

    /// Who has waited joins.
    fn accept(&mut self) -> Result<(), String> {
        let (over, waiting) = std::mem::take(&mut self.arrivals)
            .into_iter()
            .partition(|arrival| arrival.task.has_ended());
        self.arrivals = waiting;
        let over: Vec<Arrival> = over;
        for arrival in over {
            let mut judged = arrival
                .judged
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let judged = judged.take();
            self.join(arrival.client, arrival.server, judged)?;
        }
        Ok(())
    }

    fn join(&mut self, client: usize, server: usize, last: Option<LastId>) -> Result<(), String> {
        let hub = &self.members[server].server.hub;
        let joining = &mut self.clients[client];
        self.tally.came_back += usize::from(last.is_some());
        let filled_at = self.members[server].filled_at;
        let has_begun = filled_at.is_some_and(|at| hub.feed().newest() > at);
        joining.oracle.is_calm = self.is_calm && has_begun;
        let start = joining.start(last, &mut self.random);
        self.story.tell(|| {
            format!(
                "{joining} joins server {server} from {start:?}: {:?}",
                joining.oracle.interest()
            )
        });
        let joined = joining.connect(hub, server, start, &self.book, &mut self.random);
        joined.map(|_| ())
    }

    /// Something happens by which nothing may be lost.
    fn trouble(&mut self, server: usize) {
        let ms = self.random.pick(&[1, 5, 50, 500, 2000, 5000]);
        let what = self.random.below(8);
        with_net(|net| match what {
            0 | 1 => net.cut(server),
            2 => net.refuse(server, ms),
            3 => net.silence(server, 0, ms),
            4 => net.silence(server, 1, ms),
            5 => (0..2).for_each(|direction| net.silence(server, direction, ms)),
            6 => net.start_again(),
            _ => net.delay_ms = ms.min(500),
        });
        let names = [
            "cut",
            "cut",
            "refused",
            "silent to Redis",
            "silent from Redis",
            "silent",
            "Redis starts again",
            "slow",
        ];
        self.story
            .tell(|| format!("server {server}, {ms} ms: {}", names[what]));
    }

    /// Something happens to what Redis has, or it refuses to do its work.
    fn lose(&mut self) {
        let what = match self.random.below(10) {
            3..=6 if self.clocks_go_back => 0,
            what => what,
        };
        // Nobody deletes and makes a stream within one millisecond: ids of both would be the same.
        time::pass(1);
        let copy = with_net(|net| net.redis.stream.clone());
        let length = copy.as_ref().map_or(0, Stream::len);
        let place = self.random.below(length + 1);
        let is_restart = self.random.once_in(2);
        let most_bytes = self.random.pick(&[1500, 3000, 6000, usize::MAX]);
        let is_full = self.random.once_in(2);
        let older = match self.copies.len() {
            0 => copy.clone(),
            count => self.copies.swap_remove(self.random.below(count)),
        };
        let before = copy.as_ref().map(Stream::numbers).unwrap_or_default();
        let (deleted, begun) = with_net(|net| {
            let redis = &mut net.redis;
            let stream = redis.stream.as_mut();
            let mut deleted = None;
            match what {
                0 | 1 => stream.into_iter().for_each(|stream| stream.trim(place)),
                2 => deleted = stream.and_then(|stream| stream.delete(place)),
                3 => redis.stream = None,
                4 => {
                    redis.stream = None;
                    redis.add_foreign();
                }
                5 | 6 => redis.stream = older,
                7 => redis.add_foreign(),
                8 => redis.refuses = is_full.then_some("OOM command not allowed"),
                _ => net.most_bytes = most_bytes,
            }
            if matches!(what, 5 | 6) && is_restart {
                net.start_again();
            }
            (deleted, net.redis.begun)
        });
        if let Some(number) = deleted {
            self.book.delete(number);
        }
        if matches!(what, 5 | 6) {
            let after = with_net(|net| net.redis.stream.as_ref().map(Stream::numbers));
            let after = after.unwrap_or_default();
            let lost: Vec<usize> = before.difference(&after).copied().collect();
            if !lost.is_empty() {
                self.went_back = Some(begun);
                self.copies.clear();
            }
            self.book.go_back(&lost, begun);
        }
        if matches!(what, 3..=6) {
            self.book.lose();
        }
        let is_noticed = self.went_back.is_none_or(|before| begun > before);
        if is_noticed && (what > 6 || self.random.once_in(2)) {
            self.copies.truncate(2);
            self.copies.push(copy);
        }
        let names = [
            "trimmed",
            "trimmed",
            "one deleted",
            "deleted",
            "somebody else's",
            "an older copy",
            "an older copy",
            "somebody else adds",
            "full or not",
            "short answers",
        ];
        self.story.tell(|| {
            format!(
                "the stream of {length}: {} ({place}, with a restart: {is_restart})",
                names[what]
            )
        });
    }

    fn set_clock(&mut self) {
        let ms: i64 = self.random.pick(&[-3000, -5, 2, 100, 3000]);
        let ms = if self.clocks_go_back { ms } else { ms.abs() };
        if self.random.once_in(2) {
            time::step_wall(ms);
            self.story.tell(|| format!("all clocks are set by {ms} ms"));
        } else {
            with_net(|net| net.redis.clock_off_ms += ms);
            self.story
                .tell(|| format!("the clock of Redis is set by {ms} ms"));
        }
    }

    fn restart(&mut self, server: usize) -> Result<(), String> {
        self.story.tell(|| format!("server {server} starts again"));
        self.arrivals.retain(|arrival| arrival.server != server);
        for client in 0..self.clients.len() {
            self.note_progress(client);
            self.clients[client].lose_server(server);
        }
        let limits = self.members[server].limits.clone();
        self.members[server].tasks.clear();
        // What was sent may be stored, and nobody says so.
        self.look_at_what_came()?;
        let begun = with_net(|net| net.redis.begun);
        self.book.forget(server, begun);
        self.members[server] = Member::start(server, limits)?;
        self.tally.restarts += 1;
        Ok(())
    }

    /// Everybody has turns for so long.
    fn go_on_for(&mut self, ms: u64) -> Result<(), String> {
        let end = time::running_ms() + ms;
        loop {
            self.run_tasks()?;
            let now = time::running_ms();
            if now >= end {
                return Ok(());
            }
            let tasks = self.members.iter().flat_map(|member| &member.tasks);
            let tasks = tasks.chain(self.arrivals.iter().map(|arrival| &arrival.task));
            let next = tasks.map(Task::waits_until_ms).min().unwrap_or(end);
            let next = next.min(with_net(|net| net.next_ms())).min(end);
            time::pass(next.saturating_sub(now).max(1));
        }
    }

    /// Everybody has turns until all wait.
    fn run_tasks(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            with_net(Net::serve);
            let tasks = self.members.iter().flat_map(|member| &member.tasks);
            let tasks = tasks.chain(self.arrivals.iter().map(|arrival| &arrival.task));
            let steps = tasks.filter(|task| task.step()).count();
            self.look()?;
            if steps == 0 {
                return Ok(());
            }
        }
        Err("a server is busy with nothing, for ever".into())
    }

    /// Everything is well: servers come back, everybody reads and comes back, and gets what there is. Nothing may be left.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.story.tell(|| "all is well".into());
        with_net(Net::heal);
        let mut passed = 0;
        while !self.members.iter().all(|m| m.cluster.is_connected()) {
            if passed > BACK_MS {
                return Err(format!(
                    "{BACK_MS} ms after all is well a server is not ready"
                ));
            }
            self.go_on_for(50)?;
            passed += 50;
        }
        for round in 0..4 {
            for client in 0..self.clients.len() {
                let server = self.random.below(SERVERS);
                self.connect(client, server)?;
                self.clients[client].hurry();
            }
            if round == 3 {
                for channel in 0..NAMES.len() {
                    self.publish_to(channel % SERVERS, channel, 1);
                }
            }
            self.go_round()?;
        }
        let mut messages = self.book.messages.iter();
        if let Some(number) = messages.position(|message| message.answer == Answer::None) {
            return Err(format!("the publisher of message {number} has no answer"));
        }
        for (number, client) in self.clients.iter().enumerate() {
            if client.is_connected() {
                let complete = client.oracle.check_complete(&self.book);
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
            // Long enough for the follower to look, and for a client to have waited for it.
            self.go_on_for(50)?;
            for member in &mut self.members {
                member.server.announce();
            }
            for client in 0..self.clients.len() {
                self.clients[client].step();
                self.read(client)?;
            }
            let is_quiet = self.tally.received == before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet > 30 {
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
        history_age: None,
        channel_ttl: Duration::from_secs(100_000),
        max_clients: 100,
        max_channels: 100,
        client_queue: 1 + random.below(30),
        heartbeat: Duration::from_secs(1),
        ids_come_from_outside: true,
    };
    if is_calm {
        return ample;
    }
    Limits {
        history_events: random.pick(&[0, 1, 2, 3, 5, 10, 30, 1000]),
        history_bytes: random.pick(&[300, 1000, 3000, 10_000, 1 << 20]),
        history_age: None,
        channel_ttl: Duration::from_millis(random.pick(&[500, 2000, 8000, 1 << 30])),
        max_channels: random.pick(&[1, 2, 3, 5, 10]),
        ..ample
    }
}
