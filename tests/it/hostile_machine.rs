//! Full machines and dead networks: the server goes on serving, and recovers once there is room again.

use crate::common;

use common::crowd::raise_descriptor_limit;
use common::witness::answers;
use common::{http, wait_until, EventStream, Publisher, Server, BOUND};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Sets a limit of the process that is about to start.
fn limit(resource: libc::__rlimit_resource_t, most: u64) -> impl FnMut() -> std::io::Result<()> {
    move || {
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: the struct is valid, and the call may be made between fork and exec.
        match unsafe { libc::setrlimit(resource, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

/// Whether `/health` answers, without insisting.
fn is_answered(server: &Server) -> bool {
    let Ok(mut connection) = TcpStream::connect_timeout(&server.addr, Duration::from_secs(1))
    else {
        return false;
    };
    let _ = connection.set_read_timeout(Some(Duration::from_secs(1)));
    let _ =
        connection.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

#[track_caller]
fn serves_as_before(server: &Server) {
    wait_until("the server answers again", Duration::from_secs(15), || {
        is_answered(server)
    });
    let mut stream = None;
    wait_until(
        "there is room for a stream again",
        Duration::from_secs(15),
        || {
            stream = Some(EventStream::open(server.addr, "/sse/after", &[]))
                .filter(|stream| stream.status == 200);
            stream.is_some()
        },
    );
    let mut stream = stream.expect("just opened");
    server.publish("after", "as before");
    assert_eq!(stream.next().data, "as before");
    for _ in 0..20 {
        assert!(
            answers(server) < Duration::from_secs(1),
            "requests are answered at once again"
        );
    }
}

/// Lets crowds of connections come, waits until the server has run into its limit, and lets them go. After each, the
/// server serves as before, and who was there from the beginning has missed nothing.
#[track_caller]
fn outlives_crowds(
    server: &mut Server,
    crowds: &[(usize, &[u8])],
    is_at_limit: impl Fn(&Server) -> bool,
) {
    let mut early = server.subscribe("early");
    for (round, (count, request)) in crowds.iter().enumerate() {
        let crowd: Vec<TcpStream> = (0..*count)
            .filter_map(|_| {
                let mut connection =
                    TcpStream::connect_timeout(&server.addr, Duration::from_secs(2)).ok()?;
                connection.write_all(request).ok()?;
                Some(connection)
            })
            .collect();
        wait_until(
            "the server runs into its limit",
            Duration::from_secs(10),
            || is_at_limit(server),
        );
        assert!(server.is_running(), "in round {round}");
        drop(crowd);
        serves_as_before(server);
        server.publish("early", "still here");
        assert_eq!(
            early.next().data,
            "still here",
            "who was there before, in round {round}"
        );
    }
}

#[test]
fn four_hundred_connections_and_256_descriptors() {
    let mut server = Server::start_with(&[], |command| {
        // SAFETY: the closure makes one system call.
        unsafe { command.pre_exec(limit(libc::RLIMIT_NOFILE, 256)) };
    });
    server.wait_for_log("event=low_descriptor_limit limit=256");
    let stream: &[u8] = b"GET /sse/x HTTP/1.1\r\nHost: test\r\n\r\n";
    outlives_crowds(
        &mut server,
        &[(400, stream), (400, b""), (400, stream)],
        |server| server.descriptors() > 150,
    );
}

#[test]
fn no_thread_is_available() {
    // The limit of threads counts for users without privileges only.
    const NOBODY: u32 = 54_321;
    // SAFETY: asks for the user's number.
    let is_root = unsafe { libc::geteuid() } == 0;
    let mut server = Server::start_with(&[], |command| {
        // SAFETY: the closure makes one system call.
        unsafe { command.pre_exec(limit(libc::RLIMIT_NPROC, 60)) };
        if is_root {
            command.uid(NOBODY);
        }
    });
    let stream: &[u8] = b"GET /sse/x HTTP/1.1\r\nHost: test\r\n\r\n";
    outlives_crowds(&mut server, &[(200, stream), (200, stream)], |server| {
        let log = server.log();
        log.contains("reason=no_threads") || log.contains("event=panic")
    });
}

/// Streams are opened until one is refused, and some more. Those that are there go on, so does publishing, and there is
/// room again when they leave.
#[track_caller]
fn refuses_streams_for_which_there_is_no_memory(mebibytes: u64) {
    let what = format!("with {mebibytes} MiB of address space");
    let server = Server::start_with(&[], |command| {
        // SAFETY: the closure makes one system call.
        unsafe { command.pre_exec(limit(libc::RLIMIT_AS, mebibytes << 20)) };
    });
    let mut publisher = Publisher::new(&server);
    let fill = || {
        let (mut streams, mut refused) = (Vec::new(), 0);
        while refused < 20 {
            let stream = EventStream::open(server.addr, "/sse/a", &[]);
            match stream.status {
                200 => streams.push(stream),
                503 => refused += 1,
                other => panic!("{what}: a stream is answered with {other}"),
            }
        }
        streams
    };
    let mut fill_history = || {
        // More than it keeps.
        for _ in 0..400 {
            publisher.publish("b", "x".repeat(60_000));
        }
    };
    fill_history();
    let mut streams = fill();
    fill_history();
    publisher.publish("a", "still here");
    for stream in &mut streams {
        assert_eq!(stream.next().data, "still here", "{what}");
    }
    println!("{what}: {} streams", streams.len());
    let most = streams.len();
    drop(streams);
    wait_until(&format!("{what}: those who left are gone"), BOUND, || {
        server.stat("connected_clients") == 0
    });
    // The heap is in pieces.
    let again = fill().len();
    assert!(again >= most / 8, "{what}: {again} streams after {most}");
}

#[test]
fn no_memory_is_available() {
    raise_descriptor_limit();
    std::thread::scope(|scope| {
        for mebibytes in [50, 100, 130, 200] {
            scope.spawn(move || refuses_streams_for_which_there_is_no_memory(mebibytes));
        }
    });
}

/// A network namespace with a link to it, taken down in the end.
struct Network {
    name: String,
    outer: String,
}

impl Network {
    /// `None` if this user may not create one.
    fn new() -> Option<Network> {
        let name = format!("sse{}", std::process::id());
        let network = Network {
            outer: format!("{name}o"),
            name,
        };
        let (name, outer) = (network.name.as_str(), network.outer.as_str());
        let inner = format!("{name}i");
        let made = run(&["ip", "netns", "add", name])
            && run(&[
                "ip", "link", "add", outer, "type", "veth", "peer", "name", &inner,
            ])
            && run(&["ip", "link", "set", &inner, "netns", name])
            && run(&["ip", "addr", "add", "10.213.77.1/24", "dev", outer])
            && run(&["ip", "link", "set", outer, "up"])
            && run(&[
                "ip",
                "netns",
                "exec",
                name,
                "ip",
                "addr",
                "add",
                "10.213.77.2/24",
                "dev",
                &inner,
            ])
            && run(&[
                "ip", "netns", "exec", name, "ip", "link", "set", &inner, "up",
            ]);
        made.then_some(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        run(&["ip", "link", "del", &self.outer]);
        run(&["ip", "netns", "del", &self.name]);
    }
}

fn run(words: &[&str]) -> bool {
    let output = Command::new(words[0]).args(&words[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn needs_ip_peers_that_vanish_are_gone_within_a_minute() {
    let network = Network::new().expect("a network namespace can be made (needs root)");
    let server = Server::start(&[("LISTEN", "10.213.77.1:0"), ("HEARTBEAT", "5")]);
    let url = format!("http://{}/sse/x", server.addr);
    let mut listeners: Vec<_> = (0..5)
        .map(|_| {
            Command::new("ip")
                .args(["netns", "exec", &network.name, "curl", "-sN", &url])
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("curl runs in the namespace")
        })
        .collect();
    wait_until("five listen from another network", common::BOUND, || {
        server.stat("connected_clients") == 5
    });
    assert!(
        run(&["ip", "link", "set", &network.outer, "down"]),
        "the link goes down"
    );
    let begun = Instant::now();
    let addr = server.addr;
    wait_until(
        "those who vanished are out of the count",
        Duration::from_secs(60),
        || {
            // The address is the link's; it answers from this side also when the link is down.
            http::request(addr, "GET", "/stats", &[], b"").json()["connected_clients"] == 0
        },
    );
    assert!(begun.elapsed() <= Duration::from_secs(60));
    for listener in &mut listeners {
        let _ = listener.kill();
        let _ = listener.wait();
    }
}

#[test]
fn a_stream_begins_while_others_are_refused() {
    let server = Server::start_with(&[], |command| {
        // SAFETY: the closure makes one system call.
        unsafe { command.pre_exec(limit(libc::RLIMIT_NOFILE, 256)) };
    });
    let mut streams = Vec::new();
    let refused = loop {
        assert!(
            streams.len() < 256,
            "at some point there is no room for another stream"
        );
        let stream = EventStream::open(server.addr, "/sse/x", &[]);
        if stream.status != 200 {
            break stream;
        }
        streams.push(stream);
    };
    assert_eq!(
        (refused.status, refused.header("Content-Type")),
        (503, Some("application/problem+json"))
    );
    assert!(
        refused.header("Retry-After").is_some()
            && refused.header("Access-Control-Allow-Origin").is_some()
    );
    server.publish("x", "to those who are in");
    for stream in &mut streams {
        assert_eq!(stream.next().data, "to those who are in");
    }
}
