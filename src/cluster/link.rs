//! A connection to Redis: what is asked, and the answers.

use super::address::RedisAddress;
use super::fault::Fault;
use super::resp::{pack, packed, Answer, Answers};
use super::socket::{left, Socket};
use super::system;
use std::io::{self, Read};
use std::time::Duration;

/// The oldest Redis that tells how many entries a stream ever had, and which it has lost (`XINFO STREAM`,
/// `entries-added` and `max-deleted-entry-id`).
const NEEDED_VERSION: (u32, u32) = (7, 0);

/// Bytes to make room for before each read: as many as have come, within these.
const LEAST_ROOM: usize = 4 << 10;
const MOST_ROOM: usize = 256 << 10;

/// A connection as Redis knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    /// Which run of Redis it is: another one after each start.
    run: String,
    /// The connection's number in that run, if Redis tells.
    client: Option<i64>,
}

/// A connection to a Redis that was found usable. After a fault it is out of step, and useless.
pub(super) struct Link {
    socket: Socket,
    session: Session,
}

impl Link {
    /// Connects within `bound`. From then on an answer may take `patience`.
    pub(super) fn open(
        address: &RedisAddress,
        patience: Duration,
        bound: Duration,
    ) -> Result<Link, Fault> {
        let end = system::now() + bound;
        let mut link = Link {
            socket: Socket::connect(address, end)?,
            session: Session::default(),
        };
        link.set_patience(left(end))?;
        link.introduce(address)?;
        link.set_patience(patience)?;
        Ok(link)
    }

    /// Sets how long an answer may take.
    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_patience(patience)
    }

    fn introduce(&mut self, address: &RedisAddress) -> Result<(), Fault> {
        let mut commands = Vec::new();
        let mut count = 2;
        if let Some(password) = &address.password {
            match &address.user {
                Some(user) => pack(&mut commands, &["AUTH", user, password]),
                None => pack(&mut commands, &["AUTH", password]),
            }
            count += 1;
        }
        if address.database != 0 {
            pack(&mut commands, &["SELECT", &address.database.to_string()]);
            count += 1;
        }
        pack(&mut commands, &["CLIENT", "ID"]);
        pack(&mut commands, &["INFO"]);
        let answers = self.ask_all(&commands, count)?;
        let [before @ .., client, info] = &answers.all()[..] else {
            return Err(Fault::protocol());
        };
        for answer in before.iter().chain([info]) {
            if let Answer::Error(error) = answer {
                return Err(Fault::from_answer(error));
            }
        }
        let info = info.text().ok_or_else(Fault::protocol)?;
        check(info)?;
        self.session = Session {
            run: info_field(info, "run_id").into(),
            client: match client {
                Answer::Int(number) => Some(*number),
                _ => None,
            },
        };
        Ok(())
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Makes sure that Redis does nothing more for an earlier connection. Returns whether that is sure.
    pub(super) fn end(&mut self, earlier: &Session) -> Result<bool, Fault> {
        if earlier.run != self.session.run {
            // That run of Redis is over, and its connections with it.
            return Ok(true);
        }
        let Some(number) = earlier.client else {
            return Ok(false);
        };
        let kill = packed(&["CLIENT", "KILL", "ID", &number.to_string()]);
        let answers = self.ask_all(&kill, 1)?;
        Ok(matches!(answers.all()[..], [Answer::Int(_)]))
    }

    /// Sends one command, whose answer tells nothing unless it is a refusal, and so a fault.
    pub(super) fn tell(&mut self, command: &[u8]) -> Result<(), Fault> {
        match self.ask_all(command, 1)?.all()[..] {
            [Answer::Error(error)] => Err(Fault::from_answer(error)),
            _ => Ok(()),
        }
    }

    /// Sends packed commands, and returns as many answers. Refusals are answers.
    pub(super) fn ask_all(&mut self, commands: &[u8], count: usize) -> Result<Answers, Fault> {
        self.socket.write_all(commands)?;
        let mut answers = Answers::new(count);
        while !answers.are_whole().map_err(|_| Fault::protocol())? {
            let bytes = &mut answers.bytes;
            let came = bytes.len();
            bytes.resize(came + came.clamp(LEAST_ROOM, MOST_ROOM), 0);
            let more = self.socket.read(&mut bytes[came..])?;
            bytes.truncate(came + more);
            if more == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(answers)
    }
}

fn info_field<'a>(info: &'a str, name: &str) -> &'a str {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_default()
}

fn check(info: &str) -> Result<(), Fault> {
    let field = |name| info_field(info, name);
    let version = field("redis_version");
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < NEEDED_VERSION {
        return Err(Fault {
            kind: "version",
            reason: format!(
                "Redis {}.{} or newer is needed, this is {version}",
                NEEDED_VERSION.0, NEEDED_VERSION.1
            ),
            hint: "install a newer Redis",
        });
    }
    if field("role") == "slave" {
        return Err(Fault {
            kind: "replica",
            reason: "this Redis is a replica, so it takes no writes".into(),
            hint: "point REDIS_URL to the primary",
        });
    }
    if field("loading") == "1" {
        return Err(Fault::from_answer(b"LOADING"));
    }
    Ok(())
}
