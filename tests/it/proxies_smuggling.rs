//! Requests that one server reads as one and another as two, sent to the proxies that the documents show: what is one request
//! to the proxy is at most one to the server behind it, and whoever comes next gets its own answer.

use crate::common;
use crate::door::smuggling;
use crate::door::table::{replace, served, Case};

use common::front::{file_of_chapter, haproxy, nginx, Front};
use common::http::{read_until_closed, replies, Left};
use common::port::free_port;
use common::{http, Address, Reply, Server, TOKEN};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

/// If a proxy has not answered by then, it waits for more of the request.
const PATIENCE: Duration = Duration::from_millis(300);

/// What is behind may hear of the end of a request late, when the next one is looked at: a fault is one that comes again.
const TRIES: usize = 3;

/// Requests that the server behind has answered, whatever with.
struct Behind {
    server: Server,
    looks: u64,
}

impl Behind {
    fn requests(&mut self) -> u64 {
        let text = self.server.get("/metrics").text();
        let count = |line: &str| {
            line.rsplit(' ')
                .next()
                .and_then(|count| count.parse::<u64>().ok())
        };
        let lines = text
            .lines()
            .filter(|line| line.starts_with("sse_server_responses_total{"));
        let sum: u64 = lines
            .map(|line| count(line).expect("it ends with a number"))
            .sum();
        // A look is not in its own count.
        let requests = sum - self.looks;
        self.looks += 1;
        requests
    }
}

