//! The program: configure, log, hub, server, wait for a signal, leave.

use sse_server::access::{Access, Token};
use sse_server::cluster::{self, Cluster};
use sse_server::config::{Config, Listen, VARIABLES};
use sse_server::hub::{Hub, Limits};
use sse_server::routes::App;
use sse_server::server::{self, watchdog, Listener, Settings};
use sse_server::statistics::LiveStatistics;
use sse_server::stats::Counters;
use sse_server::system;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A stop may take 10 s; streams whose clients do not read are left behind a little earlier.
const STOP_TIME: Duration = Duration::from_secs(8);

/// How long `--healthcheck` waits for an answer.
const HEALTHCHECK_TIME: Duration = Duration::from_secs(5);

/// How long the start waits for Redis, so that a server that is up has the history. It serves without it as well.
const REDIS_START_TIME: Duration = Duration::from_secs(3);

/// How long a stop may take to tell the other servers.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// Exit codes beside 0.
const FAILED: u8 = 1;
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => serve(),
        ["--help" | "-h"] => {
            print_help();
            Ok(())
        }
        ["--version" | "-V"] => {
            println!("sse-server {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        ["--healthcheck"] => check_health(),
        [unknown, ..] => Err(Failure::misuse(format!(
            "unknown argument {unknown:?}; sse-server takes --help, --version or --healthcheck, and is configured by environment variables"
        ))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sse-server: {}", failure.line);
            ExitCode::from(failure.code)
        }
    }
}

/// What a person reads when the program ends in failure.
struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    fn new(line: impl Into<String>) -> Failure {
        Failure {
            line: line.into(),
            code: FAILED,
        }
    }

    fn misuse(line: impl Into<String>) -> Failure {
        Failure {
            line: line.into(),
            code: MISUSED,
        }
    }
}

fn read_config() -> Result<Config, Failure> {
    Config::read(|name| std::env::var_os(name)).map_err(|bad| Failure::misuse(bad.to_string()))
}

fn serve() -> Result<(), Failure> {
    let config = read_config()?;
    start_log(&config)?;
    // Before the first thread: each inherits it.
    system::block_stop_signals().map_err(|error| system_failure("block signals", &error))?;
    let descriptor_limit = raise_descriptor_limit(&config);
    let listener =
        Listener::bind(&config.listen).map_err(|error| cannot_listen(&config, &error))?;
    let address = listener.to_string();
    let local = watchdog::local_target(&listener.address());
    let app_token = token(&config)?;

    let counters = Arc::new(Counters::new());
    let (hub, all_streams_ended) = Hub::start(limits(&config), counters)
        .map_err(|error| system_failure("start a thread", &error))?;
    let cluster = join_cluster(&config, &local, &hub)?;
    let (live, all_watchers_ended) = LiveStatistics::start(hub.clone(), cluster.clone())
        .map_err(|error| system_failure("start a thread", &error))?;
    let app = App {
        hub: hub.clone(),
        cluster: cluster.clone(),
        live: live.clone(),
        access: Access::new(app_token),
        origins: config.origins.clone(),
        max_message_bytes: config.max_message_bytes,
    };
    let settings = Settings {
        heartbeat: config.heartbeat,
        descriptor_limit,
    };
    server::start(listener, app, settings)
        .map_err(|error| system_failure("start a thread", &error))?;
    log::info!(
        "event=listening address={address} version={} hint=\"listen with: curl -N {}\"",
        env!("CARGO_PKG_VERSION"),
        example_url(&local)
    );

    let signal = system::wait_for_stop_signal()
        .map_err(|error| system_failure("wait for signals", &error))?;
    let clients = hub.stats().connected_clients;
    log::info!("event=stopping signal={signal} clients={clients}");
    hub.close();
    live.close();
    // Nothing is ever sent: this waits for the last streams to end.
    let last_moment = Instant::now() + STOP_TIME;
    let _ = all_streams_ended.recv_deadline(last_moment);
    let _ = all_watchers_ended.recv_deadline(last_moment);
    if let Some(cluster) = &cluster {
        // Behind every publish that is still under way.
        cluster.leave(LEAVE_TIME);
    }
    if let Listen::Unix(path) = &config.listen {
        // The next start would remove it as well.
        let _ = std::fs::remove_file(path);
    }
    log::info!(
        "event=stopped published={} delivered={}",
        hub.counters().published.get(),
        hub.counters().delivered.get()
    );
    Ok(())
}

