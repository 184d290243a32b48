//! A real `redis-server` on a free port with its own scratch folder, and a TCP proxy before it that can be cut or fall
//! silent.

use super::clock::Clock;
use super::port::free_address;
use super::{wait_until, Server, BOUND};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub struct Redis {
    child: Child,
    folder: PathBuf,
    options: Vec<String>,
    clock: Option<Arc<Clock>>,
    pub addr: SocketAddr,
}

/// Its own folder.
pub fn scratch_folder(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("sse-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a scratch folder can be made");
    folder
}

impl Redis {
    /// A Redis that keeps nothing on disk.
    pub fn start() -> Redis {
        Redis::start_with(&[])
    }

    /// A Redis that writes everything to disk before it answers.
    pub fn start_durable() -> Redis {
        // With "everysec" a write may wait for a slow disk after its answer went out.
        Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    pub fn start_with(options: &[&str]) -> Redis {
        Redis::start_by(None, options)
    }

    /// A Redis that uses this clock.
    pub fn start_by(clock: Option<Arc<Clock>>, options: &[&str]) -> Redis {
        let folder = scratch_folder("redis");
        let options: Vec<String> = options.iter().map(|option| (*option).into()).collect();
        // Somebody else may take a port before Redis does.
        for _ in 0..5 {
            let addr = free_address();
            let mut child = launch(&folder, addr, &options, clock.as_deref());
            if answers(&mut child, addr) {
                return Redis {
                    child,
                    folder,
                    options,
                    clock,
                    addr,
                };
            }
        }
        panic!("redis-server does not start");
    }

    pub fn url(&self) -> String {
        url(self.addr)
    }

    /// A Redis on this port.
    #[track_caller]
    pub fn start_at(addr: SocketAddr) -> Redis {
        let folder = scratch_folder("redis");
        let mut child = launch(&folder, addr, &[], None);
        assert!(answers(&mut child, addr), "redis-server starts on {addr}");
        Redis {
            child,
            folder,
            options: Vec::new(),
            clock: None,
            addr,
        }
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Sends it a signal. After `SIGSTOP` connections stay, and what is sent waits for `SIGCONT`.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Starts it again, on the same port and with what it has on disk.
    #[track_caller]
    pub fn start_again(&mut self) {
        let clock = self.clock.as_deref();
        self.child = launch(&self.folder, self.addr, &self.options, clock);
        assert!(
            answers(&mut self.child, self.addr),
            "redis-server starts again"
        );
    }

    /// Sends a command, and returns the raw answer.
    pub fn command(&self, words: &[&str]) -> String {
        command(self.addr, words)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn url(addr: SocketAddr) -> String {
    format!("redis://{addr}/0")
}

fn launch(folder: &PathBuf, addr: SocketAddr, options: &[String], clock: Option<&Clock>) -> Child {
    let mut command = Command::new("redis-server");
    if let Some(clock) = clock {
        clock.give_to(&mut command);
    }
    command
        .current_dir(folder)
        .args(["--bind", "127.0.0.1", "--save", ""])
        .args(["--port", &addr.port().to_string()])
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server runs")
}

/// Whether it begins to answer, rather than ends.
fn answers(child: &mut Child, addr: SocketAddr) -> bool {
    let mut is_there = false;
    wait_until("redis-server answers or ends", BOUND, || {
        let answer = try_command(addr, &["PING"]);
        // Where a password is needed it says so.
        is_there = answer.is_some_and(|a| a.starts_with("+PONG") || a.starts_with("-NOAUTH"));
        is_there || matches!(child.try_wait(), Ok(Some(_)))
    });
    is_there && matches!(child.try_wait(), Ok(None))
}

fn command(addr: SocketAddr, words: &[&str]) -> String {
    try_command(addr, words).expect("Redis answers")
}

fn try_command(addr: SocketAddr, words: &[&str]) -> Option<String> {
    let mut connection = TcpStream::connect(addr).ok()?;
    connection.set_read_timeout(Some(BOUND)).ok()?;
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes += &format!("${}\r\n{word}\r\n", word.len());
    }
    // Redis answers in order: what comes before the end is the command's answer.
    bytes += "*1\r\n$4\r\nQUIT\r\n";
    connection.write_all(bytes.as_bytes()).ok()?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// A server that uses this Redis.
pub fn server(url: &str) -> Server {
    server_with(url, &[])
}

pub fn server_with(url: &str, variables: &[(&str, &str)]) -> Server {
    let all = [&[("REDIS_URL", url)], variables].concat();
    let server = Server::start(&all);
    wait_for_ready(&server);
    server
}

/// Waits until a server has its Redis.
#[track_caller]
pub fn wait_for_ready(server: &Server) {
    wait_until("the server is ready", BOUND, || {
        server.get("/health/ready").status == 200
    });
}

/// Waits until a server has noticed that its Redis is away.
#[track_caller]
pub fn wait_for_away(server: &Server) {
    wait_until("the server is not ready", BOUND, || {
        server.get("/health/ready").status == 503
    });
}

/// The figure is the number of lines that tell of a return, but for the first connection.
#[track_caller]
pub fn counts_its_reconnects(server: &Server) {
    let kinds = ["redis_connected ", "redis_back ", "redis_reconnected "];
    // The lines come a little later.
    wait_until("the reconnects are those in the log", BOUND, || {
        let lines = kinds.map(|kind| {
            let log = server.log();
            log.matches(&format!("event={kind}")).count()
        });
        let reconnects = lines.iter().sum::<usize>() - 1;
        let metrics = server.get("/metrics").text();
        metrics.contains(&format!("sse_server_redis_reconnects_total {reconnects}\n"))
    });
}

pub struct Proxy {
    pub addr: SocketAddr,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    /// Swallows what is sent to Redis.
    swallows_requests: AtomicBool,
    /// Swallows what Redis answers.
    swallows_answers: AtomicBool,
    /// Bytes to Redis that were swallowed.
    swallowed: AtomicUsize,
    /// Bytes that Redis may still answer before the proxy waits, and passes nothing on.
    answers_left: Mutex<Option<usize>>,
    /// Where it leads, if that has changed.
    leads_to: Mutex<Option<SocketAddr>>,
    /// Closes new connections.
    is_closed: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let addr = listener.local_addr().expect("it has an address");
        let line = Arc::new(Line::default());
        let own = line.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if !own.is_closed.load(Ordering::SeqCst) {
                    let to = own.leads_to.lock().unwrap().unwrap_or(to);
                    own.connect(client, to);
                }
            }
        });
        Proxy { addr, line }
    }

