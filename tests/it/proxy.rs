//! Behind a real nginx with a plain `proxy_pass`: the page, and streams whose messages come at once.

use crate::common;

use common::{http, node, wait_until, EventStream, Server, BOUND, TOKEN};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The promised bound for the first message.
const PROMISE: Duration = Duration::from_secs(1);

/// nginx with its defaults, as somebody who never read about event streams sets it up: the server at `/`, and once
/// more under a path.
struct Nginx {
    child: Child,
    folder: PathBuf,
    addr: SocketAddr,
}

impl Nginx {
    fn before(server: &Server) -> Nginx {
        let addr = common::port::free_address();
        let folder = std::env::temp_dir().join(format!(
            "sse-server-nginx-{}-{}",
            std::process::id(),
            addr.port()
        ));
        std::fs::create_dir_all(&folder).expect("there is room for a folder");
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {name};\n"))
            .collect();
        let upstream = server.addr;
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
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).expect("the configuration can be written");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr"])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx runs");
        let nginx = Nginx {
            child,
            folder,
            addr,
        };
        wait_until("nginx listens", BOUND, || TcpStream::connect(addr).is_ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that was not waited for yet. The master ends its workers on this one alone.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn needs_nginx_the_first_message_comes_within_a_second() {
    let server = Server::start(&[]);
    let nginx = Nginx::before(&server);
    for path in ["", "/live/events"] {
        let mut stream = EventStream::open(nginx.addr, &format!("{path}/sse/news"), &[]);
        assert_eq!(stream.status, 200, "through {path}/");
        // The head has come, so the server knows the client.
        let begun = Instant::now();
        server.publish("news", "at once");
        assert_eq!(stream.next().data, "at once");
        let taken = begun.elapsed();
        assert!(taken < PROMISE, "the message took {taken:?}");
    }
}

#[test]
fn needs_nginx_the_page_and_its_figures_come_through() {
    let server = Server::start(&[]);
    let nginx = Nginx::before(&server);
    let direct = server.get("/");
    let through = http::request(nginx.addr, "GET", "/live/events/", &[], b"");
    assert_eq!(through.status, 200);
    assert_eq!(through.text(), direct.text());
    for name in ["Content-Security-Policy", "ETag"] {
        assert_eq!(through.header(name), direct.header(name), "{name}");
    }
    let mut figures = EventStream::open(nginx.addr, "/live/events/stats/stream", &[]);
    let first = figures.next();
    let begun = Instant::now();
    let second = figures.next();
    assert!(first.data.starts_with('{') && second.data.starts_with('{'));
    let taken = begun.elapsed();
    // One a second; the rest is for a busy machine.
    assert!(
        taken < PROMISE * 2,
        "the next snapshot came after {taken:?}"
    );
}

#[test]
fn needs_nginx_needs_npm_needs_chromium_the_page_and_the_client_work_under_a_path() {
    let server = Server::start(&[]);
    let nginx = Nginx::before(&server);
    let url = format!("http://{}/live/events/", nginx.addr);
    let variables = [
        ("BROWSER", "chromium"),
        ("PAGE_URL", &url),
        ("TOKEN", TOKEN),
    ];
    node::test("page", "proxy.test.js", &variables);
    node::test("client", "proxy.test.js", &variables);
}
