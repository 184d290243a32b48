//! Where the server listens, and who its clients are.

use crate::common::folder::Folder;
use crate::common::port::free_port;
use crate::common::transport::each_transport;
use crate::common::{
    bare_command, http, value, wait_until, Address, EventStream, Server, Transport, BOUND, TOKEN,
};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Whether `--healthcheck` succeeds with this setting.
fn is_well(name: &str, setting: &str) -> bool {
    let mut command = bare_command();
    let status = command.arg("--healthcheck").env(name, setting).status();
    status.expect("the binary runs").success()
}

fn answers(address: &Address) -> bool {
    http::request(address, "GET", "/health", &[], b"").status == 200
}

fn v4(port: u16) -> Address {
    SocketAddr::from(([127, 0, 0, 1], port)).into()
}

fn v6(port: u16) -> Address {
    SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)).into()
}

/// Whether somebody listens there.
fn is_open(address: &Address) -> bool {
    let Address::Tcp(address) = address else {
        return false;
    };
    std::net::TcpStream::connect_timeout(address, BOUND).is_ok()
}

/// Where a server on this port is reached.
type Reach = fn(u16) -> Vec<Address>;

#[test]
fn every_form_of_listen_serves_and_is_checked() {
    let folder = Folder::new("listen");
    let path = folder.0.join("socket").display().to_string();
    let forms: [(&str, Reach); 6] = [
        ("127.0.0.1:", |port| vec![v4(port)]),
        ("0.0.0.0:", |port| vec![v4(port)]),
        ("[::1]:", |port| vec![v6(port)]),
        ("[::]:", |port| vec![v6(port)]),
        (":", |port| vec![v4(port)]),
        ("localhost:", |port| vec![v4(port), v6(port)]),
    ];
    for (form, reached) in forms {
        let port = free_port();
        let listen = format!("{form}{port}");
        let server = Server::start(&[("LISTEN", &listen)]);
        // A name may have several addresses, and one of them is enough.
        let served: Vec<Address> = reached(port).into_iter().filter(is_open).collect();
        assert!(!served.is_empty(), "LISTEN={listen}: nobody listens");
        for address in &served {
            assert!(
                answers(address),
                "LISTEN={listen}: no answer at {address:?}"
            );
        }
        assert!(
            is_well("LISTEN", &listen),
            "LISTEN={listen}: --healthcheck fails"
        );
        drop(server);
        assert!(
            !is_well("LISTEN", &listen),
            "LISTEN={listen}: --healthcheck succeeds without a server"
        );
        // Port 0 takes a free one, which is logged.
        let server = Server::start(&[("LISTEN", &format!("{form}0"))]);
        assert_ne!(server.addr.port(), 0, "LISTEN={form}0: the port is logged");
        let reached = reached(server.addr.port());
        assert!(reached.iter().any(is_open), "LISTEN={form}0 listens");
    }
    let listen = format!("unix:{path}");
    let _server = Server::start(&[("LISTEN", &listen)]);
    assert!(answers(&Address::Unix(path.into())), "LISTEN={listen}");
    assert!(is_well("LISTEN", &listen), "LISTEN={listen}: --healthcheck");
    let port = free_port().to_string();
    let variables = [("PORT", port.as_str())];
    let _server = Server::start_with(&variables, |command| {
        command.env_remove("LISTEN");
    });
    assert!(answers(&v4(port.parse().expect("a port"))), "PORT={port}");
    assert!(is_well("PORT", &port), "PORT={port}: --healthcheck");
}

