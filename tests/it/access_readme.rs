//! The worked example of the README: its rules, its backends, and its page, exactly as they stand there.

use crate::common;

use common::page::{open_browser, serve, wait_for};
use common::{RulesFile, Server, BOUND};
use std::process::Command;

/// The block behind `<!-- test: NAME -->`.
#[track_caller]
fn block(name: &str) -> String {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme
        .split_once(&format!("<!-- test: {name} -->\n```"))
        .unwrap_or_else(|| panic!("README.md has a block {name}"));
    let (block, _) = rest.split_once("\n```\n").expect("it ends");
    let (_, code) = block.split_once('\n').expect("it has lines");
    code.into()
}

fn secret() -> String {
    let line = block("secret");
    let secret = line
        .strip_prefix("JWT_SECRET=")
        .expect("it sets the variable");
    secret.into()
}

/// Runs a backend of the README, with a life of `seconds` for its tokens.
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
    let rules = RulesFile::new(block("rules"));
    let server = Server::start(&[("ACCESS_FILE", rules.path())]);
    for (method, path, token, expected) in [
        ("POST", "/publish/door-1", "change-me", 200),
        ("POST", "/publish/temperature", "change-me", 200),
        ("POST", "/publish/news", "change-me", 403),
        ("HEAD", "/sse/door-1", "foo", 200),
        ("HEAD", "/sse/door-1", "change-me", 403),
        ("HEAD", "/sse/news1", "change-me", 200),
    ] {
        let target = format!("{path}?access_token={token}");
        let reply = server.request(method, &target, &[], b"x");
        assert_eq!(reply.status, expected, "{method} {target}");
    }
    assert_eq!(server.request("HEAD", "/sse/news1", &[], b"").status, 200);
    let stats = server.get("/stats?access_token=change-me-too").json();
    assert!(stats["channels"].is_array(), "{stats}");
}

#[test]
fn needs_node_a_backend_mints_a_token() {
    a_token_works(&mint("node", "-e", &block("node"), 300));
}

#[test]
fn needs_python3_a_backend_mints_a_token() {
    a_token_works(&mint("python3", "-c", &block("python3"), 300));
}

/// The browser's part needs a backend as well: the name has both programs, so that it is left out without either.
#[test]
fn needs_chromium_and_needs_node_a_page_goes_on_with_the_next_token() {
    let (server, _rules) = start();
    let node = block("node");
    let page = block("page");
    assert!(page.contains("http://localhost:8080/"), "{page}");
    let page = page.replace("localhost:8080", &server.addr.to_string());
    let script = format!("const show = (text) => report('show ' + text);\n{page}");
    // So short a life that the page needs several tokens.
    let (addr, reports) = serve(script, move |path| {
        (path == "/token").then(|| mint("node", "-e", &node, 3))
    });
    let _browser = open_browser(addr);
    server.wait_for_log_within(
        common::page::PATIENCE,
        "event=connect subject=ana client=1 ",
    );
    server.publish("orders-ana", "first");
    wait_for(&reports, "show first");
    server.wait_for_log("event=disconnect client=1 reason=expired");
    server.publish("news-of-today", "between two tokens, or just after");
    wait_for(&reports, "show between two tokens, or just after");
    server.wait_for_log_within(BOUND, "event=disconnect client=2 reason=expired");
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
