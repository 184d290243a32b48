//! A simulated connection, in the place of `src/cluster/socket.rs`.

use super::address::RedisAddress;
use super::outage::until;
use crate::hub::time;
use crate::redis::Reading;
use crate::turn;
use std::cell::Cell;
use std::io::{self, Read};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub(super) struct Socket {
    number: usize,
    patience: Cell<Duration>,
}

impl Socket {
    /// The last part of the address is the number of the server that connects.
    pub(super) fn connect(address: &RedisAddress, end: Instant) -> io::Result<Socket> {
        turn::offer();
        let places = address.resolve()?;
        let server = match places.first().map(|place| place.ip()) {
            Some(IpAddr::V4(ip)) => usize::from(ip.octets()[3]),
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        loop {
            if let Some(connected) = turn::with_net(|net| net.connect(server)) {
                let number = connected?;
                return Ok(Socket {
                    number,
                    patience: Cell::new(Duration::from_secs(3600)),
                });
            }
            if time::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let end_ms = time::ms_of(end).min(time::running_ms() + 100);
            turn::wait(end_ms, || false);
        }
    }

    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.patience.set(patience);
        Ok(())
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        turn::offer();
        turn::with_net(|net| net.send(self.number, bytes))?;
        turn::offer();
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = time::now() + self.patience.get();
        let number = self.number;
        loop {
            match turn::with_net(|net| net.receive(number, buffer)) {
                Reading::Bytes(count) => return Ok(count),
                Reading::Closed => return Ok(0),
                Reading::Nothing if time::now() >= end => {
                    return Err(io::ErrorKind::WouldBlock.into())
                }
                Reading::Nothing => {
                    let net = turn::net();
                    turn::wait(time::ms_of(end), move || {
                        net.lock().is_ok_and(|net| net.has_news_for(number))
                    });
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        turn::with_net(|net| net.hang_up(self.number));
    }
}

pub(super) fn left(end: Instant) -> Duration {
    until(end).max(Duration::from_millis(1))
}
