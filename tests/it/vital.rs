//! Without the door nobody is served: when its thread cannot go on, the process ends, so that it can be restarted.
#![cfg(target_os = "linux")]

use crate::common;

use common::{wait_until, Server, BOUND};
use std::process::{Command, Stdio};

/// The id of the server's thread with this name.
fn thread(server: &Server, name: &str) -> String {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    let found = threads.flatten().find(|entry| {
        let comm = std::fs::read_to_string(entry.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    });
    let entry = found.unwrap_or_else(|| panic!("there is no thread {name}"));
    entry.file_name().to_string_lossy().into_owned()
}

#[test]
fn needs_strace_a_door_that_cannot_wait_for_sockets_ends_the_process_with_one_line() {
    let mut server = Server::start(&[]);
    let _stream = server.subscribe("a");
    // Its next wait fails, as on a system that is out of order.
    let mut strace = Command::new("strace")
        .args(["-q", "-p", &thread(&server, "door")])
        .args(["-e", "trace=epoll_wait,epoll_pwait"])
        .args(["-e", "inject=epoll_wait,epoll_pwait:error=EBADF"])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace runs");
    let mut status = None;
    wait_until("the process ends", BOUND, || {
        // A connection wakes the door, should it sleep.
        if let common::Address::Tcp(address) = server.address {
            let _ = std::net::TcpStream::connect(address);
        }
        status = server.status();
        status.is_some()
    });
    let _ = strace.kill();
    let _ = strace.wait();
    let status = status.expect("just set");
    assert!(!status.success(), "the exit status says so: {status}");
    let line = server.wait_for_log("event=panic thread=door");
    assert!(line.contains("cannot wait for sockets"), "{line}");
    assert_eq!(
        server.count_in_log("panic"),
        1,
        "one line: {}",
        server.log()
    );
}
