//! Who may do what: every kind of token, with every action, on every kind of channel; where a token may be given; what
//! the log says of it; and the errors for unusable rules.

use crate::common;

use common::http::{self, EventStream};
use common::page::{open_browser, serve, wait_for};
use common::tokens::{jwt_for, sha256_hex, start, RulesFile, SECRET};
use common::{run, wait_until, Reply, Server, BOUND, TOKEN};
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Mutex};

const RULES: &str = r#"{
  "tokens": [
    {"name": "clear", "token": "clear-token", "publish": ["exact", "pre*"], "subscribe": ["exact", "pre*"]},
    {"name": "hashed", "sha256": "HASH", "publish": ["exact", "pre*"], "subscribe": ["exact", "pre*"]},
    {"name": "star", "token": "star-token", "publish": ["*"], "subscribe": ["*"]},
    {"name": "full", "token": "full-token", "publish": ["*", "broadcast"], "subscribe": ["*", "broadcast"]},
    {"name": "nothing", "token": "nothing-token"},
    {"name": "counts", "token": "counts-token", "stats": true}
  ],
  "public": {"subscribe": ["open*"], "publish": ["dropbox"]}
}"#;

fn rules() -> RulesFile {
    RulesFile::new(RULES.replace("HASH", &sha256_hex("hashed-token")))
}

/// The places where a token may be given.
#[derive(Clone, Copy, Debug)]
enum Place {
    Header,
    Query,
    Cookie,
}

const PLACES: [Place; 3] = [Place::Header, Place::Query, Place::Cookie];

/// The status of a request with this token.
fn status(server: &Server, method: &str, path: &str, token: Option<&str>, place: Place) -> u16 {
    let mut target = path.to_string();
    let mut headers = Vec::new();
    if let Some(token) = token {
        match place {
            Place::Header => headers.push(("Authorization", format!("Bearer {token}"))),
            Place::Query => target = format!("{path}?access_token={}", common::encode(token)),
            Place::Cookie => headers.push(("Cookie", format!("theme=dark; sse_token={token}"))),
        }
    }
    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    if path.starts_with("/sse") && method == "GET" {
        return EventStream::open(server.addr, &target, &headers).status;
    }
    let body: &[u8] = if method == "POST" { b"x" } else { b"" };
    server.request(method, &target, &headers, body).status
}

const CHANNELS: [&str; 7] = [
    "exact",
    "pre-1",
    "other",
    "EXACT",
    "open1",
    "dropbox",
    "broadcast",
];

/// Whose token, and for each of `CHANNELS` the status of publishing and of subscribing.
type Row<'a> = (&'a str, Option<&'a str>, [u16; 7], [u16; 7]);

#[track_caller]
fn check(server: &Server, rows: &[Row]) {
    for (who, token, publish, subscribe) in rows {
        for (i, channel) in CHANNELS.iter().enumerate() {
            for place in PLACES {
                for (method, path, expected) in [
                    ("POST", format!("/publish/{channel}"), publish[i]),
                    ("GET", format!("/sse/{channel}"), subscribe[i]),
                    ("HEAD", format!("/sse/{channel}"), subscribe[i]),
                ] {
                    let found = status(server, method, &path, *token, place);
                    assert_eq!(
                        found, expected,
                        "{who}'s token in the {place:?}: {method} {path}"
                    );
                }
            }
        }
    }
}

#[test]
fn with_rules_what_is_not_allowed_is_denied() {
    let rules = rules();
    let server = start(&rules, &[]);
    let own = json!({"publish": ["exact", "pre*"], "subscribe": ["exact", "pre*"]});
    let star = json!({"publish": ["*"], "subscribe": ["*"]});
    let full = json!({"publish": ["*", "broadcast"], "subscribe": ["*", "broadcast"]});
    let [own, star, full, none] = [own, star, full, json!({})].map(|sse| jwt_for(&sse));
    let own_publish = [200, 200, 403, 403, 403, 200, 403];
    let own_subscribe = [200, 200, 403, 403, 200, 403, 403];
    let all_but_broadcast = [200, 200, 200, 200, 200, 200, 403];
    let public_publish = [403, 403, 403, 403, 403, 200, 403];
    let public_subscribe = [403, 403, 403, 403, 200, 403, 403];
    let rows: [Row; 12] = [
        (
            "nobody",
            None,
            [401, 401, 401, 401, 401, 200, 401],
            [401, 401, 401, 401, 200, 401, 401],
        ),
        ("a stranger", Some("wrong"), [401; 7], [401; 7]),
        ("a near miss", Some("clear-toke"), [401; 7], [401; 7]),
        ("the operator", Some(TOKEN), [200; 7], [200; 7]),
        ("clear", Some("clear-token"), own_publish, own_subscribe),
        ("hashed", Some("hashed-token"), own_publish, own_subscribe),
        ("a JWT", Some(&own), own_publish, own_subscribe),
        (
            "star",
            Some("star-token"),
            all_but_broadcast,
            all_but_broadcast,
        ),
        (
            "a JWT for *",
            Some(&star),
            all_but_broadcast,
            all_but_broadcast,
        ),
        ("full", Some("full-token"), [200; 7], [200; 7]),
        (
            "nothing",
            Some("nothing-token"),
            public_publish,
            public_subscribe,
        ),
        (
            "a JWT for nothing",
            Some(&none),
            public_publish,
            public_subscribe,
        ),
    ];
    check(&server, &rows);
    check(
        &server,
        &[("a JWT for all", Some(&full), [200; 7], [200; 7])],
    );
}

