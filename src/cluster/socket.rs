//! The socket below a connection to Redis: every operation is bounded in time, and no signal ends one.

use super::address::RedisAddress;
use super::outage::until;
use super::system;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(super) struct Socket(TcpStream);

impl Socket {
    /// Connects to the first address that accepts, before `end`.
    pub(super) fn connect(address: &RedisAddress, end: Instant) -> io::Result<Socket> {
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for place in resolve(address, end)? {
            match TcpStream::connect_timeout(&place, left(end)) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    return Ok(Socket(socket));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Sets how long an answer may take.
    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(patience))?;
        self.0.set_write_timeout(Some(patience))
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
}

/// A system that asks name servers does so for as long as it likes, so that happens on a thread of its own.
fn resolve(address: &RedisAddress, end: Instant) -> io::Result<Vec<SocketAddr>> {
    let (sender, found) = crossbeam_channel::bounded(1);
    let address = address.clone();
    system::spawn("resolver", move || {
        // Nobody waits any more if the time was over.
        let _ = sender.send(address.resolve());
    })?;
    let late = |_| Err(io::Error::other("its name was not resolved in time"));
    found.recv_timeout(left(end)).unwrap_or_else(late)
}

/// A read with a timeout ends with `EINTR` after the process was stopped and resumed, even if nobody handles signals
/// (`signal(7)`).
impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// Time left, but never zero: that would mean no bound at all.
pub(super) fn left(end: Instant) -> Duration {
    until(end).max(Duration::from_millis(1))
}
