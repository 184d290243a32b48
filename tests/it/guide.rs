//! The guide for React and Next.js: the chapter shows the files of tests/guide/, which are built with the real `next`
//! and used in real browsers; and its commands make the same app of an empty folder.

use crate::common;

use common::documents::document;
use common::{node, wait_until, Server};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const CHAPTER: &str = "assets/docs/react.md";

const BROWSERS: [&str; 2] = ["chromium", "firefox"];

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guide");

/// A token that cannot occur by chance.
const TOKEN: &str = "the-guides-own-token-7c1f";

/// How long everything here may take to start and render on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn the_chapter_shows_the_files_that_are_tested() {
    let chapter = document(CHAPTER);
    let mut shown = 0;
    for part in chapter.split("<!-- file: ").skip(1) {
        let (name, rest) = part.split_once(" -->\n```").expect("a block follows");
        let (_, rest) = rest.split_once('\n').expect("the block has lines");
        let (block, _) = rest.split_once("```\n").expect("the block ends");
        let file = std::fs::read_to_string(Path::new(SOURCE).join(name))
            .unwrap_or_else(|error| panic!("{CHAPTER} shows {name}: {error}"));
        assert!(block == file, "{CHAPTER} and tests/guide/{name} differ");
        shown += 1;
    }
    assert_eq!(shown, 11, "files of the guide in {CHAPTER}");
}

/// The app, copied to where its packages and its build may lie.
struct App {
    folder: PathBuf,
    sse_url: String,
}

impl App {
    /// Copies it and installs its packages, unless the same ones are there.
    fn install(server: &Server) -> App {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
        let locked = "package-lock.json";
        let is_installed = std::fs::read(folder.join("node_modules").join(locked)).ok()
            == std::fs::read(Path::new(SOURCE).join(locked)).ok();
        for leftover in ["app", ".next"] {
            let _ = std::fs::remove_dir_all(folder.join(leftover));
        }
        copy(Path::new(SOURCE), &folder);
        for file in ["sse-client.js", "sse-client.d.ts"] {
            let served = server.get(&format!("/{file}"));
            assert_eq!(served.status, 200, "{file}");
            std::fs::write(folder.join("app").join(file), served.text()).expect("there is room");
        }
        let app = App {
            folder,
            sse_url: format!("http://{}", server.addr),
        };
        if !is_installed {
            app.finish("npm", &["ci"]);
            let lock = app.folder.join("node_modules").join(locked);
            std::fs::copy(app.folder.join(locked), lock).expect("a file can be copied");
        }
        app
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env("NEXT_TELEMETRY_DISABLED", "1")
            .env("NEXT_PUBLIC_SSE_URL", &self.sse_url)
            .env("SSE_URL", &self.sse_url)
            .env("AUTH_TOKEN", TOKEN);
        command
    }