#[test]
fn without_rules_everybody_subscribes_and_a_token_publishes() {
    let server = Server::start(&[("JWT_SECRET", SECRET)]);
    let own = jwt_for(&json!({"publish": ["exact", "pre*"]}));
    check(
        &server,
        &[
            ("nobody", None, [401; 7], [200; 7]),
            ("a stranger", Some("wrong"), [401; 7], [401; 7]),
            ("the operator", Some(TOKEN), [200; 7], [200; 7]),
            (
                "a JWT",
                Some(&own),
                [200, 200, 403, 403, 403, 403, 403],
                [200; 7],
            ),
        ],
    );
}

#[test]
fn without_a_secret_no_jwt_is_valid() {
    let server = Server::start(&[]);
    let token = jwt_for(&json!({"publish": ["*"]}));
    for place in PLACES {
        assert_eq!(
            status(&server, "POST", "/publish/a", Some(&token), place),
            401
        );
    }
}

#[test]
fn no_token_is_made_up_when_there_are_rules() {
    let rules = rules();
    let variables = [("ACCESS_FILE", rules.path())];
    let server = Server::start_with(&variables, |command| {
        command.env_remove("AUTH_TOKEN");
    });
    assert_eq!(server.count_in_log("event=token"), 0, "{}", server.log());
    let path = "/publish/exact";
    let of = |token| status(&server, "POST", path, Some(token), Place::Header);
    assert_eq!((of(TOKEN), of("clear-token")), (401, 200));
}

#[test]
fn a_stream_needs_the_right_to_each_of_its_channels() {
    let rules = rules();
    let server = start(&rules, &[]);
    for (channels, expected) in [
        ("exact,pre1,open1", 200),
        ("exact,other", 403),
        ("exact,broadcast", 403),
        ("other,open1", 403),
    ] {
        let path = format!("/sse/{channels}");
        let found = status(&server, "GET", &path, Some("clear-token"), Place::Header);
        assert_eq!(found, expected, "{channels}");
    }
    // Broadcasts come with every stream; only to follow nothing else takes a right.
    let mut stream = server.subscribe("open1");
    server.publish("broadcast", "to everybody");
    assert_eq!(stream.next().data, "to everybody");
}

#[test]
fn the_list_of_channels_is_for_those_who_have_the_right() {
    let rules = rules();
    let server = start(&rules, &[]);
    let may = jwt_for(&json!({"stats": true}));
    let may_not = jwt_for(&json!({"subscribe": ["*"]}));
    for (who, token, sees) in [
        ("nobody", None, false),
        ("clear", Some("clear-token"), false),
        ("full", Some("full-token"), false),
        ("a JWT without", Some(may_not.as_str()), false),
        ("a JWT with it", Some(&may), true),
        ("counts", Some("counts-token"), true),
        ("the operator", Some(TOKEN), true),
    ] {
        let query = token.map_or(String::new(), |token| format!("?access_token={token}"));
        let reply = server.get(&format!("/stats{query}"));
        assert_eq!(reply.status, 200, "{who}");
        assert_eq!(reply.json()["channels"].is_array(), sees, "{who}: /stats");
        let mut watcher = server.subscribe_with(&format!("/stats/stream{query}"), &[]);
        let shown = watcher.next().data.contains("\"channels\":[");
        assert_eq!(shown, sees, "{who}: /stats/stream");
    }
    assert_eq!(server.get("/stats?access_token=wrong").status, 401);
    rules.write(r#"{"public": {"stats": true}}"#);
    server.hang_up();
    server.wait_for_log("event=reload tokens=0");
    assert!(server.get("/stats").json()["channels"].is_array());
}

#[test]
fn a_denial_says_why_and_how_to_get_in() {
    let rules = rules();
    let server = start(&rules, &[]);
    let post = |path: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        server.request("POST", path, &[("Authorization", &authorization)], b"x")
    };
    let challenge = |reply: &Reply| {
        let header = reply.header("WWW-Authenticate");
        header.unwrap_or_default().to_string()
    };
    let none = server.request("POST", "/publish/exact", &[], b"x");
    assert_eq!((none.status, challenge(&none).as_str()), (401, "Bearer"));
    let wrong = post("/publish/exact", "wrong");
    assert_eq!(wrong.status, 401);
    let expected =
        "Bearer error=\"invalid_token\", error_description=\"this server does not know the token\"";
    assert_eq!(challenge(&wrong), expected);
    let other = post("/publish/other", "clear-token");
    assert_eq!(other.status, 403);
    assert!(
        challenge(&other).starts_with("Bearer error=\"insufficient_scope\", error_description="),
        "{}",
        challenge(&other)
    );
    let kind = other.header("Content-Type");
    assert_eq!(kind, Some("application/problem+json"));
    // A name that is none tells nothing to those who may not publish at all.
    let nonsense = |token| post("/publish/a%20b", token).status;
    assert_eq!(
        ["wrong", "clear-token", TOKEN].map(nonsense),
        [401, 400, 400]
    );
    assert_eq!(
        server.request("POST", "/publish/a%20b", &[], b"x").status,
        400,
        "everybody may publish to some channel"
    );
}