#[test]
fn listening_on_all_addresses_of_ipv6_is_the_same_at_every_try() {
    let server = Server::start(&[("LISTEN", "[::]:0")]);
    let port = server.addr.port();
    let threads = server.threads();
    // Whether it serves IPv4 too is the system's choice, and the same each time.
    let serves_v4 = is_open(&v4(port));
    for turn in 0..20 {
        assert!(answers(&v6(port)), "over IPv6, try {turn}");
        assert_eq!(is_open(&v4(port)), serves_v4, "over IPv4, try {turn}");
        assert!(!serves_v4 || answers(&v4(port)), "over IPv4, try {turn}");
        assert!(
            is_well("LISTEN", &format!("[::]:{port}")),
            "--healthcheck, try {turn}"
        );
    }
    let more = server.threads().saturating_sub(threads);
    assert!(more <= 8, "{more} threads more");
    let log = server.log();
    let complaint = log
        .lines()
        .find(|line| line.contains("WARN") && !line.contains("short_token"));
    assert_eq!(complaint, None, "nothing is wrong, so nothing is said");
}

#[test]
fn a_unix_socket_is_for_user_and_group() {
    for mask in [0o000, 0o022, 0o077] {
        let folder = Folder::new(&format!("mode-{mask}"));
        let path = folder.0.join("socket");
        let listen = format!("unix:{}", path.display());
        let _server = Server::start_with(&[("LISTEN", &listen)], |command| {
            let set = move || {
                // SAFETY: the call takes a number, and may be made between fork and exec.
                unsafe { libc::umask(mask) };
                Ok(())
            };
            // SAFETY: the closure makes one system call.
            unsafe { command.pre_exec(set) };
        });
        let mode = path.metadata().expect("it is there").permissions().mode();
        assert_eq!(
            mode & 0o777,
            0o660,
            "with umask {mask:o}, the mode is {:o}",
            mode & 0o777
        );
    }
}

/// A connection from this port of 127.0.0.1 (0: any).
fn from_port(port: u16, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let bound = socket
        .set_reuse_address(true)
        .and_then(|()| socket.bind(&address.into()));
    bound.expect("the port may be used once for each address");
    Address::Tcp(to).connect_with(&socket);
    socket
}

/// What comes up to and including these words, or until the bound is over.
fn read_up_to(connection: &mut Socket, words: &str) -> String {
    let (end, mut all) = (Instant::now() + BOUND, Vec::new());
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if text.contains(words) || Instant::now() >= end {
            return text;
        }
        // Each read ends after a bound too.
        match connection.read(&mut buffer) {
            Ok(count @ 1..) => all.extend_from_slice(&buffer[..count]),
            _ => return text,
        }
    }
}

#[test]
fn connections_from_one_port_to_several_addresses_are_all_served() {
    let server = Server::start(&[("LISTEN", "0.0.0.0:0")]);
    let at = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), server.addr.port()));
    let beside = Address::Tcp(at(1));
    // Streams, and requests beside and behind them.
    let mut first = from_port(0, at(1));
    let port = first
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket());
    let port = port.expect("it has an address").port();
    first
        .write_all(b"GET /sse/a HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    let begin = read_up_to(&mut first, "\r\n\r\n");
    assert!(begin.starts_with("HTTP/1.1 200 "), "the first is served");
    for last in 2..6 {
        let mut other = from_port(port, at(last));
        for turn in 0..3 {
            other
                .write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
                .expect("sent");
            let reply = http::read_reply(&mut other, false);
            let status = reply.map(|reply| reply.status);
            assert_eq!(
                status,
                Ok(200),
                "to 127.0.0.{last} from the same port, request {turn}"
            );
        }
    }
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let reply = http::request(&beside, "POST", "/publish/a", &headers, b"still here");
    assert_eq!(reply.status, 200);
    let came = read_up_to(&mut first, "data: still here");
    assert!(
        came.contains("data: still here"),
        "the first is cut: {came:?}"
    );
}

/// The address in a log line's `peer=`, without a port; `None` for a Unix socket.
#[track_caller]
fn peer(line: &str) -> Option<IpAddr> {
    let peer = value(line, "peer").trim_matches('"');
    if peer == "unix" {
        return None;
    }
    let address = peer.parse().map(|address: SocketAddr| address.ip());
    let address = address.or_else(|_| peer.trim_matches(['[', ']']).parse());
    Some(address.unwrap_or_else(|_| panic!("peer={peer} is no address")))
}

