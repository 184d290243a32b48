//! The real curl, in every form that the README shows.

use crate::common;

use common::tokens::{self, RulesFile};
use common::{Folder, Publisher, Server};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

const AUTH: &str = "Authorization: Bearer test-token-of-16-bytes";

fn curl(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "10"]).args(arguments);
    command
}

#[track_caller]
fn output(arguments: &[&str]) -> String {
    let output = curl(arguments).output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "curl {arguments:?}: {}{text}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[track_caller]
fn with_input(arguments: &[&str], input: &[u8]) -> String {
    let mut child = curl(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(input)
        .expect("curl reads");
    let output = child.wait_with_output().expect("curl ends");
    assert!(output.status.success(), "curl {arguments:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `curl -N` on a stream.
struct Listening {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Listening {
    fn start(arguments: &[&str]) -> Listening {
        let mut child = curl(&["-N"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl runs");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Listening { child, lines }
    }

    /// Reads until a line; curl's time limit is the bound.
    #[track_caller]
    fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.last().map(String::as_str) != Some(wanted) {
            match self.lines.next() {
                Some(Ok(line)) => seen.push(line),
                _ => panic!("curl ended without {wanted:?}; it wrote {seen:?}"),
            }
        }
        seen
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn needs_curl_every_form_of_publishing() {
    let server = Server::start(&[]);
    let at = |path: &str| format!("http://{}{path}", server.addr);
    let mut listening = Listening::start(&[&at("/sse/news")]);
    server.wait_for_log("event=connect");

    assert!(
        output(&["-H", AUTH, "-d", "door open", &at("/publish/news")]).contains("\"clients\":1")
    );
    listening.until("data: door open");
    output(&["-H", AUTH, "-d", "olá", &at("/publish/news")]);
    listening.until("data: olá");

    let file = std::env::temp_dir().join(format!("sse-server-curl-{}", std::process::id()));
    std::fs::write(&file, "first\nsecond\n").expect("a file can be written");
    let from_file = format!("@{}", file.display());
    output(&[
        "-H",
        AUTH,
        "--data-binary",
        &from_file,
        &at("/publish/news"),
    ]);
    let seen = listening.until("data: ");
    assert!(
        seen.ends_with(&["data: first".into(), "data: second".into(), "data: ".into()]),
        "{seen:?}"
    );
    std::fs::remove_file(&file).expect("the file is there");

    with_input(
        &["-H", AUTH, "--data-binary", "@-", &at("/publish/news")],
        "from a pipe".as_bytes(),
    );
    listening.until("data: from a pipe");
    // Of unknown length, so in chunks.
    with_input(
        &["-H", AUTH, "-X", "POST", "-T", "-", &at("/publish/news")],
        "in chunks".as_bytes(),
    );
    listening.until("data: in chunks");
    output(&[
        "-H",
        AUTH,
        "-X",
        "POST",
        "-G",
        "--data-urlencode",
        "msg=Olá, São Paulo & more",
        &at("/publish/news"),
    ]);
    listening.until("data: Olá, São Paulo & more");
    output(&["-H", AUTH, "-d", "named", &at("/publish/news?event=alert")]);
    assert!(listening
        .until("data: named")
        .contains(&"event: alert".to_string()));
    output(&[
        "-d",
        "by query",
        &at("/publish?canal=news&access_token=test-token-of-16-bytes"),
    ]);
    listening.until("data: by query");
    output(&["-H", AUTH, "-d", "all", &at("/publish/broadcast")]);
    listening.until("data: all");
}

#[test]
fn needs_curl_listening_in_each_version_of_http() {
    let server = Server::start(&[]);
    let url = format!("http://{}/sse/news", server.addr);
    // --http2 asks for an upgrade, which the server does not take.
    for version in ["--http1.0", "--http1.1", "--http2"] {
        let mut listening = Listening::start(&[version, &url]);
        common::wait_until("curl listens", common::BOUND, || {
            server.stat("connected_clients") > 0
        });
        server.publish("news", version);
        let seen = listening.until(&format!("data: {version}"));
        assert_eq!(seen[0], ":", "{version}: the first line is a comment");
        drop(listening);
        common::wait_until("curl has left", common::BOUND, || {
            server.stat("connected_clients") == 0
        });
        output(&[
            version,
            "-H",
            AUTH,
            "-d",
            "x",
            &format!("http://{}/publish/news", server.addr),
        ]);
    }
}

#[test]
fn needs_curl_what_was_missed() {
    let server = Server::start(&[]);
    Publisher::new(&server).publish("news", "missed");
    let mut listening =
        Listening::start(&[&format!("http://{}/sse/news?last_event_id=0", server.addr)]);
    listening.until("data: missed");
}

#[test]
fn needs_curl_a_large_body_is_refused_politely() {
    let server = Server::start(&[]);
    let megabyte = vec![b'x'; 1 << 20];
    for expect in ["Expect: 100-continue", "Expect:"] {
        let url = format!("http://{}/publish/news", server.addr);
        let arguments = [
            "-H",
            AUTH,
            "-H",
            expect,
            "-w",
            "%{http_code}",
            "--data-binary",
            "@-",
            &url,
        ];
        let seen = with_input(&arguments, &megabyte);
        assert!(
            seen.contains("MAX_MESSAGE_BYTES") && seen.ends_with("413"),
            "with {expect:?}: {seen}"
        );
    }
    let seen = with_input(
        &[
            "-w",
            "%{http_code}",
            "--data-binary",
            "@-",
            &format!("http://{}/publish/news", server.addr),
        ],
        &megabyte,
    );
    assert!(seen.ends_with("401"), "without a token: {seen}");
}

/// Runs a script with `sh`; `$M` is the URL of messages, `$P` that of publishing, `$TMP` a file for it.
#[track_caller]
fn shell(server: &Server, script: &str) -> String {
    let scratch = Folder::new(&format!("shell-{}", server.pid()));
    let output = Command::new("sh")
        .args(["-euc", script])
        .env("M", format!("http://{}/messages", server.addr))
        .env("P", format!("http://{}/publish", server.addr))
        .env("AUTH", AUTH)
        .env("TMP", scratch.0.join("scratch"))
        .output()
        .expect("sh runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}: {}{text}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn needs_curl_and_jq_every_way_to_read() {
    let server = Server::start(&[("HEARTBEAT", "1"), ("HISTORY_EVENTS", "3")]);
    assert_eq!(shell(&server, "curl -sS $M/news"), "", "nothing yet");
    for text in ["one", "two\nlines", "three", "four"] {
        server.publish("news", text);
    }
    server.publish_to("/publish/other?event=alert", "five");
    let run = |script: &str| shell(&server, script);
    // One-shot.
    assert_eq!(
        run("curl -sS $M/news | jq -r .mensagem"),
        "two\nlines\nthree\nfour\n"
    );
    assert_eq!(
        run("curl -sS $M/news,other?last=1 | jq -r '.canal + \" \" + .event'"),
        "other alert\n"
    );
    assert_eq!(
        run("curl -sS \"$M?canal=news&canal=other&since=10m\" | jq -c .mensagem"),
        "\"two\\nlines\"\n\"three\"\n\"four\"\n\"five\"\n"
    );
    assert_eq!(
        run("curl -sS \"$M/news?since=$(date +%s)999\""),
        "",
        "milliseconds"
    );
    assert_eq!(
        run("curl -sS \"$M/news?format=text&last=2\""),
        "three\nfour\n"
    );
    // The id to go on with.
    let next = "curl -sS -D - -o /dev/null \"$M/news?last=1\" | tr -d '\\r' | sed -n 's/^Last-Event-ID: //p'";
    let told = format!("id=$({next}); curl -sS -H \"$AUTH\" -d new $P/news >/dev/null; curl -sS \"$M/news?since=$id\" | jq -r .mensagem");
    assert_eq!(run(&told), "new\n");
    // A gap.
    assert_eq!(run("curl -sS \"$M/news?since=1-0&last=1\" | jq -c 'select(.gap)'"), "{\"gap\":{\"canal\":\"news\",\"after\":\"1-0\"}}\n{\"gap\":{\"canal\":\"broadcast\",\"after\":\"1-0\"}}\n");
    // Long polling: in vain, and not.
    let waited = run(&format!(
        "id=$({next}); curl -sS -w '%{{http_code}}' \"$M/news?wait=1&since=$id\""
    ));
    assert_eq!(waited, "200");
    let waited = format!("id=$({next}); curl -sS \"$M/news?wait=60&since=$id\" | jq -r .mensagem");
    let got = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&waited));
        common::wait_until("curl waits", common::BOUND, || {
            server.stat("connected_clients") == 1
        });
        server.publish("news", "at last");
        waiting.join().expect("it ends")
    });
    assert_eq!(got, "at last\n");
    // Following, in both forms; the heartbeat is no message for jq.
    for (format, wanted, end) in [
        ("", "jq --unbuffered -r .mensagem", "end"),
        ("&format=text", "cat", "END"),
    ] {
        let script = format!("curl -sSN --max-time 60 \"$M/news?follow=1&last=1{format}\" | {wanted} | while read -r line; do echo \"$line\"; [ \"$line\" != {end} ] || break; done");
        let got = std::thread::scope(|scope| {
            let following = scope.spawn(|| run(&script));
            common::wait_until("curl follows", common::BOUND, || {
                server.stat("connected_clients") == 1
            });
            server.publish("broadcast", "all");
            server.publish("news", end);
            // curl notices that nobody reads when it has something to write.
            let begun = std::time::Instant::now();
            while !following.is_finished() && begun.elapsed() < common::BOUND {
                server.publish("news", end);
                std::thread::park_timeout(std::time::Duration::from_millis(100));
            }
            following.join().expect("it ends")
        });
        assert!(got.ends_with(&format!("\nall\n{end}\n")), "{format}: {got}");
        common::wait_until("curl has left", common::BOUND, || {
            server.stat("connected_clients") == 0
        });
    }
    // A head alone, and what is refused.
    let head = run("curl -sSI \"$M/news?follow=1\"");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("application/x-ndjson"),
        "{head}"
    );
    assert_eq!(run("curl -sS \"$M/news?wait=0\" | jq .status"), "400\n");
}

/// Checks what a script prints, line by line of the contract's table.
#[track_caller]
fn prints(server: &Server, script: &str, wanted: &str) {
    assert_eq!(shell(server, script), wanted, "{script}");
}

#[test]
fn needs_curl_and_jq_each_row_of_the_table_of_reading() {
    let rules = RulesFile::new(
        r#"{"public": {"subscribe": ["news", "new*"]}, "tokens": [{"name": "r", "token": "readers-token-of-16", "subscribe": ["secret*"]}]}"#,
    );
    let server = tokens::start(&rules, &[("HISTORY_EVENTS", "3"), ("HEARTBEAT", "1")]);
    let check = |script: &str, wanted: &str| prints(&server, script, wanted);
    // Nothing is an answer as well, with the id to go on with.
    check(
        "curl -sS -D - $M/news | tr -d '\\r' | grep -Ec '^(HTTP/1.1 200|Content-Length: 0|Cache-Control: no-store|Last-Event-ID: [0-9]+-[0-9]+|Content-Type: application/x-ndjson)'",
        "5\n",
    );
    let ids: Vec<String> = (1..=4)
        .map(|n| server.publish("news", format!("{n}")))
        .collect();
    let named = server.publish_to("/publish/news2?event=alert", "5");
    server.publish("secret1", "hidden");
    // since: an id, 0, and moments; last; both.
    let texts = |query: &str, wanted: &str| {
        check(
            &format!("curl -sS \"$M/news{query}\" | jq -r '.mensagem // \"gap\"' | paste -sd' ' -"),
            &format!("{wanted}\n"),
        );
    };
    texts("", "2 3 4");
    texts("?since=0", "2 3 4");
    texts(&format!("?since={}", ids[2]), "4");
    texts(&format!("?since={}", ids[1]), "3 4");
    for moment in ["90s", "10m", "2h", "1d", "1764000000000"] {
        texts(&format!("?since={moment}"), "2 3 4");
        texts(&format!("?since={moment}&last=1"), "4");
    }
    texts("?last=2", "3 4");
    texts(&format!("?since={}&last=1", ids[1]), "4");
    // An id from before what is retained tells a gap; a moment does not.
    texts(&format!("?since={}", ids[0]), "2 3 4");
    check(
        "curl -sS \"$M/news?since=1-1&last=1\" | jq -c '.gap // .mensagem'",
        "{\"canal\":\"news\",\"after\":\"1-1\"}\n{\"canal\":\"broadcast\",\"after\":\"1-1\"}\n\"4\"\n",
    );
    // wait: what is there comes at once, a gap too, and it is not for a stream.
    texts("?wait=300&last=1", "4");
    check(
        "curl -sS \"$M/new?wait=300&since=1-1\" | jq -c 'has(\"gap\")'",
        "true\ntrue\n",
    );
    let status = "curl -sS -o /dev/null -w '%{http_code}\\n'";
    check(&format!("{status} \"$M/news?wait=1&follow=1\""), "400\n");
    check(&format!("{status} \"$M/news?wait=301\""), "400\n");
    check(&format!("{status} \"$M/news?last=10001\""), "400\n");
    check(&format!("{status} \"$M/news?since=soon\""), "400\n");
    check(&format!("{status} \"$M/news?format=json\""), "400\n");
    check(&format!("{status} -X POST -d x $M/news"), "405\n");
    // format: all fields, and an event only where there is one.
    let all = "curl -sS \"$M?canal=news&canal=news2&last=2\" | jq -c '[.id, .canal, .event, .mensagem, has(\"event\"), (.timestamp | type)]'";
    check(
        all,
        &format!("[\"{}\",\"news\",null,\"4\",false,\"number\"]\n[\"{named}\",\"news2\",\"alert\",\"5\",true,\"number\"]\n", ids[3]),
    );
    check(
        "curl -sS -D - \"$M/news?format=text&since=1-1&last=2\" | tr -d '\\r' | grep -v '^[A-Z].*: [^t]'",
        "HTTP/1.1 200 OK\nContent-Type: text/plain; charset=utf-8\n\n3\n4\n",
    );
    // Patterns and rights.
    check("curl -sS \"$M/new*?last=2&format=text\"", "4\n5\n");
    check(
        "curl -sS -H 'Authorization: Bearer readers-token-of-16' \"$M/secret*\" | jq -r '.canal + \" \" + .mensagem'",
        "secret1 hidden\n",
    );
    check(
        "curl -sS \"$M/secret1?format=text&access_token=readers-token-of-16\"",
        "hidden\n",
    );
    check(&format!("{status} $M/secret1"), "401\n");
    check(
        &format!("{status} \"$M/*?access_token=readers-token-of-16\""),
        "403\n",
    );
    check(&format!("{status} \"$M/news?access_token=wrong\""), "401\n");
    // follow: gaps first, then the heartbeat, and the end of the right as the last line.
    let script = "curl -sSN --max-time 60 \"$M/secret1?follow=1&since=1-1&access_token=readers-token-of-16\" | while read -r line; do if [ -z \"$line\" ]; then echo beat >&2; else echo \"$line\" | jq -c 'keys'; fi; done";
    let got = std::thread::scope(|scope| {
        let following = scope.spawn(|| shell(&server, script));
        common::wait_until("curl follows", common::BOUND, || {
            server.stat("connected_clients") == 1
        });
        rules.write(r#"{"tokens": []}"#);
        server.hang_up();
        following.join().expect("it ends")
    });
    let message = "[\"canal\",\"id\",\"mensagem\",\"timestamp\"]\n";
    assert_eq!(
        got,
        format!("[\"gap\"]\n[\"gap\"]\n{message}[\"expired\"]\n")
    );
}

#[test]
fn needs_curl_and_jq_each_row_of_publishing() {
    let rules = RulesFile::new(
        r#"{"public": {"subscribe": ["*"]}, "tokens": [{"name": "p", "token": "publisher-of-16-bytes", "publish": ["own-*"]}]}"#,
    );
    let server = tokens::start(
        &rules,
        &[("MAX_CHANNELS", "4"), ("MAX_MESSAGE_BYTES", "100")],
    );
    let check = |script: &str, wanted: &str| prints(&server, script, wanted);
    let status = "curl -sS -o /dev/null -w '%{http_code}\\n' -H \"$AUTH\"";
    // The answer, and the message in each of its ways.
    check(
        "curl -sS -H \"$AUTH\" -d 'text' $P/news | jq -c '[(.id | test(\"^[0-9]+-[0-9]+$\")), .canal, .clients]'",
        "[true,\"news\",0]\n",
    );
    check(
        &format!("{status} -H 'Content-Type: image/png' -d 'any type' $P/news"),
        "200\n",
    );
    check(
        &format!("{status} -X POST \"$P?canal=news&msg=by+query%21\""),
        "200\n",
    );
    check(
        &format!("printf 'a file' >\"$TMP\"; {status} -T \"$TMP\" $P/news"),
        "200\n",
    );
    check(
        &format!("{status} -X POST \"$P?canal=notícias&msg=Olá\""),
        "200\n",
    );
    check(
        "curl -sS \"$M?canal=news,notícias&format=text\"",
        "text\nany type\nby query!\na file\nOlá\n",
    );
    // What is refused.
    check(&format!("{status} -d x \"$P/news?msg=x\""), "400\n");
    check(&format!("{status} -X POST $P/news"), "400\n");
    check(
        &format!("printf '\\377' | {status} --data-binary @- $P/news"),
        "400\n",
    );
    check(&format!("{status} -d x \"$P/news?event=sse-own\""), "400\n");
    check(&format!("{status} -d x \"$P/a,b\""), "400\n");
    check(&format!("{status} -d x \"$P/new*\""), "400\n");
    check(
        &format!("printf '%0101d' 0 | {status} --data-binary @- $P/news"),
        "413\n",
    );
    check(
        "curl -sS -D - -o /dev/null -d x $P/news | tr -d '\\r' | grep -E '^(HTTP|WWW-Authenticate)'",
        "HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer\n",
    );
    check(
        "curl -sS -d x \"$P/news?access_token=publisher-of-16-bytes\" | jq .status",
        "403\n",
    );
    check(
        "curl -sS -d x \"$P/own-1?access_token=publisher-of-16-bytes\" | jq -r .canal",
        "own-1\n",
    );
    // A batch: all or none.
    let batch =
        "curl -sS -H \"$AUTH\" -H 'Content-Type: application/x-ndjson' --data-binary @- $P/batch";
    check(
        &format!("printf '%s\\n' '\"one\"' '{{\"two\": 2}}' 3 | {batch} | jq -c '[.count, .canal, .clients, .first < .last]'"),
        "[3,\"batch\",0,true]\n",
    );
    check(
        &format!("printf '%s\\n' '\"four\"' 'no json' | {batch} | jq .status"),
        "400\n",
    );
    check(
        "curl -sS \"$M/batch?format=text\"",
        "one\n{\"two\": 2}\n3\n",
    );
    // A key: once, with one answer.
    let keyed = "curl -sS -D \"$TMP\" -H \"$AUTH\" -H \"Idempotency-Key: $KEY\" -d";
    check(
        &format!("KEY=k-1; a=$({keyed} once $P/news); KEY='\"k-1\"'; b=$({keyed} once $P/news); [ \"$a\" = \"$b\" ]; tr -d '\\r' <\"$TMP\" | grep -c '^Idempotency-Replayed: true'"),
        "1\n",
    );
    check(
        &format!("KEY=k-1; {keyed} other $P/news | jq .status"),
        "422\n",
    );
    check(
        &format!("KEY='a b'; {keyed} x $P/news | jq .status"),
        "400\n",
    );
    check("curl -sS \"$M/news?last=2&format=text\"", "a file\nonce\n");
    // A limit.
    check(
        "curl -sS -D - -o /dev/null -H \"$AUTH\" -d x $P/fifth | tr -d '\\r' | grep -Ec '^(HTTP/1.1 503|Retry-After: [0-9]+)'",
        "2\n",
    );
    // Whom a message reaches.
    let mut listening = Listening::start(&[&format!("http://{}/sse/news", server.addr)]);
    server.wait_for_log("event=connect");
    check(
        "curl -sS -H \"$AUTH\" -d x \"$P/news?event=alert\" | jq .clients",
        "1\n",
    );
    assert!(listening
        .until("data: x")
        .contains(&"event: alert".to_string()));
}