    pub fn url(&self) -> String {
        url(self.addr)
    }

    /// From now on nothing passes in either direction; connections stay, and new ones are taken.
    pub fn fall_silent(&self) {
        self.swallow_requests();
        self.swallow_answers();
    }

    /// From now on nothing reaches Redis.
    pub fn swallow_requests(&self) {
        self.line.swallows_requests.store(true, Ordering::SeqCst);
    }

    /// From now on what Redis answers is lost.
    pub fn swallow_answers(&self) {
        self.line.swallows_answers.store(true, Ordering::SeqCst);
    }

    /// Bytes that should have reached Redis and did not.
    pub fn swallowed(&self) -> usize {
        self.line.swallowed.load(Ordering::SeqCst)
    }

    /// Redis's answers stop after this many more bytes, and those that follow are lost.
    pub fn stall_after(&self, bytes: usize) {
        *self.line.answers_left.lock().unwrap() = Some(bytes);
    }

    /// Whether the answers have stopped.
    pub fn has_stalled(&self) -> bool {
        *self.line.answers_left.lock().unwrap() == Some(0)
    }

    /// Closes all connections; new ones lead to another Redis.
    pub fn lead_to(&self, addr: SocketAddr) {
        *self.line.leads_to.lock().unwrap() = Some(addr);
        self.line.close_all();
    }

    /// Closes all connections, and accepts none.
    pub fn cut(&self) {
        self.line.is_closed.store(true, Ordering::SeqCst);
        self.line.close_all();
    }

    /// As at the start. Connections that were silent are closed.
    pub fn mend(&self) {
        // Nobody comes back before it is mended.
        self.cut();
        self.line.swallows_requests.store(false, Ordering::SeqCst);
        self.line.swallows_answers.store(false, Ordering::SeqCst);
        *self.line.answers_left.lock().unwrap() = None;
        self.line.is_closed.store(false, Ordering::SeqCst);
    }
}

impl Line {
    fn connect(self: &Arc<Line>, client: TcpStream, to: SocketAddr) {
        let Ok(server) = TcpStream::connect(to) else {
            return;
        };
        for (from, to, is_request) in [(&client, &server, true), (&server, &client, false)] {
            let pair = (from.try_clone(), to.try_clone(), from.try_clone());
            if let (Ok(from), Ok(to), Ok(kept)) = pair {
                self.connections.lock().unwrap().push(kept);
                let line = self.clone();
                std::thread::spawn(move || line.pass(from, to, is_request));
            }
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_request: bool) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let passed = self.let_pass(count, is_request);
            if to.write_all(&buffer[..passed]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }

    /// How many of these bytes pass.
    fn let_pass(&self, count: usize, is_request: bool) -> usize {
        if is_request {
            if self.swallows_requests.load(Ordering::SeqCst) {
                self.swallowed.fetch_add(count, Ordering::SeqCst);
                return 0;
            }
            return count;
        }
        if self.swallows_answers.load(Ordering::SeqCst) {
            return 0;
        }
        match &mut *self.answers_left.lock().unwrap() {
            Some(left) => {
                let passed = count.min(*left);
                *left -= passed;
                passed
            }
            None => count,
        }
    }

    fn close_all(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}
