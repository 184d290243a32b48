//! The chapter on scripts: each script runs as written, with dash and with BusyBox.

use crate::common;

use common::documents::{block, block_with};
use common::{front, port, Folder, Server};
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const CHAPTER: &str = "assets/docs/scripts.md";

/// The shells, as commands.
const SHELLS: [&[&str]; 2] = [&["dash"], &["busybox", "sh"]];

/// Each step is a process or several, on a machine that may be busy.
fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    common::wait_until(what, 6 * common::BOUND, condition);
}

/// A folder with the chapter's scripts in it, and a shell.
struct Desk {
    folder: Folder,
    shell: &'static [&'static str],
    addr: SocketAddr,
}

impl Desk {
    fn new(name: &str, shell: &'static [&'static str], addr: SocketAddr) -> Desk {
        let folder = Folder::new(&format!("scripts-{name}-{}", shell[0]));
        for file in ["publish.sh", "outbox.sh", "react.sh", "news.sh"] {
            folder.write(file, &block(CHAPTER, &format!("file: {file}")));
        }
        let token = format!("Authorization: Bearer {}\n", common::TOKEN);
        folder.write("sse-token", &token);
        Desk {
            folder,
            shell,
            addr,
        }
    }

    fn path(&self) -> &Path {
        &self.folder.0
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.shell[0]);
        command
            .args(&self.shell[1..])
            .arg(script)
            .args(arguments)
            .current_dir(self.path())
            .env("SERVER", format!("http://{}", self.addr))
            .env("PAUSE", "0.1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a script to its end, with this on standard input.
    fn run(&self, script: &str, arguments: &[&str], input: &str) -> Output {
        self.folder.write("input", input);
        let input = std::fs::File::open(self.path().join("input")).expect("just written");
        let mut command = self.command(script, arguments);
        command.stdin(input).output().expect("the shell runs")
    }

    /// The same, for one that has to succeed. What it prints.
    #[track_caller]
    fn prints(&self, script: &str, arguments: &[&str], input: &str) -> String {
        let output = self.run(script, arguments, input);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{:?} {script}: {error}",
            self.shell
        );
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// `react.sh`, with a command that notes what it gets.
    fn react(&self, channels: &str) -> Background {
        // A line is written at once, or not at all.
        self.folder.write(
            "note",
            "text=$(cat) || exit\nprintf '%s %s %s %s\\n' \"$ID\" \"$CANAL\" \"$EVENT\" \"$text\" >>noted\n",
        );
        let mut command = self.command("react.sh", &[channels, "place", "sh", "note"]);
        Background::start(&mut command)
    }

    /// What was noted: id, channel, event's name and text of each.
    fn noted(&self) -> Vec<[String; 4]> {
        let text = self.read("noted");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let fields = |line: &str| {
            let mut parts = line.splitn(4, ' ').map(str::to_string);
            [(); 4].map(|()| parts.next().unwrap_or_default())
        };
        whole.lines().map(fields).collect()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(text, || self.noted().iter().any(|noted| noted[3] == text));
    }
}

/// A process with all that it has started, which is killed in the end.
struct Background(Child);

