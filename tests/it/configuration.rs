//! The environment configures the server. Unusable values are reported in one line, and prevent the start.

use crate::common;

use common::{bare_command, run, value, wait_until, Server};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn refuses(variables: &[(&str, &str)], words: &[&str]) -> String {
    let output = run(&[], variables);
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{variables:?}: {line}");
    assert_eq!(
        line.lines().count(),
        1,
        "{variables:?} is answered in one line: {line}"
    );
    assert!(output.stdout.is_empty(), "{variables:?}: nothing on stdout");
    for word in words {
        assert!(
            line.contains(word),
            "{variables:?}: the line names {word:?}: {line}"
        );
    }
    line
}

#[test]
fn a_bad_number_or_one_out_of_range_prevents_the_start() {
    for (name, least) in [
        ("HISTORY_EVENTS", 0),
        ("HISTORY_BYTES", 0),
        ("HISTORY_AGE", 1),
        ("CHANNEL_TTL", 0),
        ("HEARTBEAT", 1),
        ("MAX_CLIENTS", 1),
        ("MAX_CHANNELS", 1),
        ("MAX_MESSAGE_BYTES", 1),
        ("CLIENT_QUEUE", 1),
        ("MAX_CLIENTS_PER_ADDRESS", 0),
    ] {
        for bad in [
            "",
            "x",
            "-1",
            "+5",
            "1.5",
            "1e3",
            " 1",
            "1 ",
            "10k",
            "0x10",
            "99999999999999999999999",
        ] {
            refuses(&[(name, bad)], &[name, &format!("{bad:?}"), "whole number"]);
        }
        if least == 1 {
            refuses(&[(name, "0")], &[name, "\"0\"", "from 1"]);
        }
    }
}

#[test]
fn a_bad_address_prevents_the_start() {
    for bad in [
        "",
        "8080",
        ":",
        ":x",
        ":-1",
        ":+1",
        ":65536",
        "localhost",
        "localhost:",
        "localhost:+80",
        "localhost:80:80",
        "example.org:8080",
        "::1:8080:",
        "0.0.0.0",
        "0.0.0.0:",
        "1.2.3:80",
        "0.0.0.0:65536",
        "unix:",
        "unix:relative",
        "::1:80x",
    ] {
        refuses(
            &[("LISTEN", bad)],
            &[
                "LISTEN",
                &format!("{bad:?}"),
                "0.0.0.0:8080",
                "localhost:8080, :8080, or unix:/path",
            ],
        );
    }
    let long = format!("unix:/{}", "x".repeat(200));
    refuses(&[("LISTEN", &long)], &["LISTEN"]);
    for bad in ["", "x", "-1", "65536", "80 "] {
        refuses(&[("PORT", bad)], &["PORT", &format!("{bad:?}"), "65535"]);
    }
    refuses(
        &[("LISTEN", "127.0.0.1:0"), ("PORT", "0")],
        &["PORT", "LISTEN", "one of the two"],
    );
}

