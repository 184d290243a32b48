//! Pages of other origins may use the server: all, or the listed ones.

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
            let vary = ("Vary".to_string(), "Origin".to_string());
            assert!(
                reply.headers.contains(&vary),
                "{method} {target} from {origin:?}: {:?}",
                reply.headers
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
fn origins_are_compared_as_origins() {
    let list = "https://example.org:443, HTTP://Plain.Example:80, http://[::1]:3000, app://x";
    let server = Server::start(&[("CORS_ORIGINS", list)]);
    for (origin, is_listed) in [
        ("https://example.org", true),
        ("https://example.org:443", true),
        ("https://EXAMPLE.org", true),
        ("http://plain.example", true),
        ("http://plain.example:80", true),
        ("http://plain.example:080", true),
        ("http://plain.example:443", false),
        ("http://[::1]:3000", true),
        ("http://[0:0::1]:3000", true),
        ("app://x", true),
        ("http://example.org", false),
        ("https://example.org:80", false),
        ("https://example.org:4433", false),
        ("https://example.org.", false),
        ("https://example.org/", false),
        ("https://example.org:", false),
        ("https://user@example.org", false),
        ("https://plain.example", false),
        ("http://[::1]", false),
        ("app://x:80", false),
        ("https://example.org, https://example.org", false),
    ] {
        let reply = server.request("GET", "/health", &[("Origin", origin)], b"");
        let echoed = is_listed.then_some(origin);
        assert_eq!(allowed(&reply), echoed, "{origin}");
    }
}

#[test]
fn pages_may_read_what_they_need_of_an_answer() {
    const READABLE: Option<&str> = Some("Last-Event-ID, Idempotency-Replayed, Retry-After");
    let open = Server::start(&[]);
    let listed = Server::start(&[("CORS_ORIGINS", ORIGIN)]);
    for (server, origin, expected) in [
        (&open, ORIGIN, READABLE),
        (&listed, ORIGIN, READABLE),
        (&listed, "https://evil.example", None),
    ] {
        let headers = [("Origin", origin)];
        for (method, target) in [("GET", "/health"), ("GET", "/nope"), ("POST", "/publish/a")] {
            let reply = server.request(method, target, &headers, b"");
            let readable = reply.header("Access-Control-Expose-Headers");
            assert_eq!(readable, expected, "{method} {target} from {origin}");
        }
        let stream = server.subscribe_with("/sse/a", &headers);
        assert_eq!(
            stream.header("Access-Control-Expose-Headers"),
            expected,
            "a stream"
        );
    }
}

/// Every path has the same answer to a preflight.
const PATHS: [&str; 8] = [
    "/sse/a",
    "/sse",
    "/publish/a",
    "/publish?canal=a",
    "/stats",
    "/stats/stream",
    "/health",
    "/health/ready",
];

#[test]
fn a_preflight_is_answered_on_every_path() {
    let server = Server::start(&[]);
    for target in PATHS {
        let headers = [
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", "PUT"),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type",
            ),
        ];
        let reply = server.request("OPTIONS", target, &headers, b"");
        assert_eq!((reply.status, reply.body.len()), (204, 0), "{target}");
        assert_eq!(allowed(&reply), Some("*"), "{target}");
        for (name, value) in [
            (
                "Access-Control-Allow-Methods",
                "GET, HEAD, POST, PUT, DELETE, OPTIONS",
            ),
            (
                "Access-Control-Allow-Headers",
                "authorization, content-type",
            ),
            ("Access-Control-Max-Age", "86400"),
            ("Vary", "Access-Control-Request-Headers"),
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

#[test]
fn a_preflight_allows_the_fields_that_it_asks_for() {
    const KNOWN: &str =
        "Authorization, Content-Type, Last-Event-ID, Cache-Control, Idempotency-Key";
    let server = Server::start(&[("CORS_ORIGINS", ORIGIN)]);
    let ask = |fields: &[&str]| {
        let asked = fields
            .iter()
            .map(|value| ("Access-Control-Request-Headers", *value));
        let headers: Vec<_> = [("Origin", ORIGIN)].into_iter().chain(asked).collect();
        let reply = server.request("OPTIONS", "/publish/a", &headers, b"");
        assert_eq!(reply.status, 204, "{fields:?}");
        let vary: Vec<_> = reply
            .headers
            .iter()
            .filter(|(name, _)| name == "Vary")
            .collect();
        let vary: Vec<_> = vary.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(
            vary,
            ["Access-Control-Request-Headers", "Origin"],
            "{fields:?}"
        );
        assert_eq!(
            reply.header("Access-Control-Allow-Credentials"),
            Some("true")
        );
        reply
            .header("Access-Control-Allow-Headers")
            .unwrap_or_default()
            .to_string()
    };
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|i| format!("x-{i}")).collect();
        names.join(", ")
    };
    for (asked, allowed) in [
        // None, or none that could be one.
        (vec![], KNOWN),
        (vec![""], KNOWN),
        (vec![" , ,"], KNOWN),
        (vec!["a b, c/d, (e), f:g"], KNOWN),
        // A page that traces its requests.
        (
            vec!["traceparent,authorization, x-request-id"],
            "traceparent, authorization, x-request-id",
        ),
        (vec!["a", "B", "c,d"], "a, B, c, d"),
        (vec!["good, b@d, x~y"], "good, x~y"),
        (vec![&many(32)], &many(32)),
        (vec![&many(40)], &many(32)),
    ] {
        assert_eq!(ask(&asked), allowed, "{asked:?}");
    }
}
