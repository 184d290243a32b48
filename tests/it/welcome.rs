//! The first second: at a terminal some lines to click and paste, in a log one line with a hint. Each command works
//! with the rules in force.

use crate::common;

use common::tokens::{RulesFile, SECRET};
use common::{bare_command, binary, value, wait_until, Folder, Server, BOUND};
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A server at a terminal of its own.
struct AtTerminal {
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl AtTerminal {
    fn start(variables: &[(&str, &str)]) -> AtTerminal {
        let (mut ours, mut its) = (0, 0);
        // SAFETY: two places for descriptors, and no wishes.
        let made = unsafe {
            libc::openpty(
                &mut ours,
                &mut its,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        assert_eq!(made, 0, "there is a terminal");
        // SAFETY: they are new, and nobody else's.
        let (ours, its) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(its)) };
        let child = bare_command()
            .env("LISTEN", "127.0.0.1:0")
            .env("LC_ALL", "C")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(its)
            .spawn()
            .expect("the binary runs");
        let seen = Arc::new(Mutex::new(String::new()));
        let own = seen.clone();
        let mut ours = ours;
        // Ends with the server.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = ours.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).replace("\r\n", "\n");
                own.lock().unwrap().push_str(&text);
            }
        });
        AtTerminal { child, seen }
    }

    /// What is visible, once these words are.
    #[track_caller]
    fn see(&self, words: &str) -> String {
        let seen = || self.seen.lock().unwrap().clone();
        wait_until(words, BOUND, || seen().contains(words));
        seen()
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What follows this word.
#[track_caller]
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    let lines = text.lines().map(str::trim);
    let mut found = lines
        .filter_map(|line| line.strip_prefix(word))
        .map(str::trim);
    found
        .next()
        .unwrap_or_else(|| panic!("no line {word:?} in {text}"))
}

/// Whatever a shell makes of a command, with `sse-server` to be found.
fn shell(command: &str, variables: &[(&str, &str)]) -> Command {
    let folder = binary().parent().expect("it is in a folder").to_path_buf();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env("PATH", format!("{}:{path}", folder.display()))
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    shell
}

/// Follows one command, and has the other publish what it then shows.
#[track_caller]
fn assert_they_work(listen: &str, publish: &str, variables: &[(&str, &str)]) {
    let mut listening = shell(&format!("exec {listen}"), variables)
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut output = listening.stdout.take().expect("it is piped");
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    let mut published = false;
    while let Ok(count @ 1..) = output.read(&mut bytes) {
        seen += &String::from_utf8_lossy(&bytes[..count]);
        if !published && seen.contains("retry:") {
            let answer = shell(publish, variables).output().expect("sh runs");
            let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
            assert!(answer.contains("\"id\""), "{publish}: {answer}");
            published = true;
        }
        if seen.contains("data: hello\n\n") {
            break;
        }
    }
    let _ = listening.kill();
    let _ = listening.wait();
    assert!(
        published && seen.contains("data: hello"),
        "{listen}: {seen}"
    );
}

#[test]
fn needs_curl_a_person_sees_commands_that_work() {
    let server = AtTerminal::start(&[]);
    let seen = server.see("CORS_ORIGINS");
    assert!(seen.starts_with("sse-server "), "{seen}");
    assert_they_work(line(&seen, "listen"), line(&seen, "publish"), &[]);
    let page = line(&seen, "page").to_string();
    assert!(
        page.starts_with("http://127.0.0.1:") && page.ends_with('/'),
        "{page}"
    );
    let page = shell(&format!("curl -s {page}"), &[])
        .output()
        .expect("sh runs");
    assert!(String::from_utf8_lossy(&page.stdout).contains("<html"));
    for words in [
        "made up for this run",
        "Only this machine",
        "Without a token: subscribe *",
    ] {
        assert!(seen.contains(words), "{words:?} in {seen}");
    }
    // Lines for the log are for logs; what comes later is logged as ever.
    assert!(
        !seen.contains("event=token") && !seen.contains("event=listening"),
        "{seen}"
    );
    server.see("event=publish id=");
}

#[test]
fn needs_curl_the_token_that_was_chosen_is_not_shown_and_its_command_works() {
    let token = ("AUTH_TOKEN", common::TOKEN);
    let server = AtTerminal::start(&[token]);
    let seen = server.see("CORS_ORIGINS");
    assert!(!seen.contains(common::TOKEN), "{seen}");
    assert_they_work(line(&seen, "listen"), line(&seen, "publish"), &[token]);
}

