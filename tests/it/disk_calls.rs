//! Single system calls of the disk's thread fail, in places that a small disk or a limit does not reach: what was answered
//! is there after a crash, and what was refused is not.

use crate::common;
use crate::disk_faults::{publish, retained};

use common::clock::Clock;
use common::{run, wait_until, Folder, Server, BOUND};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// All calls of one kind fail that the disk's thread makes with a file, as long as this is there.
struct Failing(Child);

impl Failing {
    /// Behind `error` there may be more for `inject`, as strace(1) has it: which of the calls fail, and a signal.
    fn new(server: &Server, call: &str, error: &str, path: &Path) -> Failing {
        let threads = server.named_threads();
        let disk = threads.iter().find(|(_, name)| name == "disk");
        let (id, _) = disk.expect("it has that thread");
        let mut strace = Command::new("strace")
            .args(["-p", &id.to_string(), "-P"])
            .arg(path)
            .args(["-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:error={error}")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace runs");
        let lines = strace.stderr.take().expect("it is a pipe");
        let mut lines = BufReader::new(lines).lines().map_while(Result::ok);
        // It says so when the thread is held.
        let is_attached = lines.any(|line| line.ends_with(" attached"));
        assert!(is_attached, "strace has the thread");
        // It must not end because nobody reads what it writes.
        std::thread::spawn(move || lines.for_each(drop));
        Failing(strace)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // SAFETY: one system call; the process is our child. It lets go of the thread in order.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

fn start(folder: &Folder, sync: &str) -> Server {
    let path = folder.0.to_str().expect("the path is UTF-8");
    Server::start(&[("DATA_DIR", path), ("SYNC", sync)])
}

fn wait_until_ready(server: &Server) {
    wait_until("it goes on by itself", 2 * BOUND, || {
        server.get("/health/ready").status == 200
    });
}

#[test]
fn needs_strace_a_new_file_that_has_the_name_already_is_not_left_for_the_old_one() {
    for (call, file) in [("fsync", "."), ("openat", "journal")] {
        let folder = Folder::new("calls-anew");
        let mut server = start(&folder, "always");
        assert_eq!(publish(&server, "1").status, 200);
        let path = folder.0.join(file);
        let failing = Failing::new(&server, call, "ENOSPC", &path);
        // It is far too large for one message now.
        let journal = File::options().write(true).open(folder.0.join("journal"));
        let longer = journal.and_then(|journal| journal.set_len(64 << 20));
        longer.expect("it can be longer");
        server.wait_for_log("event=disk_lost");
        assert_eq!(publish(&server, "refused").status, 503, "{call}");
        drop(failing);
        wait_until_ready(&server);
        assert_eq!(publish(&server, "2").status, 200);
        server.stop(libc::SIGKILL);
        let server = start(&folder, "always");
        assert_eq!(retained(&server, "a"), (vec!["1".into(), "2".into()], true));
    }
}

#[test]
fn needs_strace_a_message_that_was_refused_behind_the_journal_does_not_come_back() {
    for (sync, error) in [("always", "ENOSPC"), ("1s", "ENOSPC"), ("always", "EIO")] {
        for recovers in [true, false] {
            let folder = Folder::new("calls-refused");
            let mut server = start(&folder, sync);
            // The journal has it when this fails.
            let lock = folder.0.join("lock");
            let failing = Failing::new(&server, "pwrite64", error, &lock);
            assert_eq!(publish(&server, "refused").status, 503);
            if recovers {
                drop(failing);
                wait_until_ready(&server);
            }
            server.stop(libc::SIGKILL);
            let server = start(&folder, sync);
            let (texts, _) = retained(&server, "a");
            assert!(texts.is_empty(), "{sync}, {error}, {recovers}: {texts:?}");
        }
    }
}

#[test]
fn needs_strace_a_refused_message_that_could_not_be_cut_off_does_not_come_back() {
    for error in ["ENOSPC", "EIO"] {
        let folder = Folder::new("calls-not-cut");
        let mut server = start(&folder, "always");
        let journal = folder.0.join("journal");
        let failing = Failing::new(&server, "fdatasync,ftruncate", error, &journal);
        assert_eq!(publish(&server, "refused").status, 503);
        drop(failing);
        wait_until_ready(&server);
        server.stop(libc::SIGKILL);
        let server = start(&folder, "always");
        let (texts, _) = retained(&server, "a");
        assert!(texts.is_empty(), "{error}: {texts:?}");
    }
}

/// The disk is full, and has room again when this returns. Then a call with the store fails as `inject` says. Returns whether
/// the server has died of that.
fn goes_on_or_dies(server: &mut Server, folder: &Folder, inject: &str) -> bool {
    let failing = Failing::new(server, "pwrite64", "ENOSPC", &folder.0.join("lock"));
    assert_eq!(publish(server, "refused").status, 503);
    server.pause();
    drop(failing);
    let store = folder.0.join("history.redb");
    let _failing = Failing::new(server, "pwrite64", inject, &store);
    server.resume();
    wait_until("it goes on or dies", 2 * BOUND, || {
        server.log().contains("event=disk_back") || !server.is_running()
    });
    !server.is_running()
}

#[test]
fn needs_strace_a_server_that_looks_for_room_leaves_what_the_next_one_reads() {
    // Each write in turn is the last one before a kill, or finds that it is full again. Many at a time: most of it is waiting.
    const MORE_THAN_THERE_ARE: usize = 48;
    const AT_A_TIME: usize = 8;
    std::thread::scope(|scope| {
        for first in 1..=AT_A_TIME {
            scope.spawn(move || {
                for number in (first..=MORE_THAN_THERE_ARE).step_by(AT_A_TIME) {
                    let has_died = is_readable_after("EIO:signal=KILL", number);
                    assert!(!has_died || number < MORE_THAN_THERE_ARE);
                    is_readable_after("ENOSPC", number);
                }
            });
        }
    });
}

/// Whether a server has died of that, after which the next one has what was answered, and nothing else.
fn is_readable_after(error: &str, number: usize) -> bool {
    let inject = &format!("{error}:when={number}");
    let folder = Folder::new(&format!("calls-probe-{number}"));
    let mut server = start(&folder, "always");
    assert_eq!(publish(&server, "answered").status, 200);
    let has_died = goes_on_or_dies(&mut server, &folder, inject);
    if !has_died {
        server.terminate();
    }
    let log = server.log();
    assert!(!log.contains("cannot be read"), "{inject}: {log}");
    let path = folder.0.to_str().expect("the path is UTF-8");
    let check = run(&["--check-data", path], &[]);
    assert_eq!(check.status.code(), Some(0), "{inject}: {check:?}");
    let server = start(&folder, "always");
    let (texts, _) = retained(&server, "a");
    assert_eq!(texts, ["answered"], "{inject}");
    has_died
}

/// Publishes to a channel, and waits until it goes. Before the next message, what is left of it is taken out of the store.
fn let_a_channel_go(server: &Server) {
    server.publish("gone", "x");
    wait_until("the channel goes", BOUND, || {
        server.stat("active_channels") == 0
    });
}

#[test]
fn needs_strace_a_refused_message_is_not_there_after_a_restart_although_a_commit_came_through() {
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let folder = Folder::new("calls-came-through");
        let path = folder.0.to_str().expect("the path is UTF-8");
        let mut server = Server::start(&[("DATA_DIR", path), ("CHANNEL_TTL", "1")]);
        let_a_channel_go(&server);
        let store = folder.0.join("history.redb");
        let _failing = Failing::new(&server, "fdatasync", "EIO", &store);
        assert_eq!(publish(&server, "refused").status, 503);
        server.stop(signal);
        let server = start(&folder, "always");
        let (texts, _) = retained(&server, "a");
        assert!(texts.is_empty(), "{texts:?}");
    }
}

#[test]
fn needs_strace_needs_cc_what_is_answered_after_a_refusal_is_there_while_the_clock_is_behind() {
    let clock = Clock::new("calls-behind");
    for sync in ["always", "1s"] {
        let folder = Folder::new("calls-behind-data");
        let path = folder.0.to_str().expect("the path is UTF-8");
        let variables = [("DATA_DIR", path), ("SYNC", sync), ("CHANNEL_TTL", "1")];
        // Ids are ahead of the clock, so each is the one that comes after the last.
        clock.set_seconds_off(3600);
        let mut server = Server::start_with(&variables, |command| clock.give_to(command));
        server.publish("first", "x");
        clock.set_seconds_off(0);
        let_a_channel_go(&server);
        let lock = folder.0.join("lock");
        let failing = Failing::new(&server, "pwrite64", "ENOSPC", &lock);
        assert_eq!(publish(&server, "refused").status, 503);
        drop(failing);
        wait_until_ready(&server);
        assert_eq!(publish(&server, "answered").status, 200);
        server.stop(libc::SIGKILL);
        let server = start(&folder, sync);
        assert_eq!(retained(&server, "a").0, ["answered"], "SYNC={sync}");
    }
}
