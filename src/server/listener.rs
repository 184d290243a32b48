//! The listening socket, with every option that accepted connections have to have.
//!
//! On Linux an accepted socket inherits its listener's options, and tiny_http never hands us the accepted socket
//! itself, so this is the one place where they can be set.

use crate::config::Listen;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections that may wait to be accepted. std's 128 makes a burst of clients wait for a SYN retransmit, a second.
const BACKLOG: i32 = 4096;

/// A connection that sends nothing for this long is closed: the end of keep-alive, of a silent client, of a stalled
/// body. tiny_http blocks a thread per connection in `read`, for a stream's whole life; this also sets that one free.
/// The watchdog has to connect more often than this, because an idle `accept` fails by it as well.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that does not take a single byte for this long is gone, or as good as.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that vanished without a FIN is noticed within about 40 s, also when nothing is sent to it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 4;

/// Sent data that stays unacknowledged for this long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// What the system holds for a client that does not read, in bytes. By default Linux lets it grow to 4 MB, which 500 such
/// clients turn into 2 GB; this still lets 2.5 MB/s through at a round trip of 100 ms.
const SEND_BUFFER: usize = 256 << 10;

/// And for one that sends what nobody reads.
const RECEIVE_BUFFER: usize = 64 << 10;

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP, and the address that it is bound to.
    Tcp(std::net::TcpListener, SocketAddr),
    /// A Unix socket, and its path.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// What the system says: the address is in use, is not this machine's, or may not be used.
    pub fn bind(listen: &Listen) -> io::Result<Listener> {
        match listen {
            Listen::Tcp(address) => bind_tcp(*address),
            Listen::Unix(path) => bind_unix(path),
        }
    }

    /// Listens on a socket that our parent has bound, and gives it the same options.
    ///
    /// # Errors
    /// If it is no stream socket over IP or with a path in the file system.
    pub fn inherit(socket: Socket) -> io::Result<Listener> {
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::other(
                "it is no stream socket; use ListenStream=",
            ));
        }
        let address = socket.local_addr()?;
        // systemd's sockets are non-blocking, and tiny_http gives up on an `accept` that does not wait.
        socket.set_nonblocking(false)?;
        if address.as_socket().is_some() {
            listen_tcp(socket)
        } else if let Some(path) = address.as_pathname() {
            listen_unix(socket, path)
        } else {
            Err(io::Error::other(
                "it is neither a TCP socket nor a Unix socket with a path",
            ))
        }
    }

    /// A tiny_http server that accepts from a copy of this listener, and that copy's descriptor.
    ///
    /// # Errors
    /// If there is no descriptor or no thread left.
    pub fn serve(&self) -> io::Result<(tiny_http::Server, RawFd)> {
        let (result, copy) = match self {
            Listener::Tcp(listener, _) => {
                let copy = listener.try_clone()?;
                let descriptor = copy.as_raw_fd();
                (tiny_http::Server::from_listener(copy, None), descriptor)
            }
            Listener::Unix(listener, _) => {
                let copy = listener.try_clone()?;
                let descriptor = copy.as_raw_fd();
                (tiny_http::Server::from_listener(copy, None), descriptor)
            }
        };
        match result {
            Ok(server) => Ok((server, copy)),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Listener::Tcp(listener, _) => listener.as_raw_fd(),
            Listener::Unix(listener, _) => listener.as_raw_fd(),
        }
    }

    /// Whether it is a socket in the file system.
    pub fn is_unix(&self) -> bool {
        matches!(self, Listener::Unix(..))
    }

    /// Where it listens.
    pub fn address(&self) -> Listen {
        match self {
            Listener::Tcp(_, address) => Listen::Tcp(*address),
            Listener::Unix(_, path) => Listen::Unix(path.clone()),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(_, address) => address.fmt(f),
            Listener::Unix(_, path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    listen_tcp(socket)
}

fn listen_tcp(socket: Socket) -> io::Result<Listener> {
    // Without it, small writes wait for the client's delayed ACK: 35 ms and more.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_read_timeout(Some(READ_TIMEOUT))?;
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.listen(BACKLOG)?;
    let listener = std::net::TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok(Listener::Tcp(listener, bound))
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    remove_stale_socket(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    listen_unix(socket, path)
}

fn listen_unix(socket: Socket, path: &Path) -> io::Result<Listener> {
    socket.set_read_timeout(Some(READ_TIMEOUT))?;
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    socket.listen(BACKLOG)?;
    Ok(Listener::Unix(socket.into(), path.into()))
}

/// A server that was killed leaves its socket behind. Anything else at the path, and a live socket, stays.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    if is_socket {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if UnixStream::connect(path).is_err_and(refused) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
