//! A disk that is full, that fails, or that has foreign files: one clear line, no answer for what is not stored,
//! nothing thrown away, and it recovers by itself.

use crate::common;

use common::{run, value, wait_until, Folder, Publisher, Server, BOUND, TOKEN};
use std::os::unix::process::CommandExt;

fn path(folder: &Folder) -> &str {
    folder.0.to_str().expect("the path is UTF-8")
}

/// All texts retained in a channel, and whether a client with an old id is told of a gap.
fn retained(server: &Server, channel: &str) -> (Vec<String>, bool) {
    let target = format!("/sse/{channel}");
    let mut stream = server.subscribe_with(&target, &[("Last-Event-ID", "1-0")]);
    let mark = server.publish(channel, "mark");
    let (mut texts, mut has_gap) = (Vec::new(), false);
    loop {
        let event = stream.next();
        if event.id.as_ref() == Some(&mark) {
            return (texts, has_gap);
        }
        if event.kind == "sse-gap" {
            has_gap = true;
        } else {
            texts.push(event.data);
        }
    }
}

fn limit_files(pid: u32, bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the struct is valid for the call; the process is our child.
    let done =
        unsafe { libc::prlimit(pid as i32, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "the limit can be set");
}

fn publish(server: &Server, text: &str) -> common::Reply {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    server.request("POST", "/publish/a", &headers, text.as_bytes())
}

#[test]
fn while_the_disk_is_full_publishing_is_503_and_streams_stay_and_then_it_goes_on() {
    for sync in ["always", "1s"] {
        let folder = Folder::new(&format!("disk-full-{sync}"));
        let variables = [
            ("DATA_DIR", path(&folder)),
            ("SYNC", sync),
            ("HISTORY_EVENTS", "100000"),
        ];
        let mut server = Server::start(&variables);
        let mut stream = server.subscribe("a");
        let mut stored = Vec::new();
        limit_files(server.pid(), 3 << 20);
        let large = "x".repeat(60_000);
        let refused = loop {
            let text = format!("{} {large}", stored.len());
            let reply = publish(&server, &text);
            if reply.status != 200 {
                break reply;
            }
            stored.push(text);
            assert!(stored.len() < 1000, "the limit has no effect");
        };
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.header("Retry-After").is_some());
        assert!(
            refused.text().contains("disk refused the message"),
            "{}",
            refused.text()
        );
        assert_eq!(server.get("/health/ready").status, 503);
        assert_eq!(server.get("/health").status, 200);
        assert_eq!(server.get("/stats").json()["disk"]["state"], "failing");
        server.wait_for_log("event=disk_lost hint=\"make room;");
        let refused_late = publish(&server, "x");
        assert_eq!(refused_late.status, 503, "{}", refused_late.text());

        limit_files(server.pid(), libc::RLIM_INFINITY);
        wait_until("it goes on by itself", 2 * BOUND, || {
            server.get("/health/ready").status == 200
        });
        server.wait_for_log("event=disk_back");
        let reply = publish(&server, "after");
        assert_eq!(reply.status, 200, "{}", reply.text());
        stored.push("after".into());
        for text in &stored {
            assert_eq!(
                stream.next().data,
                *text,
                "the stream has all that was answered"
            );
        }
        server.stop(libc::SIGKILL);
        let server = Server::start(&variables);
        assert!(
            retained(&server, "a").0 == stored,
            "what was answered, and nothing else"
        );
    }
}

#[test]
fn a_server_starts_on_a_full_disk_and_goes_on_when_there_is_room() {
    let folder = Folder::new("disk-full-start");
    let server = Server::start_with(&[("DATA_DIR", path(&folder))], |command| {
        let limit = libc::rlimit {
            rlim_cur: 1 << 16,
            rlim_max: libc::RLIM_INFINITY,
        };
        let set = move || {
            // SAFETY: the struct is valid for the call.
            let done = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) };
            (done == 0)
                .then_some(())
                .ok_or_else(std::io::Error::last_os_error)
        };
        // SAFETY: one system call, which may be made between fork and exec.
        unsafe { command.pre_exec(set) };
    });
    assert_eq!(server.get("/health/ready").status, 503);
    assert_eq!(publish(&server, "x").status, 503);
    limit_files(server.pid(), libc::RLIM_INFINITY);
    wait_until("it goes on by itself", 2 * BOUND, || {
        server.get("/health/ready").status == 200
    });
    assert_eq!(publish(&server, "x").status, 200);
}

#[test]
fn two_servers_do_not_share_a_folder() {
    let folder = Folder::new("disk-two");
    let server = Server::start(&[("DATA_DIR", path(&folder))]);
    let output = run(
        &[],
        &[("DATA_DIR", path(&folder)), ("LISTEN", "127.0.0.1:0")],
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("another sse-server has it"), "{text}");
    assert_eq!(publish(&server, "x").status, 200);
}

