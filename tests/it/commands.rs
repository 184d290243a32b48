//! What the program does apart from serving: tokens, and checking the configuration.

use crate::common;

use common::tokens::{self, RulesFile, SECRET};
use common::{run, Server};
use serde_json::json;
use std::collections::BTreeSet;
use std::process::Output;

const JWT_SECRET: (&str, &str) = ("JWT_SECRET", SECRET);

#[track_caller]
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it is text")
}

/// What it prints on success.
#[track_caller]
fn prints(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(arguments, variables);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    assert_eq!(error, "", "{arguments:?}");
    text(&output.stdout)
}

/// The one line on standard error on failure.
#[track_caller]
fn fails(output: &Output, code: i32) -> String {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("sse-server: "), "{line}");
    line
}

fn token(arguments: &[&str]) -> String {
    let arguments = [&["token"], arguments].concat();
    let printed = prints(&arguments, &[JWT_SECRET]);
    printed.trim_end().to_string()
}

#[test]
fn a_token_grants_its_rights_and_no_others() {
    let rules = RulesFile::new("{}");
    let server = tokens::start(&rules, &[]);
    let token = token(&[
        "--subscribe",
        "orders-*",
        "--publish=x,y",
        "--publish",
        "z",
        "--subject",
        "ana",
        "--expires",
        "10m",
    ]);
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let publish = |channel: &str| {
        let target = format!("/publish/{channel}");
        server.request("POST", &target, &headers, b"hello").status
    };
    for channel in ["x", "y", "z"] {
        assert_eq!(publish(channel), 200, "{channel}");
    }
    assert_eq!(publish("orders-1"), 403);
    server.subscribe_with("/sse/orders-1,orders-2", &headers);
    assert_eq!(server.request("GET", "/sse/x", &headers, b"").status, 403);
    server.wait_for_log("event=publish channel=x subject=ana");
    let stats = server.request("GET", "/stats", &headers, b"").json();
    assert!(stats["channels"].is_null(), "{stats}");
    let seeing = self::token(&["--stats"]);
    let stats = server.get(&format!("/stats?access_token={seeing}")).json();
    assert!(stats["channels"].is_array(), "{stats}");
}

#[test]
fn a_token_made_with_several_secrets_is_signed_with_the_first() {
    let other = "fedcba9876543210fedcba9876543210";
    let both = format!("{other},{SECRET}");
    let token = prints(&["token", "--publish", "x"], &[("JWT_SECRET", &both)]);
    let token = token.trim_end();
    prints(&["token", "--explain", token], &[("JWT_SECRET", other)]);
    let refused = run(&["token", "--explain", token], &[JWT_SECRET]);
    assert!(fails(&refused, 1).contains("signature"));
}

#[test]
fn nonsensical_options_are_one_line_and_exit_2() {
    for (arguments, word) in [
        (&["token"][..], "grant no right"),
        (&["token", "--publish"], "--publish has no value"),
        (&["token", "--publish="], "--publish has no value"),
        (&["token", "--publish", ","], "grant no right"),
        (&["token", "--publish", "a b"], "white space"),
        (&["token", "--publish", "a*b"], "a*b"),
        (&["token", "--publish", "x", "--expires", "soon"], "10m"),
        (&["token", "--publish", "x", "--expires", "0s"], "10m"),
        (
            &["token", "--publish", "x", "--expires", "199999999999999d"],
            "too far",
        ),
        (
            &["token", "--publish", "x", "--expires", "999999999999d"],
            "too far",
        ),
        (&["token", "--publish", "x", "--stats=1"], "--stats=1"),
        (&["token", "publish", "x"], "\"publish\""),
        (&["token", "--explain"], "--explain has no value"),
        (&["tokens"], "\"tokens\""),
        (&["--check", "x"], "--check"),
    ] {
        let line = fails(&run(arguments, &[JWT_SECRET]), 2);
        assert!(line.contains(word), "{arguments:?}: {line}");
    }
    let line = fails(&run(&["token", "--publish", "x"], &[]), 2);
    assert!(line.contains("JWT_SECRET is not set"), "{line}");
    let line = fails(
        &run(
            &["token", "--publish", "x"],
            &[("JWT_SECRET", "short-secret")],
        ),
        2,
    );
    assert!(
        line.contains("32") && !line.contains("short-secret"),
        "{line}"
    );
}

