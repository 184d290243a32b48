//! Starts that come to nothing: one line, and an exit code that is right even if nobody reads the line.

use crate::common;

use common::{bare_command, binary_after, run, Folder, Server, BOUND};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};

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

/// Whether somebody answers: the system alone accepts connections to a socket as soon as it listens.
fn answers(mut connection: UnixStream) -> bool {
    let asked = connection.write_all(b"GET /health HTTP/1.0\r\n\r\n");
    asked.is_ok() && connection.read(&mut [0; 64]).is_ok_and(|count| count > 0)
}

/// Starts it after a shell's words, and ends it if it serves. Returns what it has written, if it ended by itself.
fn start_after(words: &str, variables: &[(&str, &str)]) -> Option<Output> {
    // Tests that run at the same time have each their own.
    let folder = Folder::new(&words.replace(' ', "-"));
    let listen = format!("unix:{}/socket", folder.0.display());
    let mut command: Command = binary_after(&[], words);
    command
        .env("LISTEN", listen)
        .envs(variables.iter().copied());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a shell runs");
    let mut is_up = false;
    common::wait_until("it serves or ends", BOUND, || {
        is_up = UnixStream::connect(folder.0.join("socket")).is_ok_and(answers);
        is_up || child.try_wait().is_ok_and(|status| status.is_some())
    });
    if is_up {
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("it has ended");
    (!is_up).then_some(output)
}

#[test]
fn too_few_descriptors_are_one_line() {
    let folder = Folder::new("starts-descriptors");
    let data_dir = folder.0.to_str().expect("the path is UTF-8");
    for variables in [&[][..], &[("DATA_DIR", data_dir)]] {
        let mut refused = 0;
        // With less the system cannot load it.
        for most in 8..32 {
            let Some(output) = start_after(&format!("ulimit -n {most}"), variables) else {
                continue;
            };
            refused += 1;
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{most}: {text}");
            assert!(text.contains("Too many open files"), "{most}: {text}");
            let own = text.lines().filter(|line| line.starts_with("sse-server: "));
            assert_eq!(own.count(), 1, "{most}: {text}");
            assert!(!text.contains("panic"), "{most}: {text}");
        }
        assert!(refused > 0, "it starts with 8 descriptors");
    }
}

#[test]
fn too_little_memory_for_threads_is_one_line() {
    let mut refused = 0;
    for kibibytes in (10_000..40_000).step_by(1_000) {
        let Some(output) = start_after(&format!("ulimit -v {kibibytes}"), &[]) else {
            continue;
        };
        let text = String::from_utf8_lossy(&output.stderr);
        let what = format!("{kibibytes}: {text}");
        assert!(!text.contains("failed to spawn thread"), "{what}");
        // With less the system cannot load it.
        if text.contains("sse-server: cannot") {
            refused += 1;
            assert_eq!(output.status.code(), Some(1), "{what}");
        }
    }
    assert!(refused > 0, "it starts with hardly any memory");
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
