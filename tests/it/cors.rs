//! Pages of other origins may use the server, all or those that are listed.

use crate::common;

use common::{Reply, Server};

const ORIGIN: &str = "https://example.org";

fn allowed(reply: &Reply) -> Option<&str> {
    reply.header("Access-Control-Allow-Origin")
}

#[test]
fn everybody_may_by_default() {
    let server = Server::start(&[]);
    assert_eq!(allowed(&server.get("/health")), Some("*"));
    assert_eq!(
        allowed(&server.request("GET", "/nope", &[("Origin", ORIGIN)], b"")),
        Some("*")
    );
    assert_eq!(
        allowed(&server.request("POST", "/publish/a", &[], b"x")),
        Some("*"),
        "on a 401"
    );
    assert_eq!(
        server.subscribe("a").header("Access-Control-Allow-Origin"),
        Some("*")
    );
}

#[test]
fn a_list_echoes_its_own_origins_and_no_others() {
    let server = Server::start(&[("CORS_ORIGINS", "https://example.org, http://localhost:3000")]);
    for (origin, echoed) in [
        (Some(ORIGIN), Some(ORIGIN)),
        (Some("http://localhost:3000"), Some("http://localhost:3000")),
        (Some("http://localhost"), None),
        (Some("https://example.org.evil.com"), None),
        (Some("http://example.org"), None),
        (Some("null"), None),
        (None, None),
    ] {
        let headers: Vec<_> = origin.map(|o| ("Origin", o)).into_iter().collect();
        for (method, target) in [
            ("GET", "/health"),
            ("GET", "/nope"),
            ("OPTIONS", "/publish/a"),
            ("POST", "/publish/a"),
        ] {
            let reply = server.request(method, target, &headers, b"");
            assert_eq!(allowed(&reply), echoed, "{method} {target} from {origin:?}");
            assert_eq!(
                reply.header("Vary"),
                Some("Origin"),
                "{method} {target} from {origin:?}"
            );
        }
        let stream = server.subscribe_with("/sse/a", &headers);
        assert_eq!(
            stream.header("Access-Control-Allow-Origin"),
            echoed,
            "a stream from {origin:?}"
        );
        assert_eq!(stream.header("Vary"), Some("Origin"));
    }
}

#[test]
fn a_preflight_is_answered_on_every_path() {
    let server = Server::start(&[]);
    for target in [
        "/sse/a",
        "/sse",
        "/publish/a",
        "/publish?canal=a",
        "/stats",
        "/health",
        "/health/ready",
    ] {
        let headers = [
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type",
            ),
        ];
        let reply = server.request("OPTIONS", target, &headers, b"");
        assert_eq!((reply.status, reply.body.len()), (204, 0), "{target}");
        assert_eq!(allowed(&reply), Some("*"), "{target}");
        for (name, value) in [
            ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
            (
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Last-Event-ID, Cache-Control",
            ),
            ("Access-Control-Max-Age", "86400"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{target}");
        }
        assert_eq!(
            reply.header("Content-Length"),
            None,
            "204 has no body and says no length (RFC 9110, section 8.6)"
        );
    }
}
