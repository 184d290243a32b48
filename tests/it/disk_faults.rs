//! A disk that is full, that fails, or that has foreign files: one clear line, no answer for what is not stored,
//! nothing thrown away, and it recovers by itself.

use crate::common;

use common::{run, value, wait_until, Folder, Publisher, Server, BOUND, TOKEN};
use std::os::unix::process::CommandExt;

fn path(folder: &Folder) -> &str {
    folder.0.to_str().expect("the path is UTF-8")
}

/// All texts retained in a channel, and whether a client with an old id is told of a gap.
pub(super) fn retained(server: &Server, channel: &str) -> (Vec<String>, bool) {
    retained_after(server, channel, "1-0")
}

/// All texts that who comes with this id gets in a channel, and whether a gap is told.
fn retained_after(server: &Server, channel: &str, last: &str) -> (Vec<String>, bool) {
    let target = format!("/sse/{channel}");
    let mut stream = server.subscribe_with(&target, &[("Last-Event-ID", last)]);
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

pub(super) fn publish(server: &Server, text: &str) -> common::Reply {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    server.request("POST", "/publish/a", &headers, text.as_bytes())
}

/// Publishes large messages until one is refused, and returns the refusal. Those that were taken are added to `stored`.
#[track_caller]
pub(super) fn publish_until_refused(server: &Server, stored: &mut Vec<String>) -> common::Reply {
    let large = "x".repeat(60_000);
    loop {
        let text = format!("{} {large}", stored.len());
        let reply = publish(server, &text);
        if reply.status != 200 {
            return reply;
        }
        stored.push(text);
        assert!(stored.len() < 1000, "the disk is not full");
    }
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
        let refused = publish_until_refused(&server, &mut stored);
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
        server.wait_for_log("event=disk_lost hint=\"free some space;");
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

/// A server none of whose files may become larger than this.
fn start_with_little_room(folder: &Folder, bytes: u64) -> Server {
    Server::start_with(&[("DATA_DIR", path(folder))], |command| {
        let limit = libc::rlimit {
            rlim_cur: bytes,
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
    })
}

#[test]
fn a_server_starts_on_a_full_disk_and_goes_on_when_there_is_room() {
    let folder = Folder::new("disk-full-start");
    let server = start_with_little_room(&folder, 1 << 16);
    assert_eq!(server.get("/health/ready").status, 503);
    assert_eq!(publish(&server, "x").status, 503);
    limit_files(server.pid(), libc::RLIM_INFINITY);
    wait_until("it goes on by itself", 2 * BOUND, || {
        server.get("/health/ready").status == 200
    });
    assert_eq!(publish(&server, "x").status, 200);
}

#[test]
fn a_damaged_history_is_served_on_a_full_disk_and_set_aside_when_there_is_room() {
    let folder = Folder::new("disk-full-damaged");
    let mut server = Server::start(&[("DATA_DIR", path(&folder))]);
    let large = "x".repeat(60_000);
    let mut texts: Vec<_> = (0..30).map(|n| format!("{n} {large}")).collect();
    for text in &texts {
        assert_eq!(publish(&server, text).status, 200);
    }
    server.stop(libc::SIGKILL);
    // Nobody knows up to which id publishers were answered.
    std::fs::remove_file(folder.0.join("lock")).expect("it can be removed");
    let content = |name| std::fs::read(folder.0.join(name)).expect("it is there");
    let damaged = content("history.redb");
    for _ in 0..2 {
        let mut server = start_with_little_room(&folder, 1 << 20);
        server.wait_for_log("event=disk_damaged");
        server.wait_for_log("event=disk_lost hint=\"free some space;");
        assert_eq!(server.get("/health/ready").status, 503);
        assert_eq!(publish(&server, "refused").status, 503);
        let served = server.get("/messages/a?since=0&format=text").text();
        assert!(served.lines().eq(&texts), "what can be read is served");
        server.terminate();
        let files = std::fs::read_dir(&folder.0).expect("it is there");
        let files = files.map(|file| file.expect("it can be read").file_name());
        let mut files: Vec<_> = files.collect();
        files.sort();
        assert_eq!(files, ["history.redb", "journal", "lock"]);
        assert!(content("history.redb") == damaged, "it is as it was");
    }
    let mut server = start_with_little_room(&folder, 1 << 20);
    let line = server.wait_for_log("event=disk_damaged");
    limit_files(server.pid(), libc::RLIM_INFINITY);
    wait_until("it goes on by itself", 2 * BOUND, || {
        server.get("/health/ready").status == 200
    });
    let name = value(&line, "set_aside").trim_matches('"');
    assert!(content(name) == damaged, "it is where the log says");
    assert_eq!(publish(&server, "after").status, 200);
    texts.push("after".into());
    server.stop(libc::SIGKILL);
    let server = Server::start(&[("DATA_DIR", path(&folder))]);
    assert!(!server.log().contains("event=disk_damaged"));
    let (found, has_gap) = retained(&server, "a");
    assert!(
        has_gap && found == texts,
        "all that could be read, and a gap"
    );
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

/// What a client has missed.
struct Missed {
    last: String,
    texts: Vec<String>,
}

/// A message and so many behind it were published one by one, and the server ended with this signal.
fn published(folder: &Folder, sync: &str, count: usize, signal: i32) -> Missed {
    let variables = [
        ("DATA_DIR", path(folder)),
        ("SYNC", sync),
        ("HISTORY_EVENTS", "1000"),
    ];
    let mut server = Server::start(&variables);
    let mut publisher = Publisher::new(&server);
    let texts = (0..count).map(|n| format!("message {n} {}", "x".repeat(300)));
    let texts: Vec<_> = texts.collect();
    let last = publisher.publish("a", "first");
    for text in &texts {
        publisher.publish("a", text);
    }
    let newest = texts.last().expect("there are some").as_bytes();
    let is_stored = || {
        let store = std::fs::read(folder.0.join("history.redb")).expect("it is there");
        store.windows(newest.len()).any(|bytes| bytes == newest)
    };
    if sync == "always" {
        wait_until("all is in the store", BOUND, is_stored);
    }
    server.stop(signal);
    Missed { last, texts }
}

/// A start with a file of a folder as it is now tells what it lacks, and where the damaged file is. Returns whether it lacks
/// anything.
fn tells_what_is_missing(file: &str, bytes: &[u8], folder: &Folder, missed: &Missed) -> bool {
    // Tests that run at the same time have each their own.
    let name = folder.0.file_name().and_then(|name| name.to_str());
    let copy = Folder::new(&format!("copy-of-{}", name.expect("a name")));
    for name in ["history.redb", "journal", "lock"] {
        let _ = std::fs::copy(folder.0.join(name), copy.0.join(name));
    }
    std::fs::write(copy.0.join(file), bytes).expect("it can be written");
    let check = run(&["--check-data", path(&copy)], &[]);
    let variables = [("DATA_DIR", path(&copy)), ("HISTORY_EVENTS", "1000")];
    let server = Server::start(&variables);
    let is_told = server.log().contains("event=disk_damaged");
    assert_eq!(check.status.code(), Some(i32::from(is_told)), "{check:?}");
    let (mut found, has_gap) = retained_after(&server, "a", &missed.last);
    assert_eq!(has_gap, is_told, "a gap is told where the log tells it");
    if !is_told {
        assert!(
            found == missed.texts,
            "nothing is told, and it is not whole"
        );
        return false;
    }
    // Who is told of a gap gets all that there is.
    found.retain(|text| text != "first");
    assert!(
        missed.texts.starts_with(&found),
        "it is as it was published"
    );
    let line = server.wait_for_log("event=disk_damaged");
    let of = value(&line, "file").trim_matches('"').to_string();
    let name = value(&line, "set_aside").trim_matches('"');
    let aside = std::fs::read(copy.0.join(name)).expect("it is where the log says");
    assert!(of != file || aside == bytes, "it is as it was");
    true
}

#[test]
fn what_was_damaged_is_never_served_and_never_thrown_away() {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let folder = Folder::new("disk-damaged");
        let missed = published(&folder, "always", 300, signal);
        let good = std::fs::read(folder.0.join("history.redb")).expect("it is there");
        assert!(!tells_what_is_missing(
            "history.redb",
            &good,
            &folder,
            &missed
        ));
        // Where the bytes of messages are, and all over the file.
        let places = good
            .windows(8)
            .enumerate()
            .filter(|(_, bytes)| bytes == b"message ");
        let mut places: Vec<_> = places.map(|(place, _)| place).step_by(40).collect();
        places.extend((0..good.len()).step_by(good.len() / 12));
        for place in places {
            let mut bytes = good.clone();
            bytes[place] ^= 0x40;
            tells_what_is_missing("history.redb", &bytes, &folder, &missed);
        }
    }
}

/// Bytes that redb's header is made of: its own format stands at 64 and at 192.
#[test]
fn every_bit_of_the_header_and_every_length_is_told_in_one_line() {
    let folder = Folder::new("disk-header");
    let missed = published(&folder, "always", 20, libc::SIGTERM);
    let good = std::fs::read(folder.0.join("history.redb")).expect("it is there");
    let flipped = [0, 9, 12, 64, 192].into_iter().flat_map(|place| {
        let good = &good;
        (0..8).map(move |bit| {
            let mut bytes = good.clone();
            bytes[place] ^= 1 << bit;
            bytes
        })
    });
    let cut = [1, 300, 4096, good.len() / 2, good.len() - 1];
    let cut = cut.into_iter().map(|length| good[..length].to_vec());
    let longer = [&good[..], b"more"].concat();
    for bytes in flipped.chain(cut).chain([longer]) {
        let copy = Folder::new("disk-header-copy");
        for name in ["journal", "lock"] {
            let _ = std::fs::copy(folder.0.join(name), copy.0.join(name));
        }
        std::fs::write(copy.0.join("history.redb"), &bytes).expect("it can be written");
        let variables = [("DATA_DIR", path(&copy)), ("HISTORY_EVENTS", "1000")];
        for command in ["--check", "--check-data"] {
            let folder = (command == "--check-data").then(|| path(&copy));
            let arguments: Vec<_> = [command].into_iter().chain(folder).collect();
            let output = run(&arguments, &variables);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.lines().count() <= 1, "{command}: {error}");
        }
        let server = Server::start(&variables);
        let is_told = server.log().contains("event=disk_damaged");
        let (found, has_gap) = retained_after(&server, "a", &missed.last);
        assert_eq!(has_gap, is_told, "a gap is told where the log tells it");
        assert!(is_told || found == missed.texts, "something is missing");
        // Another test shows that the threads that all depend on are heard.
        assert!(!server.log().contains("panic"), "{}", server.log());
    }
}

#[test]
fn what_is_no_file_is_one_line_and_blocks_nothing() {
    let make_pipe = |path: &std::path::Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.is_ok_and(|made| made.success()), "there are pipes");
    };
    let make_folder = |path: &std::path::Path| std::fs::create_dir(path).expect("it can be made");
    let make_device = |path: &std::path::Path| {
        std::os::unix::fs::symlink("/dev/zero", path).expect("it can be made")
    };
    for name in ["history.redb", "history.redb.new", "journal", "lock"] {
        let kinds: [&dyn Fn(&std::path::Path); 3] = [&make_pipe, &make_folder, &make_device];
        for make in kinds {
            let folder = Folder::new("disk-no-file");
            make(&folder.0.join(name));
            let variables = [("DATA_DIR", path(&folder)), ("LISTEN", "127.0.0.1:0")];
            for (arguments, code) in [
                (&[][..], 2),
                (&["--check"], 2),
                (&["--check-data", path(&folder)], 1),
            ] {
                let output = run(arguments, &variables);
                let text = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
                let what = format!("{name} in it is not a file; move it away");
                assert!(text.contains(&what), "{arguments:?}: {text}");
            }
        }
    }
    let folder = Folder::new("disk-link");
    let nowhere = folder.0.join("link");
    std::os::unix::fs::symlink("/no/such/folder", &nowhere).expect("it can be made");
    for data_dir in [nowhere.to_str().expect("the path is UTF-8"), "/dev/null"] {
        let output = run(&[], &[("DATA_DIR", data_dir), ("LISTEN", "127.0.0.1:0")]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("is not a folder"), "{text}");
    }
}