/// What somebody on this machine can give to curl.
fn example_url(local: &Listen) -> String {
    match local {
        Listen::Tcp(address) => format!("http://{address}/sse/news"),
        Listen::Unix(path) => format!("--unix-socket {} http://localhost/sse/news", path.display()),
    }
}

fn start_log(config: &Config) -> Result<(), Failure> {
    simple_logger::SimpleLogger::new()
        .with_level(config.log_level)
        .init()
        .map_err(|error| Failure::new(format!("cannot start the log: {error}")))
}

fn raise_descriptor_limit(config: &Config) -> usize {
    // Two for each client in its first seconds and one later, and some for requests, probes and the log.
    let wanted = config.max_clients.saturating_mul(3) / 2 + 512;
    let limit = system::raise_descriptor_limit(wanted);
    if limit < wanted {
        log::warn!(
            "event=low_descriptor_limit limit={limit} wanted={wanted} hint=\"raise it with ulimit -n {wanted}, or lower MAX_CLIENTS\""
        );
    }
    limit
}

fn cannot_listen(config: &Config, error: &std::io::Error) -> Failure {
    let address = match &config.listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    };
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; stop what listens there, or set LISTEN or PORT to another"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "; it is not an address of this machine, set LISTEN to one that is"
        }
        std::io::ErrorKind::PermissionDenied => "; set LISTEN to one that this user may use",
        _ => "",
    };
    Failure::new(format!("cannot listen on {address}: {error}{hint}"))
}

fn system_failure(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {what}: {error}"))
}

/// The configured token, or one that is made up, and shown this once.
fn token(config: &Config) -> Result<Token, Failure> {
    if let Some(token) = &config.auth_token {
        return Ok(token.clone());
    }
    let random =
        system::random_bytes().map_err(|error| system_failure("get random bytes", &error))?;
    let token = Token::from_random(random);
    log::warn!(
        "event=token token={} hint=\"made up for this run; set AUTH_TOKEN to choose one\"",
        token.reveal()
    );
    Ok(token)
}

fn limits(config: &Config) -> Limits {
    Limits {
        history_events: config.history_events,
        history_bytes: config.history_bytes,
        channel_ttl: config.channel_ttl,
        max_clients: config.max_clients,
        max_channels: config.max_channels,
        client_queue: config.client_queue,
        ids_come_from_outside: config.redis.is_some(),
    }
}

/// The other servers, if there is a Redis between them.
fn join_cluster(
    config: &Config,
    local: &Listen,
    hub: &Arc<Hub>,
) -> Result<Option<Arc<Cluster>>, Failure> {
    let Some(address) = &config.redis else {
        return Ok(None);
    };
    let place = match local {
        Listen::Tcp(address) => address.port().to_string(),
        Listen::Unix(path) => path.display().to_string(),
    };
    let random: [u8; 2] =
        system::random_bytes().map_err(|error| system_failure("get random bytes", &error))?;
    let name = cluster::server_name(&place, random);
    let cluster = Cluster::start(address.clone(), hub.clone(), name)
        .map_err(|error| system_failure("start a thread", &error))?;
    cluster.wait_until_connected(REDIS_START_TIME);
    Ok(Some(cluster))
}

fn check_health() -> Result<(), Failure> {
    let config = read_config()?;
    let target = watchdog::local_target(&config.listen);
    watchdog::ask_health(&target, HEALTHCHECK_TIME)
        .map_err(|error| Failure::new(format!("the server is not healthy: {error}")))
}

fn print_help() {
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
        println!("  {name:<18} {meaning} [{default}]");
    }
}
