//! The words of the documents are those of the binary, each way: variables, requests, parameters, statuses and metrics.

use crate::common;
use crate::documents::documents;
use crate::openapi::statuses;

use common::documents::{document, section};
use common::http::exchange;
use common::{Server, TOKEN};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The README in each language, with the titles of the contract and of the variables.
const READMES: [(&str, &str, &str); 2] = [
    ("README.md", "The contract in brief", "Configuration"),
    (
        "assets/docs/pt-BR/README.md",
        "O contrato em resumo",
        "Configuração",
    ),
];

/// The README and the chapters in both languages, with their text.
fn pages() -> Vec<(String, String)> {
    let mut paths = documents();
    paths.retain(|path| path == "README.md" || path.starts_with("assets/"));
    paths
        .into_iter()
        .map(|path| (path.clone(), document(&path)))
        .collect()
}

/// The pieces of code in a text, between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The longest words of such characters.
fn words(text: &str, fits: fn(char) -> bool) -> impl Iterator<Item = &str> {
    text.split(move |c| !fits(c))
}

/// The environment variables with their defaults, as `--help` has them.
pub fn variables() -> BTreeMap<String, String> {
    let help = common::run(&["--help"], &[]).stdout;
    let help = String::from_utf8(help).expect("it is text");
    let (_, lines) = help
        .split_once("\nEnvironment variables (default in brackets):\n")
        .expect("--help lists them");
    lines
        .lines()
        .map(|line| {
            let (line, default) = line.rsplit_once(" [").expect("a line has a default");
            let name = line.split_whitespace().next().expect("a line has a name");
            (name.into(), default.trim_end_matches(']').into())
        })
        .collect()
}

#[test]
fn the_readme_has_every_variable_with_its_default() {
    let known = variables();
    for (page, _, title) in READMES {
        let table = section(page, title);
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.split(" | ").collect())
            .collect();
        let named: Vec<&str> = rows
            .iter()
            .map(|row| row[0].trim_matches(['|', ' ', '`']))
            .collect();
        let known_names: BTreeSet<&str> = known.keys().map(String::as_str).collect();
        assert_eq!(
            named.iter().copied().collect::<BTreeSet<_>>(),
            known_names,
            "{page}"
        );
        for (name, row) in named.iter().zip(&rows) {
            let default = &known[*name];
            match spans(row[1]).next().filter(|_| row[1].starts_with('`')) {
                Some(told) => {
                    let rest = default.strip_prefix(told);
                    let is_whole =
                        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', ';']));
                    assert!(
                        is_whole,
                        "{page}: {name} is {told} there and {default} in --help"
                    );
                }
                None => assert!(
                    ["none", "random, logged at start"].contains(&default.as_str()),
                    "{page}: {name}"
                ),
            }
        }
    }
}

#[test]
fn no_page_has_a_variable_that_nothing_reads() {
    // Of the examples, one that is misspelt on purpose, and constants of Arduino and of browsers.
    let others = [
        "SSE_URL",
        "NEXT_PUBLIC_SSE_URL",
        "MOST_BYTES",
        "MOST_CHARACTERS",
        "AUTH_TOKN",
        "METH_POST",
        "ERR_SSL_PROTOCOL_ERROR",
    ];
    let known = variables();
    let env = "assets/sse-server.env".to_string();
    let env = (env.clone(), document(&env));
    for (page, text) in pages().into_iter().chain([env]) {
        for word in words(&text, |c| c.is_ascii_alphanumeric() || c == '_') {
            let mut parts = word.split('_');
            let is_name = word.contains('_')
                && parts
                    .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase()));
            let is_known = known.contains_key(word) || others.contains(&word);
            assert!(!is_name || is_known, "{page}: {word}");
        }
    }
}

fn described() -> Value {
    let text = Server::start(&[]).get("/openapi.json");
    assert_eq!(text.status, 200);
    text.json()
}

