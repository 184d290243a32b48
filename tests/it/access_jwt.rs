//! Signed tokens: which are accepted, which are refused and in which words, and that a stream ends with its token.

use crate::common;

use common::clock::Clock;
use common::http::{self, Ending, EventStream};
use common::tokens::{base64url, in_seconds, jwt, now, sign, RulesFile, SECRET};
use common::{wait_until, Reply, Server, BOUND, TOKEN};
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// A server where nothing is public.
fn start() -> (Server, RulesFile) {
    let rules = RulesFile::new("{}");
    let server = Server::start(&[("ACCESS_FILE", rules.path()), ("JWT_SECRET", SECRET)]);
    (server, rules)
}

fn ask(server: &Server, token: &str) -> Reply {
    let authorization = format!("Bearer {token}");
    server.request("HEAD", "/sse/a", &[("Authorization", &authorization)], b"")
}

fn claims() -> Value {
    json!({"sub": "ana", "exp": in_seconds(600), "sse": {"subscribe": ["a"], "publish": ["a"]}})
}

/// `claims` with one of them set, or removed with null.
fn with(name: &str, value: Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    if claims[name].is_null() {
        claims.as_object_mut().expect("an object").remove(name);
    }
    claims.to_string()
}

#[track_caller]
fn is_refused(server: &Server, what: &str, token: &str, reason: &str) {
    let reply = ask(server, token);
    assert_eq!(reply.status, 401, "{what}");
    let challenge = reply.header("WWW-Authenticate").unwrap_or_default();
    let expected = format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"");
    assert_eq!(challenge, expected, "{what}");
}

