//! The watchdog: a thread that asks the own port for `/health`, as a client would.
//!
//! It keeps `accept` from running into the listener's read timeout when nobody connects, and it notices when the server
//! has gone deaf without an error, so that the accept loop can heal. A service manager that watches over us hears of
//! each answer, and so restarts a process that runs and does not serve.

use super::accept::Acceptor;
use super::listener::READ_TIMEOUT;
use crate::config::Listen;
use crate::journal;
use crate::service::Notifier;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More often than the read timeout by far, and often enough to heal before a client gives up.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// A probe that got no answer for this long failed. Long enough for a machine that is busy with a storm of connects.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// After a sign of trouble a failure is believed sooner.
const SUSPICIOUS_TIMEOUT: Duration = Duration::from_millis(500);

/// So many in a row mean that nobody accepts.
const FAILURES: u32 = 2;

/// Watches for ever.
///
/// # Errors
/// If the system gives no thread.
pub fn start(acceptor: Arc<Acceptor>, target: Listen, notifier: Notifier) -> io::Result<()> {
    const _: () = assert!(PROBE_INTERVAL.as_millis() * 2 < READ_TIMEOUT.as_millis());
    watch_panics(&acceptor);
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || watch(&acceptor, &target, &notifier))?;
    Ok(())
}

fn watch(acceptor: &Arc<Acceptor>, target: &Listen, notifier: &Notifier) {
    acceptor.set_watchdog(std::thread::current());
    let mut failures = 0;
    let mut timeout = PROBE_TIMEOUT;
    let mut told = Instant::now();
    loop {
        std::thread::park_timeout(PROBE_INTERVAL);
        if acceptor.is_retired() {
            return;
        }
        if acceptor.is_deaf() {
            acceptor.heal("accept_failed");
            continue;
        }
        if acceptor.take_suspicion() {
            timeout = SUSPICIOUS_TIMEOUT;
        }
        match ask_health(target, timeout) {
            Ok(()) => {
                failures = 0;
                timeout = PROBE_TIMEOUT;
                if notifier
                    .keep_alive()
                    .is_some_and(|every| told.elapsed() >= every)
                {
                    notifier.alive();
                    told = Instant::now();
                }
            }
            Err(error) => {
                failures += 1;
                log::debug!("event=probe_failed error={:?}", error.to_string());
                if failures >= FAILURES {
                    acceptor.heal("no_answer_to_probe");
                    failures = 0;
                }
            }
        }
    }
}

/// Threads of which there is one, and without which messages stay behind.
const VITAL: [&str; 5] = ["announcer", "helper", "janitor", "writer", "follower"];

/// Puts every panic into the log, in one line. A panic in a thread without a name is one of tiny_http's, for which a
/// full descriptor table or a missing thread is reason enough; if it was the one that accepts, nobody else says so.
fn watch_panics(acceptor: &Arc<Acceptor>) {
    let acceptor = Arc::downgrade(acceptor);
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        if thread.name() == Some(journal::THREAD) {
            return;
        }
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or(payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        // After a panic with a lock held, tiny_http's threads follow one by one; the first says it all.
        let level = if message.contains("PoisonError") {
            log::Level::Debug
        } else {
            log::Level::Error
        };
        log::log!(
            level,
            "event=panic thread={} place={place:?} message={message:?}",
            thread.name().unwrap_or("tiny_http")
        );
        if thread.name().is_some_and(|name| VITAL.contains(&name)) {
            // Without it the server would look well and do nothing. Whoever started it starts it again.
            log::logger().flush();
            std::process::abort();
        }
        if thread.name().is_none() {
            if let Some(acceptor) = acceptor.upgrade() {
                acceptor.suspect();
            }
        }
    }));
}

/// Where to reach a server that listens there, from the same machine.
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

/// Asks for `/health` once.
///
/// # Errors
/// If there is no answer in time, or another one than `200`.
pub fn ask_health(target: &Listen, timeout: Duration) -> io::Result<()> {
    match target {
        Listen::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, timeout)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            ask(stream)
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            ask(stream)
        }
    }
}

fn ask(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut limited = stream.take(4096);
    limited.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other("the answer is not 200"))
    }
}