/// Method and path of every operation. HEAD is wherever GET is, and PUT wherever POST is; the README says that in words.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("an object");
    paths
        .iter()
        .flat_map(|(path, operations)| {
            let methods = operations.as_object().expect("an object").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .filter(|operation| !operation.starts_with("HEAD ") && !operation.starts_with("PUT "))
        .collect()
}

/// Method and path, if this is a request.
fn request(span: &str) -> Option<String> {
    let (method, target) = span.split_once(' ').unwrap_or(("GET", span));
    let path = target.split(['?', ' ']).next()?;
    let is_request = ["GET", "POST", "PUT", "DELETE"].contains(&method) && path.starts_with('/');
    is_request.then(|| format!("{method} {path}"))
}

#[test]
fn the_readme_has_every_request_and_no_other() {
    let document = described();
    for (page, title, _) in READMES {
        let contract = section(page, title);
        let named: BTreeSet<String> = spans(&contract)
            .filter(|span| span.len() > 1)
            .filter_map(request)
            .collect();
        assert_eq!(named, operations(&document), "{page}");
    }
}

#[test]
fn no_page_asks_for_what_the_server_does_not_have() {
    let document = described();
    let known = operations(&document);
    let paths: Vec<&String> = document["paths"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    let mut asked = 0;
    for (page, text) in pages() {
        // The token's route of the app that the chapter on access builds.
        for span in spans(&text).filter(|span| span.contains(" /") && *span != "GET /token") {
            if let Some(request) = request(span) {
                assert!(known.contains(&request), "{page}: {span}");
            }
        }
        for target in text.split("localhost:8080/").skip(1) {
            let path = words(target, |c| !" \n'\"`?)<,\\".contains(c))
                .next()
                .unwrap_or_default();
            let family = path.split('/').next().unwrap_or_default();
            let is_known = paths.iter().any(|known| {
                **known == format!("/{path}")
                    || (path.contains('/') && known.starts_with(&format!("/{family}/{{")))
            });
            assert!(is_known, "{page}: localhost:8080/{path}");
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked} requests");
}

/// The parameters in a text: `?name=` and `&name=`.
fn parameters(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split(['?', '&'])
        .skip(1)
        .filter_map(|rest| rest.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && name.chars().all(is_part))
        .collect()
}

/// The query's parameters of an operation.
fn query<'a>(document: &'a Value, operation: &'a Value) -> BTreeSet<&'a str> {
    let listed = operation["parameters"].as_array().map(Vec::as_slice);
    listed
        .unwrap_or_default()
        .iter()
        .map(|parameter| match parameter["$ref"].as_str() {
            Some(place) => document.pointer(&place[1..]).expect("it leads somewhere"),
            None => parameter,
        })
        .filter(|parameter| parameter["in"] == "query")
        .filter_map(|parameter| parameter["name"].as_str())
        .collect()
}

#[test]
fn the_readme_has_every_parameter_and_no_page_another() {
    let document = described();
    let mut known: BTreeSet<&str> = document["paths"]
        .as_object()
        .expect("an object")
        .values()
        .flat_map(|path| path.as_object().expect("an object").values())
        .flat_map(|operation| query(&document, operation))
        .collect();
    known.insert("access_token");
    for (page, title, _) in READMES {
        let contract = section(page, title);
        assert_eq!(parameters(&contract), known, "{page}");
    }
    // A sensor's own proxy has these.
    known.extend(["value", "valor"]);
    for (page, text) in pages() {
        let unknown: Vec<&str> = parameters(&text).difference(&known).copied().collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{page}");
    }
}

/// What a parameter cannot be.
fn nonsense(parameter: &str) -> &'static str {
    match parameter {
        "canal" => "a%20b",
        "event" => "sse-x",
        "msg" => "twice&msg=x",
        "format" | "heartbeat" | "last" | "since" | "wait" | "follow" => "nonsense",
        other => panic!("nobody has said what {other} cannot be"),
    }
}

#[test]
fn the_server_reads_every_parameter_of_the_description() {
    let server = Server::start(&[]);
    let document = described();
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().expect("an object") {
        for (method, operation) in operations.as_object().expect("an object") {
            for parameter in query(&document, operation) {
                // Whatever it is, it is answered with a gap (tests/it/replay.rs).
                if parameter == "last_event_id" {
                    continue;
                }
                let channel = if parameter == "canal" || path.contains('{') || path == "/clients" {
                    ""
                } else {
                    "canal=news&"
                };
                let path = path.replace("{canal}", "news");
                let target = format!("{path}?{channel}{parameter}={}", nonsense(parameter));
                let body: &[u8] = if method == "post" || method == "put" {
                    b"x"
                } else {
                    b""
                };
                let reply = server.request(&method.to_uppercase(), &target, &headers, body);
                assert_eq!(reply.status, 400, "{method} {target}: {}", reply.text());
                asked += 1;
            }
        }
    }
    assert!(asked > 30, "{asked} parameters");
}

#[test]
fn the_readme_has_every_status_of_a_refusal_and_no_other() {
    let document = described();
    let mut known = statuses(&document);
    known.retain(|status| *status >= "400");
    for (page, title, _) in READMES {
        let contract = section(page, title);
        let named: BTreeSet<&str> = spans(&contract)
            .filter(|span| span.len() == 3 && span.bytes().all(|b| b.is_ascii_digit()))
            .collect();
        assert_eq!(named, known, "{page}");
    }
}

#[test]
fn the_server_gives_every_status_of_the_description() {
    let server = Server::start(&[("MAX_CLIENTS_PER_ADDRESS", "1"), ("MAX_CHANNELS", "1")]);
    let rules = common::RulesFile::new(
        r#"{"tokens":[{"name":"a","token":"token-of-16-bytes","publish":["a"]}]}"#,
    );
    let with_rules = Server::start(&[("ACCESS_FILE", rules.path())]);
    let _client = server.subscribe("a");
    let tag = server
        .get("/llms.txt")
        .header("ETag")
        .expect("it has a tag")
        .to_string();
    let authorization = format!("Authorization: Bearer {TOKEN}\r\n");
    let unmet = format!("{authorization}Expect: more\r\n");
    let keyed = format!("{authorization}Idempotency-Key: k\r\n");
    let tagged = format!("If-None-Match: {tag}\r\n");
    let long = format!("X: {}\r\n", "x".repeat(20_000));
    let large = "x".repeat(65_537);
    let mut given = BTreeSet::new();
    for (server, status, line, fields, body) in [
        (
            &server,
            200,
            "POST /publish/a HTTP/1.1",
            keyed.as_str(),
            "x",
        ),
        (&server, 204, "OPTIONS /sse HTTP/1.1", "", ""),
        (&server, 304, "GET /llms.txt HTTP/1.1", &tagged, ""),
        (&server, 400, "GET /sse HTTP/1.1", "", ""),
        (&server, 401, "POST /publish/a HTTP/1.1", "", "x"),
        (
            &with_rules,
            403,
            "POST /publish/b?access_token=token-of-16-bytes HTTP/1.1",
            "",
            "x",
        ),
        (&server, 404, "GET /nowhere HTTP/1.1", "", ""),
        (&server, 405, "POST /stats HTTP/1.1", "", ""),
        (
            &server,
            413,
            "POST /publish/a HTTP/1.1",
            &authorization,
            &large,
        ),
        (&server, 417, "POST /publish/a HTTP/1.1", &unmet, "x"),
        (&server, 422, "POST /publish/a HTTP/1.1", &keyed, "y"),
        (&server, 429, "GET /sse/a HTTP/1.1", "", ""),
        (&server, 431, "GET /stats HTTP/1.1", &long, ""),
        (
            &server,
            503,
            "POST /publish/b HTTP/1.1",
            &authorization,
            "x",
        ),
        (&server, 505, "GET /stats HTTP/2.0", "", ""),
    ] {
        let length = format!("Content-Length: {}\r\n", body.len());
        let length = if body.is_empty() { "" } else { &length };
        let bytes = format!("{line}\r\nHost: x\r\nConnection: close\r\n{fields}{length}\r\n{body}");
        let answer = exchange(server.addr, bytes.as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}, {line}: {answer}"
        );
        given.insert(status.to_string());
    }
    // 408 takes as long as a head may take (tests/it/hostile_deadlines.rs), and 500 is a bug.
    given.extend(["408".into(), "500".into()]);
    let document = described();
    for (path, operations) in document["paths"].as_object().expect("an object") {
        for (method, operation) in operations.as_object().expect("an object") {
            for status in operation["responses"]
                .as_object()
                .expect("an object")
                .keys()
            {
                assert!(given.contains(status), "{method} {path}: {status}");
            }
        }
    }
}

/// The metrics of a server.
#[cfg(all(feature = "redis", feature = "disk"))]
fn metrics(server: &Server) -> BTreeSet<String> {
    let text = server.get("/metrics").text();
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.map(String::from).collect()
}

#[cfg(all(feature = "redis", feature = "disk"))]
#[test]
fn needs_redis_server_the_chapter_has_every_metric_and_no_page_another() {
    let folder = common::Folder::new("metrics");
    let folder = folder.0.join("data");
    let redis = common::redis::Redis::start();
    let mut known = BTreeSet::new();
    for variable in [
        ("DATA_DIR", folder.to_str().expect("UTF-8")),
        ("REDIS_URL", &redis.url()),
    ] {
        known.extend(metrics(&Server::start(&[variable])));
    }
    let chapter = section("assets/docs/operations.md", "Metrics");
    let named: BTreeSet<String> = spans(&chapter)
        .map(|span| span.split('{').next().unwrap_or_default())
        .filter(|name| name.starts_with("sse_server_") || name.starts_with("process_"))
        .filter(|name| words(name, |c| c.is_ascii_lowercase() || c == '_').count() == 1)
        .map(String::from)
        .collect();
    assert_eq!(named, known, "operations.md, section Metrics");
    for (page, text) in pages() {
        for word in words(&text, |c| c.is_ascii_lowercase() || c == '_') {
            let parts = ["_bucket", "_sum", "_count"];
            let name = parts
                .iter()
                .find_map(|part| word.strip_suffix(part))
                .unwrap_or(word);
            // `sse_server_disk_` alone is the beginning of several.
            let is_known = known.contains(name)
                || name.ends_with('_') && known.iter().any(|known| known.starts_with(name));
            assert!(
                !word.starts_with("sse_server_") || is_known,
                "{page}: {word}"
            );
        }
    }
}

#[test]
fn the_files_that_the_readme_takes_from_a_release_are_those_that_the_workflow_makes() {
    let workflow = document(".github/workflows/release.yml");
    for (page, ..) in READMES {
        let text = document(page);
        let taken: Vec<&str> = text
            .split("/releases/latest/download/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(taken.len(), 2, "{page}");
        for name in taken {
            for machine in ["x86_64", "aarch64"] {
                let made = match name.strip_prefix("sse-server-$(uname -m)") {
                    Some(rest) => format!("- {machine}{rest}\n"),
                    None => format!("dist/{name}\n"),
                };
                assert!(
                    workflow.contains(&made),
                    "{page}: {name} is not made by release.yml"
                );
            }
        }
    }
}
