//! The listening socket, with all options that accepted connections need: on Linux and BSD an accepted socket inherits
//! them, which saves a call for each.

use crate::config::Listen;
use crate::host;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections that may wait to be accepted. With std's 128 a burst of clients waits a second for a SYN retransmit.
const BACKLOG: i32 = 4096;

/// A client that takes no byte for this long is gone, or as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that vanished without a FIN is noticed within about 40 s, even if nothing is sent to it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 4;

/// Sent data that stays unacknowledged for this long ends the connection. Other systems have no such option.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// What the system holds for a client that does not read, in bytes. By default Linux lets it grow to 4 MB, which 500 such
/// clients turn into 2 GB; this still lets 2.5 MB/s through at a round trip of 100 ms.
const SEND_BUFFER: usize = 256 << 10;

/// And for one that sends what nobody reads.
const RECEIVE_BUFFER: usize = 64 << 10;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Listen,
    is_inherited: bool,
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
                "it is not a stream socket; use ListenStream=",
            ));
        }
        let address = socket.local_addr()?;
        let mut listener = if address.as_socket().is_some() {
            listen_tcp(socket)
        } else if let Some(path) = address.as_pathname() {
            listen_unix(socket, path)
        } else {
            Err(io::Error::other(
                "it is neither a TCP socket nor a Unix socket with a path",
            ))
        }?;
        listener.is_inherited = true;
        Ok(listener)
    }

    /// Accepts the next connection, without blocking: its socket, and the peer's address.
    ///
    /// # Errors
    /// `WouldBlock` if nobody waits; or what the system says.
    pub fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.accept()?;
        #[cfg(not(target_os = "linux"))]
        socket.set_nonblocking(false)?;
        Ok((socket, peer.as_socket()))
    }

    /// Whether a connection waits to be accepted.
    pub fn has_arrivals(&self) -> bool {
        host::is_readable(&self.socket)
    }

    /// The socket, for a poll.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether our parent has it as well, so that a successor may accept from it.
    pub fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// The file of its Unix socket, if this process has made it.
    pub fn file(&self) -> Option<SocketFile> {
        match &self.address {
            Listen::Unix(path) if !self.is_inherited => SocketFile::at(path),
            _ => None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Listen {
        &self.address
    }
}

/// The file of a Unix socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and number.
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> Option<SocketFile> {
        let there = std::fs::symlink_metadata(path).ok()?;
        Some(SocketFile {
            path: path.into(),
            identity: (there.dev(), there.ino()),
        })
    }

    /// Removes it, as the next start would. If another server has its socket at the path by now, that one stays.
    pub fn remove(&self) {
        if SocketFile::at(&self.path).is_some_and(|there| there.identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
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
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    let bound = socket.local_addr()?.as_socket();
    let bound = bound.ok_or_else(|| io::Error::other("it has no address"))?;
    listen(socket, Listen::Tcp(bound))
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    remove_stale_socket(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // For user and group.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    listen_unix(socket, path)
}

fn listen_unix(socket: Socket, path: &Path) -> io::Result<Listener> {
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    listen(socket, Listen::Unix(path.into()))
}

fn listen(socket: Socket, address: Listen) -> io::Result<Listener> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Listener {
        socket,
        address,
        is_inherited: false,
    })
}

/// Removes the socket that a killed server has left behind. Anything else at the path, and a live socket, stays.
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