/// What to trust for everybody who connects in these tests.
const ALL: &str = "127.0.0.1,::1,unix";

#[test]
fn only_a_trusted_proxy_names_the_client() {
    // `TRUSTED_PROXIES`, the fields, and the client; `PEER` is who connected.
    let cases: [(&str, &[&str], &str); 16] = [
        ("", &["192.0.2.1"], "PEER"),
        ("192.0.2.0/24", &["192.0.2.1"], "PEER"),
        (ALL, &[], "PEER"),
        (ALL, &["192.0.2.1"], "192.0.2.1"),
        (ALL, &["2001:db8::7"], "2001:db8::7"),
        (ALL, &["[2001:db8::7]:4711"], "2001:db8::7"),
        (ALL, &["192.0.2.1:4711"], "192.0.2.1"),
        // What the client itself has claimed stands leftmost.
        (ALL, &["203.0.113.66, 192.0.2.1"], "192.0.2.1"),
        (ALL, &["203.0.113.66", "192.0.2.1"], "192.0.2.1"),
        (ALL, &["127.0.0.1, 192.0.2.1"], "192.0.2.1"),
        (ALL, &["unix, 192.0.2.1"], "192.0.2.1"),
        // A chain of proxies.
        (
            "127.0.0.1,::1,unix,10.0.0.0/8",
            &["203.0.113.66, 192.0.2.1, 10.1.2.3"],
            "192.0.2.1",
        ),
        (
            "127.0.0.1,::1,unix,10.0.0.0/8",
            &["192.0.2.1, 10.1.2.3", "10.3.2.1"],
            "192.0.2.1",
        ),
        (
            "127.0.0.1,::1,unix,2001:db8::/32",
            &["192.0.2.1, 2001:db8::7"],
            "192.0.2.1",
        ),
        // No address ends the way there.
        (ALL, &["unknown"], "PEER"),
        (ALL, &["192.0.2.1, "], "192.0.2.1"),
    ];
    each_transport(|transport| {
        for (number, (trusted, fields, client)) in cases.iter().enumerate() {
            let what =
                format!("over {transport}, TRUSTED_PROXIES={trusted}, X-Forwarded-For: {fields:?}");
            let variables = [("TRUSTED_PROXIES", *trusted)];
            let server = Server::over(transport, if trusted.is_empty() { &[] } else { &variables });
            let mut headers: Vec<_> = fields
                .iter()
                .map(|field| ("X-Forwarded-For", *field))
                .collect();
            let stream = server.subscribe_with(&format!("/sse/case{number}"), &headers);
            headers.push(("Authorization", "Bearer test-token-of-16-bytes"));
            let target = format!("/publish/case{number}");
            let reply = server.request("POST", &target, &headers, b"x");
            assert_eq!(reply.status, 200, "{what}");
            let expected = match (*client, transport) {
                ("PEER", Transport::Unix) => None,
                ("PEER", Transport::Tcp4) => Some(IpAddr::from([127, 0, 0, 1])),
                ("PEER", Transport::Tcp6) => Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
                (client, _) => Some(client.parse().expect("an address")),
            };
            for event in ["connect", "publish"] {
                let line = server.wait_for_log(&format!("event={event} case{number}"));
                assert_eq!(peer(&line), expected, "{what}: event={event}");
            }
            drop(stream);
        }
    });
}

