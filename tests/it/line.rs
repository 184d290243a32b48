//! The private line between the door and tiny_http: when it breaks, its requests are told, and the next ones are served.
#![cfg(target_os = "linux")]

use crate::common;

use common::{wait_until, Server, BOUND, TOKEN};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The descriptor of the server's that has the line's other end: the one with a bound address and a peer.
fn line_of(server: &Server) -> Option<i32> {
    let sockets = std::fs::read_to_string(format!("/proc/{}/net/unix", server.pid())).ok()?;
    let inodes: Vec<String> = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| {
            words.len() == 8 && words[5] == "03" && words[7].starts_with("@sse-server-")
        })
        .map(|words| format!("socket:[{}]", words[6]))
        .collect();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).ok()?;
    let found = descriptors.flatten().find(|entry| {
        let target = std::fs::read_link(entry.path());
        target.is_ok_and(|target| {
            inodes
                .iter()
                .any(|inode| target.as_os_str() == inode.as_str())
        })
    })?;
    found.file_name().to_str()?.parse().ok()
}

/// Shuts the line down from its far end (`pidfd_getfd(2)`).
fn break_line(server: &Server) {
    let mut line = None;
    wait_until("the server has a line", BOUND, || {
        line = line_of(server);
        line.is_some()
    });
    let number = line.expect("it was found");
    // SAFETY: the calls take numbers alone; what they give is owned by nobody else.
    let copy = unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, server.pid(), 0);
        assert!(process >= 0, "{}", std::io::Error::last_os_error());
        let process = OwnedFd::from_raw_fd(process as i32);
        let copy = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        assert!(copy >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(copy as i32)
    };
    socket2::Socket::from(copy)
        .shutdown(std::net::Shutdown::Both)
        .expect("the line can be broken");
}

#[test]
fn a_line_that_breaks_costs_its_requests_a_503_and_the_next_ones_nothing() {
    let server = Server::start(&[]);
    let is_done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let token = format!("Bearer {TOKEN}");
                    let reply = server.request(
                        "POST",
                        "/publish/a",
                        &[("Authorization", token.as_str())],
                        b"x",
                    );
                    let status = reply.status;
                    assert!(status == 200 || status == 503, "a publish got {status}");
                    answered.fetch_add(usize::from(status == 200), Ordering::Relaxed);
                }
            });
        }
        for round in 1..=5 {
            break_line(&server);
            wait_until("the server notices", BOUND, || {
                server.log().matches("event=line_lost").count() >= round
            });
            let before = answered.load(Ordering::Relaxed);
            wait_until("publishing goes on", BOUND, || {
                answered.load(Ordering::Relaxed) > before + 10
            });
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.request("GET", "/health", &[], b"").status, 200);
}
