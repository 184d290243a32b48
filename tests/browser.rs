//! A real browser: EventSource, fetch with a preflight, and what happens when the server restarts.
//!
//! The test serves a page from an origin of its own; the page's script uses the server and posts what it sees back.

mod common;

use common::{wait_until, Server};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A browser starts, and renders, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the page reported, in order.
type Reports = Arc<Mutex<Vec<String>>>;

/// Serves the page at `/`, and collects what is posted to `/report`.
fn serve_page(script: String) -> (SocketAddr, Reports) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let addr = listener.local_addr().expect("it has an address");
    let reports = Reports::default();
    let collected = reports.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let (script, reports) = (script.clone(), collected.clone());
            std::thread::spawn(move || answer(connection, &script, &reports));
        }
    });
    (addr, reports)
}

fn answer(connection: std::net::TcpStream, script: &str, reports: &Reports) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let page = if request.starts_with("POST /report") {
        reports
            .lock()
            .ok()?
            .push(String::from_utf8_lossy(&body).into_owned());
        String::new()
    } else {
        format!(
            "<!doctype html><meta charset=utf-8><script>
             let last = Promise.resolve();
             const report = (text) => {{ last = last.then(() => fetch('/report', {{ method: 'POST', body: text }})); }};
             window.onerror = (message) => report('error ' + message);
             {script}</script>"
        )
    };
    write!(
        reader.get_mut(),
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )
    .ok()
}

/// A headless browser with a profile of its own.
struct Browser {
    child: Child,
    profile: PathBuf,
}

impl Browser {
    fn open(addr: SocketAddr) -> Browser {
        let profile = std::env::temp_dir().join(format!(
            "sse-server-browser-{}-{}",
            std::process::id(),
            addr.port()
        ));
        let child = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("http://{addr}/"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium runs");
        Browser { child, profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

#[track_caller]
fn wait_for(reports: &Reports, wanted: &str) {
    let seen = || reports.lock().expect("nobody panics with it").clone();
    let begun = std::time::Instant::now();
    wait_until(
        &format!("the page reports {wanted:?}"),
        PATIENCE + Duration::from_secs(1),
        || {
            assert!(
                begun.elapsed() < PATIENCE,
                "the page has not reported {wanted:?}, but {:?}",
                seen()
            );
            seen().iter().any(|report| report.starts_with(wanted))
        },
    );
}

#[test]
fn needs_chromium_event_source_gets_everything() {
    let server = Server::start(&[("HEARTBEAT", "1")]);
    let base = format!("http://{}", server.addr);
    let (addr, reports) = serve_page(format!(
        "const plain = new EventSource('{base}/sse/news');
         plain.onopen = () => report('open');
         plain.onmessage = (e) => report('message ' + e.data + ' id ' + (e.lastEventId !== ''));
         plain.addEventListener('alert', (e) => report('alert ' + e.data));
         const json = new EventSource('{base}/sse?canal=news,other&format=json&heartbeat=event');
         json.onopen = () => report('json open');
         json.onmessage = (e) => {{ const m = JSON.parse(e.data); report('json ' + m.canal + ' ' + m.mensagem); }};
         json.addEventListener('sse-heartbeat', (e) => report('heartbeat ' + e.data));"
    ));
    let _browser = Browser::open(addr);
    wait_for(&reports, "open");
    wait_for(&reports, "json open");
    server.publish("news", "olá 🦀");
    wait_for(&reports, "message olá 🦀 id true");
    wait_for(&reports, "json news olá 🦀");
    server.publish_to("/publish/news?event=alert", "door\nopen");
    wait_for(&reports, "alert door\nopen");
    server.publish("broadcast", "all");
    wait_for(&reports, "message all");
    wait_for(&reports, "json broadcast all");
    wait_for(&reports, "heartbeat {}");
    let errors: Vec<String> = reports
        .lock()
        .expect("nobody panics with it")
        .iter()
        .filter(|r| r.starts_with("error"))
        .cloned()
        .collect();
    assert!(errors.is_empty(), "the page has errors: {errors:?}");
}

#[test]
fn needs_chromium_a_page_publishes_with_fetch() {
    let server = Server::start(&[]);
    let base = format!("http://{}", server.addr);
    // The page has another origin, so the Authorization header needs a preflight.
    let (addr, reports) = serve_page(format!(
        "fetch('{base}/publish/news', {{ method: 'POST', headers: {{ Authorization: 'Bearer test-token' }}, body: 'from a page' }})
           .then((r) => r.json()).then((a) => report('published ' + a.canal))
           .then(() => fetch('{base}/publish/news', {{ method: 'POST', body: 'x' }}))
           .then((r) => r.json()).then((p) => report('refused ' + p.status))
           .catch((e) => report('error ' + e));"
    ));
    let mut stream = server.subscribe("news");
    let _browser = Browser::open(addr);
    wait_for(&reports, "published news");
    wait_for(&reports, "refused 401");
    assert_eq!(stream.next().data, "from a page");
}

#[test]
fn needs_chromium_a_page_comes_back_by_itself() {
    let server = Server::start(&[]);
    let listen = server.addr.to_string();
    let base = format!("http://{listen}");
    let (addr, reports) = serve_page(format!(
        "const news = new EventSource('{base}/sse/news');
         news.onopen = () => report('open');
         news.onerror = () => report('lost ' + news.readyState);
         news.onmessage = (e) => report('message ' + e.data);
         news.addEventListener('sse-gap', (e) => report('gap ' + JSON.parse(e.data).canal));"
    ));
    let _browser = Browser::open(addr);
    wait_for(&reports, "open");
    server.publish("news", "before");
    wait_for(&reports, "message before");
    drop(server);
    wait_for(&reports, "lost 0");
    let server = Server::start(&[("LISTEN", &listen)]);
    server.publish("news", "while it was away");
    wait_for(&reports, "gap news");
    wait_for(&reports, "message while it was away");
    server.publish("news", "after");
    wait_for(&reports, "message after");
}
