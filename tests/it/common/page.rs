//! A page with a script, served from its own origin, and a real browser that opens it. What the script reports is
//! posted back.

use super::wait_until;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a browser may take to start and render on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What the page reported, in order.
pub type Reports = Arc<Mutex<Vec<String>>>;

/// Serves the page at `/`, collects what is posted to `/report`, and answers other paths with what `more` returns.
pub fn serve(
    script: String,
    more: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (SocketAddr, Reports) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let addr = listener.local_addr().expect("it has an address");
    let reports = Reports::default();
    let collected = reports.clone();
    let more = Arc::new(more);
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let (script, reports, more) = (script.clone(), collected.clone(), more.clone());
            std::thread::spawn(move || answer(connection, &script, &reports, &*more));
        }
    });
    (addr, reports)
}

fn answer(
    connection: std::net::TcpStream,
    script: &str,
    reports: &Reports,
    more: &dyn Fn(&str) -> Option<String>,
) -> Option<()> {
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
    } else if let Some(text) = request.split(' ').nth(1).and_then(more) {
        text
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

/// A headless browser with its own profile.
pub struct Browser {
    child: Child,
    profile: PathBuf,
}

/// Opens the page at this address.
pub fn open_browser(addr: SocketAddr) -> Browser {
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

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Waits for a report that begins with this.
#[track_caller]
pub fn wait_for(reports: &Reports, wanted: &str) {
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
