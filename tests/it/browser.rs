//! A real browser: EventSource, fetch with a preflight, and what happens when the server restarts.
//!
//! The test serves a page from an origin of its own; the page's script uses the server and posts what it sees back.

use crate::common;

use common::documents::block_with;
use common::page::{open_browser, serve, wait_for, PATIENCE};
use common::{wait_until, Server};
use std::net::SocketAddr;

/// A page alone on its origin.
fn serve_script(script: String) -> (SocketAddr, common::page::Reports) {
    serve(script, |_| None)
}

#[test]
fn needs_chromium_event_source_gets_everything() {
    let server = Server::start(&[("HEARTBEAT", "1")]);
    let base = format!("http://{}", server.addr);
    let (addr, reports) = serve_script(format!(
        "const plain = new EventSource('{base}/sse/news');
         plain.onopen = () => report('open');
         plain.onmessage = (e) => report('message ' + e.data + ' id ' + (e.lastEventId !== ''));
         plain.addEventListener('alert', (e) => report('alert ' + e.data));
         const json = new EventSource('{base}/sse?canal=news,other&format=json&heartbeat=event');
         json.onopen = () => report('json open');
         json.onmessage = (e) => {{ const m = JSON.parse(e.data); report('json ' + m.canal + ' ' + m.mensagem); }};
         json.addEventListener('sse-heartbeat', (e) => report('heartbeat ' + e.data));"
    ));
    let _browser = open_browser(addr);
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
    let (addr, reports) = serve_script(format!(
        "fetch('{base}/publish/news', {{ method: 'POST', headers: {{ Authorization: 'Bearer test-token-of-16-bytes' }}, body: 'from a page' }})
           .then((r) => r.json()).then((a) => report('published ' + a.canal))
           .then(() => fetch('{base}/publish/news', {{ method: 'POST', body: 'x' }}))
           .then((r) => r.json()).then((p) => report('refused ' + p.status))
           .catch((e) => report('error ' + e));"
    ));
    let mut stream = server.subscribe("news");
    let _browser = open_browser(addr);
    wait_for(&reports, "published news");
    wait_for(&reports, "refused 401");
    assert_eq!(stream.next().data, "from a page");
}

#[test]
fn needs_chromium_a_page_reconnects_by_itself() {
    let server = Server::start(&[]);
    let listen = server.addr.to_string();
    let base = format!("http://{listen}");
    let (addr, reports) = serve_script(format!(
        "const news = new EventSource('{base}/sse/news');
         news.onopen = () => report('open');
         news.onerror = () => report('lost ' + news.readyState);
         news.onmessage = (e) => report('message ' + e.data);
         news.addEventListener('sse-gap', (e) => report('gap ' + JSON.parse(e.data).canal));"
    ));
    let _browser = open_browser(addr);
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

#[test]
fn needs_chromium_the_readmes_pages_show_what_is_published() {
    let server = Server::start(&[("HEARTBEAT", "1")]);
    let ours = server.addr.to_string();
    let ours = [("localhost:8080", ours.as_str())];
    let page = block_with("README.md", "test: page", &ours);
    // A classic script has no `import … from`.
    let page = page
        .replace("<script type=\"module\">", "")
        .replace("</script>", "")
        .replace(
            "import { follow } from ",
            "const { follow } = await import(",
        )
        .replace("sse-client.js';", "sse-client.js');");
    let stream = block_with("README.md", "test: stream", &ours);
    let stream = stream
        .replace(
            "/* published with ?event=alert */",
            "report('alert ' + event.data);",
        )
        .replace("{ /* the connection is alive */ }", "report('heartbeat')");
    let (addr, reports) = serve_script(format!(
        "console.log = (...words) => report(words.slice(0, 2).join(' '));
         (async () => {{ {page} }})();
         {{ {stream} }}"
    ));
    let _browser = open_browser(addr);
    wait_for(&reports, "heartbeat");
    wait_until("both follow", PATIENCE, || {
        server.stat("connected_clients") == 2
    });
    let id = server.publish("notícias", "Olá");
    wait_for(&reports, &format!("Olá {id}"));
    server.publish("alerts", "door open");
    wait_for(&reports, "alerts door open");
    server.publish_to("/publish/news?event=alert", "fire");
    wait_for(&reports, "alert {");
}