#[test]
fn a_right_is_checked_before_the_body_is_read() {
    let rules = rules();
    let server = start(&rules, &[]);
    let mut connection = http::connect(server.addr);
    let head = "POST /publish/other HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer clear-token\r\nContent-Length: 50000\r\n\r\n";
    connection.write_all(head.as_bytes()).expect("it is sent");
    // No byte of the body is ever sent.
    let reply = http::read_reply(&mut connection, false).expect("there is an answer");
    assert_eq!(reply.status, 403);
}

#[test]
fn an_authorization_for_somebody_else_is_ignored() {
    let rules = rules();
    let server = start(&rules, &[]);
    let basic = ("Authorization", "Basic dXNlcjpwYXNz");
    let cookie = format!("sse_token={TOKEN}");
    let foreign = [
        "Basic dXNlcjpwYXNz",
        "basic",
        "Digest username=\"x\", realm=\"y\"",
        "Negotiate Bearer test-token-of-16-bytes",
        "BearerX test-token-of-16-bytes",
        "test-token-of-16-bytes",
        "Basic dXNlcjpwYXNz, Bearer test-token-of-16-bytes",
        "",
    ];
    for value in foreign {
        let foreign = ("Authorization", value);
        // Where no token is needed, where another place has one, and where there is none.
        server.subscribe_with("/sse/open1", &[foreign]);
        assert_eq!(
            server.request("GET", "/stats", &[foreign], b"").status,
            200,
            "{value:?}"
        );
        let post = |target: &str, more: &[(&str, &str)]| {
            let headers = [&[foreign], more].concat();
            server.request("POST", target, &headers, b"x")
        };
        assert_eq!(
            post("/publish/exact?access_token=test-token-of-16-bytes", &[]).status,
            200,
            "{value:?}"
        );
        assert_eq!(
            post("/publish/exact", &[("Cookie", &cookie)]).status,
            200,
            "{value:?}"
        );
        assert_eq!(
            post(
                "/publish/exact",
                &[("Authorization", "Bearer test-token-of-16-bytes")]
            )
            .status,
            200,
            "{value:?}"
        );
        assert_eq!(
            post("/publish/exact", &[("Authorization", "Bearer wrong")]).status,
            401,
            "{value:?}"
        );
        assert_eq!(post("/publish/exact", &[basic]).status, 401, "{value:?}");
        let none = post("/publish/exact", &[]);
        assert_eq!(
            (none.status, none.header("WWW-Authenticate")),
            (401, Some("Bearer")),
            "{value:?}"
        );
    }
    // One that is meant for this server counts, right or wrong.
    for wrong in [
        "Bearer",
        "Bearer ",
        "bearer\t",
        "Bearer wrong",
        "Bearer test-token-of-16-bytes, Bearer test-token-of-16-bytes",
        "Bearer test-token-of-16-bytes x",
    ] {
        for (method, target) in [
            ("HEAD", "/sse/open1"),
            ("GET", "/stats"),
            ("POST", "/publish/dropbox"),
        ] {
            let reply = server.request(method, target, &[("Authorization", wrong)], b"");
            let challenge = reply.header("WWW-Authenticate").unwrap_or_default();
            assert_eq!(reply.status, 401, "{wrong:?}: {method} {target}");
            assert!(
                challenge.starts_with("Bearer error=\"invalid_token\""),
                "{wrong:?}: {challenge}"
            );
        }
    }
}