#[test]
fn an_address_at_its_limit_gets_a_new_stream_when_one_has_ended() {
    let variables = [("MAX_CLIENTS_PER_ADDRESS", "2"), ("TRUSTED_PROXIES", ALL)];
    each_transport(|transport| {
        let server = Server::over(transport, &variables);
        let open = |client: &str| {
            let header = [("X-Forwarded-For", client)];
            let headers = if client.is_empty() { &[][..] } else { &header };
            EventStream::open(&server.address, "/sse/a", headers)
        };
        // All who connect through a Unix socket have none.
        let direct = (transport != Transport::Unix).then_some("");
        for client in ["192.0.2.1", "2001:db8::7"].into_iter().chain(direct) {
            let what = format!("over {transport}, client {client:?}");
            let mut streams = vec![open(client), open(client)];
            let statuses: Vec<u16> = streams.iter().map(|stream| stream.status).collect();
            assert_eq!(statuses, [200, 200], "{what}");
            for _ in 0..3 {
                let third = open(client);
                assert_eq!(third.status, 429, "{what}: the third");
                let wait = third.header("Retry-After").map(str::parse::<u32>);
                assert!(
                    matches!(wait, Some(Ok(1..))),
                    "{what}: it says when to try again: {wait:?}"
                );
                let kind = third.header("Content-Type");
                assert_eq!(kind, Some("application/problem+json"), "{what}");
            }
            let other = open("192.0.2.99");
            assert_eq!(other.status, 200, "{what}: somebody else");
            // A stream has ended: there is room for one, and one only.
            streams.remove(0);
            wait_until(&format!("{what}: there is room again"), BOUND, || {
                let stream = open(client);
                let is_in = stream.status == 200;
                streams.push(stream);
                is_in
            });
            assert_eq!(open(client).status, 429, "{what}: it is full again");
            // Other requests are not counted.
            assert_eq!(server.get("/health").status, 200, "{what}");
        }
    });
}

/// A network of its own without IPv6, and a server in it.
fn command_in(network: &str, words: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", network]).args(words);
    command
}

#[test]
fn needs_ip_a_machine_without_ipv6_is_served_and_checked() {
    struct Network(String);
    impl Drop for Network {
        fn drop(&mut self) {
            let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
        }
    }
    let network = Network(format!("sse6-{}", std::process::id()));
    let made = Command::new("ip")
        .args(["netns", "add", &network.0])
        .status();
    assert!(
        made.is_ok_and(|made| made.success()),
        "a network namespace can be made (needs root)"
    );
    let off = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    let set = command_in(&network.0, &["sh", "-c", off]).status();
    assert!(set.is_ok_and(|set| set.success()), "IPv6 can be turned off");
    let binary = crate::common::binary().display().to_string();
    for listen in ["[::]:18080", "0.0.0.0:18081", "localhost:18082"] {
        let mut server = command_in(&network.0, &[&binary]);
        server.env("LISTEN", listen).env("AUTH_TOKEN", TOKEN);
        let log = std::fs::File::create(std::env::temp_dir().join(format!("{}.log", network.0)));
        let mut server = server
            .stderr(log.expect("a file can be made"))
            .spawn()
            .expect("ip runs");
        let check = || {
            let mut check = command_in(&network.0, &[&binary, "--healthcheck"]);
            check
                .env("LISTEN", listen)
                .status()
                .is_ok_and(|status| status.success())
        };
        wait_until(&format!("LISTEN={listen} is well"), BOUND, check);
        // Longer than whoever looks after the server would wait.
        let threads =
            || std::fs::read_dir(format!("/proc/{}/task", server.id())).map_or(0, Iterator::count);
        let before = threads();
        for _ in 0..10 {
            std::thread::park_timeout(Duration::from_millis(300));
            assert!(check(), "LISTEN={listen} stays well");
        }
        let more = threads().saturating_sub(before);
        let _ = server.kill();
        let _ = server.wait();
        let path = std::env::temp_dir().join(format!("{}.log", network.0));
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        assert!(
            more <= 4,
            "LISTEN={listen}: {more} threads more; the log is:\n{log}"
        );
        let complaints = log
            .lines()
            .filter(|line| line.contains("WARN") && !line.contains("short_token"));
        assert_eq!(
            complaints.count(),
            0,
            "LISTEN={listen}: nothing is wrong:\n{log}"
        );
    }
}
