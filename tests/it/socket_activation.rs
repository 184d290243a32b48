//! Under a service manager: it holds the listening socket while servers come and go, so that a restart refuses nobody,
//! and is told about them.

use crate::common;

use common::{bare_command, http, wait_until, Server, BOUND, TOKEN};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A listener as systemd makes it.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener
        .set_nonblocking(true)
        .expect("a socket can be non-blocking");
    let addr = listener.local_addr().expect("it is bound");
    (listener, addr)
}

fn copy(listener: &TcpListener) -> TcpListener {
    listener.try_clone().expect("a descriptor is left")
}

#[test]
fn a_socket_that_was_handed_over_serves_like_our_own() {
    let (listener, addr) = listener();
    let server = Server::start_on(copy(&listener), &[]);
    assert_eq!(server.addr, addr, "the log names the socket's address");
    let mut stream = server.subscribe("a");
    server.publish("a", "hello");
    assert_eq!(stream.next().data, "hello");
    // The options that connections inherit (src/server/listener.rs) and the backlog are set on it as well.
    assert_eq!(option(&listener, libc::IPPROTO_TCP, libc::TCP_NODELAY), 1);
    assert_eq!(option(&listener, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    assert_eq!(
        option(&listener, libc::SOL_SOCKET, libc::SO_SNDBUF),
        2 * (256 << 10)
    );
}

fn option(listener: &TcpListener, level: i32, name: i32) -> i32 {
    let mut value = 0i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: pointer and length describe the local.
    let told = unsafe {
        libc::getsockopt(
            listener.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &mut length,
        )
    };
    assert_eq!(told, 0, "the option can be read");
    value
}

/// Publishes over one new connection after another while `restart` goes on; every one has to be answered with 200.
fn publish_during(addr: SocketAddr, restart: impl FnOnce(&AtomicUsize)) {
    let answered = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publish = || {
            while !is_over.load(Ordering::SeqCst) {
                let token = format!("Bearer {TOKEN}");
                let headers = [("Authorization", token.as_str()), ("Connection", "close")];
                let reply = http::request(addr, "POST", "/publish/a", &headers, b"x");
                assert_eq!(reply.status, 200, "during a restart: {}", reply.text());
                answered.fetch_add(1, Ordering::SeqCst);
            }
        };
        let publishers = [scope.spawn(publish), scope.spawn(publish)];
        restart(&answered);
        is_over.store(true, Ordering::SeqCst);
        for publisher in publishers {
            publisher.join().expect("no publisher was refused");
        }
    });
}

fn wait_for_more(answered: &AtomicUsize) {
    let before = answered.load(Ordering::SeqCst);
    wait_until("messages are published", BOUND, || {
        answered.load(Ordering::SeqCst) > before + 20
    });
}

#[test]
fn a_restart_refuses_no_connection() {
    let (listener, addr) = listener();
    let mut server = Server::start_on(copy(&listener), &[]);
    publish_during(addr, |answered| {
        for _ in 0..5 {
            wait_for_more(answered);
            let mut stream = server.subscribe("a");
            let (status, took) = server.terminate();
            assert!(status.success(), "the exit code is {status}");
            assert!(took < Duration::from_secs(5), "the stop took {took:?}");
            stream.ending();
            server = Server::start_on(copy(&listener), &[]);
        }
        wait_for_more(answered);
    });
}

#[test]
fn a_successor_that_is_there_already_takes_over() {
    let (listener, addr) = listener();
    let mut server = Server::start_on(copy(&listener), &[]);
    publish_during(addr, |answered| {
        for _ in 0..5 {
            wait_for_more(answered);
            let successor = Server::start_on(copy(&listener), &[]);
            wait_for_more(answered);
            let (status, _) = server.terminate();
            assert!(status.success(), "the exit code is {status}");
            server = successor;
        }
        wait_for_more(answered);
    });
}

#[test]
fn a_quiet_server_hands_its_socket_over_at_once() {
    let (listener, _) = listener();
    let mut server = Server::start_on(copy(&listener), &[]);
    server.subscribe("a");
    let (status, took) = server.terminate();
    // Less than what a stop may take.
    assert!(
        status.success() && took < Duration::from_secs(5),
        "{status} after {took:?}"
    );
    let log = server.log();
    assert!(
        !log.contains(" ERROR ") && !log.contains(" WARN "),
        "a stop is no trouble:\n{log}"
    );
}

/// A socket in the file system, removed afterwards.
struct SocketPath(std::path::PathBuf);

