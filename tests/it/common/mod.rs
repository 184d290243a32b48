//! What the tests share: the real binary on a free port, a blocking client, an event stream, a crowd of clients.
//! Everything waits for a condition, with a bound, and says in one line what it waited for.

pub mod clock;
pub mod crowd;
pub mod documents;
pub mod event_stream;
pub mod folder;
pub mod front;
pub mod http;
pub mod node;
pub mod page;
pub mod port;
pub mod python;
pub mod redis;
pub mod tokens;
pub mod transport;
pub mod turn;
pub mod witness;

pub use crowd::Crowd;
pub use folder::Folder;
pub use http::{encode, EventStream, Publisher, Reply};
pub use tokens::RulesFile;
pub use transport::{over_each_transport, over_one_transport_after_another, Address, Transport};

use socket2::Socket;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub const TOKEN: &str = "test-token-of-16-bytes";

/// The field with that token.
pub const AUTHORIZED: (&str, &str) = ("Authorization", "Bearer test-token-of-16-bytes");

/// A bound for everything that should take no time at all.
pub const BOUND: Duration = Duration::from_secs(10);

/// Waits for a condition. Checks often, and never longer than the bound.
#[track_caller]
pub fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + bound;
    while !condition() {
        assert!(Instant::now() < end, "waited {bound:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The tested binary: the one that cargo has built, or the one that `SSE_SERVER` names, as `make test-musl` does.
pub fn binary() -> PathBuf {
    turn::take();
    let named = std::env::var_os("SSE_SERVER");
    named.map_or_else(|| env!("CARGO_BIN_EXE_sse-server").into(), PathBuf::from)
}

/// A command without this process's environment, except the path.
pub fn bare_command() -> Command {
    let mut command = Command::new(binary());
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Runs the binary to its end, which has to come at once.
#[track_caller]
pub fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut child = bare_command()
        .args(arguments)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > BOUND {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server does not stop at once with {arguments:?} and {variables:?}");
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    child.wait_with_output().expect("it has ended")
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

/// A command that runs a shell's script, and then the binary in the same process. `outer` may be a command that runs the
/// shell.
pub fn binary_after(outer: &[&str], script: &str) -> Command {
    let bare = bare_command();
    let path = bare.get_envs().next().map(|(_, path)| path);
    let mut words = [outer, &["/bin/sh", "-c"]].concat().into_iter();
    let mut command = Command::new(words.next().expect("there is a shell"));
    command
        .env_clear()
        .envs(path.flatten().map(|path| ("PATH", path)))
        .args(words)
        .arg(format!("{script} && exec \"$0\""))
        .arg(bare.get_program());
    command
}

impl Log {
    fn collect(self: &Arc<Log>, from: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                log.lines.lock().unwrap().push(line);
                log.grew.notify_all();
            }
        });
    }
}

/// A running server.
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    /// As `addr`, for a server that may listen on a Unix socket.
    pub address: Address,
    /// Where its Unix socket is, if the tests made a folder for it.
    folder: Option<Folder>,
    log: Arc<Log>,
}

impl Server {
    /// Starts the binary on a free port with these variables.
    pub fn start(variables: &[(&str, &str)]) -> Server {
        Server::start_with(variables, |_| {})
    }

    /// As `start`, over this transport.
    pub fn over(transport: Transport, variables: &[(&str, &str)]) -> Server {
        Server::over_with(transport, variables, |_| {})
    }

    /// As `over`; `change` may change the command.
    pub fn over_with(
        transport: Transport,
        variables: &[(&str, &str)],
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        let (listen, folder) = transport.listen();
        let variables = [&[("LISTEN", listen.as_str())], variables].concat();
        let mut server = Server::start_with(&variables, prepare);
        server.folder = folder;
        server
    }

    /// As `start`; the closure may change the command.
    pub fn start_with(variables: &[(&str, &str)], prepare: impl FnOnce(&mut Command)) -> Server {
        Server::run(bare_command(), variables, prepare)
    }

