//! At the limit of descriptors: connections that do nothing go, the newest first; where none does nothing, whoever comes
//! waits until one goes. Streams notice nothing.

use super::crowds::{crowd, Kind};
use super::table::has_read;
use crate::common::http::{read_reply, read_until_closed, Left};
use crate::common::transport::each_transport;
use crate::common::{wait_until, EventStream, Publisher, Server, Transport, BOUND, TOKEN};
use socket2::Socket;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::time::Duration;

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n";

fn limit_descriptors(pid: u32, most: u64) -> std::io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: the struct is valid for the call, and the old limit is not asked for.
    match unsafe {
        libc::prlimit(
            pid as i32,
            libc::RLIMIT_NOFILE,
            &limit,
            std::ptr::null_mut(),
        )
    } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn start(transport: Transport, most: u64) -> Server {
    Server::over_with(transport, &[], |command| {
        // SAFETY: the closure makes one system call; 0 is the process itself.
        unsafe { command.pre_exec(move || limit_descriptors(0, most)) };
    })
}

/// A subscriber and a publisher that were there before.
struct Early {
    stream: EventStream,
    publisher: Publisher,
}

impl Early {
    fn at(server: &Server) -> Early {
        let mut early = Early {
            stream: server.subscribe("early"),
            publisher: Publisher::new(server),
        };
        early.notices_nothing("at the beginning");
        early
    }

    #[track_caller]
    fn notices_nothing(&mut self, what: &str) {
        let published = self.publisher.try_publish("early", what);
        published.unwrap_or_else(|problem| panic!("{what}: a publish: {problem}"));
        let came = self.stream.try_next(BOUND).map(|event| event.data);
        assert_eq!(came.as_deref(), Some(what), "{what}: the stream");
    }
}

#[track_caller]
fn is_answered(connection: &mut Socket, what: &str) {
    let sent = connection.write_all(GET);
    sent.unwrap_or_else(|error| panic!("{what}: it was closed: {error}"));
    let reply = read_reply(connection, false);
    let reply = reply.unwrap_or_else(|problem| panic!("{what}: {problem}"));
    assert_eq!(reply.status, 200, "{what}");
}

/// The oldest of more idle connections than there is room for are kept.
#[track_caller]
fn idle_ones_go_newest_first(server: &Server, room: usize, what: &str) {
    let mut early = Early::at(server);
    let mut idle = Vec::new();
    // Who was there before them does something now and then: that does not make it newer.
    while idle.len() < room + 40 {
        idle.extend(crowd(server, &[Kind::Silent], 5));
        early.notices_nothing(what);
    }
    let mut last = server.connect();
    is_answered(&mut last, &format!("{what}: who comes last"));
    early.notices_nothing(what);
    // How many go at once is the server's business.
    let kept = room / 2;
    for (number, connection) in idle.iter_mut().take(kept).enumerate() {
        is_answered(
            connection,
            &format!("{what}: number {number} of the idle ones"),
        );
    }
    let closed = idle.iter_mut().skip(kept).filter_map(|connection| {
        let (_, left) = read_until_closed(connection, Duration::from_millis(1));
        (left != Left::Open).then_some(())
    });
    assert!(closed.count() >= 40, "{what}: the newest are closed");
    early.notices_nothing(what);
}

/// Where everybody is in the middle of something, a newcomer waits, and is served when one is done.
#[track_caller]
fn busy_ones_stay(server: &Server, room: usize, what: &str) {
    let mut stream = server.subscribe("early");
    let mut busy: Vec<Socket> = (0..room - 1)
        .map(|number| {
            let request = format!(
                "POST /publish/early?msg={number}&access_token={TOKEN} HTTP/1.1\r\nHost: te"
            );
            server.send(request.as_bytes())
        })
        .collect();
    // They have been read, and the last place is taken by who has an answer.
    has_read(server);
    let last = server.subscribe("early");
    let mut waiting: Vec<Socket> = (0..20).map(|_| server.send(GET)).collect();
    let before = server.cpu_time();
    let (answer, left) = read_until_closed(&mut waiting[19], Duration::from_millis(500));
    assert_eq!(
        (answer.len(), left),
        (0, Left::Open),
        "{what}: there is no room"
    );
    let used = server.cpu_time() - before;
    assert!(
        used < Duration::from_millis(250),
        "{what}: waiting took {used:?} of 500 ms"
    );
    for (number, connection) in busy.iter_mut().enumerate() {
        let sent = connection.write_all(b"st\r\n\r\n");
        sent.unwrap_or_else(|error| panic!("{what}: a busy one was closed: {error}"));
        let reply = read_reply(connection, false);
        assert!(
            reply.is_ok_and(|reply| reply.status == 200),
            "{what}: busy one {number}"
        );
        let came = stream.try_next(BOUND).map(|event| event.data);
        assert_eq!(came, Some(number.to_string()), "{what}: the stream");
    }
    drop(last);
    // The busy ones have their answers, and do nothing now.
    for connection in &mut waiting {
        let reply = read_reply(connection, false);
        let reply = reply.unwrap_or_else(|problem| panic!("{what}: who had to wait: {problem}"));
        assert_eq!(reply.status, 200, "{what}: who had to wait");
    }
}