#[test]
fn needs_curl_with_rules_the_commands_are_ones_that_work() {
    let rules = RulesFile::new(
        json!({"tokens": [
            {"name": "door", "token": "door-token-of-16-bytes", "publish": ["door-*"]},
            {"name": "wall", "token": "wall-token-of-16-bytes", "subscribe": ["door-1", "door-2"]},
        ]})
        .to_string(),
    );
    let server = AtTerminal::start(&[("ACCESS_FILE", rules.path())]);
    let seen = server.see("CORS_ORIGINS");
    let put_in = |command: &str| {
        let command = command.replace("TOKEN-OF-door", "door-token-of-16-bytes");
        command.replace("TOKEN-OF-wall", "wall-token-of-16-bytes")
    };
    let (listen, publish) = (line(&seen, "listen"), line(&seen, "publish"));
    assert_they_work(&put_in(listen), &put_in(publish), &[]);
    assert!(seen.contains("Without a token: nothing"), "{seen}");
    // With signed tokens alone they are made on the way.
    let rules = RulesFile::new("{}");
    let secret = ("JWT_SECRET", SECRET);
    let server = AtTerminal::start(&[("ACCESS_FILE", rules.path()), secret]);
    let seen = server.see("CORS_ORIGINS");
    assert_they_work(line(&seen, "listen"), line(&seen, "publish"), &[secret]);
    // And where nobody may do anything, that is said.
    let server = AtTerminal::start(&[("ACCESS_FILE", rules.path())]);
    let seen = server.see("CORS_ORIGINS");
    assert!(
        seen.contains("Nobody may listen") && seen.contains("Nobody may publish"),
        "{seen}"
    );
}

#[test]
fn needs_curl_over_a_unix_socket() {
    let folder = Folder::new("welcome");
    let socket = folder.0.join("a socket");
    let listen = format!("unix:{}", socket.display());
    let server = AtTerminal::start(&[("LISTEN", &listen)]);
    let seen = server.see("CORS_ORIGINS");
    assert_they_work(line(&seen, "listen"), line(&seen, "publish"), &[]);
}

#[test]
fn a_quiet_log_level_keeps_the_terminal_quiet() {
    let server = AtTerminal::start(&[("RUST_LOG", "warn")]);
    let seen = server.see("event=token");
    assert!(seen.contains("WARN") && !seen.contains("listen "), "{seen}");
    let server = AtTerminal::start(&[("LISTEN", "0.0.0.0:0")]);
    let seen = server.see("CORS_ORIGINS");
    assert!(seen.contains("Others reach it at "), "{seen}");
}

#[test]
fn needs_curl_a_brazilian_reads_portuguese_and_the_commands_work() {
    let language = ("LC_ALL", "pt_BR.UTF-8");
    let server = AtTerminal::start(&[language]);
    let seen = server.see("CORS_ORIGINS");
    assert_they_work(line(&seen, "ouvir"), line(&seen, "publicar"), &[]);
    assert!(line(&seen, "página").starts_with("http://"), "{seen}");
    for words in ["só para esta execução", "Só esta máquina", "Sem token: "] {
        assert!(seen.contains(words), "{words:?} in {seen}");
    }
    for english in ["Only", "Without", "Pages"] {
        assert!(!seen.contains(english), "{english:?} in {seen}");
    }
    let rules = RulesFile::new("{}");
    let server = AtTerminal::start(&[language, ("ACCESS_FILE", rules.path())]);
    let seen = server.see("CORS_ORIGINS");
    for words in [
        "Ninguém pode ouvir",
        "Ninguém pode publicar",
        "Sem token: nada",
    ] {
        assert!(seen.contains(words), "{words:?} in {seen}");
    }
}

#[test]
fn in_a_log_it_is_one_line_with_a_hint_that_works() {
    let hint = |variables: &[(&str, &str)]| {
        let server = Server::start_with(variables, |command| {
            command.env_remove("AUTH_TOKEN");
        });
        let line = server.wait_for_log("event=listening");
        assert_eq!(value(&line, "address"), server.addr.to_string());
        let (_, hint) = line.split_once("hint=").expect("there is a hint");
        let hint: String = serde_json::from_str(hint).expect("it is quoted");
        hint.replace(&server.addr.to_string(), "HOST")
    };
    let rules = |rules: &str| RulesFile::new(rules);
    assert_eq!(hint(&[]), "listen with: curl -N http://HOST/sse/news");
    for (rules, expected) in [
        (
            rules(r#"{"public":{"subscribe":["*"]}}"#),
            "listen with: curl -N http://HOST/sse/news",
        ),
        (
            rules(r#"{"public":{"subscribe":["not\u00edcias"]}}"#),
            "listen with: curl -N http://HOST/sse/not%C3%ADcias",
        ),
        (
            rules(
                r#"{"tokens":[{"name":"w","token":"wall-token-of-16-bytes","subscribe":["wall-*"]}]}"#,
            ),
            "listen with: curl -N -H 'Authorization: Bearer TOKEN-OF-w' http://HOST/sse/wall-1",
        ),
        (
            rules("{}"),
            "nobody may listen: ACCESS_FILE grants no right to subscribe",
        ),
    ] {
        assert_eq!(hint(&[("ACCESS_FILE", rules.path())]), expected);
    }
    let none = rules("{}");
    let signed = hint(&[("ACCESS_FILE", none.path()), ("JWT_SECRET", SECRET)]);
    assert!(
        signed.contains("sse-server token --subscribe news"),
        "{signed}"
    );
}