impl SocketPath {
    fn new(name: &str) -> SocketPath {
        let name = format!("sse-server-{}-{name}", std::process::id());
        SocketPath(std::env::temp_dir().join(name))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn health_over(path: &SocketPath) -> String {
    let mut connection = UnixStream::connect(&path.0).expect("somebody listens");
    connection
        .set_read_timeout(Some(BOUND))
        .expect("a timeout can be set");
    connection
        .write_all(b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .expect("the request is sent");
    let mut answer = String::new();
    connection
        .read_to_string(&mut answer)
        .expect("the answer ends");
    answer
}

#[test]
fn a_unix_socket_that_was_handed_over_stays_where_it_is() {
    let path = SocketPath::new("passed");
    let listener = UnixListener::bind(&path.0).expect("a socket can be made");
    for _ in 0..2 {
        let copy = listener.try_clone().expect("a descriptor is left");
        let mut server = Server::start_on(copy, &[]);
        server.wait_for_log(&format!("address=unix:{}", path.0.display()));
        assert!(health_over(&path).starts_with("HTTP/1.1 200 "));
        let (status, _) = server.terminate();
        assert!(status.success(), "the exit code is {status}");
        // Nobody accepts it now; the next server does.
        assert!(UnixStream::connect(&path.0).is_ok(), "the socket is gone");
    }
}

/// Starts the binary with this as descriptor 3 where it is expected to give up.
fn fails_on(descriptor: impl Into<OwnedFd>, count: &str) -> Output {
    Command::new("/bin/sh")
        .env_clear()
        .arg("-c")
        .arg("LISTEN_PID=$$ exec \"$0\" 3<&0 0</dev/null")
        .arg(bare_command().get_program())
        .env("LISTEN_FDS", count)
        .env("AUTH_TOKEN", TOKEN)
        .stdin(descriptor.into())
        .output()
        .expect("the binary runs")
}

#[track_caller]
fn assert_one_line(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn an_unusable_socket_is_refused_in_one_line() {
    let two = fails_on(listener().0, "2");
    assert_one_line(&two, &["LISTEN_FDS", "\"2\"", "exactly 1"]);
    let garbage = fails_on(listener().0, "one");
    assert_one_line(&garbage, &["LISTEN_FDS", "\"one\"", "exactly 1"]);
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let output = fails_on(datagrams, "1");
    assert_one_line(&output, &["descriptor 3", "stream socket", "ListenStream="]);
    let file = std::fs::File::open("/dev/null").expect("it is there");
    assert_one_line(&fails_on(file, "1"), &["descriptor 3"]);
}

#[test]
fn a_socket_that_is_meant_for_somebody_else_is_left_alone() {
    let server = Server::start(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "1")]);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn needs_systemd_socket_activate_the_first_connection_starts_the_server() {
    let (probe, addr) = listener();
    drop(probe);
    let mut activator = Command::new("systemd-socket-activate")
        .arg(format!("--listen={addr}"))
        .arg(format!("--setenv=AUTH_TOKEN={TOKEN}"))
        .arg(bare_command().get_program())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-socket-activate runs");
    wait_until("somebody listens", BOUND, || {
        std::net::TcpStream::connect(addr).is_ok()
    });
    let token = format!("Bearer {TOKEN}");
    let headers = [("Authorization", token.as_str())];
    let reply = http::request(addr, "POST", "/publish/a", &headers, b"hello");
    // SAFETY: a signal to a child that was not waited for yet; it has become the server.
    unsafe { libc::kill(activator.id() as i32, libc::SIGTERM) };
    let status = activator.wait().expect("the child can be waited for");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(status.success(), "the server's exit code is {status}");
}

fn next_news(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = manager.recv(&mut buffer).expect("news arrive in time");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn the_service_manager_is_told_about_the_server() {
    let path = SocketPath::new("notify");
    let manager = UnixDatagram::bind(&path.0).expect("a socket can be made");
    manager
        .set_read_timeout(Some(BOUND))
        .expect("a timeout can be set");
    let name = path.0.to_string_lossy();
    let mut server = Server::start(&[("NOTIFY_SOCKET", &name), ("WATCHDOG_USEC", "1000000")]);
    assert_eq!(next_news(&manager), "READY=1");
    assert_eq!(server.get("/health/ready").status, 200);
    assert_eq!(next_news(&manager), "WATCHDOG=1");
    assert_eq!(next_news(&manager), "WATCHDOG=1");
    assert!(server.terminate().0.success());
    wait_until("the stop is announced", BOUND, || {
        next_news(&manager) == "STOPPING=1"
    });
}

#[test]
fn the_service_manager_may_have_an_abstract_address() {
    let name = format!("sse-server-{}-abstract", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a good name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket can be made");
    manager
        .set_read_timeout(Some(BOUND))
        .expect("a timeout can be set");
    let _server = Server::start(&[("NOTIFY_SOCKET", &format!("@{name}"))]);
    assert_eq!(next_news(&manager), "READY=1");
}

#[test]
fn a_service_manager_that_is_gone_costs_nothing_but_a_line() {
    let server = Server::start(&[("NOTIFY_SOCKET", "/nonexistent/notify")]);
    server.wait_for_log("event=no_notify");
    assert_eq!(server.get("/health").status, 200);
}