#[test]
fn localhost_and_a_bare_port_are_addresses_too() {
    for (listen, address) in [
        ("localhost:0", "127.0.0.1:"),
        ("LocalHost:0", "127.0.0.1:"),
        (":0", "0.0.0.0:"),
    ] {
        let server = Server::start(&[("LISTEN", listen)]);
        let line = server.wait_for_log("event=listening");
        assert!(
            value(&line, "address").starts_with(address),
            "{listen}: {line}"
        );
        let port = server.addr.port();
        let health = common::http::request(
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            "GET",
            "/health",
            &[],
            b"",
        );
        assert_eq!(health.status, 200, "{listen}");
        let variable = listen.replace(":0", &format!(":{port}"));
        let output = run(&["--healthcheck"], &[("LISTEN", &variable)]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{variable}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_misspelt_variable_is_named_and_its_value_is_not() {
    let misspelt = [
        ("AUTH_TOKN", "AUTH_TOKEN"),
        ("LISTNE", "LISTEN"),
        ("REDIS_ULR", "REDIS_URL"),
        ("MAX_CLIENT", "MAX_CLIENTS"),
        ("CORS_ORIGINSS", "CORS_ORIGINS"),
        ("jwt_secret", "JWT_SECRET"),
        ("PORT\n", "PORT"),
    ];
    let mut variables = misspelt.map(|(name, _)| (name, "hush")).to_vec();
    // Other programs' variables, and some that only look like ours.
    variables.extend([
        ("LISTEN_FDNAMES", "x"),
        ("TOKEN", "x"),
        ("HOSTNAME", "x"),
        ("HISTSIZE", "1"),
    ]);
    let server = Server::start(&variables);
    for (name, meant) in misspelt {
        let name = name.escape_debug();
        let line = server.wait_for_log(&format!("WARN event=unknown_variable {name} {meant}"));
        assert!(!line.contains("hush"), "the value is shown: {line}");
    }
    assert_eq!(
        server.count_in_log("event=unknown_variable"),
        misspelt.len(),
        "{}",
        server.log()
    );
}

#[test]
fn a_variable_without_an_effect_causes_a_warning() {
    let server = Server::start(&[("SYNC", "1s")]);
    server.wait_for_log("WARN event=unused_variable name=SYNC DATA_DIR");
}

#[test]
fn a_history_without_room_for_the_largest_message_causes_a_warning() {
    let warns = |events, bytes, message| {
        let variables = [
            ("HISTORY_EVENTS", events),
            ("HISTORY_BYTES", bytes),
            ("MAX_MESSAGE_BYTES", message),
        ];
        let printed = text(&run(&["--check"], &variables).stdout);
        let words =
            format!("Warning: MAX_MESSAGE_BYTES is {message} and HISTORY_BYTES is {bytes}: ");
        let warns = printed.contains(&words);
        assert_eq!(warns, printed.contains("Warning"), "{printed}");
        warns
    };
    assert!(warns("100", "1000", "1001"));
    assert!(warns("100", "1000", "1000"));
    // What a message costs beside its text.
    assert!(warns("100", "1159", "1000"));
    assert!(!warns("100", "1160", "1000"));
    assert!(warns("100", "1", "1"));
    // No history, by choice.
    assert!(!warns("100", "0", "1000"));
    assert!(!warns("0", "1000", "1000"));
    let server = Server::start(&[("HISTORY_BYTES", "65536")]);
    server.wait_for_log("WARN event=small_history max_message_bytes=65536 history_bytes=65536");
}

#[test]
fn a_token_that_can_be_guessed_causes_a_warning() {
    let short = "0123456789abcde";
    let server = Server::start(&[("AUTH_TOKEN", short)]);
    let line = server.wait_for_log("WARN event=short_token AUTH_TOKEN 16");
    assert!(!line.contains(short), "the token is shown: {line}");
    let server = Server::start(&[("AUTH_TOKEN", "0123456789abcdef")]);
    assert_eq!(
        server.count_in_log("event=short_token"),
        0,
        "{}",
        server.log()
    );
    let server = Server::start_with(&[], |command| {
        command.env_remove("AUTH_TOKEN");
    });
    assert_eq!(
        server.count_in_log("event=short_token"),
        0,
        "{}",
        server.log()
    );
}

#[test]
fn proxies_are_addresses_networks_or_the_socket() {
    for bad in [
        "",
        ",",
        "127.0.0.1,",
        "localhost",
        "proxy.example.org",
        "10.0.0.0/",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0",
        "127.0.0.1:80",
        "[::1]",
        "*",
        "UNIX:",
        "/8",
        "::ffff:10.0.0.0/90",
    ] {
        refuses(
            &[("TRUSTED_PROXIES", bad)],
            &["TRUSTED_PROXIES contains", "10.0.0.0/8,fd00::/8, or unix"],
        );
    }
    let line = refuses(
        &[("TRUSTED_PROXIES", "::1, 10.1.2.3/8")],
        &["\"10.1.2.3/8\"", "give 10.0.0.0/8"],
    );
    assert!(!line.contains("::1"), "only what is wrong is named: {line}");
    Server::start(&[("TRUSTED_PROXIES", "127.0.0.1, ::1,10.0.0.0/8,fd00::/8,unix")]);
}

#[test]
fn a_secret_that_cannot_be_used_is_named_and_not_shown() {
    refuses(&[("AUTH_TOKEN", "")], &["AUTH_TOKEN", "empty"]);
    for bad in ["hush hush", "hush\thush", "hüsh"] {
        let line = refuses(&[("AUTH_TOKEN", bad)], &["AUTH_TOKEN"]);
        assert!(!line.contains("sh"), "the secret is shown: {line}");
    }
    let long = |bytes: usize| "hush".repeat(bytes / 4);
    let line = refuses(
        &[("AUTH_TOKEN", &long(15_364))],
        &["AUTH_TOKEN has 15364 bytes, and a request can carry 15360"],
    );
    assert!(!line.contains("hush"), "the secret is shown: {line}");
    let longest = long(15_360);
    let server = Server::start(&[("AUTH_TOKEN", &longest)]);
    let authorization = format!("Bearer {longest}");
    let headers = [("Authorization", authorization.as_str())];
    let reply = server.request("POST", "/publish/a", &headers, b"x");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn origins_and_log_levels_are_checked() {
    for bad in [
        "",
        "example.org",
        "null",
        "https://example.org/",
        "https://a,b",
        "*,https://a",
        "https://a b",
        "https://",
        "://a",
        "1http://a",
        "http://a:",
        "http://a:b",
        "http://a:+1",
        "http://a:99999",
        "http://a:80:80",
        "http://:80",
        "http://user@a",
        "http://::1",
        "http://[::1",
        "http://[]",
        "http://[1.2.3.4]",
    ] {
        refuses(
            &[("CORS_ORIGINS", bad)],
            &["CORS_ORIGINS", "https://example.org"],
        );
    }
    let good = "http://a,https://a.b:1,http://a:080,http://[::1],http://[::1]:80,app://x";
    Server::start(&[("CORS_ORIGINS", good)]);
    for bad in ["", "loud", "info,sse_server=debug", "4"] {
        refuses(
            &[("RUST_LOG", bad)],
            &["RUST_LOG", &format!("{bad:?}"), "debug"],
        );
    }
}

#[cfg(feature = "redis")]
#[test]
fn a_redis_url_says_what_would_be_right_and_never_what_it_is() {
    for bad in [
        "",
        "hush",
        "redis://",
        "redis://:hush@host:port/0",
        "redis://:hush@host/zero",
        "http://:hush@host/",
        // Nothing is silently left out.
        "redis://:hush@host?db=2",
        "redis://:hush@host/2?protocol=resp3",
        "redis://:hush@host/?",
        "redis://:hush@host/#hush",
        "redis://:hush@host#",
        "redis://hush@host",
        "redis://hush:@host",
        "redis://:@host",
        "redis://@host",
        "redis://:hush@host//",
        "redis://:hush@host/0/",
        "redis://:hush@host//0",
        "redis://:hush@host/0/hush",
        "redis://:hush@host/+1",
        "redis://:hush@host/-1",
        "redis://:hush@host/99999999999999999999",
        "redis://:hush@host/%30",
        "redis://:hush@host:",
        "redis://:hush@host:0",
        "redis://:hush@host:65536",
        "redis://:hush@[::1]:",
        "redis://:hush@host ",
        " redis://:hush@host",
        "redis://:hu\nsh@host",
        "redis://:hush@ho\tst",
        "redis://:hu/sh@host",
        "redis://:hu?sh@host",
        "redis://:hu#sh@host",
        "redis://:hush@",
        "redis://u:hush@:6379",
        "redis://:hush@host:6379:1",
        "redis://:hush@[::1",
        "redis://:hush@[::x]",
        "redis://:hush@[::1]x:5",
        "redis://:hush@::1",
        "redis://:hush@ho%20st",
        "redis://:hush@%68ost",
        "redis://:hush@[fe80::1%25eth0]",
        "redis://:%FFhush@host",
        "redis://%FF:hush@host",
        "REDIS://:hush@host",
        "unix:///run/hush.sock",
        "redis+unix:///run/hush.sock",
        "valkey://:hush@host",
    ] {
        let line = refuses(
            &[("REDIS_URL", bad)],
            &["REDIS_URL", "redis://[user:password@]host"],
        );
        assert!(!line.contains("hush"), "the value may be a secret: {line}");
    }
    for (bad, what) in [
        ("redis://:a@host?db=2", "a query"),
        ("redis://:a@host#x", "a fragment"),
        ("redis://user@host", "without a password"),
        ("redis://:a@host/x", "a database"),
        ("redis://:a@host:x", "a port"),
    ] {
        refuses(&[("REDIS_URL", bad)], &["REDIS_URL", what]);
    }
    let line = refuses(
        &[("REDIS_URL", "rediss://:hush@host")],
        &["REDIS_URL", "TLS", "tunnel"],
    );
    assert!(!line.contains("hush"), "the value may be a secret: {line}");
}

#[cfg(not(feature = "redis"))]
#[test]
fn a_redis_url_is_refused_by_a_server_that_cannot_use_it() {
    refuses(
        &[("REDIS_URL", "redis://host")],
        &["REDIS_URL", "feature redis", "unset"],
    );
}

#[test]
fn a_value_that_is_not_text_is_named() {
    let output = bare_command()
        .env("LISTEN", std::ffi::OsStr::from_bytes(b"\xff"))
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("LISTEN is not UTF-8"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_port_in_use_is_one_line_and_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let output = run(
        &[],
        &[
            ("LISTEN", &address),
            ("AUTH_TOKEN", "t"),
            ("RUST_LOG", "error"),
        ],
    );
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(&address) && line.contains("LISTEN"), "{line}");
}

#[test]
fn help_names_every_variable_with_its_default() {
    let output = run(&["--help"], &[]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    for (name, default) in [
        ("LISTEN", "0.0.0.0:8080"),
        ("PORT", "8080"),
        ("AUTH_TOKEN", "random"),
        ("ACCESS_FILE", "none"),
        ("JWT_SECRET", "none"),
        ("CORS_ORIGINS", "*"),
        ("HISTORY_EVENTS", "100"),
        ("HISTORY_BYTES", "16777216"),
        ("HISTORY_AGE", "none"),
        ("CHANNEL_TTL", "300"),
        ("HEARTBEAT", "15"),
        ("MAX_CLIENTS", "10000"),
        ("MAX_CHANNELS", "10000"),
        ("MAX_MESSAGE_BYTES", "65536"),
        ("CLIENT_QUEUE", "256"),
        ("MAX_CLIENTS_PER_ADDRESS", "0: no limit"),
        ("TRUSTED_PROXIES", "none"),
        ("RUST_LOG", "info"),
    ] {
        let line = help
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))
            .unwrap_or_else(|| panic!("no line for {name}"));
        assert!(
            line.contains(default),
            "{name}'s default is {default}: {line}"
        );
    }
    assert_eq!(
        help.lines()
            .filter(|line| line.trim_start().starts_with("curl "))
            .count(),
        4
    );
    assert!(
        help.lines().all(|line| line.len() <= 100),
        "no line is wider than 100 columns"
    );
}

#[test]
fn version_and_unknown_arguments() {
    let output = run(&["--version"], &[]);
    assert_eq!(
        text(&output.stdout),
        format!("sse-server {}\n", env!("CARGO_PKG_VERSION"))
    );
    for arguments in [["--verbose"].as_slice(), &["serve"], &["--help", "x"]] {
        let output = run(arguments, &[]);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("--help"), "{line}");
    }
}

#[test]
fn healthcheck_asks_the_local_server() {
    let server = Server::start(&[]);
    let address = server.addr.to_string();
    let port = server.addr.port().to_string();
    assert_eq!(
        run(&["--healthcheck"], &[("LISTEN", &address)])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(
        run(&["--healthcheck"], &[("PORT", &port)]).status.code(),
        Some(0),
        "0.0.0.0 is asked at 127.0.0.1"
    );
    drop(server);
    let output = run(&["--healthcheck"], &[("LISTEN", &address)]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr).lines().count(),
        1,
        "{}",
        text(&output.stderr)
    );
    assert_eq!(
        run(&["--healthcheck"], &[("LISTEN", "nonsense")])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn without_a_configured_token_one_is_made_up_and_shown_once() {
    let servers = [0, 1].map(|_| {
        Server::start_with(&[], |command| {
            command.env_remove("AUTH_TOKEN");
        })
    });
    let tokens = servers
        .each_ref()
        .map(|server| value(&server.wait_for_log("event=token"), "token").to_string());
    assert_ne!(tokens[0], tokens[1], "each run has its own");
    assert!(tokens[0].len() >= 32, "{} characters", tokens[0].len());
    let authorization = format!("Bearer {}", tokens[0]);
    assert_eq!(
        servers[0]
            .request(
                "POST",
                "/publish/a",
                &[("Authorization", &authorization)],
                b"x"
            )
            .status,
        200
    );
    servers[0].wait_for_log("event=publish");
    assert_eq!(
        servers[0].log().matches(&tokens[0]).count(),
        1,
        "it is shown once"
    );
}

#[test]
fn a_configured_token_is_never_shown() {
    let server = Server::start(&[("RUST_LOG", "trace")]);
    server.publish("a", "x");
    server.wait_for_log("event=publish");
    assert!(!server.log().contains(common::TOKEN));
}

#[test]
fn the_log_level_can_be_lowered() {
    let output = run(
        &[],
        &[
            ("LISTEN", "203.0.113.1:1"),
            ("AUTH_TOKEN", "t"),
            ("RUST_LOG", "off"),
        ],
    );
    assert_eq!(
        output.status.code(),
        Some(1),
        "an address of another machine"
    );
    assert_eq!(
        text(&output.stderr).lines().count(),
        1,
        "only the failure: {}",
        text(&output.stderr)
    );
}

/// A place for a socket, removed afterwards.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> SocketPath {
        let path = std::env::temp_dir().join(format!("sse-server-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        SocketPath(path)
    }

    fn listen(&self) -> String {
        format!("unix:{}", self.0.display())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn ask(path: &SocketPath, request: &str) -> String {
    let mut connection = UnixStream::connect(&path.0).expect("the server accepts");
    connection
        .set_read_timeout(Some(common::BOUND))
        .expect("a timeout can be set");
    connection
        .write_all(request.as_bytes())
        .expect("the request is sent");
    let mut answer = String::new();
    connection
        .read_to_string(&mut answer)
        .expect("the answer ends");
    answer
}

#[test]
fn streams_over_a_unix_socket_come_and_go_without_end() {
    let path = SocketPath::new("streams");
    // So few that a count which only grows soon reaches the limit.
    let few_descriptors = |command: &mut std::process::Command| {
        let limit = libc::rlimit {
            rlim_cur: 256,
            rlim_max: 256,
        };
        // SAFETY: the struct is valid.
        let set = move || match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: the closure makes one system call, with a struct that is valid.
        unsafe { command.pre_exec(set) };
    };
    let listen = path.listen();
    let variables = [("LISTEN", listen.as_str()), ("MAX_CLIENTS", "50")];
    let _server = Server::start_with(&variables, few_descriptors);
    for number in 0..500 {
        let mut stream = UnixStream::connect(&path.0).expect("the server accepts");
        stream
            .write_all(b"GET /sse/a HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("sent");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        assert!(head.ends_with(b" 200"), "stream number {number} is refused");
        drop(stream);
        // Lets the server find out that the client has gone.
        let answer = ask(&path, "POST /publish/a?msg=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer test-token-of-16-bytes\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn a_unix_socket_serves_like_a_port() {
    let path = SocketPath::new("serves");
    let listen = path.listen();
    let mut server = Server::start(&[("LISTEN", &listen)]);
    let mut stream = UnixStream::connect(&path.0).expect("the server accepts");
    stream
        .write_all(b"GET /sse/a HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    server.wait_for_log("event=connect peer=unix");
    let answer = ask(&path, "POST /publish/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer test-token-of-16-bytes\r\nContent-Length: 5\r\n\r\nhello");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"clients\":1"),
        "{answer}"
    );
    stream
        .set_read_timeout(Some(common::BOUND))
        .expect("a timeout can be set");
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    wait_until("the message arrives", common::BOUND, || {
        let n = stream.read(&mut buffer).expect("the stream flows");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        seen.contains("data: hello")
    });
    assert_eq!(
        run(&["--healthcheck"], &[("LISTEN", &listen)])
            .status
            .code(),
        Some(0)
    );
    drop(stream);
    let (status, _) = server.terminate();
    assert!(status.success());
    assert!(!path.0.exists(), "the socket is removed at the end");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let path = SocketPath::new("stale");
    let listen = path.listen();
    let first = Server::start(&[("LISTEN", &listen)]);
    let output = run(
        &[],
        &[
            ("LISTEN", &listen),
            ("AUTH_TOKEN", "t"),
            ("RUST_LOG", "error"),
        ],
    );
    assert_eq!(output.status.code(), Some(1), "a live socket is in use");
    assert!(
        text(&output.stderr).contains(&listen),
        "{}",
        text(&output.stderr)
    );
    // Killed: nobody removes the socket.
    drop(first);
    assert!(path.0.exists());
    let second = Server::start(&[("LISTEN", &listen)]);
    assert!(ask(&path, "GET /health HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
    drop(second);
    std::fs::remove_file(&path.0).expect("the socket is there");
    std::fs::write(&path.0, "precious").expect("a file can be written");
    let output = run(
        &[],
        &[
            ("LISTEN", &listen),
            ("AUTH_TOKEN", "t"),
            ("RUST_LOG", "error"),
        ],
    );
    assert_eq!(
        output.status.code(),
        Some(1),
        "a file that is no socket stays"
    );
    assert_eq!(
        std::fs::read_to_string(&path.0).expect("it is there"),
        "precious"
    );
}
