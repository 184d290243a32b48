//! Ports for programs that need one told: no two tests of this program get the same.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that systems assign by themselves (32768 and up on Linux), so that no connection has one.
const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;

/// A port that nothing on this machine uses.
pub fn free_port() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let all = LAST - FIRST;
    // Test programs that run side by side begin at different places.
    let begin = (u64::from(std::process::id()) * 100 % u64::from(all)) as u16;
    for _ in 0..all {
        let number = begin.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + number % all;
        // On every address: some programs listen on more than loopback.
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("every port from {FIRST} to {LAST} is in use");
}

/// `127.0.0.1` with such a port.
pub fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