#[test]
fn a_foreign_file_is_set_aside_and_its_new_name_is_logged() {
    for content in [&b"something else"[..], &[0; 100_000], b""] {
        let folder = Folder::new("disk-foreign");
        std::fs::write(folder.0.join("history.redb"), content).expect("it can be written");
        let server = Server::start(&[("DATA_DIR", path(&folder))]);
        let line = server.wait_for_log("event=disk_damaged");
        let name = value(&line, "set_aside").trim_matches('"');
        let aside = std::fs::read(folder.0.join(name)).expect("it is where the log says");
        assert!(aside == content, "it is as it was");
        assert_eq!(retained(&server, "a"), (vec![], true));
    }
}

#[test]
fn what_was_damaged_is_never_served_and_never_thrown_away() {
    let folder = Folder::new("disk-damaged");
    let file = folder.0.join("history.redb");
    let mut server = Server::start(&[("DATA_DIR", path(&folder)), ("HISTORY_EVENTS", "1000")]);
    let mut publisher = Publisher::new(&server);
    let texts: Vec<_> = (0..300)
        .map(|n| format!("message {n} {}", "x".repeat(300)))
        .collect();
    texts
        .iter()
        .for_each(|text| drop(publisher.publish("a", text)));
    server.terminate();
    let good = std::fs::read(&file).expect("it is there");
    // Where the bytes of messages are, and all over the file.
    let places = good
        .windows(8)
        .enumerate()
        .filter(|(_, bytes)| bytes == b"message ");
    let mut places: Vec<_> = places.map(|(place, _)| place).step_by(40).collect();
    places.extend((0..good.len()).step_by(good.len() / 12));
    for place in places {
        let folder = Folder::new("disk-damaged-copy");
        let mut bytes = good.clone();
        bytes[place] ^= 0x40;
        std::fs::write(folder.0.join("history.redb"), &bytes).expect("it can be written");
        let server = Server::start(&[("DATA_DIR", path(&folder)), ("HISTORY_EVENTS", "1000")]);
        let is_aside = server.log().contains("event=disk_damaged");
        let (found, has_gap) = retained(&server, "a");
        if is_aside {
            let line = server.wait_for_log("event=disk_damaged");
            let name = value(&line, "set_aside").trim_matches('"');
            let aside = std::fs::read(folder.0.join(name)).expect("it is where the log says");
            assert!(aside == bytes, "it is as it was");
            assert!(found.is_empty() && has_gap, "byte {place}");
        } else {
            assert!(
                found == texts,
                "byte {place}: it was not set aside, and is not whole"
            );
        }
        std::fs::remove_dir_all(&folder.0).expect("it can be removed");
    }
}

#[test]
fn a_removed_file_is_written_again() {
    let folder = Folder::new("disk-removed");
    let mut server = Server::start(&[("DATA_DIR", path(&folder))]);
    assert_eq!(publish(&server, "1").status, 200);
    std::fs::remove_file(folder.0.join("history.redb")).expect("it can be removed");
    wait_until("the file is there again", 2 * BOUND, || {
        folder.0.join("history.redb").exists() && server.get("/health/ready").status == 200
    });
    assert_eq!(publish(&server, "2").status, 200);
    server.stop(libc::SIGKILL);
    let server = Server::start(&[("DATA_DIR", path(&folder))]);
    assert_eq!(retained(&server, "a").0, ["1", "2"]);
}

#[test]
fn a_folder_that_is_missing_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("disk-missing");
    let data = folder.0.join("some/where");
    let data = data.to_str().expect("the path is UTF-8");
    let server = Server::start(&[("DATA_DIR", data)]);
    assert_eq!(publish(&server, "x").status, 200);
    let mode = std::fs::metadata(data)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_truncated_journal_gives_its_complete_records() {
    let folder = Folder::new("disk-journal");
    let variables = [("DATA_DIR", path(&folder)), ("SYNC", "60s")];
    let mut server = Server::start(&variables);
    for number in 0..20 {
        assert_eq!(publish(&server, &number.to_string()).status, 200);
    }
    server.stop(libc::SIGKILL);
    let journal = folder.0.join("journal");
    let mut bytes = std::fs::read(&journal).expect("it is there");
    assert!(bytes.len() > 1000, "there is something in it");
    bytes.truncate(bytes.len() - 5);
    std::fs::write(&journal, bytes).expect("it can be written");
    let server = Server::start(&variables);
    let found = retained(&server, "a").0;
    let all: Vec<_> = (0..19).map(|number| number.to_string()).collect();
    assert_eq!(found, all);
}
