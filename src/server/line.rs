//! The line to tiny_http: a private socket on which the door writes requests, and from which tiny_http's accept loop
//! hands them to the pool. Only the door's own words cross it: ASCII, a known form, no body, and a number under which the
//! rest of the request waits. See README.md.

use crate::host;
use crate::numbers::hexadecimal;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// tiny_http takes what is written at once; if it does not within this time, the line is broken.
const WRITE_TIME: Duration = Duration::from_secs(2);

/// The door's end of the line.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    server: Arc<Server>,
}

/// tiny_http's end.
pub struct Server {
    requests: tiny_http::Server,
    is_closed: AtomicBool,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server(…)")
    }
}

impl Line {
    /// A new tiny_http, and the one connection that it will ever have.
    ///
    /// # Errors
    /// If the system gives no descriptor.
    ///
    /// # Panics
    /// Inside tiny_http, if the system gives no thread. That ends the process.
    pub fn open() -> io::Result<Line> {
        let place = LineAddress::new()?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&place.address)?;
        socket.listen(1)?;
        let closing = socket.try_clone()?;
        let server = tiny_http::Server::from_listener(UnixListener::from(socket), None)
            .map_err(|error| io::Error::other(error.to_string()))?;
        // Its destructor connects to the address, and panics where that is no path.
        let server = std::mem::ManuallyDrop::new(Arc::new(Server {
            requests: server,
            is_closed: AtomicBool::new(false),
        }));
        let server = Arc::clone(&server);
        let stream = connect(&place.address, &server)?;
        // Nobody else will be let in. tiny_http says once that it accepts no more.
        closing.shutdown(Shutdown::Both)?;
        let _ = server.requests.recv();
        Ok(Line { stream, server })
    }

    /// Where the requests come out.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The socket, to be watched: whatever is read from it means that the line is broken.
    pub fn socket(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends what `write_request` has written.
    ///
    /// # Errors
    /// If the line is broken.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.stream).write_all(bytes)
    }

    /// Ends the line. Its server is left to those who wait on it, which are woken.
    pub fn close(&self, workers: usize) {
        // It may be broken anyway.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.server.is_closed.store(true, Ordering::SeqCst);
        (0..workers).for_each(|_| self.server.requests.unblock());
    }
}

/// Connects, and waits until tiny_http has read a first request.
fn connect(address: &SockAddr, server: &Server) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect(address)?;
    let mut stream = UnixStream::from(socket);
    stream.set_write_timeout(Some(WRITE_TIME))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let first = server.requests.recv()?;
    // Its answer has to be read, or the line would look broken.
    first.respond(tiny_http::Response::empty(204))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok(stream)
}

/// An address that nobody can guess: an abstract name where there are such (`unix(7)`), else a path in a folder that
/// nobody else may enter.
struct LineAddress {
    address: SockAddr,
    #[cfg(not(target_os = "linux"))]
    folder: std::path::PathBuf,
}

impl LineAddress {
    fn new() -> io::Result<LineAddress> {
        let name = hexadecimal(&host::random_bytes::<16>()?);
        #[cfg(target_os = "linux")]
        {
            let address = SockAddr::unix(format!("\0sse-server-{name}"))?;
            Ok(LineAddress { address })
        }
        #[cfg(not(target_os = "linux"))]
        {
            use std::os::unix::fs::DirBuilderExt;
            let folder = std::env::temp_dir().join(format!("sse-server-{name}"));
            std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
            let address = SockAddr::unix(folder.join("line"))?;
            Ok(LineAddress { address, folder })
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for LineAddress {
    fn drop(&mut self) {
        // The sockets are connected by now, or never will be.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Appends a request in the form that crosses the line: the number stands before the target, since tiny_http takes longest
/// for fields. Method and target are those of a `Head`: ASCII, without white space.
pub fn write_request(method: &str, target: &str, number: u64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{method} {number}:{target} HTTP/1.1\r\n\r\n");
}

/// The number and the target of a request that has crossed the line.
pub fn number_and_target(raw: &tiny_http::Request) -> Option<(u64, &str)> {
    let (number, target) = raw.url().split_once(':')?;
    Some((number.parse().ok()?, target))
}

/// How long a worker looks for the next request before it sleeps: under load others bring one meanwhile, and nobody has to
/// be woken for it.
const LOOK_TIME: Duration = Duration::from_micros(50);

impl Server {
    /// The next request; waits for it.
    ///
    /// # Errors
    /// If the line was closed.
    pub fn next(&self) -> io::Result<tiny_http::Request> {
        let begin = Instant::now();
        loop {
            if let Some(raw) = self.requests.try_recv()? {
                return Ok(raw);
            }
            // It may have been a wake-up: `try_recv` does not tell.
            if self.is_closed.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            if begin.elapsed() >= LOOK_TIME {
                return self.requests.recv();
            }
            std::thread::yield_now();
        }
    }
}
