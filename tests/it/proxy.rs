//! Behind a real nginx and a real Caddy with their defaults: the page, and streams whose messages come at once.

use crate::common;

use common::folder::Folder;
use common::port::free_address;
use common::{http, node, wait_until, EventStream, Server, BOUND, TOKEN};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The promised bound for the first message.
const PROMISE: Duration = Duration::from_secs(1);

/// A proxy with its defaults, as somebody who never read about event streams sets it up: the server at `/`, and once more
/// under a path.
struct Proxy {
    child: Child,
    // Removed when the proxy has ended.
    _folder: Folder,
    addr: SocketAddr,
}

impl Proxy {
    fn nginx(server: &Server) -> Proxy {
        let (addr, upstream) = (free_address(), server.addr);
        let folder = Folder::new(&format!("nginx-{}", addr.port()));
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {name};\n"))
            .collect();
        let config = format!(
            "daemon off; pid nginx.pid; error_log stderr; worker_processes 1;
             events {{}}
             http {{
                 access_log off;
                 {paths}
                 server {{
                     listen {addr};
                     location / {{ proxy_pass http://{upstream}; }}
                     location /live/events/ {{ proxy_pass http://{upstream}/; }}
                     location = /live/events {{ proxy_pass http://{upstream}/; }}
                 }}
             }}"
        );
        let file = folder.write("nginx.conf", &config);
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder.0).arg("-c").arg(file);
        command.args(["-e", "stderr"]);
        Proxy::start(&mut command, folder, addr)
    }

    fn caddy(server: &Server) -> Proxy {
        let (addr, upstream) = (free_address(), server.addr);
        let folder = Folder::new(&format!("caddy-{}", addr.port()));
        let config = format!(
            "{{
                 admin off
             }}
             http://:{} {{
                 bind {}
                 handle_path /live/events* {{
                     reverse_proxy {upstream}
                 }}
                 reverse_proxy {upstream}
             }}",
            addr.port(),
            addr.ip()
        );
        let file = folder.write("Caddyfile", &config);
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]);
        command.arg(file).env("HOME", &folder.0);
        Proxy::start(&mut command, folder, addr)
    }

    fn start(command: &mut Command, folder: Folder, addr: SocketAddr) -> Proxy {
        let child = command.stderr(Stdio::null()).spawn();
        let proxy = Proxy {
            child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")),
            _folder: folder,
            addr,
        };
        wait_until("the proxy listens", BOUND, || {
            TcpStream::connect(addr).is_ok()
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that was not waited for yet. nginx's master ends its workers on this one alone.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

#[test]
fn needs_nginx_the_first_message_comes_within_a_second() {
    let server = Server::start(&[]);
    let nginx = Proxy::nginx(&server);
    let first_takes = |path: &str| {
        let mut stream = EventStream::open(nginx.addr, &format!("{path}/sse/news"), &[]);
        assert_eq!(stream.status, 200, "through {path}/");
        // The head has come, so the server knows the client.
        let begun = Instant::now();
        server.publish("news", "at once");
        assert_eq!(stream.next().data, "at once");
        begun.elapsed()
    };
    for path in ["", "/live/events"] {
        // One of three streams: another may be slow on a busy machine.
        let is_prompt = (0..3).any(|_| first_takes(path) < PROMISE);
        assert!(is_prompt, "through {path}/ the first message comes late");
    }
}

#[test]
fn needs_nginx_the_page_and_its_figures_come_through() {
    let server = Server::start(&[]);
    let nginx = Proxy::nginx(&server);
    let direct = server.get("/");
    let through = http::request(nginx.addr, "GET", "/live/events/", &[], b"");
    assert_eq!(through.status, 200);
    assert_eq!(through.text(), direct.text());
    for name in ["Content-Security-Policy", "ETag"] {
        assert_eq!(through.header(name), direct.header(name), "{name}");
    }
    let mut figures = EventStream::open(nginx.addr, "/live/events/stats/stream", &[]);
    let first = figures.next();
    assert!(first.data.starts_with('{'));
    let mut next_takes = || {
        let begun = Instant::now();
        assert!(figures.next().data.starts_with('{'));
        begun.elapsed()
    };
    // One a second; the rest, and one of three, is for a busy machine.
    let is_prompt = (0..3).any(|_| next_takes() < PROMISE * 2);
    assert!(is_prompt, "the next snapshot comes late");
}

fn the_page_and_the_client_work(before: fn(&Server) -> Proxy) {
    let server = Server::start(&[]);
    let proxy = before(&server);
    let url = format!("http://{}/live/events/", proxy.addr);
    for browser in ["chromium", "firefox"] {
        let variables = [("BROWSER", browser), ("PAGE_URL", &url), ("TOKEN", TOKEN)];
        node::test("page", "proxy.test.js", &variables);
        node::test("client", "proxy.test.js", &variables);
    }
}

#[test]
fn needs_nginx_needs_npm_needs_chromium_needs_firefox_esr_the_page_works_under_a_path_of_nginx() {
    the_page_and_the_client_work(Proxy::nginx);
}

#[test]
fn needs_caddy_needs_npm_needs_chromium_needs_firefox_esr_the_page_works_under_a_path_of_caddy() {
    the_page_and_the_client_work(Proxy::caddy);
}