#[test]
fn two_tokens_are_refused_even_if_they_are_the_same() {
    let rules = rules();
    let server = start(&rules, &[]);
    let right = ("Authorization", "Bearer test-token-of-16-bytes");
    let wrong = ("authorization", "bearer wrong");
    let empty = ("AUTHORIZATION", "Bearer");
    for (query, headers) in [
        ("", vec![right, right]),
        ("", vec![right, wrong]),
        ("", vec![wrong, right]),
        ("", vec![right, empty]),
        ("", vec![right, ("Authorization", "Basic eA=="), right]),
        (
            "access_token=test-token-of-16-bytes&access_token=test-token-of-16-bytes",
            vec![],
        ),
        (
            "access_token=wrong&x=y&access_token=test-token-of-16-bytes",
            vec![],
        ),
        ("access_token=test-token-of-16-bytes&access_token", vec![]),
        (
            "access_token=test-token-of-16-bytes&access%5Ftoken=%FF",
            vec![],
        ),
        ("access_token=test-token-of-16-bytes", vec![right]),
        ("access_token=test-token-of-16-bytes", vec![wrong]),
        ("access_token=wrong", vec![right]),
        ("access_token=", vec![right]),
        ("access_token=test-token-of-16-bytes", vec![empty]),
    ] {
        for (method, path) in [
            ("POST", "/publish/exact"),
            ("POST", "/publish/dropbox"),
            ("GET", "/sse/open1"),
            ("HEAD", "/sse/open1"),
            ("GET", "/stats"),
            ("GET", "/stats/stream"),
        ] {
            let body: &[u8] = if method == "POST" { b"x" } else { b"" };
            let reply = server.request(method, &format!("{path}?{query}"), &headers, body);
            let what = format!("{method} {path}?{query} with {headers:?}");
            assert_eq!(reply.status, 400, "{what}");
            assert_eq!(
                reply.header("WWW-Authenticate"),
                Some("Bearer error=\"invalid_request\", error_description=\"more than one token is given\""),
                "{what}"
            );
            if method != "HEAD" {
                assert!(
                    reply.text().contains("give one token, in one place"),
                    "{what}: {}",
                    reply.text()
                );
            }
        }
    }
    assert_eq!(server.stat("messages_published"), 0);
}

#[test]
fn a_token_of_the_request_wins_over_the_cookie() {
    let server = Server::start(&[]);
    let right = format!("Bearer {TOKEN}");
    let good = format!("sse_token={TOKEN}");
    for (query, headers, expected) in [
        (
            "",
            vec![("Authorization", "Bearer wrong"), ("Cookie", good.as_str())],
            401,
        ),
        ("?access_token=", vec![("Cookie", &good)], 401),
        (
            "?access_token=test-token-of-16-bytes",
            vec![("Cookie", "sse_token=wrong")],
            200,
        ),
        ("?access_token=wrong", vec![("Cookie", &good)], 401),
        (
            "",
            vec![("Authorization", &right), ("Cookie", "sse_token=wrong")],
            200,
        ),
        ("", vec![("Cookie", &good)], 200),
        ("", vec![("Cookie", "a=b"), ("Cookie", &good)], 200),
        (
            "",
            vec![("Cookie", "a=b;sse_token=\"test-token-of-16-bytes\"; c=d")],
            200,
        ),
        (
            "",
            vec![(
                "Cookie",
                "sse_token=test-token-of-16-bytes; sse_token=wrong",
            )],
            200,
        ),
        (
            "",
            vec![(
                "Cookie",
                "sse_token=wrong; sse_token=test-token-of-16-bytes",
            )],
            401,
        ),
        (
            "",
            vec![("Cookie", "SSE_TOKEN=test-token-of-16-bytes")],
            401,
        ),
        (
            "",
            vec![("Cookie", "xsse_token=test-token-of-16-bytes")],
            401,
        ),
        ("", vec![("Cookie", "sse_token")], 401),
        ("", vec![("Cookie", "sse_token=")], 401),
    ] {
        let reply = server.request("POST", &format!("/publish/a{query}"), &headers, b"x");
        assert_eq!(reply.status, expected, "{query} {headers:?}");
    }
    // What is left of a cookie that was taken away is no token, so reading stays possible.
    server.subscribe_with("/sse/a", &[("Cookie", "sse_token=")]);
}

const LISTED: &str = "https://app.example.org";

#[test]
fn a_cookie_counts_only_for_pages_that_may_use_it() {
    let open = Server::start(&[]);
    let listed = Server::start(&[("CORS_ORIGINS", LISTED)]);
    let cookie = format!("sse_token={TOKEN}");
    // The requests of these tests say `Host: test`.
    for (server, origin, expected) in [
        (&open, None, 200),
        (&open, Some("http://test"), 200),
        (&open, Some("https://TEST"), 200),
        (&open, Some("http://test:81"), 401),
        (&open, Some("http://evil.test"), 401),
        (&open, Some("http://test.evil"), 401),
        (&open, Some(LISTED), 401),
        (&open, Some("null"), 401),
        (&listed, None, 200),
        (&listed, Some("http://test"), 200),
        (&listed, Some(LISTED), 200),
        (&listed, Some("http://app.example.org"), 401),
        (&listed, Some("https://evil.example.org"), 401),
        (&listed, Some("null"), 401),
    ] {
        let mut headers = vec![("Cookie", cookie.as_str())];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        let reply = server.request("POST", "/publish/a", &headers, b"x");
        assert_eq!(reply.status, expected, "a publish from {origin:?}");
        // A token that the page brings itself counts from everywhere.
        let reply = server.request(
            "POST",
            "/publish/a?access_token=test-token-of-16-bytes",
            &headers,
            b"x",
        );
        assert_eq!(reply.status, 200, "with a token of its own from {origin:?}");
    }
}

