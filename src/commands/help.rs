//! `--help` and `--version`.

use crate::config::VARIABLES;

pub(super) fn print_version() {
    println!("sse-server {}", env!("CARGO_PKG_VERSION"));
}

pub(super) fn print_help() {
    println!(
        "sse-server {} - publish with curl, receive with EventSource

Usage: sse-server [--help | --version | --healthcheck]

  --healthcheck   ask the local server's /health; exit 0 if it is well, 1 if not

Try it:
  curl -N http://localhost:8080/sse/news
  curl -H \"Authorization: Bearer $AUTH_TOKEN\" -d 'hello' http://localhost:8080/publish/news
  curl http://localhost:8080/stats

Environment variables (default in brackets):",
        env!("CARGO_PKG_VERSION")
    );
    for (name, default, meaning) in VARIABLES {
        println!("  {name:<23} {meaning} [{default}]");
    }
}
