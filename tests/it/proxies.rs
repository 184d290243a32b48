//! The proxies' settings in the chapters, given to the real proxies: events come through at once.

use crate::common;

use common::documents::block_with;
use common::folder::Folder;
use common::port::free_address;
use common::{wait_until, Server, BOUND};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const OPERATIONS: &str = "assets/docs/operations.md";
const CLUSTER: &str = "assets/docs/cluster.md";

/// What a proxy may add to an event where nothing else adds to it: below the 200 ms of a proxy that waits for more, which
/// adds them to each.
const MOST_DELAY: Duration = Duration::from_millis(100);

/// A proxy, running.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that was not waited for yet; with SIGKILL it would leave its workers behind.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output
}

/// Listens and publishes through the proxy, and then measures how late events come.
#[track_caller]
fn assert_events_come_through_at_once(server: &Server, url: &str, options: &[&str]) {
    let curl = || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail"]);
        curl.args(["--noproxy", "*", "--max-time", "60"])
            .args(options);
        curl
    };
    // It may listen before it has its certificate, or has found its servers.
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
    let mut comes = |text: &str| {
        let line = format!("data: {text}");
        lines.any(|read| read.is_ok_and(|read| read == line))
    };
    let mut is_complete = comes("hello");
    // Published to the server itself, so that only the way of the event is measured.
    let delays: Vec<Duration> = (0..11)
        .map(|number| {
            let text = format!("event {number}");
            let published = Instant::now();
            server.publish("a", &text);
            is_complete &= comes(&text);
            published.elapsed()
        })
        .collect();
    let _ = listener.kill();
    let _ = listener.wait();
    assert!(is_complete, "not all events came through the proxy");
    let least = delays.iter().min();
    assert!(
        least < Some(&MOST_DELAY),
        "each event comes late through the proxy: {delays:?}"
    );
    println!("fastest {least:?}, slowest {:?}", delays.iter().max());
}

/// nginx with this file, kept inside the folder.
#[track_caller]
fn nginx(folder: &Folder, text: &str) -> Proxy {
    let at = folder.0.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect();
    let begin = format!("http {{\naccess_log off;\n{temporary}");
    let text = text.replacen("http {\n", &begin, 1);
    let text = format!("daemon off;\npid {at}/pid;\nerror_log {at}/error.log;\n{text}");
    let configuration = folder.write("nginx.conf", &text);
    let nginx = || {
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&configuration).arg("-e");
        command.arg(folder.0.join("error.log"));
        command.stderr(Stdio::null());
        command
    };
    run(nginx().arg("-t"));
    Proxy(nginx().spawn().expect("nginx runs"))
}

/// As above, over TLS.
#[track_caller]
fn assert_events_come_through_tls_at_once(server: &Server, proxy: std::net::SocketAddr) {
    let url = format!("https://sse.example.org:{}", proxy.port());
    let resolve = format!("sse.example.org:{}:127.0.0.1", proxy.port());
    assert_events_come_through_at_once(server, &url, &["--insecure", "--resolve", &resolve]);
}

/// The file of three servers from the chapter, with this server as each of the three.
fn for_several_servers(name: &str, server: &Server, port: u16) -> String {
    let (server, port) = (server.addr.port().to_string(), port.to_string());
    let ports = [
        ("8081", server.as_str()),
        ("8082", &server),
        ("8083", &server),
        ("8080", &port),
    ];
    block_with(CLUSTER, &format!("file: {name}"), &ports)
}

#[test]
fn needs_nginx_the_site_passes_events_on_at_once() {
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
    let site = block_with(
        OPERATIONS,
        "file: site.conf",
        &[
            ("listen 443", &format!("listen {address}")),
            ("/etc/ssl/sse.example.org.pem", &certificate),
            ("/etc/ssl/sse.example.org.key", &key),
            ("127.0.0.1:8080", &server.addr.to_string()),
        ],
    );
    let text = format!("events {{}}\nhttp {{\n{site}}}\n");
    let _proxy = nginx(&folder, &text);
    assert_events_come_through_tls_at_once(&server, address);
}

#[test]
fn needs_caddy_the_caddyfile_passes_events_on_at_once() {
    let server = Server::start(&[]);
    let folder = Folder::new("caddy");
    let address = free_address();
    let site = block_with(
        OPERATIONS,
        "file: Caddyfile",
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
    assert_events_come_through_tls_at_once(&server, address);
}

#[test]
fn needs_nginx_the_file_for_several_servers_passes_events_on_at_once() {
    let server = Server::start(&[]);
    let folder = Folder::new("nginx-several");
    let address = free_address();
    let text = for_several_servers("nginx.conf", &server, address.port());
    let _proxy = nginx(&folder, &text);
    assert_events_come_through_at_once(&server, &format!("http://{address}"), &[]);
}

#[test]
fn needs_haproxy_the_file_for_several_servers_passes_events_on_at_once() {
    let server = Server::start(&[]);
    let folder = Folder::new("haproxy-several");
    let address = free_address();
    let text = for_several_servers("haproxy.cfg", &server, address.port());
    let configuration = folder.write("haproxy.cfg", &text);
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-db").arg("-f").arg(configuration);
    haproxy.stdout(Stdio::null()).stderr(Stdio::null());
    let _proxy = Proxy(haproxy.spawn().expect("haproxy runs"));
    assert_events_come_through_at_once(&server, &format!("http://{address}"), &[]);
}
