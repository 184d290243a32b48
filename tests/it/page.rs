//! The statistics page: what the server sends, and what real browsers make of it (tests/page).

use crate::common;

use common::{node, Server};

#[test]
fn the_page_comes_with_a_strict_policy() {
    let server = Server::start(&[]);
    let reply = server.get("/");
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    assert!(reply.text().starts_with("<!doctype html>"));
    let policy = reply
        .header("Content-Security-Policy")
        .expect("it has a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for lax in ["unsafe", "*", "http"] {
        assert!(!policy.contains(lax), "{lax:?} is in the policy: {policy}");
    }
    for strict in [
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "connect-src 'self'",
    ] {
        assert!(policy.contains(strict), "{strict} is not in {policy}");
    }
    assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(reply.header("Referrer-Policy"), Some("no-referrer"));
    assert_eq!(reply.header("Cache-Control"), Some("no-cache"));
    assert_eq!(reply.header("Access-Control-Allow-Origin"), Some("*"));
}

#[test]
fn a_browser_that_has_the_page_is_told_so() {
    let server = Server::start(&[]);
    let first = server.get("/");
    let tag = first.header("ETag").expect("it has a tag").to_string();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
        let again = server.request("GET", "/", &[("If-None-Match", &known)], b"");
        assert_eq!(again.status, 304, "{known}");
        assert!(again.text().is_empty());
        assert_eq!(again.header("Content-Length"), None);
        assert_eq!(again.header("ETag"), Some(tag.as_str()));
    }
    let other = server.request("GET", "/", &[("If-None-Match", "\"other\"")], b"");
    assert_eq!(other.status, 200);
}

#[test]
fn the_page_is_for_reading() {
    let server = Server::start(&[("CORS_ORIGINS", "https://example.org")]);
    let head = server.request("HEAD", "/", &[], b"");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("Vary"), Some("Origin"));
    assert_eq!(
        head.header("Content-Length"),
        server.get("/").header("Content-Length")
    );
    assert_eq!(server.request("OPTIONS", "/", &[], b"").status, 204);
    let posted = server.request("POST", "/", &[], b"x");
    assert_eq!(posted.status, 405);
    assert_eq!(posted.header("Allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(server.get("/index.html").status, 404);
}

/// In one look. The four of them have each browser, size, language and colour with each browser and each size.
#[track_caller]
fn works(browser: &str, look: &str) {
    node::test(
        "page",
        "page.test.js",
        &[("BROWSER", browser), ("LOOK", look)],
    );
}

#[test]
fn needs_npm_needs_redis_server_needs_chromium_the_page_works_in_chromium_on_desktops() {
    works("chromium", "desktop English light");
}

#[test]
fn needs_npm_needs_redis_server_needs_chromium_the_page_works_in_chromium_on_phones() {
    works("chromium", "phone Portuguese dark");
}

#[test]
fn needs_npm_needs_redis_server_needs_firefox_esr_the_page_works_in_firefox_on_desktops() {
    works("firefox", "desktop Portuguese dark");
}

#[test]
fn needs_npm_needs_redis_server_needs_firefox_esr_the_page_works_in_firefox_on_phones() {
    works("firefox", "phone English light");
}

#[test]
fn needs_npm_needs_chromium_event_source_begins_with_the_newest_in_chromium() {
    node::test("page", "last.test.js", &[("BROWSER", "chromium")]);
}

#[test]
fn needs_npm_needs_firefox_esr_event_source_begins_with_the_newest_in_firefox() {
    node::test("page", "last.test.js", &[("BROWSER", "firefox")]);
}