#[test]
fn a_cookie_does_not_count_if_the_browser_says_that_another_page_asks() {
    let open = Server::start(&[]);
    let listed = Server::start(&[("CORS_ORIGINS", LISTED)]);
    let cookie = format!("sse_token={TOKEN}");
    const OWN: &str = "http://test";
    for (server, site, origin, counts) in [
        // A link, an image or a script of a page: there is no Origin.
        (&open, "same-origin", None, true),
        (&open, "none", None, true),
        (&open, "same-site", None, false),
        (&open, "cross-site", None, false),
        (&listed, "same-site", None, false),
        (&listed, "cross-site", None, false),
        // What is not known yet, or is none of it.
        (&open, "other-site", None, false),
        (&open, "", None, false),
        // Both are there.
        (&open, "same-origin", Some(OWN), true),
        // The same host with another scheme: whoever forges http pages has no hold on those of https.
        (&open, "cross-site", Some(OWN), false),
        (&open, "same-site", Some(OWN), false),
        (&open, "same-origin", Some(LISTED), false),
        (&listed, "same-site", Some(LISTED), true),
        (&listed, "cross-site", Some(LISTED), true),
        (
            &listed,
            "same-site",
            Some("https://other.example.org"),
            false,
        ),
        (&listed, "cross-site", Some("null"), false),
    ] {
        let mut headers = vec![("Cookie", cookie.as_str()), ("Sec-Fetch-Site", site)];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        let what = format!("Sec-Fetch-Site {site:?}, Origin {origin:?}");
        let publish = server.request("POST", "/publish/a", &headers, b"x");
        assert_eq!(
            publish.status,
            if counts { 200 } else { 401 },
            "{what}: a publish"
        );
        let stats = server.request("GET", "/stats", &headers, b"").json();
        assert_eq!(
            stats["channels"].is_array(),
            counts,
            "{what}: the channels' figures"
        );
        let reply = server.request(
            "POST",
            "/publish/a?access_token=test-token-of-16-bytes",
            &headers,
            b"x",
        );
        assert_eq!(reply.status, 200, "{what}: a token of the page's own");
    }
    let twice = [
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Cookie", &cookie),
    ];
    assert_eq!(open.request("POST", "/publish/a", &twice, b"x").status, 401);
}

#[test]
fn two_origins_are_both_ignored() {
    let listed = Server::start(&[("CORS_ORIGINS", LISTED)]);
    let cookie = format!("sse_token={TOKEN}");
    let evil = "https://evil.example.org";
    for pair in [
        [LISTED, evil],
        [evil, LISTED],
        ["http://test", evil],
        [evil, "http://test"],
        [LISTED, LISTED],
        [LISTED, ""],
    ] {
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Origin", pair[0]),
            ("origin", pair[1]),
        ];
        let reply = listed.request("POST", "/publish/a", &headers, b"x");
        assert_eq!(reply.status, 401, "{pair:?}: the cookie does not count");
        assert_eq!(
            reply.header("Access-Control-Allow-Origin"),
            None,
            "{pair:?}"
        );
        assert_eq!(reply.header("Vary"), Some("Origin"), "{pair:?}");
        let stats = listed.request("GET", "/stats", &headers, b"");
        assert_eq!(
            stats.status, 200,
            "{pair:?}: what needs no token stays open"
        );
        assert!(!stats.json()["channels"].is_array(), "{pair:?}");
    }
}

