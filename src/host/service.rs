//! The service manager that may have started us: systemd, or any other that speaks its two small protocols. A listening
//! socket comes as a descriptor (`sd_listen_fds(3)`), news go to a datagram socket (`sd_notify(3)`). Both are named by
//! environment variables; without these, nothing here does anything. Called by `main` and by the watchdog.

use super::process;
use socket2::{SockAddr, Socket};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// The socket that the service manager listens on for us, if it does. It stays open when we end, and connections that
/// nobody accepts wait in it for our successor.
///
/// # Errors
/// One line for a person: there is more than one, or it cannot be used.
pub fn passed_socket(get: impl Fn(&str) -> Option<OsString>) -> Result<Option<Socket>, String> {
    let (Some(pid), Some(count)) = (get("LISTEN_PID"), get("LISTEN_FDS")) else {
        return Ok(None);
    };
    // The variables may have been inherited along with the rest of the environment, and be meant for our parent.
    if pid.to_str().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(None);
    }
    match count.to_str().and_then(|count| count.parse::<u32>().ok()) {
        Some(0) => Ok(None),
        Some(1) => process::inherited_socket(FIRST)
            .map(Some)
            .map_err(|error| format!("descriptor 3, which LISTEN_FDS promises, cannot be used: {error}")),
        _ => Err(format!(
            "LISTEN_FDS is {count:?}; hand over exactly 1 listening socket, so one ListenStream= in the socket unit"
        )),
    }
}

/// Tells the service manager how things stand. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
    /// How often it wants to hear that we are alive.
    keep_alive: Option<Duration>,
}

impl Notifier {
    /// A notifier for the manager that the variables name; one that does nothing if they name none.
    ///
    /// # Errors
    /// If the manager's socket cannot be reached.
    pub fn connect(get: impl Fn(&str) -> Option<OsString>) -> io::Result<Notifier> {
        let Some(name) = get("NOTIFY_SOCKET") else {
            return Ok(Notifier::default());
        };
        // An address that begins with @ is an abstract one: a NUL stands in its place (`unix(7)`).
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => {
                SockAddr::unix(std::ffi::OsStr::from_bytes(&[&[0], rest].concat()))?
            }
            _ => SockAddr::unix(&name)?,
        };
        let socket = Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
        socket.connect(&address)?;
        // Nothing that serves may wait for it.
        socket.set_nonblocking(true)?;
        Ok(Notifier {
            socket: Some(Arc::new(socket.into())),
            keep_alive: keep_alive(get),
        })
    }

    /// We serve.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// We stop.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// We still serve.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How often to say that we still serve; `None` if nobody wants to hear it.
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

/// Half of the time after which the manager would give us up (`sd_watchdog_enabled(3)`).
fn keep_alive(get: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| get(name)?.to_str()?.parse::<u64>().ok();
    let is_ours = get("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
    let limit = number("WATCHDOG_USEC").filter(|limit| is_ours && *limit > 0)?;
    Some(Duration::from_micros(limit / 2))
}