#[test]
fn the_path_of_a_folder_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let outer = Folder::new("disk-not-text");
    let data = outer.0.join(std::ffi::OsStr::from_bytes(b"d\xff"));
    let server = Server::start_with(&[], |command| {
        command.env("DATA_DIR", &data);
    });
    assert_eq!(publish(&server, "x").status, 200);
    drop(server);
    let mut command = common::bare_command();
    let output = command.arg("--check-data").arg(&data).output();
    let output = output.expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 messages in 1 channels"), "{output:?}");
    let mut command = common::bare_command();
    let output = command.arg("--check").env("DATA_DIR", &data).output();
    let output = output.expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let is_shown = |line: &str| line.contains(" DATA_DIR ") && line.contains("/d\u{fffd}");
    assert!(text.lines().any(is_shown), "{text}");
}

#[test]
fn a_damaged_newest_commit_is_made_good_by_the_journal_or_told() {
    let folder = Folder::new("disk-newest");
    let missed = published(&folder, "always", 20, libc::SIGKILL);
    let good = std::fs::read(folder.0.join("history.redb")).expect("it is there");
    let newest = missed.texts[19].as_bytes();
    let places = good.windows(newest.len()).enumerate();
    let places = places.filter(|(_, bytes)| *bytes == newest);
    let mut bytes = good.clone();
    places.for_each(|(place, _)| bytes[place] ^= 1);
    assert!(bytes != good, "it is in the file");
    let is_told = || tells_what_is_missing("history.redb", &bytes, &folder, &missed);
    assert!(!is_told());
    std::fs::remove_file(folder.0.join("journal")).expect("it can be removed");
    assert!(is_told());
}