/// Streams are refused before there is no room for anything else.
#[track_caller]
fn streams_leave_room_for_requests(server: &Server, most: usize, what: &str) {
    let mut early = Early::at(server);
    let mut streams = Vec::new();
    let refused = loop {
        assert!(streams.len() < most, "{what}: no stream is refused");
        let stream = EventStream::open(&server.address, "/sse/a", &[]);
        match stream.status {
            200 => streams.push(stream),
            status => break status,
        }
    };
    assert_eq!(refused, 503, "{what}: a stream too many");
    server.publish("a", "to all");
    for stream in &mut streams {
        let came = stream.try_next(BOUND).map(|event| event.data);
        assert_eq!(came.as_deref(), Some("to all"), "{what}");
    }
    early.notices_nothing(what);
    streams.pop();
    let mut again = None;
    wait_until(
        &format!("{what}: there is room for one again"),
        BOUND,
        || {
            again = Some(EventStream::open(&server.address, "/sse/a", &[]));
            again.as_ref().is_some_and(|stream| stream.status == 200)
        },
    );
}

fn at_a_limit_of(most: u64) {
    each_transport(|transport| {
        let what = format!("over {transport}, with {most} descriptors");
        let server = start(transport, most);
        // Without what src/server/mod.rs keeps for everything else, and without a stream.
        let room = most as usize - 48 - 1;
        let before = server.descriptors();
        let all_have_left = || {
            wait_until(&format!("{what}: all have left"), BOUND, || {
                server.descriptors() <= before
            });
        };
        busy_ones_stay(&server, room, &what);
        all_have_left();
        idle_ones_go_newest_first(&server, room, &what);
        all_have_left();
        streams_leave_room_for_requests(&server, most as usize, &what);
        assert!(!server.log().contains("panic"), "{what}");
    });
}

#[test]
fn sixty_four_descriptors() {
    at_a_limit_of(64);
}

#[test]
fn two_hundred_and_fifty_six_descriptors() {
    at_a_limit_of(256);
}

#[test]
fn a_thousand_descriptors() {
    at_a_limit_of(1000);
}

/// The server knows its limit, and keeps away from it. If it is lowered behind its back, `accept` fails.
#[test]
fn an_accept_that_fails_ends_nothing() {
    each_transport(|transport| {
        let what = format!("over {transport}, where accept fails");
        let server = Server::over(transport, &[]);
        let mut early = Early::at(&server);
        let before = server.descriptors();
        let mut idle = crowd(&server, &[Kind::Silent], 20);
        let busy = crowd(&server, &[Kind::HalfHead], 20);
        wait_until(&format!("{what}: all are accepted"), BOUND, || {
            server.descriptors() == before + 40
        });
        let lowest_free = (0..).find(|number| {
            let entry = format!("/proc/{}/fd/{number}", server.pid());
            std::fs::symlink_metadata(entry).is_err()
        });
        let lowest_free = lowest_free.expect("there are more numbers than descriptors");
        limit_descriptors(server.pid(), lowest_free).expect("it is lowered");
        // One goes for each of them, the one before: not another one for each attempt that fails.
        let mut newcomers = Vec::new();
        for number in 0..12 {
            let mut newcomer = server.connect();
            is_answered(&mut newcomer, &format!("{what}: newcomer {number}"));
            newcomers.push(newcomer);
        }
        early.notices_nothing(&what);
        for (number, connection) in idle.iter_mut().take(15).enumerate() {
            is_answered(
                connection,
                &format!("{what}: number {number} of the idle ones"),
            );
        }
        // The publisher does nothing while these come.
        let mut stream = early.stream;
        drop(idle);
        let mut waiting: Vec<Socket> = (0..40).map(|_| server.send(GET)).collect();
        drop(busy);
        for connection in &mut waiting {
            let reply = read_reply(connection, false);
            let reply = reply.unwrap_or_else(|problem| panic!("{what}: who waits: {problem}"));
            assert_eq!(reply.status, 200, "{what}: who waits");
        }
        drop(waiting);
        server.publish("early", "at the end");
        assert_eq!(stream.next().data, "at the end", "{what}");
        assert!(!server.log().contains("panic"), "{what}");
    });
}
