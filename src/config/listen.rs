//! Where to listen: `LISTEN` and `PORT`.

use crate::numbers::digits;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port; port 0 means a free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `sun_path` has 108 bytes on Linux, 104 elsewhere, one of them for the NUL (`unix(7)`).
const MAX_SOCKET_PATH: usize = 103;

impl Listen {
    /// Every IPv4 address of this machine.
    pub(super) fn everywhere(port: u16) -> Listen {
        Listen::Tcp(SocketAddr::new(IpAddr::from(Ipv4Addr::UNSPECIFIED), port))
    }

    /// Parses `address:port`, `localhost:port`, `:port` or `unix:/path`. No other name is resolved: it might mean
    /// another address at the next start.
    pub(super) fn parse(text: &str) -> Option<Listen> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (path.starts_with('/') && path.len() <= MAX_SOCKET_PATH)
                .then(|| Listen::Unix(path.into()));
        }
        if let Ok(address) = text.parse() {
            return Some(Listen::Tcp(address));
        }
        let (host, port) = text.split_once(':')?;
        let port = digits(port)?;
        match host.to_ascii_lowercase().as_str() {
            "" => Some(Listen::everywhere(port)),
            "localhost" => Some(Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))),
            _ => None,
        }
    }
}

impl fmt::Display for Listen {
    /// As `LISTEN` gives it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => address.fmt(f),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
