//! Starts that come to nothing: one line, and an exit code that is right even if nobody reads the line.

use crate::common;

use common::{bare_command, run, Folder, Server};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

/// Runs it with a standard error that takes nothing, and returns the exit code.
fn code_unheard(arguments: &[&str], variables: &[(&str, &str)]) -> Option<i32> {
    let (reader, stderr) = UnixStream::pair().expect("there are sockets");
    drop(reader);
    let mut command = bare_command();
    command.args(arguments).envs(variables.iter().copied());
    let command = command.stdout(Stdio::null()).stderr(OwnedFd::from(stderr));
    command.status().expect("the binary runs").code()
}

#[test]
fn the_exit_code_does_not_need_a_reader() {
    let folder = Folder::new("starts-nothing");
    let nothing = folder.0.to_str().expect("the path is UTF-8");
    for (arguments, variables, code) in [
        (&[][..], ("HEARTBEAT", "0"), 2),
        (&[], ("LISTEN", "192.0.2.1:1"), 1),
        (&["--nonsense"], ("HEARTBEAT", "1"), 2),
        (&["token"], ("HEARTBEAT", "1"), 2),
        (&["--check"], ("HEARTBEAT", "0"), 2),
        (&["--check-data", nothing], ("HEARTBEAT", "1"), 1),
        (&["--healthcheck"], ("LISTEN", "unix:/no/such/socket"), 1),
    ] {
        let found = code_unheard(arguments, &[variables]);
        assert_eq!(found, Some(code), "{arguments:?} with {variables:?}");
    }
}

#[test]
fn a_server_removes_its_own_socket_and_no_other() {
    let folder = Folder::new("starts-successor");
    let path = folder.0.join("socket");
    let listen = format!("unix:{}", path.display());
    let mut first = Server::start(&[("LISTEN", &listen)]);
    std::fs::remove_file(&path).expect("it can be removed");
    let mut second = Server::start(&[("LISTEN", &listen)]);
    assert!(first.terminate().0.success());
    assert_eq!(second.get("/health").status, 200, "it is still reached");
    assert!(second.terminate().0.success());
    assert!(!path.exists(), "the last one removes it");
}

#[test]
fn a_socket_that_cannot_be_made_says_what_would_be_right() {
    let folder = Folder::new("starts-socket");
    let file = folder.write("file", "precious");
    let live = folder.0.join("live");
    let _listener = UnixListener::bind(&live).expect("a socket can be made");
    for (path, hint) in [
        (file.as_path(), "is no socket: move it away"),
        (folder.0.as_path(), "is no socket: move it away"),
        (&live, "stop what listens there"),
        (&folder.0.join("missing/socket"), "make its folder"),
        (&folder.0.join("file/socket"), "make its folder"),
    ] {
        let listen = format!("unix:{}", path.display());
        let output = run(&[], &[("LISTEN", &listen)]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&listen) && text.contains(hint), "{text}");
    }
    let long = format!("unix:/{}", "x".repeat(103));
    let output = run(&[], &[("LISTEN", &long)]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("103 bytes"), "{text}");
}