#[test]
fn tokens_not_signed_with_the_secret_are_refused() {
    let (server, _rules) = start();
    let good = jwt(&claims());
    assert_eq!(ask(&server, &good).status, 200);
    let (signed, signature) = good.rsplit_once('.').expect("it has a signature");
    let (header, body) = signed.split_once('.').expect("it has claims");
    let other_secret = "fedcba9876543210fedcba9876543210";
    let none = |alg: &str| {
        let header = base64url(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
        format!("{header}.{body}")
    };
    let more = base64url(with("sse", json!({"publish": ["*", "broadcast"]})));
    let mut flipped = signature.to_string().into_bytes();
    flipped[0] = if flipped[0] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("it is ASCII");
    const STRANGE: &str = "this server does not know the token";
    const MALFORMED: &str = "the token is not a well-formed JWT";
    const SIGNATURE: &str = "the signature of the token is wrong";
    const ALGORITHM: &str = "the token is not signed with HS256";
    for (what, token, reason) in [
        (
            "another key",
            sign(other_secret, HEADER, claims().to_string()),
            SIGNATURE,
        ),
        (
            "the secret's beginning as key",
            sign(&SECRET[..31], HEADER, claims().to_string()),
            SIGNATURE,
        ),
        (
            "an empty key",
            sign("", HEADER, claims().to_string()),
            SIGNATURE,
        ),
        (
            "one bit of the signature",
            format!("{signed}.{flipped}"),
            SIGNATURE,
        ),
        (
            "other claims",
            format!("{header}.{more}.{signature}"),
            SIGNATURE,
        ),
        (
            "other claims without form",
            format!("{header}.{}.{signature}", base64url("x")),
            SIGNATURE,
        ),
        (
            "a signature cut short within a byte",
            good[..good.len() - 2].into(),
            MALFORMED,
        ),
        (
            "a signature cut short",
            good[..good.len() - 3].into(),
            SIGNATURE,
        ),
        ("no signature", format!("{signed}."), SIGNATURE),
        ("no third part", signed.into(), STRANGE),
        ("the header alone", header.into(), STRANGE),
        ("four parts", format!("{good}.x"), STRANGE),
        ("only dots", "..".into(), MALFORMED),
        (
            "no base64",
            format!("{header}.{body}.{signature}!"),
            MALFORMED,
        ),
        (
            "padding",
            format!("{header}.{body}.{signature}="),
            MALFORMED,
        ),
        (
            "a header that is no JSON",
            sign(SECRET, "x", claims().to_string()),
            MALFORMED,
        ),
        (
            "a header without alg",
            sign(SECRET, "{}", claims().to_string()),
            MALFORMED,
        ),
        (
            "a header with a list",
            sign(SECRET, "[]", claims().to_string()),
            MALFORMED,
        ),
        ("alg none, unsigned", none("none") + ".", ALGORITHM),
        ("alg None, unsigned", none("None") + ".", ALGORITHM),
        (
            "alg none, signed",
            sign(SECRET, r#"{"alg":"none"}"#, claims().to_string()),
            ALGORITHM,
        ),
        (
            "alg HS512",
            sign(SECRET, r#"{"alg":"HS512"}"#, claims().to_string()),
            ALGORITHM,
        ),
        (
            "alg RS256",
            sign(SECRET, r#"{"alg":"RS256"}"#, claims().to_string()),
            ALGORITHM,
        ),
        (
            "alg hs256",
            sign(SECRET, r#"{"alg":"hs256"}"#, claims().to_string()),
            ALGORITHM,
        ),
    ] {
        is_refused(&server, what, &token, reason);
    }
}

#[test]
fn a_header_with_unsupported_demands_is_refused() {
    let (server, _rules) = start();
    const MALFORMED: &str = "the token is not a well-formed JWT";
    const CRIT: &str = "the token has the header crit, which is not supported";
    const B64: &str = "the token has the header b64 as false, which is not supported";
    for (header, reason) in [
        // RFC 7515, section 4.1.11: also where its value is none that it can have.
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, CRIT),
        (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, CRIT),
        (r#"{"alg":"HS256","crit":null}"#, CRIT),
        (r#"{"crit":[],"alg":"HS256"}"#, CRIT),
        (r#"{"alg":"HS256","crit":"b64"}"#, CRIT),
        (r#"{"alg":"HS256","crit":false}"#, CRIT),
        (r#"{"alg":"HS256","cr\u0069t":["x"]}"#, CRIT),
        // RFC 7797, section 7.
        (r#"{"alg":"HS256","b64":false}"#, B64),
        (r#"{"alg":"HS256","b64":null}"#, MALFORMED),
        (r#"{"alg":"HS256","b64":0}"#, MALFORMED),
        // RFC 7515, section 4: names are unique.
        (r#"{"alg":"HS256","alg":"HS256"}"#, MALFORMED),
        (r#"{"alg":"none","alg":"HS256"}"#, MALFORMED),
        (r#"{"alg":"HS256","\u0061lg":"none"}"#, MALFORMED),
        (r#"{"alg":"HS256","b64":true,"b64":false}"#, MALFORMED),
        (r#"{"alg":"HS256","crit":null,"crit":["x"]}"#, MALFORMED),
        // What is no header.
        (r#"["HS256"]"#, MALFORMED),
        (r#"{"alg":null}"#, MALFORMED),
        (r#"{"alg":["HS256"]}"#, MALFORMED),
        (r#"{"ALG":"HS256"}"#, MALFORMED),
        (r#"{"alg":"HS256"} {}"#, MALFORMED),
        ("\u{feff}{\"alg\":\"HS256\"}", MALFORMED),
        (r#""HS256""#, MALFORMED),
        ("null", MALFORMED),
        ("", MALFORMED),
    ] {
        let token = sign(SECRET, header, claims().to_string());
        is_refused(&server, header, &token, reason);
    }
    // Other fields are for whoever has a use for them, whatever they are (RFC 7515, sections 4 and 4.1.10).
    let nested = format!(
        r#"{{"alg":"HS256","x":{}{}}}"#,
        "[".repeat(3000),
        "]".repeat(3000)
    );
    for header in [
        r#"{"kid":"1","alg":"HS256","x5t":"AAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        r#"{"alg":"HS256","cty":"x"}"#,
        r#"{"alg":"HS256","cty":"JWT"}"#,
        r#"{"alg":"HS256","cty":null}"#,
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":null,"kid":7,"x5t":"short","jku":{},"zip":"DEF"}"#,
        r#"{"alg":"HS256","b64":true}"#,
        r#"{"kid":"1","kid":"2","alg":"HS256"}"#,
        " {\n\t\"alg\" : \"HS256\" } ",
        &nested,
    ] {
        let reply = ask(&server, &sign(SECRET, header, claims().to_string()));
        assert_eq!(reply.status, 200, "{header}");
    }
    // A token within the token (RFC 7519, section 5.2) has no claims that could be read.
    let within = jwt(&claims());
    let token = sign(SECRET, r#"{"alg":"HS256","cty":"JWT"}"#, within);
    is_refused(
        &server,
        "a nested token",
        &token,
        "the claims of the token cannot be used",
    );
}

#[test]
fn claims_that_are_missing_wrong_or_out_of_time_are_refused() {
    let (server, _rules) = start();
    const CLAIMS: &str = "the claims of the token cannot be used";
    for (what, claims, reason) in [
        ("no exp", with("exp", Value::Null), "the token has no exp"),
        (
            "exp a second ago",
            with("exp", json!(in_seconds(-1))),
            "the token has expired",
        ),
        (
            "exp now",
            with("exp", json!(in_seconds(0))),
            "the token has expired",
        ),
        ("exp 0", with("exp", json!(0)), "the token has expired"),
        ("exp -1", with("exp", json!(-1)), "the token has expired"),
        ("exp as text", with("exp", json!("2099")), CLAIMS),
        ("exp beyond all time", with("exp", json!(1e300)), CLAIMS),
        ("exp beyond 64 bits", with("exp", json!(u64::MAX)), CLAIMS),
        (
            "exp in milliseconds",
            with("exp", json!(in_seconds(600) * 1000)),
            CLAIMS,
        ),
        (
            "exp in the year 10000",
            with("exp", json!(253_402_300_800_u64)),
            CLAIMS,
        ),
        (
            "exp in the year 10000, with a fraction",
            with("exp", json!(253_402_300_800.5)),
            CLAIMS,
        ),
        (
            "nbf in milliseconds",
            with("nbf", json!(in_seconds(-600) * 1000)),
            CLAIMS,
        ),
        (
            "nbf in a minute",
            with("nbf", json!(in_seconds(60))),
            "the token is not valid yet (nbf)",
        ),
        (
            "nbf in ten seconds",
            with("nbf", json!(in_seconds(10))),
            "the token is not valid yet (nbf)",
        ),
        ("nbf as text", with("nbf", json!("0")), CLAIMS),
        (
            "nbf null",
            r#"{"exp":9999999999,"nbf":null}"#.into(),
            CLAIMS,
        ),
        ("exp null", r#"{"exp":null}"#.into(), CLAIMS),
        (
            "exp a list",
            with("exp", json!([9_999_999_999_u64])),
            CLAIMS,
        ),
        ("exp beyond all floats", r#"{"exp":1e999}"#.into(), CLAIMS),
        ("exp twice", r#"{"exp":1,"exp":9999999999}"#.into(), CLAIMS),
        (
            "exp twice, written in two ways",
            r#"{"exp":9999999999,"e\u0078p":1}"#.into(),
            CLAIMS,
        ),
        (
            "nbf twice",
            r#"{"exp":9999999999,"nbf":0,"nbf":9999999999}"#.into(),
            CLAIMS,
        ),
        (
            "sse twice",
            r#"{"exp":9999999999,"sse":{},"sse":{"subscribe":["a"]}}"#.into(),
            CLAIMS,
        ),
        (
            "subscribe twice",
            r#"{"exp":9999999999,"sse":{"subscribe":["b"],"subscribe":["a"]}}"#.into(),
            CLAIMS,
        ),
        ("claims in a list", r#"[9999999999]"#.into(), CLAIMS),
        ("claims and more", format!("{} {{}}", claims()), CLAIMS),
        ("sub a number", with("sub", json!(7)), CLAIMS),
        ("sse a list", with("sse", json!(["a"])), CLAIMS),
        (
            "sse misspelt",
            with("sse", json!({"subscribes": ["a"]})),
            CLAIMS,
        ),
        (
            "a star in the middle",
            with("sse", json!({"subscribe": ["a*b"]})),
            CLAIMS,
        ),
        (
            "a slash",
            with("sse", json!({"subscribe": ["a", "b/c"]})),
            CLAIMS,
        ),
        (
            "a channel that is a number",
            with("sse", json!({"subscribe": [1]})),
            CLAIMS,
        ),
        ("no JSON", "x".into(), CLAIMS),
        ("a list", "[]".into(), CLAIMS),
        ("nested without end", "[".repeat(9000), CLAIMS),
    ] {
        is_refused(&server, what, &sign(SECRET, HEADER, claims), reason);
    }
    for (what, claims) in [
        ("a part of a second", with("exp", json!(now() + 600.5))),
        (
            "exp in the year 9999",
            with("exp", json!(253_402_300_799_u64)),
        ),
        ("nbf now", with("nbf", json!(in_seconds(0)))),
        (
            "nbf of a clock that is ahead",
            with("nbf", json!(in_seconds(3))),
        ),
        ("no sub", with("sub", Value::Null)),
        ("claims that others read", with("aud", json!(["others"]))),
        ("an iat that is none", with("iat", json!("yesterday"))),
        ("an nbf with a fraction", with("nbf", json!(now() - 0.5))),
        ("an nbf before 1970", with("nbf", json!(-5.5))),
    ] {
        let reply = ask(&server, &sign(SECRET, HEADER, claims));
        assert_eq!(reply.status, 200, "{what}");
    }
    let reply = ask(&server, &sign(SECRET, HEADER, with("sse", Value::Null)));
    assert_eq!(
        reply.status, 403,
        "without the claim sse there are no rights"
    );
    let bad = sign(SECRET, HEADER, with("sse", json!({"publish": ["a*b"]})));
    let detail = server.get(&format!("/sse/a?access_token={bad}")).text();
    assert!(detail.contains("a*b") && !detail.contains(&bad), "{detail}");
}

#[test]
fn a_huge_token_costs_little() {
    let (server, _rules) = start();
    let huge = |bytes: usize| {
        let filling = "x".repeat(bytes * 3 / 4);
        sign(
            "another key of at least 32 bytes!",
            HEADER,
            with("sub", json!(filling)),
        )
    };
    let before = server.cpu_time();
    for _ in 0..100 {
        assert_eq!(ask(&server, &huge(15_000)).status, 401);
    }
    let took = server.cpu_time() - before;
    assert!(
        took < Duration::from_secs(2),
        "100 forged tokens of 15 KB took {took:?}"
    );
    let reply = ask(&server, &huge(20_000));
    assert_eq!(reply.status, 431, "over the limit of a head");
}

#[test]
fn a_thousand_channels_fit_into_one_token() {
    let (server, _rules) = start();
    let channels: Vec<String> = (0..1000).map(|i| format!("chan{i:04}")).collect();
    let token = jwt(&json!({
        "exp": in_seconds(600),
        "sse": {"subscribe": channels, "publish": ["c*"]},
    }));
    assert!(
        token.len() > 10_000 && token.len() < 15_000,
        "{} bytes",
        token.len()
    );
    let authorization = format!("Bearer {token}");
    let cookie = format!("sse_token={token}");
    let list = channels[900..964].join(",");
    for (place, target, headers) in [
        (
            "header",
            format!("/sse?canal={list}"),
            vec![("Authorization", authorization.as_str())],
        ),
        (
            "query",
            format!("/sse?canal={list}&access_token={token}"),
            vec![],
        ),
        (
            "cookie",
            format!("/sse?canal={list}"),
            vec![("Cookie", &cookie)],
        ),
    ] {
        let mut stream = server.subscribe_with(&target, &headers);
        server.publish("chan0963", place);
        assert_eq!(stream.next().data, place);
    }
    for (channel, expected) in [
        ("chan0000", 200),
        ("chan0999", 200),
        ("chan1000", 403),
        ("CHAN0000", 403),
    ] {
        let target = format!("/sse/{channel}");
        let headers = [("Authorization", authorization.as_str())];
        let reply = server.request("HEAD", &target, &headers, b"");
        assert_eq!(reply.status, expected, "{channel}");
    }
    let before = server.cpu_time();
    for _ in 0..200 {
        let headers = [("Authorization", authorization.as_str())];
        let target = format!("/sse?canal={list}");
        assert_eq!(server.request("HEAD", &target, &headers, b"").status, 200);
    }
    let took = server.cpu_time() - before;
    assert!(
        took < Duration::from_secs(2),
        "200 requests with 1,000 channels took {took:?}"
    );
}

#[test]
fn secrets_can_be_rotated() {
    let [old, new, other] = ["o", "n", "x"].map(|c| c.repeat(32));
    let token = |secret: &str| sign(secret, HEADER, claims().to_string());
    let status = |secrets: &str| {
        let rules = RulesFile::new("{}");
        let server = Server::start(&[("ACCESS_FILE", rules.path()), ("JWT_SECRET", secrets)]);
        [&old, &new, &other].map(|secret| ask(&server, &token(secret)).status)
    };
    assert_eq!(status(&old), [200, 401, 401]);
    assert_eq!(status(&format!("{new},{old}")), [200, 200, 401]);
    assert_eq!(status(&format!("{old},{new}")), [200, 200, 401]);
    assert_eq!(status(&new), [401, 200, 401]);
}

/// Claims that expire soon enough for a test to wait, and late enough for a busy machine to open its streams.
fn soon() -> f64 {
    now().ceil() + 2.0
}

#[track_caller]
fn ends_expired(stream: &mut EventStream, exp: f64) {
    let last = stream.next();
    assert_eq!(
        (last.kind.as_str(), last.data.as_str()),
        ("sse-expired", r#"{"reason":"expired"}"#)
    );
    assert_eq!(last.id, None, "it leaves the client's last id as it is");
    assert_eq!(stream.ending(), Ending::Clean);
    let late = now() - exp;
    assert!(
        (0.0..1.0).contains(&late),
        "the stream ends {late} s after its token"
    );
}

#[test]
fn a_stream_ends_when_its_token_expires() {
    let (server, _rules) = start();
    let exp = soon();
    let sse = json!({"subscribe": ["a"], "stats": true});
    let token = jwt(&json!({"sub": "ana", "exp": exp, "sse": sse}));
    let mut stream = server.subscribe_with(&format!("/sse/a?access_token={token}"), &[]);
    let mut old = EventStream::send(
        server.addr,
        format!("GET /sse/a?access_token={token} HTTP/1.0\r\n\r\n").as_bytes(),
    );
    let mut watcher = server.subscribe_with(&format!("/stats/stream?access_token={token}"), &[]);
    let mut lasting = server.subscribe_with(&format!("/sse/a?access_token={TOKEN}"), &[]);
    let id = server.publish("a", "before");
    for stream in [&mut stream, &mut old] {
        let event = stream.next();
        assert_eq!(
            (event.data.as_str(), event.id),
            ("before", Some(id.clone()))
        );
        ends_expired(stream, exp);
        assert_eq!(stream.parser.last_event_id, id);
    }
    let last = watcher.data_until(r#"{"reason":"expired"}"#);
    assert!(
        last.len() > 1,
        "the watcher has seen snapshots before: {last:?}"
    );
    assert_eq!(watcher.ending(), Ending::Clean);
    server.wait_for_log("event=disconnect client=1 reason=expired messages=1");
    server.wait_for_log("event=disconnect watcher= reason=expired");
    // What expired does not come back, and a new token gets what was missed.
    server.publish("a", "after");
    let again = ask(&server, &token);
    let challenge = again.header("WWW-Authenticate").unwrap_or_default();
    assert!(
        again.status == 401 && challenge.contains("the token has expired"),
        "{challenge}"
    );
    let fresh = jwt(&claims());
    let target = format!("/sse/a?access_token={fresh}&last_event_id={id}");
    assert_eq!(server.subscribe_with(&target, &[]).next().data, "after");
    assert_eq!(lasting.data_until("after"), ["before", "after"]);
}

#[test]
fn a_stream_lasts_for_the_fraction_of_a_second_that_exp_has() {
    let (server, _rules) = start();
    let exp = soon() + 0.75;
    let token = jwt(&json!({"exp": exp, "sse": {"subscribe": ["a"]}}));
    let mut stream = server.subscribe_with(&format!("/sse/a?access_token={token}"), &[]);
    wait_until("the last half second has begun", BOUND, || {
        now() > exp - 0.5
    });
    if ask(&server, &token).status != 200 {
        assert!(
            now() >= exp,
            "the token is refused {} s before its end",
            exp - now()
        );
    }
    ends_expired(&mut stream, exp);
    is_refused(&server, "afterwards", &token, "the token has expired");
}

#[test]
fn a_crowd_that_connects_just_before_exp_is_gone_just_after_it() {
    let (server, _rules) = start();
    let exp = soon() + 1.0;
    let token = jwt(&json!({"exp": exp, "sse": {"subscribe": ["a"]}}));
    let request = format!("GET /sse/a?access_token={token} HTTP/1.1\r\nHost: test\r\n\r\n");
    // Another crowd leaves at that moment: most of the server's descriptors are unused then.
    let leaving: Vec<_> = (0..400).map(|_| http::connect(server.addr)).collect();
    wait_until("the last moment has begun", BOUND, || now() > exp - 0.3);
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut connection = http::connect(server.addr);
        connection
            .write_all(request.as_bytes())
            .expect("the request is sent");
        crowd.push(connection);
    }
    drop(leaving);
    let mut accepted = 0;
    for mut connection in crowd {
        let mut begin = [0; 12];
        connection.read_exact(&mut begin).expect("it is answered");
        // Whoever came too late keeps the connection, for another request.
        if begin == *b"HTTP/1.1 200" {
            connection.read_to_end(&mut Vec::new()).expect("it ends");
            accepted += 1;
        }
    }
    let late = now() - exp;
    assert!(accepted > 0, "nobody came in time");
    assert!(
        late < 4.0,
        "a connection is closed {late} s after the token has expired"
    );
}

#[test]
fn needs_cc_a_clock_that_is_set_ahead_ends_the_streams_whose_tokens_it_passes() {
    let clock = Clock::new("set-ahead");
    let rules = RulesFile::new("{}");
    let variables = [("ACCESS_FILE", rules.path()), ("JWT_SECRET", SECRET)];
    let server = Server::start_with(&variables, |command| clock.give_to(command));
    let open = |exp: i64| {
        let token =
            jwt(&json!({"exp": in_seconds(exp), "sse": {"subscribe": ["a"], "stats": true}}));
        let stream = server.subscribe_with(&format!("/sse/a?access_token={token}"), &[]);
        (stream, token)
    };
    let (mut minutes, token) = open(600);
    let (mut hours, _) = open(7200);
    let mut watcher = server.subscribe_with(&format!("/stats/stream?access_token={token}"), &[]);
    let mut operator = server.subscribe_with(&format!("/sse/a?access_token={TOKEN}"), &[]);
    clock.set_seconds_off(3600);
    let set = Instant::now();
    let last = minutes.next();
    assert_eq!(
        (last.kind.as_str(), last.data.as_str()),
        ("sse-expired", r#"{"reason":"expired"}"#)
    );
    assert_eq!(minutes.ending(), Ending::Clean);
    let took = set.elapsed();
    assert!(
        took < Duration::from_secs(3),
        "the stream ends {took:?} after the clock was set"
    );
    watcher.data_until(r#"{"reason":"expired"}"#);
    is_refused(&server, "anew", &token, "the token has expired");
    server.publish("a", "after");
    for stream in [&mut hours, &mut operator] {
        assert_eq!(stream.next().data, "after");
    }
}

#[test]
fn needs_cc_a_clock_that_is_set_back_gives_streams_as_long_as_new_requests() {
    let clock = Clock::new("set-back");
    let rules = RulesFile::new("{}");
    let variables = [("ACCESS_FILE", rules.path()), ("JWT_SECRET", SECRET)];
    let server = Server::start_with(&variables, |command| clock.give_to(command));
    let exp = soon();
    let token = jwt(&json!({"exp": exp, "sse": {"subscribe": ["a"]}}));
    let mut stream = server.subscribe_with(&format!("/sse/a?access_token={token}"), &[]);
    clock.set_seconds_off(-3600);
    wait_until("it would have ended by the clock as it was", BOUND, || {
        now() > exp + 1.0
    });
    assert_eq!(
        ask(&server, &token).status,
        200,
        "the token is good by the clock as it is"
    );
    server.publish("a", "still here");
    assert_eq!(stream.next().data, "still here");
    clock.set_seconds_off(0);
    assert_eq!(stream.next().kind, "sse-expired");
    assert_eq!(stream.ending(), Ending::Clean);
}

#[test]
fn a_stream_with_traffic_ends_as_punctually_and_in_order() {
    let rules = RulesFile::new("{}");
    let server = Server::start(&[
        ("ACCESS_FILE", rules.path()),
        ("JWT_SECRET", SECRET),
        ("HISTORY_EVENTS", "1000000"),
    ]);
    let exp = soon();
    let token = jwt(&json!({"exp": exp, "sse": {"subscribe": ["a"]}}));
    let mut stream = server.subscribe_with(&format!("/sse/a?access_token={token}"), &[]);
    let mut publisher = common::Publisher::new(&server);
    let mut count = 0;
    while now() < exp + 0.2 {
        publisher.publish("a", count.to_string());
        count += 1;
    }
    let mut got = stream.data_until(r#"{"reason":"expired"}"#);
    got.pop();
    assert_eq!(stream.ending(), Ending::Clean);
    let expected: Vec<String> = (0..got.len()).map(|i| i.to_string()).collect();
    assert_eq!(got, expected, "everything, in order, up to the end");
    assert!(
        got.len() < count,
        "{count} messages, some of them after the end"
    );
    // The rest is there for whoever comes back with a fresh token.
    let fresh = jwt(&claims());
    let last_event_id = &stream.parser.last_event_id;
    let target = format!("/sse/a?access_token={fresh}&last_event_id={last_event_id}");
    assert_eq!(
        server.subscribe_with(&target, &[]).next().data.parse(),
        Ok(got.len())
    );
}