impl Background {
    fn start(command: &mut Command) -> Background {
        let child = command.process_group(0).stderr(Stdio::null()).spawn();
        Background(child.expect("it runs"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // SAFETY: a signal to a group whose first process was not waited for yet.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

fn over_each_shell(name: &str, test: impl Fn(&Desk, &Server)) {
    for shell in SHELLS {
        let server = Server::start(&[("HISTORY_EVENTS", "1000")]);
        test(&Desk::new(name, shell, server.addr), &server);
    }
}

/// The messages of a channel, as `/messages` gives them.
#[track_caller]
fn messages(server: &Server, channel: &str) -> Vec<String> {
    let text = server.get(&format!("/messages/{channel}")).text();
    let message = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("it is JSON");
        line["mensagem"].as_str().expect("it has one").to_string()
    };
    text.lines().map(message).collect()
}

#[test]
fn needs_curl_and_needs_busybox_a_publish_takes_what_it_is_given() {
    over_each_shell("publish", |desk, server| {
        for text in [
            "one",
            "several\nlines\n",
            "  \"quotes\" \\n $x `y`\n\n",
            "ünïcödé 🦀",
        ] {
            let answer = desk.prints("publish.sh", &["a"], text);
            assert!(answer.contains("\"id\""), "{answer}");
            assert_eq!(messages(server, "a").last().map(String::as_str), Some(text));
        }
        // What is refused is a failure.
        let empty = desk.run("publish.sh", &["a"], "");
        assert!(!empty.status.success());
        assert_eq!(messages(server, "a").len(), 4);
    });
}

#[test]
fn needs_curl_and_needs_busybox_a_publish_that_is_retried_doubles_nothing() {
    for shell in SHELLS {
        let addr = port::free_address();
        let desk = Desk::new("retry", shell, addr);
        desk.folder.write("input", "x");
        let input = std::fs::File::open(desk.path().join("input")).expect("just written");
        let mut command = desk.command("publish.sh", &["a"]);
        let child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = child.spawn().expect("the shell runs");
        // Nobody is there yet, then somebody who says nothing, and then the server.
        let listener = std::net::TcpListener::bind(addr).expect("the port is free");
        drop(listener.accept().expect("it tries"));
        drop(listener);
        let listen = addr.to_string();
        let server = Server::start(&[("LISTEN", &listen)]);
        let output = child.wait_with_output().expect("it ends");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(messages(&server, "a"), ["x"]);
    }
}

#[test]
fn needs_curl_and_needs_busybox_an_outbox_is_emptied_in_order_and_what_was_not_accepted_stays() {
    over_each_shell("outbox", |desk, server| {
        std::fs::create_dir(desk.path().join("outbox")).expect("it can be made");
        for number in 1..=5 {
            desk.folder
                .write(&format!("outbox/{number}"), &number.to_string());
        }
        desk.prints("outbox.sh", &["a", "outbox"], "");
        assert_eq!(messages(server, "a"), ["1", "2", "3", "4", "5"]);
        let left = std::fs::read_dir(desk.path().join("outbox")).expect("it is there");
        assert_eq!(left.count(), 0);
        desk.prints("outbox.sh", &["a", "outbox"], "");
        // Its answer was lost: it is sent again, and was published already.
        desk.folder.write("outbox/5", "5");
        desk.folder.write("outbox/6", "");
        desk.folder.write("outbox/7", "7");
        assert!(!desk.run("outbox.sh", &["a", "outbox"], "").status.success());
        assert_eq!(messages(server, "a").len(), 5);
        assert!(!desk.path().join("outbox/5").exists());
        assert!(desk.path().join("outbox/6").exists() && desk.path().join("outbox/7").exists());
    });
}

#[test]
fn needs_jq_and_needs_curl_and_needs_busybox_each_message_runs_the_command() {
    over_each_shell("react", |desk, server| {
        let early = server.publish("a", "early");
        let _react = desk.react("a,b");
        desk.wait_for("early");
        let alert = server.publish_to("/publish/b?event=alert", "  two\\n \"words\" ");
        server.publish("other", "not for it");
        let everybody = server.publish("broadcast", "everybody");
        desk.wait_for("everybody");
        let expected = [
            [early.as_str(), "a", "", "early"],
            [&alert, "b", "alert", "  two\\n \"words\" "],
            [&everybody, "broadcast", "", "everybody"],
        ];
        assert_eq!(
            desk.noted(),
            expected.map(|noted| noted.map(str::to_string))
        );
        wait_until("the place is kept", || {
            desk.read("place").trim_end() == everybody
        });
    });
}

#[test]
fn needs_jq_and_needs_curl_and_needs_busybox_a_script_that_is_killed_goes_on_where_it_was() {
    over_each_shell("killed", |desk, server| {
        const KILLS: usize = 5;
        let mut number = 0;
        for kill in 0..KILLS {
            let react = desk.react("a");
            for _ in 0..5 {
                number += 1;
                server.publish("a", number.to_string());
            }
            // Wherever it is: in a command, between two, or waiting.
            wait_until("it has done some", || desk.noted().len() > kill * 5 + kill);
            drop(react);
            number += 1;
            server.publish("a", number.to_string());
        }
        let _react = desk.react("a");
        desk.wait_for(&number.to_string());
        let noted: Vec<usize> = desk
            .noted()
            .iter()
            .map(|noted| noted[3].parse().expect("a number"))
            .collect();
        let mut each = noted.clone();
        each.dedup();
        assert_eq!(
            each,
            (1..=number).collect::<Vec<_>>(),
            "in order, and none is missing"
        );
        assert!(
            noted.len() <= number + KILLS,
            "only what it was killed in comes again"
        );
    });
}

#[test]
fn needs_jq_and_needs_curl_and_needs_busybox_a_script_goes_on_when_the_server_is_back() {
    for shell in SHELLS {
        let addr = port::free_address();
        let listen = addr.to_string();
        let desk = Desk::new("server", shell, addr);
        let mut server = Server::start(&[("LISTEN", &listen)]);
        let _react = desk.react("a");
        server.publish("a", "first");
        desk.wait_for("first");
        server.terminate();
        drop(server);
        let server = Server::start(&[("LISTEN", &listen)]);
        server.publish("a", "second");
        desk.wait_for("second");
        server.publish("a", "third");
        desk.wait_for("third");
        let texts: Vec<_> = desk.noted().into_iter().map(|[.., text]| text).collect();
        assert_eq!(texts, ["first", "second", "third"]);
    }
}

/// A server with a disk, which restarts at the same address: in order, or killed.
#[cfg(feature = "disk")]
struct Lasting {
    folder: Folder,
    listen: String,
    server: Option<Server>,
}

#[cfg(feature = "disk")]
impl Lasting {
    fn start(name: &str, shell: &str) -> Lasting {
        let mut lasting = Lasting {
            folder: Folder::new(&format!("lasting-{name}-{shell}")),
            listen: port::free_address().to_string(),
            server: None,
        };
        lasting.begin();
        lasting
    }

    fn begin(&mut self) {
        let path = self.folder.0.to_str().expect("the path is UTF-8");
        let variables = [("LISTEN", self.listen.as_str()), ("DATA_DIR", path)];
        self.server = Some(Server::start(&variables));
    }

    fn restart(&mut self, in_order: bool) {
        if let (Some(server), true) = (&mut self.server, in_order) {
            server.terminate();
        }
        // Otherwise it is killed.
        self.server = None;
        self.begin();
    }

    fn now(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }
}

#[cfg(feature = "disk")]
#[test]
fn needs_jq_and_needs_curl_and_needs_busybox_each_script_goes_on_over_restarts_of_a_server_with_a_disk(
) {
    const RESTARTS: usize = 6;
    for shell in SHELLS {
        let mut lasting = Lasting::start("all", shell[0]);
        let desk = Desk::new("lasting", shell, lasting.now().addr);
        std::fs::create_dir(desk.path().join("outbox")).expect("it can be made");
        // It hears of no gap, and asks where it was.
        let mut react = Some(desk.react("a"));
        let mut expected = Vec::new();
        for round in 0..RESTARTS {
            let texts: Vec<String> = (0..3).map(|n| format!("{round}.{n}")).collect();
            // One by each of the ways to publish, and one by none of them.
            desk.prints("publish.sh", &["a"], &texts[0]);
            desk.folder.write("outbox/key", &texts[1]);
            let kept =
                std::fs::read_to_string(desk.path().join("outbox/key")).expect("just written");
            let key = format!("outbox/{round}");
            std::fs::rename(desk.path().join("outbox/key"), desk.path().join(&key))
                .expect("it can");
            desk.prints("outbox.sh", &["a", "outbox"], "");
            let newest = lasting.now().publish("a", &texts[2]);
            if round % 2 == 0 {
                // What comes while nobody listens is there after the restart.
                wait_until("its place is kept", || {
                    desk.read("place").trim_end() == newest
                });
                react = None;
                lasting.now().publish("a", format!("{round}.late"));
            }
            lasting.restart(round % 3 == 0);
            // The answer was lost, so it is sent again: the next run of the server knows the key.
            desk.folder.write(&key, &kept);
            desk.prints("outbox.sh", &["a", "outbox"], "");
            expected.extend(texts);
            if round % 2 == 0 {
                expected.push(format!("{round}.late"));
                react = Some(desk.react("a"));
            }
            desk.wait_for(expected.last().expect("there are some"));
            // The cron job, once in each run of the server.
            let news = desk.prints("news.sh", &["a", "cron"], "");
            let new: Vec<&str> = news.lines().collect();
            let from = expected.len() - if round % 2 == 0 { 4 } else { 3 };
            assert_eq!(new, expected[from..], "{shell:?} in round {round}");
        }
        drop(react);
        let noted: Vec<String> = desk.noted().into_iter().map(|[.., text]| text).collect();
        assert_eq!(noted, expected, "{shell:?}: in order, each once");
        assert_eq!(messages(lasting.now(), "a"), expected);
    }
}

#[test]
fn needs_jq_and_needs_curl_and_needs_busybox_a_command_that_fails_gets_its_message_again() {
    over_each_shell("fails", |desk, server| {
        desk.folder
            .write("often", "cat >>tries; echo >>tries; [ -e allowed ]\n");
        let mut command = desk.command("react.sh", &["a", "place", "sh", "often"]);
        let _react = Background::start(&mut command);
        server.publish("a", "x");
        server.publish("a", "y");
        wait_until("it tries again", || {
            desk.read("tries").starts_with("x\nx\nx\n")
        });
        assert_eq!(desk.read("place"), "");
        desk.folder.write("allowed", "");
        wait_until("it has done both", || {
            desk.read("tries").ends_with("x\ny\n")
        });
    });
}

#[test]
fn needs_curl_and_needs_busybox_a_cron_job_prints_what_is_new() {
    over_each_shell("cron", |desk, server| {
        let news = || desk.prints("news.sh", &["a", "place"], "");
        assert_eq!(news(), "");
        server.publish("a", "one");
        server.publish("a", "two");
        assert_eq!(news(), "one\ntwo\n");
        assert_eq!(news(), "");
        server.publish("b", "not for it");
        server.publish("a", "three");
        // A run that fails moves nothing on.
        let mut away = desk.command("news.sh", &["a", "place"]);
        let away = away.env("SERVER", "http://127.0.0.1:9").output();
        assert!(!away.expect("the shell runs").status.success());
        assert_eq!(news(), "three\n");
    });
}

/// Every block of commands of the chapter that ends by itself, in the order of the page.
fn commands() -> Vec<String> {
    let text = common::documents::document(CHAPTER);
    let mut blocks = Vec::new();
    let mut last = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if !last.contains("run: ") {
                blocks.push(block.join("\n"));
            }
        }
        if !line.is_empty() {
            last = line;
        }
    }
    blocks
}

#[test]
fn needs_jq_and_needs_curl_and_needs_busybox_the_commands_of_the_page_work() {
    for shell in SHELLS {
        let server = Server::start(&[("AUTH_TOKEN", "only-for-trying-it-out")]);
        let desk = Desk::new("page", shell, server.addr);
        let blocks = commands();
        assert!(blocks.len() >= 8, "{} blocks", blocks.len());
        for block in blocks {
            let here = block.replace("localhost:8080", &server.addr.to_string());
            let here = here.replace("sh publish.sh", &format!("{} publish.sh", shell.join(" ")));
            let script = format!("set -e\n{here}\n");
            desk.prints("-c", &[&script], "");
        }
        assert_eq!(
            messages(&server, "notes"),
            ["first\nsecond\n", "a", "b \"c\"", "a\nb \"c\"\n"]
        );
    }
}

#[test]
fn needs_systemd_analyze_the_unit_is_one_that_systemd_takes() {
    let unit = block(CHAPTER, "file: sse-react.service");
    let (_, command) = unit.split_once("ExecStart=").expect("it starts something");
    let command = command.lines().next().unwrap_or_default();
    assert_eq!(
        command,
        "/bin/sh /usr/local/lib/react.sh orders place /usr/local/bin/handle-order"
    );
    let folder = Folder::new("scripts-unit");
    let path = folder.write("sse-react.service", &unit);
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("sse-react"), "{said}");
}

