//! The service manager that may have started us: systemd, or any other that speaks its two small protocols. A listening
//! socket comes as a descriptor (`sd_listen_fds(3)`), news goes to a datagram socket (`sd_notify(3)`). Environment
//! variables name both; without them nothing here does anything.

use super::process;
use socket2::{SockAddr, Socket};
use std::env::var_os;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

/// The first descriptor handed over (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// The socket on which the service manager listens for us, if it does. It stays open when we end, and unaccepted
/// connections wait in it for our successor.
///
/// # Errors
/// One line for a person: there is more than one, or it cannot be used.
pub fn passed_socket() -> Result<Option<Socket>, String> {
    let (Some(pid), Some(count)) = (var_os("LISTEN_PID"), var_os("LISTEN_FDS")) else {
        return Ok(None);
    };
    // The variables may have been inherited with the rest of the environment, and be meant for our parent.
    if pid.to_str().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(None);
    }
    match count.to_str().and_then(|count| count.parse::<u32>().ok()) {
        Some(0) => Ok(None),
        Some(1) => process::inherited_socket(FIRST)
            .map(Some)
            .map_err(|error| format!("descriptor 3, which LISTEN_FDS promises, cannot be used: {error}")),
        _ => Err(format!(
            "LISTEN_FDS is {count:?}; hand over exactly 1 listening socket: one ListenStream= in the socket unit"
        )),
    }
}

/// Tells the service manager about our state. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
    /// How often it wants to hear that we are alive.
    keep_alive: Option<Duration>,
}

impl Notifier {
    /// A notifier for the manager that the environment names. Without one it does nothing.
    ///
    /// # Errors
    /// If the manager's socket cannot be reached.
    pub fn connect() -> io::Result<Notifier> {
        let Some(name) = var_os("NOTIFY_SOCKET") else {
            return Ok(Notifier::default());
        };
        // A leading @ means an abstract address: a NUL takes its place (`unix(7)`).
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => {
                SockAddr::unix(std::ffi::OsStr::from_bytes(&[&[0], rest].concat()))?
            }
            _ => SockAddr::unix(&name)?,
        };
        let socket = Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
        socket.connect(&address)?;
        // Nothing may block on it.
        socket.set_nonblocking(true)?;
        Ok(Notifier {
            socket: Some(Arc::new(socket.into())),
            keep_alive: keep_alive(),
        })
    }

    /// The server is up.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The server stops.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The server is alive.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How often to call `alive`; `None` if nobody wants to hear it.
    pub fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    fn tell(&self, news: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(news.as_bytes()) {
            log::debug!(
                "event=notify_failed news={news} error={:?}",
                error.to_string()
            );
        }
    }
}

/// Half of the time after which the manager would give up on us (`sd_watchdog_enabled(3)`).
fn keep_alive() -> Option<Duration> {
    let number = |name| var_os(name)?.to_str()?.parse::<u64>().ok();
    let is_ours = var_os("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
    let limit = number("WATCHDOG_USEC").filter(|limit| is_ours && *limit > 0)?;
    Some(Duration::from_micros(limit / 2))
}