#[test]
fn the_argument_that_is_wrong_is_named() {
    for (arguments, words) in [
        (&["--healthcheck", "now"][..], "unknown argument \"now\""),
        (&["--help", "me"], "unknown argument \"me\""),
        (&["--check-data"], "takes one folder"),
        (&["--check-data", "a", "b"], "takes one folder"),
        (&["serve"], "unknown argument \"serve\""),
        (&[""], "unknown argument \"\""),
    ] {
        let line = fails(&run(arguments, &[]), 2);
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
}

#[test]
fn a_token_is_explained() {
    let rules = RulesFile::new(
        json!({
            "public": {"subscribe": ["news"]},
            "tokens": [{"name": "sensors", "token": "sensors-change-me", "publish": ["door-*", "temperature"]}],
        })
        .to_string(),
    );
    let variables = [
        ("ACCESS_FILE", rules.path()),
        ("AUTH_TOKEN", common::TOKEN),
        JWT_SECRET,
    ];
    let explain = |token: &str| prints(&["token", "--explain", token], &variables);
    let made = token(&[
        "--subscribe",
        "orders-*",
        "--publish",
        "x",
        "--expires",
        "10m",
        "--subject",
        "ana",
    ]);
    let explained = explain(&made);
    for words in [
        "good: subject=ana\n",
        "may: subscribe orders-*; publish x\n",
        "as everybody: subscribe news\n",
        "GMT (in 10 min)\n",
    ] {
        assert!(explained.contains(words), "{words:?} in {explained}");
    }
    let explained = explain("sensors-change-me");
    assert!(
        explained.contains("good: token=sensors\nmay: publish door-* temperature\n"),
        "{explained}"
    );
    let explained = explain(common::TOKEN);
    assert_eq!(explained, "good: token=AUTH_TOKEN\nmay: everything\n");
    let explained = explain(&token(&["--publish", "x"]));
    assert!(
        explained.starts_with("good: a signed token\nmay: publish x\n"),
        "{explained}"
    );
    let last = tokens::jwt(&json!({"exp": 253_402_300_799_u64, "sse": {"publish": ["x"]}}));
    let explained = explain(&last);
    assert!(
        explained.contains("until: Fri, 31 Dec 9999 23:59:59 GMT (in "),
        "{explained}"
    );
}

#[test]
fn a_token_that_no_request_can_carry_causes_a_warning() {
    let names: Vec<String> = (0..100).map(|n| format!("{n:0>128}")).collect();
    let names = names.join(",");
    let made = run(&["token", "--publish", &names], &[JWT_SECRET]);
    let warning = text(&made.stderr);
    assert_eq!(made.status.code(), Some(0), "{warning}");
    let bytes = text(&made.stdout).trim_end().len();
    let words = format!("has {bytes} bytes, and a request can carry 15360; name fewer channels");
    assert!(warning.contains(&words), "{warning}");
    assert_eq!(warning.lines().count(), 1, "{warning}");
}

#[test]
fn a_refused_token_is_explained_as_well() {
    let explain = |token: &str| run(&["token", "--explain", token], &[JWT_SECRET]);
    let signed = |exp: i64, nbf: i64| {
        tokens::jwt(&json!({
            "exp": tokens::in_seconds(exp), "nbf": tokens::in_seconds(nbf), "sse": {"publish": ["x"]},
        }))
    };
    let expired = explain(&signed(-300, -600));
    assert!(fails(&expired, 1).contains("refused: the token has expired"));
    let printed = text(&expired.stdout);
    assert!(printed.contains("GMT (5 min ago)\n"), "{printed}");
    assert!(printed.contains("would be for: publish x\n"), "{printed}");
    let early = explain(&signed(7200, 3600));
    assert!(fails(&early, 1).contains("not valid yet"));
    assert!(
        text(&early.stdout).contains("GMT (in 60 min)\n"),
        "{}",
        text(&early.stdout)
    );
    // Without the right signature nothing of it is told.
    let foreign = tokens::sign(
        "another-secret-of-more-than-32-bytes",
        r#"{"alg":"HS256"}"#,
        r#"{"exp":1,"sse":{"publish":["x"]}}"#,
    );
    let refused = explain(&foreign);
    assert!(fails(&refused, 1).contains("signature"));
    assert_eq!(text(&refused.stdout), "");
    for (token, why) in [
        ("nonsense", "does not know the token"),
        ("a.b.c", "well-formed"),
        ("", "does not know the token"),
        (&tokens::jwt(&json!({"sse": {}})), "no exp"),
        (
            &tokens::jwt(&json!({"exp": 1, "sse": {"publish": "x"}})),
            "sequence is expected",
        ),
        (
            &tokens::jwt(&json!({"exp": 1_764_000_000_000_u64, "sse": {"publish": ["x"]}})),
            "the time 1764000000000 is after the year 9999; give seconds since 1970, not milliseconds",
        ),
    ] {
        let line = fails(&explain(token), 1);
        assert!(
            line.contains("refused: ") && line.contains(why),
            "{why:?}: {line}"
        );
        assert!(
            token.is_empty() || token == "nonsense" || !line.contains(token),
            "{line}"
        );
    }
    let without = run(&["token", "--explain", &token(&["--stats"])], &[]);
    fails(&without, 1);
    assert!(text(&without.stdout).contains("JWT_SECRET is not set"));
}

#[test]
fn a_token_can_come_through_standard_input() {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = common::bare_command()
        .args(["token", "--explain", "-"])
        .env("JWT_SECRET", SECRET)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut input = child.stdin.take().expect("it is piped");
    writeln!(input, "{}", token(&["--publish", "x"])).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(text(&output.stdout).contains("may: publish x\n"));
    assert!(output.status.success());
}

#[test]
fn a_check_prints_what_is_in_force_and_no_secret() {
    let rules = RulesFile::new(
        json!({
            "public": {"subscribe": ["*"]},
            "tokens": [
                {"name": "sensors", "token": "short-one", "publish": ["door-*"]},
                {"name": "monitor", "token": "monitor-change-me", "stats": true},
            ],
        })
        .to_string(),
    );
    let printed = prints(
        &["--check"],
        &[
            ("ACCESS_FILE", rules.path()),
            ("AUTH_TOKEN", "operator-s-token"),
            ("JWT_SECRET", SECRET),
            ("HISTORY_EVENTS", "7"),
            ("PORT", "9090"),
            ("AUTH_TOKN", "x"),
        ],
    );
    let has_line = |words: &[&str]| {
        let fits = |line: &str| line.split_whitespace().collect::<Vec<_>>() == words;
        printed.lines().any(fits)
    };
    let by_default = prints(&["--check"], &[]);
    assert!(by_default.contains(" 0.0.0.0:8080\n"), "{by_default}");
    for words in [
        &["LISTEN", "0.0.0.0:9090"][..],
        &["AUTH_TOKEN", "set"],
        &["JWT_SECRET", "set"],
        &["HISTORY_EVENTS", "7"],
        &["HEARTBEAT", "15", "(default)"],
        &["everybody", "subscribe", "*"],
        &["sensors", "publish", "door-*"],
        &["monitor", "see", "statistics"],
        &["signed", "tokens", "what", "they", "grant"],
        &["AUTH_TOKEN", "everything"],
    ] {
        assert!(has_line(words), "{words:?} in {printed}");
    }
    assert!(
        printed.contains("Warning: nothing reads the variable AUTH_TOKN; did you mean AUTH_TOKEN?"),
        "{printed}"
    );
    assert!(
        printed.contains("Warning: the token sensors has fewer than 16"),
        "{printed}"
    );
    for secret in ["operator-s-token", SECRET, "short-one", "monitor-change-me"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[test]
fn a_check_names_every_variable_and_no_other() {
    let printed = prints(&["--check"], &[]);
    let (table, _) = printed
        .split_once("\n\nWho may do what:\n")
        .expect("there is a table");
    let lines = table.lines().filter_map(|line| line.strip_prefix("  "));
    let mut named: BTreeSet<String> = lines
        .filter_map(|line| line.split(' ').next())
        .map(String::from)
        .collect();
    // LISTEN includes it.
    named.insert("PORT".into());
    let known: BTreeSet<String> = crate::words::variables().into_keys().collect();
    assert_eq!(named, known, "{printed}");
    assert!(printed.contains("made up at each start"), "{printed}");
}

#[cfg(feature = "redis")]
#[test]
fn a_check_does_not_show_the_password_of_redis() {
    let printed = prints(
        &["--check"],
        &[("REDIS_URL", "redis://ana:hidden@10.0.0.7:6380/2")],
    );
    assert!(printed.contains("10.0.0.7:6380/2"), "{printed}");
    assert!(!printed.contains("hidden"), "{printed}");
}

#[test]
fn a_check_fails_as_the_start_would() {
    let rules = RulesFile::new("{\"tokens\": {}}");
    for (variables, word) in [
        (&[("HEARTBEAT", "0")][..], "HEARTBEAT"),
        (&[("AUTH_TOKEN", "")], "AUTH_TOKEN"),
        (&[("ACCESS_FILE", rules.path())], "line 1, column 11"),
        (&[("ACCESS_FILE", "/nowhere.json")], "/nowhere.json"),
    ] {
        let line = fails(&run(&["--check"], variables), 2);
        assert!(line.contains(word), "{word}: {line}");
    }
}

#[test]
fn a_short_token_in_the_rules_causes_a_warning() {
    let rules = RulesFile::new(
        json!({"tokens": [
            {"name": "short", "token": "fifteen-bytes--", "publish": ["a"]},
            {"name": "long", "token": "sixteen-bytes---", "publish": ["a"]},
            {"name": "hashed", "sha256": tokens::sha256_hex("x"), "publish": ["a"]},
        ]})
        .to_string(),
    );
    let server = Server::start(&[("ACCESS_FILE", rules.path())]);
    let line = server.wait_for_log("WARN event=short_token");
    assert!(
        line.contains("name=short ") && !line.contains("fifteen"),
        "{line}"
    );
    assert_eq!(server.count_in_log("event=short_token"), 1);
}

#[test]
fn a_reader_that_closes_the_pipe_causes_no_error() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::Stdio;
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["--check"],
        &["token", "--stats"],
    ] {
        let start = |output: Stdio| {
            let mut command = common::bare_command();
            let command = command.args(arguments).env("JWT_SECRET", SECRET);
            command
                .stdout(output)
                .stderr(Stdio::piped())
                .spawn()
                .expect("it runs")
        };
        let (reader, writer) = UnixStream::pair().expect("there are pairs");
        drop(reader);
        let output = start(OwnedFd::from(writer).into())
            .wait_with_output()
            .expect("it ends");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = start(full.expect("there is one").into());
        let output = output.wait_with_output().expect("it ends");
        assert!(
            fails(&output, 1).contains("standard output"),
            "{arguments:?}"
        );
    }
}