    fn finish(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{program} does not run: {error}"));
        assert!(
            output.status.success(),
            "{program} {arguments:?} fails: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Starts `next start` or `next dev` on a port.
    fn serve(&self, how: &str, port: u16) -> Group {
        let mut command = self.command("node_modules/.bin/next");
        command
            .args([how, "--hostname", "localhost", "--port"])
            .arg(port.to_string())
            .stdout(Stdio::null());
        let group = Group::spawn(&mut command);
        wait_until(&format!("next {how} answers"), PATIENCE, || {
            std::net::TcpStream::connect(("localhost", port)).is_ok()
        });
        group
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the guide is there") {
        let from = entry.expect("a folder can be read").path();
        let name = from.file_name().expect("an entry has a name");
        // Left by somebody who tried the app where it is.
        if name == "node_modules" || name == ".next" {
            continue;
        }
        if from.is_dir() {
            copy(&from, &to.join(name));
        } else {
            std::fs::copy(&from, to.join(name)).expect("a file can be copied");
        }
    }
}

/// A program and all that it started.
struct Group(Child);

impl Group {
    fn spawn(command: &mut Command) -> Group {
        Group(command.process_group(0).spawn().expect("node runs"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: a signal to a group that this test made, whose leader was not waited for yet.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// A browser with one page, driven by tests/guide/browser.mjs.
struct Page {
    /// Dropping it ends the browser.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    driver: Child,
}

impl Page {
    fn open(browser: &str, app: &App, port: u16) -> Page {
        let mut command = app.command("node");
        command.arg("browser.mjs");
        Page::drive(browser, command, port)
    }

    fn drive(browser: &str, mut command: Command, port: u16) -> Page {
        command
            .env("BROWSER", browser)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut driver = command.spawn().expect("node runs");
        let mut page = Page {
            input: driver.stdin.take(),
            output: BufReader::new(driver.stdout.take().expect("stdout is piped")),
            driver,
        };
        let status = page.ask("open", format!("http://localhost:{port}/"));
        assert_eq!(status, 200, "the page is there");
        page
    }

    #[track_caller]
    fn ask(&mut self, command: &str, argument: impl Into<Value>) -> Value {
        let argument = argument.into();
        let mut input = self.input.as_ref().expect("it is open until the end");
        writeln!(input, "{}", json!([command, argument])).expect("the browser runs");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the browser runs");
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{command} {argument}: the browser ended"));
        assert!(
            answer["error"].is_null(),
            "{command} {argument}: {}",
            answer["error"]
        );
        answer["ok"].clone()
    }

    #[track_caller]
    fn sees(&mut self, text: &str) {
        self.ask("see", text);
    }

    #[track_caller]
    fn publishes(&mut self, text: &str) {
        self.ask("send", text);
    }

    /// Requests something from the app's own server, as a script of the page can; returns status and text.
    #[track_caller]
    fn posts(&mut self, body: String) -> (Value, Value) {
        let init = json!({ "method": "POST", "body": body });
        let answer = self.ask("fetch", json!(["/api/publish", init]));
        (answer[0].clone(), answer[1].clone())
    }

    #[track_caller]
    fn shows_messages(&mut self, expected: &[&str]) {
        assert_eq!(self.ask("messages", ()), json!(expected));
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.driver.wait();
    }
}

#[track_caller]
fn publish(server: &Server, channel: &str, text: &str) -> String {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let target = format!("/publish/{channel}");
    let reply = server.request("POST", &target, &headers, text.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["id"].as_str().expect("it has an id").into()
}

#[test]
fn needs_chromium_needs_firefox_esr_needs_npm_the_guide_works_in_browsers() {
    let port = common::port::free_port();
    let origin = format!("http://localhost:{port}");
    let settings = [("AUTH_TOKEN", TOKEN), ("CORS_ORIGINS", &origin)];
    let server = Server::start(&settings);
    let listen = server.addr.to_string();
    let app = App::install(&server);
    drop(server);
    let settings = [&settings[..], &[("LISTEN", &listen)]].concat();
    app.finish("node_modules/.bin/next", &["build"]);
    let next = app.serve("start", port);
    for browser in BROWSERS {
        the_app_works(browser, &app, port, &settings);
    }
    drop(next);
    let _next = app.serve("dev", port);
    for browser in BROWSERS {
        in_strict_mode_there_is_one_stream(browser, &app, port, &settings);
    }
}

/// With a server of its own, as `settings` say.
fn the_app_works(browser: &str, app: &App, port: u16, settings: &[(&str, &str)]) {
    // What was published before is there, and what is published now comes in.
    let server = Server::start(settings);
    publish(&server, "chat", "before the page");
    let mut page = Page::open(browser, app, port);
    page.sees("The stream is open");
    page.sees("before the page");
    publish(&server, "alerts", "olá 🦀");
    page.sees("olá 🦀");
    page.publishes("from the page");
    page.sees("from the page");
    page.shows_messages(&[
        "chat before the page",
        "alerts olá 🦀",
        "chat from the page",
    ]);
    page.sees("Messages published\n3");
    page.sees("Clients\n1");

    the_route_handler_takes_only_messages(&mut page);

    // The server restarts: the browser comes back by itself.
    let last = publish(&server, "chat", "before the restart");
    page.sees("before the restart");
    drop(server);
    page.sees("The stream is lost");
    // And is full then: it refuses the page, whose EventSource gives up at that.
    let full = [settings, &[("MAX_CLIENTS", "1")]].concat();
    let (server, only_client) = full_server(&full);
    publish(&server, "chat", "while it was refused");
    page.ask("requested", format!("last_event_id={last}"));
    drop(only_client);
    page.sees("while it was refused");
    page.sees("The stream is open");
    // The history of the first server is lost, and the page is told.
    page.sees("Some messages are missing");
    page.ask("click", "Never mind");
    page.ask("miss", "Some messages are missing");
    publish(&server, "chat", "after");
    page.sees("after");
    let shown = page.ask("messages", ());
    let shown: Vec<&str> = shown
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        shown[shown.len() - 3..],
        [
            "chat before the restart",
            "chat while it was refused",
            "chat after"
        ]
    );

    assert_eq!(page.ask("search", TOKEN), json!([]), "the token is there");
    let everywhere = page.ask("search", "while it was refused");
    assert!(
        everywhere.to_string().contains("an event stream"),
        "{everywhere}"
    );
    assert_eq!(page.ask("errors", ()), json!([]));

    an_operator_ends_the_stream(&server, &mut page);
    an_answer_survives_a_reload(&server, &mut page, port);
}

/// A server with room for one client, and that client: the page may be quicker, and then it begins again.
fn full_server(settings: &[(&str, &str)]) -> (Server, impl Sized) {
    loop {
        let server = Server::start(settings);
        let mut client = server.send(b"GET /sse/other HTTP/1.1\r\nHost: full\r\n\r\n");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).expect("it answers");
        if answer == *b"HTTP/1.1 200" {
            return (server, client);
        }
    }
}

/// The page says so, and does not come back by itself.
fn an_operator_ends_the_stream(server: &Server, page: &mut Page) {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let clients = server.request("GET", "/clients?canal=chat", &headers, b"");
    let client = clients.json()["clients"][0]["client"].to_string();
    let ended = server.request("DELETE", &format!("/clients/{client}"), &headers, b"");
    assert_eq!(ended.status, 204, "{}", ended.text());
    page.sees("The stream is closed");
    page.sees("Clients\n0");
    assert_eq!(page.ask("errors", ()), json!([]));
}

/// The recipe for a language model: its answer is on a channel of its own.
fn an_answer_survives_a_reload(server: &Server, page: &mut Page, port: u16) {
    let question = "How far can you count?";
    // On a busy machine all of the answer may be there before anybody looks at it: then another one is asked for.
    wait_until("the page shows a part of an answer", PATIENCE, || {
        page.ask("open", format!("http://localhost:{port}/answer"));
        page.publishes(question);
        page.sees("count the pieces: 1 2 3");
        page.ask("shows", "40") == json!(false)
    });
    page.ask("reload", ());
    page.sees("That is all.");
    let counted: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
    let whole = format!(
        "You asked: {question} Let me count the pieces: {}.",
        counted.join(" ")
    );
    page.sees(&format!("{whole}\n"));
    // Also when it is all over.
    page.ask("reload", ());
    page.sees(&format!("{whole}\n"));
    page.sees("That is all.");
    wait_until("the stream is closed", PATIENCE, || {
        server.stat("connected_clients") == 0
    });
    assert_eq!(page.ask("errors", ()), json!([]));
}

/// Limited input, and nothing of the server's answer comes through.
fn the_route_handler_takes_only_messages(page: &mut Page) {
    let message = |text: &str| json!({ "mensagem": text }).to_string();
    for (body, status) in [
        (message(""), 400),
        (message(&"x".repeat(501)), 400),
        (json!({ "mensagem": 5 }).to_string(), 400),
        ("no JSON".into(), 400),
        ("null".into(), 400),
        (message(&"x".repeat(5000)), 413),
    ] {
        let (answered, text) = page.posts(body.clone());
        assert_eq!(answered, status, "{body:.60}: {text}");
    }
}

/// React's StrictMode, which `next dev` has, mounts everything twice.
fn in_strict_mode_there_is_one_stream(
    browser: &str,
    app: &App,
    port: u16,
    settings: &[(&str, &str)],
) {
    // A second stream would be refused.
    let server = Server::start(&[settings, &[("MAX_CLIENTS", "1")]].concat());
    let mut page = Page::open(browser, app, port);
    page.sees("The stream is open");
    page.sees("Clients\n1");
    publish(&server, "chat", "once");
    page.sees("once");
    let shown = page.ask("messages", ()).to_string();
    assert_eq!(shown.matches("once").count(), 1, "{shown}");
    assert_eq!(page.ask("errors", ()), json!([]));
}

/// Runs a block of the chapter in this folder.
fn shell(block: &str, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    let binary = common::binary();
    let beside = binary.parent().expect("it is in a folder").display();
    command
        .args(["-e", "-c", block])
        .current_dir(folder)
        .env("PATH", format!("{beside}:{path}"))
        .env("NEXT_TELEMETRY_DISABLED", "1")
        .stdout(Stdio::null());
    command
}

#[test]
fn needs_chromium_needs_firefox_esr_needs_npm_needs_curl_each_command_of_the_guide_works_from_an_empty_folder(
) {
    let (sse, site) = (common::port::free_port(), common::port::free_port());
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty");
    let _ = std::fs::remove_dir_all(&empty);
    std::fs::create_dir_all(&empty).expect("a folder can be made");
    let app = empty.join("chat");
    let mut beside = Vec::new();
    let mut commands = 0;
    for part in document(CHAPTER).split("<!-- ").skip(1) {
        let Some((mark, rest)) = part.split_once(" -->\n```") else {
            continue;
        };
        let (_, rest) = rest.split_once('\n').expect("the block has lines");
        let (block, _) = rest.split_once("```\n").expect("the block ends");
        let block = block
            .replace("localhost:8080", &format!("127.0.0.1:{sse}"))
            .replace("localhost:3000", &format!("localhost:{site}"));
        let folder = if app.exists() { &app } else { &empty };
        if let Some(file) = mark.strip_prefix("file: ") {
            let file = app.join(file);
            std::fs::create_dir_all(file.parent().expect("it is in a folder")).expect("room");
            std::fs::write(file, block).expect("there is room");
        } else if mark.ends_with("beside the others") {
            let port = if block.contains("sse-server") {
                sse
            } else {
                site
            };
            let mut command = shell(&block, folder);
            command.env("PORT", port.to_string()).stderr(Stdio::null());
            beside.push(Group::spawn(&mut command));
            wait_until(&format!("{block:?} listens"), PATIENCE, || {
                std::net::TcpStream::connect(("localhost", port)).is_ok()
            });
            commands += 1;
        } else if mark.starts_with("not run: the guide's test") {
            let output = shell(&block, folder).stdout(Stdio::piped()).output();
            let output = output.expect("sh runs");
            assert!(
                output.status.success(),
                "{block} fails: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            commands += 1;
        }
    }
    assert_eq!(commands, 6, "commands of {CHAPTER}");
    for browser in BROWSERS {
        // It is driven from where its packages are.
        let mut page = Page::drive(browser, node::program("guide", "browser.mjs"), site);
        page.sees("Hello from the shell");
        let text = format!("from the page in {browser}");
        page.publishes(&text);
        page.sees(&text);
        assert_eq!(page.ask("errors", ()), json!([]));
    }
}
