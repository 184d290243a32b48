//! The proxies' settings in README.md: what stands there is given to the real proxy, and an event comes through it, over
//! TLS, at once.

use crate::common;

use common::folder::Folder;
use common::port::free_address;
use common::{wait_until, Server, BOUND};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A proxy, running.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that was not waited for yet; with SIGKILL it would leave its workers behind.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

/// The block of README.md in this language, with each text replaced that the README has only as an example.
#[track_caller]
fn block(language: &str, replacements: &[(&str, &str)]) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("it is there");
    let (_, rest) = readme
        .split_once(&format!("```{language}\n"))
        .unwrap_or_else(|| panic!("README.md has no block of {language}"));
    let mut block = rest.split("```").next().unwrap_or_default().to_owned();
    for (example, real) in replacements {
        assert!(block.contains(example), "{example:?} is not in:\n{block}");
        block = block.replace(example, real);
    }
    block
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output
}

/// Listens and publishes through the proxy.
#[track_caller]
fn assert_events_come_through(server: &Server, proxy: SocketAddr) {
    let resolve = format!("sse.example.org:{}:127.0.0.1", proxy.port());
    let url = format!("https://sse.example.org:{}", proxy.port());
    let curl = || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--insecure"]);
        curl.args(["--noproxy", "*", "--max-time", "20", "--resolve", &resolve]);
        curl
    };
    // It may listen before it has its certificate.
    wait_until("the proxy passes requests on", BOUND, || {
        let health = curl().arg(format!("{url}/health")).output();
        health.is_ok_and(|output| output.status.success())
    });
    let mut listener = curl()
        .args(["--no-buffer", &format!("{url}/sse/a")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    server.wait_for_log("event=connect channels=a");
    run(curl()
        .args([
            "-H",
            "Authorization: Bearer test-token-of-16-bytes",
            "-d",
            "hello",
        ])
        .arg(format!("{url}/publish/a")));
    let mut lines = BufReader::new(listener.stdout.take().expect("stdout is piped")).lines();
    let came = lines.any(|line| line.is_ok_and(|line| line == "data: hello"));
    let _ = listener.kill();
    let _ = listener.wait();
    assert!(came, "the event did not come through the proxy");
}

#[test]
fn needs_nginx_the_readmes_nginx_passes_events_on() {
    let server = Server::start(&[]);
    let folder = Folder::new("nginx");
    let address = free_address();
    let key = folder.0.join("key.pem").display().to_string();
    let certificate = folder.0.join("certificate.pem").display().to_string();
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args([
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-subj",
            "/CN=sse.example.org",
        ])
        .args(["-keyout", &key, "-out", &certificate]));
    let site = block(
        "nginx",
        &[
            ("listen 443", &format!("listen {address}")),
            ("/etc/ssl/sse.example.org.pem", &certificate),
            ("/etc/ssl/sse.example.org.key", &key),
            ("127.0.0.1:8080", &server.addr.to_string()),
        ],
    );
    // Around it what every nginx.conf has, kept inside the folder.
    let at = folder.0.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .collect();
    let configuration = folder.write(
        "nginx.conf",
        &format!("daemon off; pid {at}/pid; error_log {at}/error.log; events {{}} http {{ access_log off; {temporary} {site} }}"),
    );
    let nginx = || {
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&configuration).arg("-e");
        command.arg(folder.0.join("error.log"));
        command.stderr(Stdio::null());
        command
    };
    run(nginx().arg("-t"));
    let _proxy = Proxy(nginx().spawn().expect("nginx runs"));
    assert_events_come_through(&server, address);
}

#[test]
fn needs_caddy_the_readmes_caddy_passes_events_on() {
    let server = Server::start(&[]);
    let folder = Folder::new("caddy");
    let address = free_address();
    let site = block(
        "caddyfile",
        &[
            // A certificate of its own making instead of one that is asked for.
            (
                "example.org {",
                &format!(
                    "example.org:{} {{\n\ttls internal\n\tbind 127.0.0.1",
                    address.port()
                ),
            ),
            ("127.0.0.1:8080", &server.addr.to_string()),
        ],
    );
    let configuration = folder.write(
        "Caddyfile",
        &format!(
            "{{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}}\n{site}"
        ),
    );
    let caddy = |verb: &str| {
        let mut command = Command::new("caddy");
        command.arg(verb).arg("--config").arg(&configuration);
        command.args(["--adapter", "caddyfile"]);
        command
            .env("HOME", &folder.0)
            .env("XDG_DATA_HOME", &folder.0)
            .env("XDG_CONFIG_HOME", &folder.0);
        command
    };
    run(&mut caddy("validate"));
    let _proxy = Proxy(
        caddy("run")
            .stderr(Stdio::null())
            .spawn()
            .expect("caddy runs"),
    );
    assert_events_come_through(&server, address);
}