#[test]
fn a_damaged_journal_is_told_and_one_that_ends_in_the_middle_is_not() {
    let folder = Folder::new("disk-journal");
    let missed = published(&folder, "60s", 20, libc::SIGKILL);
    let good = std::fs::read(folder.0.join("journal")).expect("it is there");
    let told = |bytes: &[u8]| tells_what_is_missing("journal", bytes, &folder, &missed);
    assert!(!told(&good));
    // Killed while it wrote what nobody was answered for yet.
    assert!(!told(&[&good[..], &good[..40]].concat()));
    assert!(!told(&[&good[..], &good[..5]].concat()));
    // What was answered is not there any more.
    assert!(told(&good[..good.len() - 1]));
    assert!(told(&[]));
    for place in (0..good.len())
        .step_by(good.len() / 30)
        .chain([good.len() - 1])
    {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        assert!(told(&bytes), "byte {place} of {}", good.len());
    }
    std::fs::remove_file(folder.0.join("lock")).expect("it can be removed");
    assert!(told(&good), "nobody knows what was answered");
}

#[test]
fn a_removed_file_is_written_again() {
    for file in ["history.redb", "journal"] {
        let folder = Folder::new("disk-removed");
        let mut server = Server::start(&[("DATA_DIR", path(&folder))]);
        assert_eq!(publish(&server, "1").status, 200);
        std::fs::remove_file(folder.0.join(file)).expect("it can be removed");
        wait_until("the file is there again", 2 * BOUND, || {
            folder.0.join(file).exists() && server.get("/health/ready").status == 200
        });
        for text in ["2", "3", "4"] {
            assert_eq!(publish(&server, text).status, 200);
        }
        server.stop(libc::SIGKILL);
        let server = Server::start(&[("DATA_DIR", path(&folder))]);
        assert_eq!(retained(&server, "a").0, ["1", "2", "3", "4"], "{file}");
    }
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
fn a_folder_that_is_remade_under_a_server_is_its_own_again_or_somebody_elses() {
    let folder = Folder::new("disk-remade");
    let data = folder.0.join("data");
    let path = data.to_str().expect("the path is UTF-8");
    let server = Server::start(&[("DATA_DIR", path)]);
    assert_eq!(publish(&server, "1").status, 200);
    let is_ready = |server: &Server| server.get("/health/ready").status == 200;
    let remove = || {
        std::fs::remove_dir_all(&data).expect("it can be removed");
        std::fs::create_dir(&data).expect("it can be made");
    };
    remove();
    wait_until("the file is there again", 2 * BOUND, || {
        data.join("history.redb").exists() && is_ready(&server)
    });
    let output = run(&[], &[("DATA_DIR", path), ("LISTEN", "127.0.0.1:0")]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("another sse-server has it"), "{text}");
    // Another one is sooner.
    remove();
    let mut other = Server::start(&[("DATA_DIR", path)]);
    assert_eq!(publish(&other, "other").status, 200);
    wait_until("it sees that", 2 * BOUND, || {
        let fault = server.get("/stats").json()["disk"]["last_fault"].to_string();
        !is_ready(&server) && fault.contains("another sse-server has it")
    });
    assert_eq!(publish(&other, "other").status, 200);
    other.terminate();
    wait_until("it goes on", 2 * BOUND, || is_ready(&server));
    // What the other one has kept is not thrown away.
    let line = server.wait_for_log("event=disk_damaged");
    let name = value(&line, "set_aside").trim_matches('"');
    assert!(data.join(name).exists(), "{line}");
    assert_eq!(publish(&server, "2").status, 200);
    assert_eq!(retained(&server, "a").0, ["1", "2"]);
}
