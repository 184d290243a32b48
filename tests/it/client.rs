//! The client for pages, `/sse-client.js`: what the server sends, its types, and what real browsers make of it
//! (tests/client).

use crate::common;

use common::python::succeed;
use common::{node, Server};
use std::path::Path;

/// The promised size.
const MOST_BYTES: usize = 4096;

const MINIFIED: &str = include_str!("../../assets/sse-client.min.js");

#[test]
fn the_client_is_small_and_pages_of_other_origins_may_have_it() {
    let server = Server::start(&[("CORS_ORIGINS", "https://example.org")]);
    let origin = [("Origin", "https://example.org")];
    let reply = server.request("GET", "/sse-client.js", &origin, b"");
    assert_eq!(reply.status, 200);
    // Browsers take nothing else for a module.
    let content_type = reply.header("Content-Type");
    assert_eq!(content_type, Some("text/javascript; charset=utf-8"));
    assert_eq!(
        reply.header("Access-Control-Allow-Origin"),
        Some("https://example.org")
    );
    assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(reply.header("Cache-Control"), Some("no-cache"));
    assert_eq!(reply.text(), MINIFIED);
    let bytes = reply.text().len();
    assert!(bytes < MOST_BYTES, "the client has {bytes} bytes");
    for dependency in ["import ", "import(", "require("] {
        assert!(!MINIFIED.contains(dependency), "it has {dependency:?}");
    }
    let tag = reply.header("ETag").expect("it has a tag");
    let known = [("If-None-Match", tag)];
    let again = server.request("GET", "/sse-client.js", &known, b"");
    assert_eq!(again.status, 304);
    let posted = server.request("POST", "/sse-client.js", &[], b"x");
    assert_eq!(posted.header("Allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn the_types_are_served_beside_it() {
    let server = Server::start(&[]);
    let reply = server.get("/sse-client.d.ts");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), include_str!("../../assets/sse-client.d.ts"));
    assert_ne!(
        reply.header("ETag"),
        server.get("/sse-client.js").header("ETag")
    );
}

#[test]
fn needs_npm_the_served_client_is_built_from_its_source() {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sse-client.min.js");
    let package: serde_json::Value =
        serde_json::from_str(include_str!("../client/package.json")).expect("it is JSON");
    let script = package["scripts"]["minify"].as_str().expect("it is there");
    let arguments = script.split(' ').skip(1);
    let arguments = arguments.take_while(|argument| *argument != "--output");
    let mut command = node::command("client", "terser");
    succeed(command.args(arguments).arg("--output").arg(&made));
    let made = std::fs::read_to_string(made).expect("terser writes it");
    assert!(
        made == MINIFIED,
        "assets/sse-client.js was changed: npm --prefix tests/client run minify"
    );
}

#[test]
fn needs_npm_the_types_are_right() {
    let mut command = node::command("client", "tsc");
    succeed(command.args(["--project", "tsconfig.json"]));
}

#[test]
fn needs_npm_needs_chromium_the_client_works_in_chromium() {
    node::test("client", "client.test.js", &[("BROWSER", "chromium")]);
}

#[test]
fn needs_npm_needs_firefox_esr_the_client_works_in_firefox() {
    node::test("client", "client.test.js", &[("BROWSER", "firefox")]);
}
