//! The worked example of the chapter on access: its rules, its backends and its page, exactly as written.

use crate::common;

use common::page::{open_browser, serve, wait_for};
use common::{RulesFile, Server};
use std::process::Command;

/// The block after this mark.
#[track_caller]
fn block(mark: &str) -> String {
    common::documents::block("assets/docs/access.md", mark)
}

fn secret() -> String {
    let line = block("test: secret");
    let secret = line
        .trim_end()
        .strip_prefix("JWT_SECRET=")
        .expect("it sets the variable");
    secret.into()
}

/// Runs a backend of the chapter, whose tokens live for `seconds`.
fn mint(program: &str, option: &str, code: &str, seconds: u32) -> String {
    assert_eq!(code.lines().count(), 5, "five lines of {program}");
    assert!(
        code.contains("+ 300"),
        "the tokens of {program} have a life"
    );
    let code = code.replace("+ 300", &format!("+ {seconds}"));
    let output = Command::new(program)
        .args([option, &code])
        .env("JWT_SECRET", secret())
        .output()
        .unwrap_or_else(|error| panic!("{program} runs: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program}: {}",
        text(&output.stderr)
    );
    text(&output.stdout).trim().into()
}

fn start() -> (Server, RulesFile) {
    let rules = RulesFile::new("{}");
    let secret = secret();
    let server = Server::start(&[("ACCESS_FILE", rules.path()), ("JWT_SECRET", &secret)]);
    (server, rules)
}

fn a_token_works(token: &str) {
    let (server, _rules) = start();
    let target = format!("/sse?canal=orders-ana,news1&access_token={token}");
    let mut stream = server.subscribe_with(&target, &[]);
    server.wait_for_log("event=connect subject=ana");
    server.publish("orders-ana", "your order");
    assert_eq!(stream.next().data, "your order");
    let denied = server.get(&format!("/sse/orders-eve?access_token={token}"));
    assert_eq!(denied.status, 403);
}

#[test]
fn the_rules_can_be_used() {
    let rules = RulesFile::new(block("file: rules.json"));
    let server = Server::start(&[("ACCESS_FILE", rules.path())]);
    for (method, path, token, expected) in [
        ("POST", "/publish/door-1", "sensors-change-me", 200),
        ("POST", "/publish/temperature", "sensors-change-me", 200),
        ("POST", "/publish/news", "sensors-change-me", 403),
        ("HEAD", "/sse/door-1", "foo", 200),
        ("HEAD", "/sse/door-1", "sensors-change-me", 403),
        ("HEAD", "/sse/news1", "sensors-change-me", 200),
    ] {
        let target = format!("{path}?access_token={token}");
        let reply = server.request(method, &target, &[], b"x");
        assert_eq!(reply.status, expected, "{method} {target}");
    }
    assert_eq!(server.request("HEAD", "/sse/news1", &[], b"").status, 200);
    let stats = server
        .get("/stats?access_token=monitoring-change-me")
        .json();
    assert!(stats["channels"].is_array(), "{stats}");
}

#[test]
fn needs_node_a_backend_mints_a_token() {
    a_token_works(&mint("node", "-e", &block("test: node"), 300));
}

#[test]
fn needs_python3_a_backend_mints_a_token() {
    a_token_works(&mint("python3", "-c", &block("test: python3"), 300));
}

/// The browser's part needs a backend as well. The name has both programs, so that it is skipped without either.
#[test]
fn needs_chromium_and_needs_node_a_page_goes_on_with_the_next_token() {
    let (server, _rules) = start();
    let node = block("test: node");
    let page = block("test: page");
    assert!(page.contains("http://localhost:8080/"), "{page}");
    let page = page.replace("localhost:8080", &server.addr.to_string());
    let script = format!("const show = (text) => report('show ' + text);\n{page}");
    // So short a life that the page needs several tokens, and long enough for a busy machine to use one.
    let (addr, reports) = serve(script, move |path| {
        (path == "/token").then(|| mint("node", "-e", &node, 8))
    });
    let _browser = open_browser(addr);
    server.wait_for_log_within(
        common::page::PATIENCE,
        "event=connect subject=ana client=1 ",
    );
    server.publish("orders-ana", "first");
    wait_for(&reports, "show first");
    server.wait_for_log_within(
        common::page::PATIENCE,
        "event=disconnect client=1 reason=expired",
    );
    server.publish("news-of-today", "between two tokens, or just after");
    wait_for(&reports, "show between two tokens, or just after");
    server.wait_for_log_within(
        common::page::PATIENCE,
        "event=disconnect client=2 reason=expired",
    );
    server.publish("orders-ana", "last");
    wait_for(&reports, "show last");
    let shown = reports.lock().expect("nobody panics with it").clone();
    let expected = [
        "show first",
        "show between two tokens, or just after",
        "show last",
    ];
    assert_eq!(shown, expected, "each message once, and no error");
}