#[test]
fn needs_chromium_the_cookie_of_a_visitor_serves_listed_pages_only() {
    // Cookies do not know ports: what this page sets goes to every server of 127.0.0.1.
    let script = format!(
        "document.cookie = 'sse_token={TOKEN}';
         const use = (name, base) => {{
           const stream = new EventSource(base + '/sse/a', {{ withCredentials: true }});
           stream.onopen = () => report(name + ' opens');
           stream.onerror = () => report(name + ' refuses ' + stream.readyState);
           fetch(base + '/publish/a', {{ method: 'POST', credentials: 'include', body: 'x' }})
             .then((answer) => report(name + ' publishes ' + answer.status), () => report(name + ' hides its answer'));
         }};
         fetch('/servers').then((r) => r.text()).then((list) => {{
           const [listed, open] = list.split(' ');
           use('listed', listed);
           use('open', open);
         }});"
    );
    let servers = Arc::new(Mutex::new(String::new()));
    let asked = servers.clone();
    let (addr, reports) = serve(script, move |path| {
        (path == "/servers").then(|| asked.lock().expect("nobody panics with it").clone())
    });
    let rules = RulesFile::new("{}");
    let origin = format!("http://{addr}");
    let listed = start(&rules, &[("CORS_ORIGINS", &origin)]);
    let open = start(&rules, &[]);
    *servers.lock().expect("nobody panics with it") =
        format!("http://{} http://{}", listed.addr, open.addr);
    let _browser = open_browser(addr);
    for report in [
        "listed opens",
        "listed publishes 200",
        "open refuses 2",
        "open hides its answer",
    ] {
        wait_for(&reports, report);
    }
    assert_eq!(listed.stat("messages_published"), 1);
    assert_eq!(open.stat("messages_published"), 0);
}

#[test]
fn credentials_are_offered_to_listed_origins_only() {
    const ALLOWED: &str = "Access-Control-Allow-Credentials";
    let open = Server::start(&[]);
    let listed = Server::start(&[("CORS_ORIGINS", LISTED)]);
    for (server, origin, expected) in [
        (&open, None, None),
        (&open, Some(LISTED), None),
        (&listed, None, None),
        (&listed, Some("https://evil.example.org"), None),
        (&listed, Some(LISTED), Some("true")),
    ] {
        let headers: Vec<_> = origin.map(|o| ("Origin", o)).into_iter().collect();
        for (method, target) in [
            ("OPTIONS", "/sse/a"),
            ("GET", "/stats"),
            ("POST", "/publish/a"),
            ("HEAD", "/sse/a"),
        ] {
            let reply = server.request(method, target, &headers, b"");
            assert_eq!(reply.header(ALLOWED), expected, "{method} from {origin:?}");
        }
        let stream = server.subscribe_with("/sse/a", &headers);
        assert_eq!(stream.header(ALLOWED), expected, "a stream from {origin:?}");
    }
}

