//! The real curl, in every form that the README shows.

use crate::common;

use common::{Publisher, Server};
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