fn marker(channel: &str) -> String {
    format!("POST /publish/{channel}?msg=x&access_token={TOKEN} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
}

/// What the proxy said to what was sent on one connection.
struct Said {
    /// Its answers, without interim ones, where they are HTTP/1.1.
    answers: Vec<Reply>,
    /// Their number, HTTP/1.1 or not.
    count: usize,
    left: Left,
}

fn send(front: &Address, sent: &[u8]) -> Said {
    let mut connection = front.connect();
    // A proxy may refuse it before its end.
    let _ = connection.write_all(sent);
    let (bytes, left) = read_until_closed(&mut connection, PATIENCE);
    let heads = usize::from(sent.starts_with(b"HEAD "));
    let (answers, count) = match replies(&bytes, heads) {
        Ok(mut answers) => {
            answers.retain(|answer| answer.status >= 200);
            let count = answers.len();
            (answers, count)
        }
        // HTTP/0.9 has no status line, and HTTP/2 none that could be read.
        Err(_) => {
            let lines = bytes.windows(7).filter(|window| window == b"HTTP/1.");
            (Vec::new(), lines.count().max(1))
        }
    };
    Said {
        answers,
        count,
        left,
    }
}

/// What is wrong with a case's result, if something is.
fn fault(front: &Address, behind: &mut Behind, case: &Case, number: usize) -> Option<String> {
    let channel = format!("c{number:08}");
    let mut sent = replace(&case.sent, b"{channel}", channel.as_bytes());
    let marked = format!("m{number}");
    if case.is_marked {
        sent.extend(marker(&marked).into_bytes());
    }
    let before = behind.requests();
    let Said {
        answers,
        count,
        left,
    } = send(front, &sent);
    // One for which the proxy has no answer yet, or which it gave up.
    let unanswered = usize::from(left == Left::Open || count == 0);
    let most = (count + unanswered) as u64;
    let came = behind.requests() - before;
    if came > most {
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        return Some(format!(
            "{came} requests behind, and in front {statuses:?} {left:?}"
        ));
    }
    if let [first, second] = &answers[..] {
        // Or refused, because what precedes it is no request to the proxy.
        let is_own = second.status == 400 || second.text().contains(&format!("\"{marked}\""));
        if case.is_marked && first.status == 200 && !is_own {
            return Some(format!(
                "who comes second gets {} {}",
                second.status,
                second.text()
            ));
        }
    }
    for probe in 0..2 {
        let target = format!("/nope/{number}-{probe}");
        let before = behind.requests();
        let reply = http::request(front, "GET", &target, &[], b"");
        if reply.status != 404 || !reply.text().contains(&target) {
            return Some(format!(
                "who comes next gets {} {}",
                reply.status,
                reply.text()
            ));
        }
        let came = behind.requests() - before;
        if came != 1 {
            return Some(format!("who comes next is {came} requests"));
        }
    }
    None
}

/// Cases whose body is a whole request for whoever takes the body's end to be somewhere else.
fn hidden() -> Vec<Case> {
    let hidden =
        format!("POST /publish/hidden?msg=x&access_token={TOKEN} HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = format!(
        "POST /publish/{{channel}} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n"
    );
    let size = format!("{:x}", hidden.len());
    let codings: [&[u8]; 26] = [
        b"Transfer-Encoding: chunked",
        b"transfer-encoding:chunked",
        b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding: chunked ",
        b"Transfer-Encoding: CHUNKED",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunkedx",
        b"Transfer-Encoding: \"chunked\"",
        b"Transfer-Encoding: chunked;q=1",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked\x0b",
        b"Transfer-Encoding: chunked\0",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\0: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"Transfer_Encoding: chunked",
    ];
    let mut all = Vec::new();
    let mut add = |name: String, fields: Vec<u8>, body: &str| {
        let sent = [head.as_bytes(), &fields, b"\r\n\r\n", body.as_bytes()].concat();
        all.push(Case::new(name, sent, served(200)));
    };
    for coding in codings {
        let name = coding.escape_ascii();
        // One goes by the length, and the other by the chunks.
        let ends = format!("0\r\n\r\n{hidden}");
        let holds = format!("{size}\r\n{hidden}\r\n0\r\n\r\n");
        for (what, body, length) in [
            ("behind", &ends, ends.len()),
            ("in", &holds, size.len() + 2),
        ] {
            let length = format!("Content-Length: {length}").into_bytes();
            let first = [coding, b"\r\n", &length].concat();
            let last = [&length, b"\r\n".as_slice(), coding].concat();
            add(
                format!("{what} a chunk, \"{name}\" before a length"),
                first,
                body,
            );
            add(
                format!("{what} a chunk, \"{name}\" behind a length"),
                last,
                body,
            );
        }
        add(
            format!("behind the chunks, \"{name}\""),
            coding.to_vec(),
            &ends,
        );
    }
    let length = hidden.len();
    for fields in [
        format!("Content-Length: {length}"),
        format!("Content-Length: +{length}"),
        format!("Content-Length: 0{length}"),
        format!("Content-Length: {length}, {length}"),
        format!("Content-Length: 0\r\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\nContent-Length: 0"),
        format!("Content-Length : {length}"),
        format!("Content-Length:\r\n {length}"),
        format!("X: y\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\nExpect: 100-continue"),
        format!("Content-Length: {length}\r\nExpect: y 100-continue"),
        format!("Content-Length: {length}\r\nConnection: Content-Length"),
        format!("Content-Length: {length}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        format!("Content-Length: {length}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        add(format!("a body, \"{}\"", fields.escape_default()), fields.into_bytes(), &hidden);
    }
    let chunked = b"Transfer-Encoding: chunked".to_vec();
    let inner = format!("0\r\n\r\n{hidden}");
    let around = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    for (what, body) in [
        (
            "an extension without a name and LF",
            format!("2;\nxx\r\n{around}"),
        ),
        ("an extension and LF", format!("2;a\nxx\r\n{around}")),
        ("an extension and CR", format!("2;a\rxx\r\n{around}")),
        ("a size and LF", format!("2\nxx\r\n{around}")),
        (
            "an extension that has the data",
            format!("{:x};\n{around}", around.len()),
        ),
        ("a string that is open", format!("2;a=\"\r\nxx\r\n{around}")),
        (
            "two bytes for the end of the data",
            format!("5\r\nAAAAAXX{around}"),
        ),
        (
            "LF for the end of the data",
            format!("5\r\nAAAAA\n{around}"),
        ),
        (
            "nothing for the end of the data",
            format!("5\r\nAAAAA{around}"),
        ),
        (
            "a size that overflows",
            format!("1000000000000000{size}\r\n{hidden}\r\n0\r\n\r\n"),
        ),
        (
            "a size with a sign",
            format!("+{size}\r\n{hidden}\r\n0\r\n\r\n"),
        ),
        (
            "a size with a blank",
            format!(" {size}\r\n{hidden}\r\n0\r\n\r\n"),
        ),
        (
            "a size like C's",
            format!("0x{size}\r\n{hidden}\r\n0\r\n\r\n"),
        ),
        (
            "a trailer that ends with LF",
            format!("0\r\nX: y\n\r\n{hidden}"),
        ),
        (
            "a length in the trailers",
            format!("0\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        ),
        ("LF behind the last chunk", format!("0\r\n\n{hidden}")),
    ] {
        add(format!("in chunks, {what}"), chunked.clone(), &body);
    }
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE"] {
        // Where a body means nothing.
        let sent = format!(
            "{method} /nope HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{hidden}"
        );
        all.push(Case::new(format!("{method} with a body"), sent, served(404)).alone());
    }
    all
}

#[track_caller]
fn check(front: &Front, server: Server) {
    let address = Address::from(front.addr);
    let mut behind = Behind { server, looks: 0 };
    let cases = [smuggling::all(), hidden()].concat();
    let mut faults = Vec::new();
    for (place, case) in cases.iter().enumerate() {
        let first = place * TRIES;
        let tries = first..first + TRIES;
        let mut found = tries.map(|number| fault(&address, &mut behind, case, number));
        let last = found.try_fold(String::new(), |_, found| found);
        faults.extend(last.map(|what| format!("{}: {what}", case.name)));
    }
    assert_eq!(behind.server.get("/health").status, 200);
    assert!(
        faults.is_empty(),
        "{} of {} requests:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

#[test]
fn needs_nginx_one_request_in_front_of_nginx_is_one_behind_it() {
    let server = Server::start(&[]);
    let port = free_port();
    let one = format!("127.0.0.1:{}", server.addr.port());
    let text = file_of_chapter("nginx.conf", &[("8080", port)]);
    // One server, and connections to it that are kept: what is left on one would be the next one's.
    let other = "        server 127.0.0.1:8082 max_fails=1 fail_timeout=1s;\n        server 127.0.0.1:8083 max_fails=1 fail_timeout=1s;\n";
    assert!(text.contains(other), "{text}");
    let text = text
        .replace(other, "        keepalive 4;\n")
        .replace("127.0.0.1:8081", &one);
    check(&nginx(&text, port), server);
}

#[test]
fn needs_haproxy_one_request_in_front_of_haproxy_is_one_behind_it() {
    let server = Server::start(&[]);
    let port = free_port();
    let text = file_of_chapter(
        "haproxy.cfg",
        &[("8080", port), ("8081", server.addr.port())],
    );
    // One server, whose requests are counted: without probes.
    let others = "    server two 127.0.0.1:8082\n    server three 127.0.0.1:8083\n";
    let probes = "    option httpchk GET /health\n";
    let check_option = "default-server check inter 500ms fall 1 rise 1";
    for part in [others, probes, check_option] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let text = text
        .replace(others, "")
        .replace(probes, "")
        .replace(check_option, "default-server no-check");
    check(&haproxy(&text, port), server);
}

#[test]
fn needs_caddy_one_request_in_front_of_caddy_is_one_behind_it() {
    let server = Server::start(&[]);
    let port = free_port();
    // As in the documents, but for TLS: what is sent is looked at as it is.
    let text = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://:{port} {{\n\tbind 127.0.0.1\n\treverse_proxy {}\n}}\n",
        server.addr
    );
    let mut caddy = Command::new("caddy");
    caddy.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]);
    caddy
        .env("HOME", ".")
        .env("XDG_DATA_HOME", ".")
        .env("XDG_CONFIG_HOME", ".");
    check(&Front::start("Caddyfile", &text, port, &mut caddy), server);
}