#[test]
fn the_log_names_who_did_it_and_shows_no_token() {
    let rules = rules();
    let server = start(&rules, &[("RUST_LOG", "trace")]);
    let subject = |sub: &str| {
        common::tokens::jwt(&json!({
            "sub": sub,
            "exp": common::tokens::in_seconds(600),
            "sse": {"publish": ["exact"], "subscribe": ["exact"]},
        }))
    };
    let plain = subject("ana@example.org");
    let forger = subject("x token=clear\nevent=publish");
    let long = subject(&"y".repeat(1000));
    let expected = [
        (TOKEN, "token=AUTH_TOKEN".to_string()),
        ("clear-token", "token=clear".into()),
        ("hashed-token", "token=hashed".into()),
        (&plain, "subject=ana@example.org".into()),
        (&forger, r#"subject="x token=clear\nevent=publish""#.into()),
        (&long, format!("subject={}", "y".repeat(64))),
    ];
    for (token, shown) in &expected {
        for place in PLACES {
            status(&server, "POST", "/publish/exact", Some(token), place);
            status(&server, "GET", "/sse/exact", Some(token), place);
        }
        // The last thing on the line of a publish, and before the channels on that of a connect.
        let has_both = || {
            let log = server.log();
            let count = |event: &str, pair: &str| {
                let fits =
                    |line: &&str| line.contains(event) && (line.to_string() + "\n").contains(pair);
                log.lines().filter(fits).count()
            };
            count("event=publish id=", &format!(" {shown}\n")) == 3
                && count("event=connect", &format!(" {shown} channels=exact\n")) == 3
        };
        wait_until(
            &format!("three publish and three connect lines with {shown}"),
            BOUND,
            has_both,
        );
    }
    let batch = [
        ("Authorization", "Bearer clear-token"),
        ("Content-Type", "application/x-ndjson"),
    ];
    server.request("POST", "/publish/exact", &batch, b"\"a\"\n\"b\"");
    server.wait_for_log("event=publish first= token=clear");
    status(&server, "POST", "/publish/dropbox", None, Place::Header);
    server.wait_for_log("event=publish channel=dropbox token=-");
    // Refused ones, and rules with a token where none belongs.
    for wrong in [&plain[..plain.len() - 1], "clear-tokeN"] {
        for place in PLACES {
            let path = "/publish/exact";
            assert_eq!(status(&server, "POST", path, Some(wrong), place), 401);
        }
    }
    rules.write(r#"{"tokens": ["clear-token"]}"#);
    server.hang_up();
    server.wait_for_log("event=reload_failed");
    let log = server.log();
    for secret in ["clear-toke", "hashed-token", TOKEN, SECRET, &plain, &forger] {
        assert!(!log.contains(secret), "the log shows {secret}: {log}");
    }
    assert!(!log.contains(plain.rsplit('.').next().expect("a signature")));
}

#[track_caller]
fn refuses_to_start(variables: &[(&str, &str)]) -> String {
    let listen = [("LISTEN", "127.0.0.1:0")];
    let output = run(&[], &[&listen, variables].concat());
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{variables:?}: {line}");
    assert_eq!(line.lines().count(), 1, "one line: {line}");
    line
}

#[test]
fn rules_that_cannot_be_used_are_refused_with_line_and_column() {
    let file = RulesFile::new("");
    let mut misfits = Vec::new();
    let entry = |inside: &str| format!("{{\"tokens\": [\n  {{{inside}}}\n]}}");
    for (content, position, words) in [
        (String::new(), "line 1, column 1", "the file is empty; give at least {}"),
        ("\n \n".into(), "line 3, column 1", "the file is empty; give at least {}"),
        ("\u{feff}{}".into(), "line 1, column 1", "byte order mark; save it as UTF-8 without one"),
        ("// rules\n{}".into(), "line 1, column 1", "JSON has no comments"),
        ("{\"public\": {}, # é\n}".into(), "line 1, column 16", "JSON has no comments"),
        ("{\n  // é\n  \"public\": {}\n}".into(), "line 2, column 3", "JSON has no comments"),
        ("{\"public\": {\"subscribe\": [\"é\" \"b\"]}}".into(), "line 1, column 31", "expected `,` or `]`"),
        ("{\n  \"tokens\": [\n".into(), "line 3, column 1", "EOF"),
        ("{\"tokens\": []} x".into(), "line 1, column 16", "trailing"),
        ("[]".into(), "line 1, column 1", "sequence found where an object such as {\"tokens\""),
        ("{\n\"token\": []}".into(), "line 2, column 7", "unknown key, expected `tokens` or `public`"),
        ("{\"public\": {},\n\"public\": {}}".into(), "line 2, column 8", "duplicate field `public`"),
        ("{\"tokens\": {}}".into(), "line 1, column 11", "a list of tokens"),
        ("{\"tokens\": [\n\"hush-hush\"]}".into(), "line 2, column 11", "string found where an object"),
        ("{\"public\": {\n\"subscribe\": \"hush-hush\"}}".into(), "line 2, column 24", "string found where a sequence"),
        ("{\"public\": {\n\"publish\": [\"a\", 7]}}".into(), "line 2, column 18", "integer found where a channel's name"),
        ("{\"public\": {\"subscribe\": [\"a\",\n \"b*c\"]}}".into(), "line 2, column 6", "\"b*c\" has a * before its end"),
        ("{\"public\": {\"subscribe\": [\"sensors/1\"]}}".into(), "line 1, column 37", "'/'"),
        ("{\"public\": {\"subscribe\": [\"a b*\"]}}".into(), "line 1, column 32", "' '"),
        ("{\"public\": {\"subscribe\": [\"\"]}}".into(), "line 1, column 28", "empty"),
        ("{\"public\": {\"subscribe\": [\"#*\"]}}".replace('#', &"x".repeat(129)), "line 1, column 158", "129 bytes"),
        ("{\"public\": {\"name\": \"x\"}}".into(), "line 1, column 18", "unknown key, expected one of `publish`, `subscribe`, `stats`"),
        (entry("\"token\": \"hush-hush\""), "line 2, column 24", "the key `name` is missing; every token needs it"),
        (entry("\"name\": \"x\""), "line 2, column 15", "\"x\" has no token"),
        (entry("\"name\": \"x\", \"token\": \"hush-hush\", \"sha256\": \"HASH\""), "line 2, column 115", "both"),
        (entry("\"name\": \"x\", \"token\": \"\""), "line 2, column 27", "empty"),
        (entry("\"name\": \"x\", \"token\": \"hush hush\""), "line 2, column 36", "white space"),
        (entry(&format!("\"name\": \"x\", \"token\": \"{}\"", "hush-".repeat(4000))), "line 2, column 20027", "has 20000 bytes, and a request can carry 15360"),
        (entry("\"name\": \"x\", \"token\": 1234567"), "line 2, column 32", "integer found where the token as text"),
        (entry("\"name\": \"x\", \"sha256\": \"hush-hush\""), "line 2, column 37", "64 hexadecimal digits"),
        (entry("\"name\": \"hush hush\", \"token\": \"x\""), "line 2, column 22", "the name is not 1 to 64 letters"),
        (entry("\"hush-hush\": {}"), "line 2, column 14", "unknown key, expected one of `name`, `token`"),
        (entry("\"name\": \"\", \"token\": \"hush-hush\""), "line 2, column 13", "the name is not 1 to 64 letters"),
        (entry("\"name\": \"AUTH_TOKEN\", \"token\": \"hush-hush\""), "line 2, column 23", "reserved"),
        (entry("\"name\": \"x\", \"token\": \"hush-hush\", \"stats\": \"yes\""), "line 2, column 52", "string found where a boolean"),
        (entry("\"name\": \"x\", \"token\": \"hush-hush\"},\n  {\"name\": \"x\", \"token\": \"t2\""), "line 3, column 30", "two tokens are named \"x\""),
        (entry("\"name\": \"x\", \"token\": \"hush-hush\"},\n  {\"name\": \"y\", \"token\": \"hush-hush\""), "line 3, column 37", "\"y\" has the same token as \"x\""),
        (entry("\"name\": \"x\", \"token\": \"hush-hush\"},\n  {\"name\": \"y\", \"sha256\": \"HASH\""), "line 3, column 93", "\"y\" has the same token as \"x\""),
    ] {
        file.write(content.replace("HASH", &sha256_hex("hush-hush")));
        let line = refuses_to_start(&[("ACCESS_FILE", file.path())]);
        let fits = [file.path(), position, words].iter().all(|word| line.contains(word));
        if !fits {
            misfits.push(format!("{content}\nis to be refused with {position} and {words:?}: {line}"));
        }
        assert!(!line.contains("hush"), "a token is shown: {line}");
        assert!(!line.contains("1234567"), "a token is shown: {line}");
    }
    assert!(misfits.is_empty(), "{}", misfits.join("\n"));
    file.write(b"{\"tokens\": [\"\xff\"]}");
    let line = refuses_to_start(&[("ACCESS_FILE", file.path())]);
    assert!(line.contains("line 1"), "{line}");
    for (path, word) in [
        ("", "empty"),
        ("/nonexistent/rules.json", "No such file"),
        ("/", "directory"),
    ] {
        let line = refuses_to_start(&[("ACCESS_FILE", path)]);
        assert!(
            line.contains("ACCESS_FILE") && line.contains(word),
            "{line}"
        );
    }
}

#[test]
fn no_token_in_the_rules_is_the_operators() {
    let right = r#"{"tokens": [{"name": "reader", "token": "reader-token", "subscribe": ["x"]}]}"#;
    let rules = RulesFile::new(right);
    let words = "\"reader\" has the same token as AUTH_TOKEN; give each its own";
    let server = start(&rules, &[]);
    for wrong in [
        right.replace("reader-token", TOKEN),
        right.replace(
            "token\": \"reader-token",
            &format!("sha256\": \"{}", sha256_hex(TOKEN)),
        ),
    ] {
        rules.write(&wrong);
        let variables = [("ACCESS_FILE", rules.path()), ("AUTH_TOKEN", TOKEN)];
        let checked = run(&["--check"], &variables);
        assert_eq!(checked.status.code(), Some(2));
        let before = server.count_in_log("event=reload_failed");
        server.hang_up();
        wait_until("the rules are refused", BOUND, || {
            server.count_in_log("event=reload_failed") > before
        });
        let checked = String::from_utf8_lossy(&checked.stderr).into_owned();
        for line in [refuses_to_start(&variables), checked] {
            assert!(
                line.contains(words) && line.contains(rules.path()),
                "{line}"
            );
            assert!(!line.contains(TOKEN), "the token is shown: {line}");
        }
    }
    assert!(server.log().contains("has the same token as AUTH_TOKEN"));
    let reads = status(
        &server,
        "GET",
        "/sse/x",
        Some("reader-token"),
        Place::Header,
    );
    assert_eq!(reads, 200, "the old rules are in force");
}

#[test]
fn secrets_that_cannot_be_used_are_refused_and_not_shown() {
    let short = "hush".repeat(7);
    for (secrets, word) in [
        (String::new(), "secret 1 has 0 bytes"),
        (short.clone(), "secret 1 has 28 bytes; give at least 32"),
        (format!("{SECRET},"), "secret 2 has 0 bytes"),
        (format!("{SECRET},{short}"), "secret 2 has 28 bytes"),
        (
            format!("{SECRET}, {SECRET}"),
            "secret 2 begins or ends with white space",
        ),
        (
            format!("{SECRET}\n"),
            "secret 1 begins or ends with white space",
        ),
    ] {
        let line = refuses_to_start(&[("JWT_SECRET", &secrets)]);
        assert!(line.contains("JWT_SECRET") && line.contains(word), "{line}");
        assert!(!line.contains("hush") && !line.contains(SECRET), "{line}");
    }
}

#[test]
fn the_smallest_rules_close_everything() {
    let rules = RulesFile::new("{}");
    let server = start(&rules, &[]);
    check(
        &server,
        &[
            ("nobody", None, [401; 7], [401; 7]),
            ("the operator", Some(TOKEN), [200; 7], [200; 7]),
        ],
    );
}
