//! The three ways to reach a server, so that a test is written once and runs over all of them.

use super::{Folder, Server, BOUND};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp4,
    Tcp6,
    Unix,
}

pub const TRANSPORTS: [Transport; 3] = [Transport::Tcp4, Transport::Tcp6, Transport::Unix];

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp4 => "IPv4",
            Transport::Tcp6 => "IPv6",
            Transport::Unix => "a Unix socket",
        })
    }
}

impl Transport {
    /// A value for `LISTEN` that nobody else uses, and the folder for its socket, if it is one.
    pub fn listen(self) -> (String, Option<Folder>) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        match self {
            Transport::Tcp4 => ("127.0.0.1:0".into(), None),
            Transport::Tcp6 => ("[::1]:0".into(), None),
            Transport::Unix => {
                let number = COUNT.fetch_add(1, Ordering::Relaxed);
                let folder = Folder::new(&format!("socket-{number}"));
                let listen = format!("unix:{}", folder.0.join("socket").display());
                (listen, Some(folder))
            }
        }
    }

    fn is_there(self) -> bool {
        self != Transport::Tcp6 || TcpListener::bind("[::1]:0").is_ok()
    }
}

/// Runs a test on three servers at once, one per transport. A failure names its transport.
#[track_caller]
pub fn over_each_transport(variables: &[(&str, &str)], test: impl Fn(Transport, Server) + Sync) {
    each_transport(|transport| test(transport, Server::over(transport, variables)));
}

/// As `over_each_transport`, for a test that starts its server itself.
#[track_caller]
pub fn each_transport(test: impl Fn(Transport) + Sync) {
    std::thread::scope(|scope| {
        let tests: Vec<_> = TRANSPORTS
            .into_iter()
            .filter(|transport| transport.is_there())
            .map(|transport| {
                let test = &test;
                let name = format!("over {transport}");
                let thread = std::thread::Builder::new().name(name);
                let thread = thread.spawn_scoped(scope, move || test(transport));
                (transport, thread.expect("there are threads"))
            })
            .collect();
        let failed = tests
            .into_iter()
            .filter_map(|(transport, test)| test.join().err().map(|_| transport.to_string()));
        let failed: Vec<String> = failed.collect();
        assert!(failed.is_empty(), "it fails over {}", failed.join(", "));
    });
}

/// Runs a test on one server after the other, for crowds that are too large for three at once.
#[track_caller]
pub fn over_one_transport_after_another(
    variables: &[(&str, &str)],
    test: impl Fn(Transport, Server),
) {
    for transport in TRANSPORTS
        .into_iter()
        .filter(|transport| transport.is_there())
    {
        test(transport, Server::over(transport, variables));
    }
}

/// A server's address.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Address {
        address.clone()
    }
}

impl Address {
    /// As the server logs it, and as `LISTEN` takes it.
    pub fn parse(text: &str) -> Option<Address> {
        // The log quotes what has brackets.
        let text = text.trim_matches('"');
        match text.strip_prefix("unix:") {
            Some(path) => Some(Address::Unix(path.into())),
            None => text.parse().ok().map(Address::Tcp),
        }
    }

    /// A connected socket whose reads and writes end after a bound.
    #[track_caller]
    pub fn connect(&self) -> Socket {
        let socket = self.socket();
        self.connect_with(&socket);
        socket
    }

    /// A socket that is not connected yet, for setting options before.
    pub fn socket(&self) -> Socket {
        let domain = match self {
            Address::Tcp(SocketAddr::V4(_)) => Domain::IPV4,
            Address::Tcp(SocketAddr::V6(_)) => Domain::IPV6,
            Address::Unix(_) => Domain::UNIX,
        };
        Socket::new(domain, Type::STREAM, None).expect("there are sockets")
    }

    #[track_caller]
    pub fn connect_with(&self, socket: &Socket) {
        let connected = match self {
            Address::Tcp(address) => socket.connect_timeout(&(*address).into(), BOUND),
            Address::Unix(path) => SockAddr::unix(path).and_then(|path| socket.connect(&path)),
        };
        connected.expect("the server accepts");
        let bounded = socket
            .set_read_timeout(Some(BOUND))
            .and_then(|()| socket.set_write_timeout(Some(BOUND)));
        bounded.expect("a timeout can be set");
        if let Address::Tcp(_) = self {
            let set = socket.set_tcp_nodelay(true);
            set.expect("a socket option can be set");
        }
    }
}
