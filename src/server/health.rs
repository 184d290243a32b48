//! How the server's health is checked: by `--healthcheck`, and for a service manager that wants a sign of life. Both
//! request `/health` from the server's own port, as a client would.

use crate::config::Listen;
use crate::host::{self, service::Notifier};
use socket2::Socket;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Keeps telling the service manager that we are alive while `/health` is answered, if it wants to hear that.
///
/// # Errors
/// If the system gives no thread.
pub fn keep_alive(target: Listen, notifier: Notifier) -> io::Result<()> {
    let Some(every) = notifier.keep_alive() else {
        return Ok(());
    };
    host::start("watchdog", move || loop {
        std::thread::park_timeout(every);
        match ask_health(&target, ANSWER_TIME) {
            Ok(()) => notifier.alive(),
            Err(error) => log::warn!("event=not_alive error={:?}", error.to_string()),
        }
    })?;
    Ok(())
}

/// The address at which this machine reaches a server that listens there.
pub fn local_target(listen: &Listen) -> Listen {
    match listen {
        Listen::Tcp(address) if address.ip().is_unspecified() => {
            let ip = match address.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            Listen::Tcp(SocketAddr::new(ip, address.port()))
        }
        other => other.clone(),
    }
}

/// Requests `/health` once.
///
/// # Errors
/// If no answer comes in time, or one other than `200`.
pub fn ask_health(target: &Listen, timeout: Duration) -> io::Result<()> {
    let mut socket: Socket = match target {
        Listen::Tcp(address) => connect(*address, timeout)?.into(),
        Listen::Unix(path) => UnixStream::connect(path)?.into(),
    };
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.take(4096).read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other("the answer is not 200"))
    }
}

/// A server on `[::]` may only be reachable by IPv4: not every machine has IPv6.
fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let connected = TcpStream::connect_timeout(&address, timeout);
    match address.ip() {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => connected.or_else(|error| {
            let other = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
            TcpStream::connect_timeout(&other, timeout).map_err(|_| error)
        }),
        _ => connected,
    }
}