#[test]
fn needs_nginx_a_sensor_that_can_only_get_publishes_through_a_proxy() {
    let server = Server::start(&[("AUTH_TOKEN", "only-for-trying-it-out")]);
    let own = port::free_address().port();
    let replacements = [
        ("localhost:8080", server.addr.to_string()),
        ("listen 8081", format!("listen 127.0.0.1:{own}")),
    ];
    let replacements: Vec<_> = replacements.iter().map(|(a, b)| (*a, b.as_str())).collect();
    let text = block_with(CHAPTER, "file: nginx.conf", &replacements);
    let proxy = front::nginx(&text, own);
    for (value, text) in [
        ("21.5", "21.5"),
        ("-3", "-3"),
        ("a%20b%26c", "a b&c"),
        ("%C3%A9", "é"),
    ] {
        let target = format!("/sensor/temperature?value={value}");
        let reply = common::http::request(proxy.addr, "GET", &target, &[], b"");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(
            messages(&server, "temperature").last().map(String::as_str),
            Some(text)
        );
    }
    let reply = common::http::request(proxy.addr, "GET", "/sensor/other?value=1", &[], b"");
    assert_eq!(reply.status, 404);
    let empty = common::http::request(proxy.addr, "GET", "/sensor/temperature", &[], b"");
    assert_eq!(empty.status, 400, "{}", empty.text());
}