    /// As `start`, with a listening socket handed over as in `sd_listen_fds(3)`.
    pub fn start_on(listener: impl Into<OwnedFd>, variables: &[(&str, &str)]) -> Server {
        // A shell, since nobody else can name the process that it is about to become.
        let mut command = binary_after(&[], "export LISTEN_PID=$$ && exec 3<&0 0</dev/null");
        command.env("LISTEN_FDS", "1");
        let listener = listener.into();
        Server::run(command, variables, |command| {
            command.stdin(listener);
        })
    }

    /// As `start`, by a command of `binary_after`.
    pub fn start_by(command: Command, variables: &[(&str, &str)]) -> Server {
        Server::run(command, variables, |_| {})
    }

    fn run(
        mut command: Command,
        variables: &[(&str, &str)],
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        command
            .env("LISTEN", "127.0.0.1:0")
            .env("AUTH_TOKEN", TOKEN);
        command.envs(variables.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().expect("the binary runs");
        let log = Arc::new(Log::default());
        log.collect(child.stdout.take().expect("stdout is piped"));
        log.collect(child.stderr.take().expect("stderr is piped"));
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server {
            child,
            addr,
            address: addr.into(),
            folder: None,
            log,
        };
        let line = server.wait_for_log("event=listening");
        if let Some(address) = Address::parse(value(&line, "address")) {
            if let Address::Tcp(addr) = address {
                server.addr = addr;
            }
            server.address = address;
        }
        server
    }

    /// As `start`, for a server that logs too little to tell its port.
    pub fn start_quietly(variables: &[(&str, &str)]) -> Server {
        Server::start_unheard(variables, Stdio::inherit())
    }

    /// As `start`, for a server whose log goes somewhere else.
    pub fn start_unheard(variables: &[(&str, &str)], log: Stdio) -> Server {
        let addr = port::free_address();
        let mut command = bare_command();
        command
            .env("LISTEN", addr.to_string())
            .env("AUTH_TOKEN", TOKEN)
            .envs(variables.iter().copied())
            .stderr(log);
        let server = Server {
            child: command.spawn().expect("the binary runs"),
            addr,
            address: addr.into(),
            folder: None,
            log: Arc::default(),
        };
        wait_until("the server listens", BOUND, || {
            std::net::TcpStream::connect(addr).is_ok()
        });
        server
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        // A test that failed while it looked has poisoned it.
        let lines = self.log.lines.lock();
        lines.unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The first log line with all these words, once it is there.
    #[track_caller]
    pub fn wait_for_log(&self, words: &str) -> String {
        self.wait_for_log_within(BOUND, words)
    }

    #[track_caller]
    pub fn wait_for_log_within(&self, bound: Duration, words: &str) -> String {
        let end = Instant::now() + bound;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let fits = |line: &&String| words.split(' ').all(|word| line.contains(word));
            if let Some(line) = lines.iter().find(fits) {
                return line.clone();
            }
            let now = Instant::now();
            assert!(
                now < end,
                "no log line with {words:?} within {bound:?}; the log is:\n{}",
                lines.join("\n")
            );
            lines = self.log.grew.wait_timeout(lines, end - now).unwrap().0;
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Makes it read the rules again.
    pub fn hang_up(&self) {
        self.signal(libc::SIGHUP);
    }

    /// Stops the process, until `resume`.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
        wait_until("the server has stopped", BOUND, || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
            status.is_ok_and(|status| status.contains("\nState:\tT"))
        });
    }

    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// The number of log lines with all these words.
    pub fn count_in_log(&self, words: &str) -> usize {
        let log = self.log();
        let fits = |line: &&str| words.split(' ').all(|word| line.contains(word));
        log.lines().filter(fits).count()
    }

    /// Sends a signal, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self, signal: i32) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(signal);
        let mut status = None;
        wait_until(
            "the server exits after a signal",
            Duration::from_secs(15),
            || {
                status = self.child.try_wait().expect("the child can be waited for");
                status.is_some()
            },
        );
        (status.expect("just set"), begun.elapsed())
    }

