//! `--help` and `--version`.

use crate::config::VARIABLES;
use std::fmt::Write;

pub(super) fn version() -> String {
    format!("sse-server {}", env!("CARGO_PKG_VERSION"))
}

pub(super) fn help() -> String {
    let mut help = format!(
        "sse-server {} - publish with curl, receive with EventSource

Usage: sse-server [COMMAND]

  (none)          serve, configured by environment variables
  --check         read the variables and the rules, print what is in force; exit 0 or 2
  token [--subscribe CHANNELS] [--publish CHANNELS] [--stats] [--expires 10m] [--subject NAME]
                  print a signed token with these rights, made with JWT_SECRET; CHANNELS are
                  names, or prefixes followed by * ('orders-*'), separated by commas
  token --explain TOKEN
                  show what a token allows and until when, or why it is refused; exit 0
                  or 1; - reads it from standard input
  --healthcheck   ask the local server's /health; exit 0 if it is healthy, 1 if not
  --check-data FOLDER
                  report what a DATA_DIR contains; exit 0 if it is intact, 1 if not
  --help, --version

Try it:
  curl -N http://localhost:8080/sse/news
  curl -H \"Authorization: Bearer $AUTH_TOKEN\" -d 'hello' http://localhost:8080/publish/news
  curl 'http://localhost:8080/messages/news?last=1'
  curl http://localhost:8080/stats

Environment variables (default in brackets):",
        env!("CARGO_PKG_VERSION")
    );
    for (name, default, meaning) in VARIABLES {
        // Writing to a String cannot fail.
        let _ = write!(help, "\n  {name:<23} {meaning} [{default}]");
    }
    help
}
