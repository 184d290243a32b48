//! What goes wrong, and when: made from a seed.

use std::time::Duration;

/// Numbers that a seed determines (splitmix64, Steele, Lea and Flood 2014).
pub struct Random(u64);

impl Random {
    /// Each user of a seed has a stream of its own.
    pub fn new(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From `least` to `most` milliseconds.
    pub fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.next() % (most - least + 1))
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Something done to the servers, to their connections to Redis, or to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `kill -9`.
    KillServer(usize),
    StartServer(usize),
    /// `SIGSTOP`.
    PauseServer(usize),
    ResumeServer(usize),
    /// What is sent in either direction vanishes.
    SilenceLine(usize),
    /// What is sent to Redis vanishes.
    SilenceRequests(usize),
    /// What Redis answers vanishes.
    SilenceAnswers(usize),
    /// Connections are closed, and no new ones are accepted.
    CutLine(usize),
    MendLine(usize),
    /// `CLIENT KILL` of every server's connections.
    KillConnections,
    /// `kill -9`.
    KillRedis,
    StartRedis,
    /// `SIGSTOP`: what is sent to it is done later, even for those that have given up.
    PauseRedis,
    ResumeRedis,
    DeleteStream,
    RenameStream,
    FlushAll,
    /// A copy of the stream is made, and later put in its place.
    CopyStream,
    PutCopyBack,
    /// A replica that is paused falls behind; then it takes the place of the primary.
    PauseReplica,
    FailOver,
    /// `maxmemory` is reached.
    FillRedis,
    EmptyRedis,
    /// The first server's clock is off by this many seconds.
    SetClock(i64),
    /// That of Redis is.
    SetRedisClock(i64),
}

impl Action {
    /// Whether it may lose accepted messages.
    pub fn loses(self) -> bool {
        matches!(
            self,
            Action::DeleteStream
                | Action::RenameStream
                | Action::FlushAll
                | Action::PutCopyBack
                | Action::FailOver
        )
    }
}

/// All actions with their times, from the beginning of the trouble to `length`. An action may be left unfinished.
pub fn schedule(seed: u64, length: Duration, servers: usize) -> Vec<(Duration, Action)> {
    let mut all = Vec::new();
    for server in 0..servers {
        let stream = 100 + server as u64;
        lane(
            seed,
            stream,
            length,
            (3000, 14_000),
            &mut all,
            |random| match random.below(2) {
                0 => {
                    let down = random.ms(100, 3000);
                    (
                        Action::KillServer(server),
                        Some((down, Action::StartServer(server))),
                    )
                }
                _ => {
                    let pause = random.ms(50, 5000);
                    (
                        Action::PauseServer(server),
                        Some((pause, Action::ResumeServer(server))),
                    )
                }
            },
        );
        let stream = 200 + server as u64;
        lane(seed, stream, length, (3000, 14_000), &mut all, |random| {
            let begin = random.one_of(&[
                Action::SilenceLine(server),
                Action::SilenceRequests(server),
                Action::SilenceAnswers(server),
                Action::CutLine(server),
            ]);
            (begin, Some((random.ms(50, 5000), Action::MendLine(server))))
        });
    }
    lane(
        seed,
        300,
        length,
        (3000, 12_000),
        &mut all,
        |random| match random.below(2) {
            0 => (
                Action::KillRedis,
                Some((random.ms(50, 3000), Action::StartRedis)),
            ),
            _ => (
                Action::PauseRedis,
                Some((random.ms(50, 5000), Action::ResumeRedis)),
            ),
        },
    );
    lane(seed, 301, length, (1000, 8000), &mut all, |_| {
        (Action::KillConnections, None)
    });
    lane(seed, 303, length, (5000, 25_000), &mut all, |random| {
        (
            Action::FillRedis,
            Some((random.ms(100, 3000), Action::EmptyRedis)),
        )
    });
    lane(seed, 304, length, (1000, 8000), &mut all, |random| {
        let off = random.one_of(&[-86_400, -3600, -5, -1, 0, 0, 1, 5, 3600, 86_400]);
        (Action::SetClock(off), None)
    });
    // Only in the first half: where the stream is lost while the clock of Redis is behind, and no server is left that knew it, ids
    // are given a second time.
    let half = length / 2;
    lane(seed, 305, half, (1000, 8000), &mut all, |random| {
        let off = random.one_of(&[-86_400, -3600, -5, -1, 0]);
        (Action::SetRedisClock(off), None)
    });
    all.push((half, Action::SetRedisClock(0)));
    // Only in the second half: before that nothing is lost, and nobody is told of a gap.
    let mut deletions = Vec::new();
    lane(
        seed,
        302,
        length - half,
        (3000, 15_000),
        &mut deletions,
        |random| match random.below(5) {
            0 => (Action::DeleteStream, None),
            1 => (Action::RenameStream, None),
            2 => (Action::FlushAll, None),
            3 => {
                let age = random.ms(100, 5000);
                (Action::CopyStream, Some((age, Action::PutCopyBack)))
            }
            _ => {
                let lag = random.ms(1, 500);
                (Action::PauseReplica, Some((lag, Action::FailOver)))
            }
        },
    );
    all.extend(
        deletions
            .into_iter()
            .map(|(at, action)| (half + at, action)),
    );
    all.sort_by_key(|(at, _)| *at);
    all
}

/// One kind of trouble after the other, with calm between.
fn lane(
    seed: u64,
    stream: u64,
    length: Duration,
    calm_ms: (u64, u64),
    all: &mut Vec<(Duration, Action)>,
    mut trouble: impl FnMut(&mut Random) -> (Action, Option<(Duration, Action)>),
) {
    let mut random = Random::new(seed, stream);
    let mut at = random.ms(0, calm_ms.1);
    while at < length {
        let (begin, end) = trouble(&mut random);
        all.push((at, begin));
        if let Some((after, end)) = end {
            at += after;
            all.push((at, end));
        }
        at += random.ms(calm_ms.0, calm_ms.1);
    }
    all.retain(|(at, _)| *at < length);
}