    #[track_caller]
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        self.stop(libc::SIGTERM)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.status().is_none()
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be waited for")
    }

    fn status_number(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        number_in(&path, key).expect("the server runs")
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status_number("VmRSS:") * 1024
    }

    /// The maximum of resident memory, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status_number("VmHWM:") * 1024
    }

    /// The processor time that it has used.
    pub fn cpu_time(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server runs");
        // Behind the name in parentheses; user and system time are the fields 14 and 15, in 1/100 s.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<u64> = after_name
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        Duration::from_millis((fields[11] + fields[12]) * 10)
    }

    pub fn threads(&self) -> u64 {
        self.status_number("Threads:")
    }

    /// The ids and names of its threads, in the order in which they were started.
    #[cfg(target_os = "linux")]
    pub fn named_threads(&self) -> Vec<(u32, String)> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        let threads = threads.expect("the server runs").flatten();
        let mut threads: Vec<_> = threads
            .filter_map(|thread| {
                let id = thread.file_name().to_string_lossy().parse();
                // One that ends meanwhile has no name any more.
                let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
                Some((id.expect("a number"), name.trim_end().into()))
            })
            .collect();
        threads.sort_unstable();
        threads
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("the server runs")
            .count() as u64
    }

    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        http::request(&self.address, method, target, headers, body)
    }

    #[track_caller]
    pub fn connect(&self) -> Socket {
        self.address.connect()
    }

    /// A connection that has sent these bytes. The server may already have closed it.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) -> Socket {
        let mut connection = self.connect();
        let _ = connection.write_all(bytes);
        connection
    }

    pub fn get(&self, target: &str) -> Reply {
        self.request("GET", target, &[], b"")
    }

    /// A figure of `/stats`.
    #[track_caller]
    pub fn stat(&self, name: &str) -> u64 {
        self.get("/stats").json()[name]
            .as_u64()
            .unwrap_or_else(|| panic!("/stats has no number {name}"))
    }

    /// Publishes, and returns the id.
    #[track_caller]
    pub fn publish(&self, channel: &str, body: impl AsRef<[u8]>) -> String {
        self.publish_to(&format!("/publish/{}", encode(channel)), body)
    }

    #[track_caller]
    pub fn publish_to(&self, target: &str, body: impl AsRef<[u8]>) -> String {
        let reply = self.request("POST", target, &[AUTHORIZED], body.as_ref());
        assert_eq!(
            reply.status,
            200,
            "publishing to {target}: {}",
            reply.text()
        );
        reply.json()["id"]
            .as_str()
            .expect("the answer has an id")
            .into()
    }

    #[track_caller]
    pub fn subscribe(&self, channel: &str) -> EventStream {
        self.subscribe_with(&format!("/sse/{}", encode(channel)), &[])
    }

    #[track_caller]
    pub fn subscribe_with(&self, target: &str, headers: &[(&str, &str)]) -> EventStream {
        let stream = EventStream::open(&self.address, target, headers);
        assert_eq!(stream.status, 200, "subscribing to {target}");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the server's last lines");
            lines
                .iter()
                .rev()
                .take(40)
                .rev()
                .for_each(|line| eprintln!("{line}"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number behind a key in one of `/proc`'s files; 0 if it is not there.
pub fn number_in(path: &str, key: &str) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(path)?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key));
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    Ok(number.unwrap_or(0))
}

/// The value of `key=` in a log line.
pub fn value<'a>(line: &'a str, key: &str) -> &'a str {
    line.split(' ')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("no {key}= in the line {line:?}"))
}

/// `MS-SEQ` as comparable numbers.
#[track_caller]
pub fn id(text: &str) -> (u64, u64) {
    let (ms, seq) = text
        .split_once('-')
        .unwrap_or_else(|| panic!("{text:?} is no id"));
    (
        ms.parse().expect("ms are digits"),
        seq.parse().expect("the sequence is digits"),
    )
}
