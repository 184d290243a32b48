//! The program: configure, log, hub, server, wait for a signal, leave.

use sse_server::access::{Access, FileFault, Permit, Token};
use sse_server::cluster::{self, Cluster};
use sse_server::commands::{self, doubts, read_config, read_rules, Failure, Language, Welcome};
use sse_server::config::{Config, Listen};
use sse_server::disk::Disk;
use sse_server::host::service::{self, Notifier};
use sse_server::host::{self, Signal};
use sse_server::hub::{Hub, Limits};
use sse_server::idempotency::Keys;
use sse_server::log::{self as queued_log, Logged};
use sse_server::routes::live::LiveStatistics;
use sse_server::routes::{self, Addresses, App, ConnectedClients};
use sse_server::server::{self, health, Listener, Settings};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A stop may take 10 s. Streams whose clients do not read are abandoned a little earlier.
const STOP_TIME: Duration = Duration::from_secs(8);

/// How long the start waits for Redis, so that the server has the history when it is up. It serves without it as well.
const REDIS_START_TIME: Duration = Duration::from_secs(3);

/// How long a stop may take to tell the other servers.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// How long a stop may take to write everything to the disk.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Within this time after the stop began, an accepted client has to send its request and get its answer.
const HAND_OVER_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match arguments[..] {
        [] => serve(),
        _ => commands::run(&arguments),
    };
    log::logger().flush();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where nobody can read it, the exit code still says what it is.
            let _ = writeln!(std::io::stderr(), "sse-server: {}", failure.line);
            ExitCode::from(failure.code)
        }
    }
}

fn serve() -> Result<(), Failure> {
    let config = read_config()?;
    let rules = read_rules(&config)?;
    // Before the first thread: all threads inherit it.
    host::block_signals().map_err(|error| system_failure("block signals", &error))?;
    host::spare_address_space();
    host::prepare_for_many();
    queued_log::start(config.log_level).map_err(no_thread)?;
    watch_panics();
    for doubt in doubts(&config, &rules) {
        log::warn!("{doubt}");
    }
    let descriptor_limit = raise_descriptor_limit(&config);
    let notifier = Notifier::connect().unwrap_or_else(|error| {
        log::warn!("event=no_notify error={:?}", error.to_string());
        Notifier::default()
    });
    let passed = service::passed_socket().map_err(Failure::misuse)?;
    let listener = match passed {
        Some(socket) => Listener::inherit(socket).map_err(|error| {
            Failure::misuse(format!(
                "cannot listen on the socket handed over as descriptor 3: {error}"
            ))
        })?,
        None => Listener::bind(&config.listen).map_err(|error| cannot_listen(&config, &error))?,
    };
    let socket_file = listener.file();
    let bound = listener.address().clone();
    let local = health::local_target(&bound);
    // For a person, the token is in the command to try.
    let is_for_people =
        config.log_level >= log::LevelFilter::Info && std::io::stderr().is_terminal();
    let made_up = make_up_token(&config, is_for_people)?;
    let welcome = Welcome::new(&config, &rules, made_up.as_ref());
    let operator = config.auth_token.clone().or(made_up);
    let access = Arc::new(Access::new(operator, config.jwt_secrets.clone(), rules));

    let (hub, all_streams_ended) =
        Hub::start(limits(&config), Arc::default()).map_err(no_thread)?;
    let cluster = join_cluster(&config, &local, &hub)?;
    let keys = match cluster {
        Some(_) => Keys::kept_elsewhere(),
        None => Keys::in_memory(),
    };
    let disk = open_disk(&config, &hub, &keys)?;
    let (live, all_watchers_ended) =
        LiveStatistics::start(hub.clone(), cluster.clone(), disk.clone()).map_err(no_thread)?;
    let app = App {
        hub: hub.clone(),
        cluster: cluster.clone(),
        disk: disk.clone(),
        keys,
        live: live.clone(),
        access: access.clone(),
        origins: config.origins.clone(),
        max_message_bytes: config.max_message_bytes,
        addresses: Addresses::new(config.max_clients_per_address),
        clients: ConnectedClients::default(),
    };
    let settings = Settings::new(
        descriptor_limit,
        routes::largest_body(config.max_message_bytes),
        config.trusted_proxies.clone(),
    );
    let serving = server::start(listener, app, settings)
        .map_err(|error| system_failure("start to serve", &error))?;
    health::keep_alive(local.clone(), notifier.clone()).map_err(no_thread)?;
    if is_for_people {
        let language = Language::of(|name| std::env::var_os(name));
        greet(welcome.lines(&local, &bound, language));
    } else {
        log::info!(
            "event=listening address={} version={} hint={:?}",
            Logged(&bound.to_string()),
            env!("CARGO_PKG_VERSION"),
            welcome.hint(&local)
        );
    }

    notifier.ready();

    let signal = loop {
        match host::wait_for_signal().map_err(|error| system_failure("wait for signals", &error))? {
            Signal::Stop(name) => break name,
            Signal::Reload => reload(&config, &access, &hub, &live),
        }
    };
    let clients = hub.stats().connected_clients;
    log::info!("event=stopping signal={signal} clients={clients}");
    notifier.stopping();
    // One deadline for everything. First a successor gets the listener, if there may be one. Then what was published
    // goes out, and all streams end; new clients are told that the server stops. Then the door answers what is left.
    let now = Instant::now();
    let last_moment = now + STOP_TIME;
    serving.stop(now + HAND_OVER_TIME);
    hub.close();
    live.close();
    // Nothing is ever sent: this waits for the last streams to end.
    let _ = all_streams_ended.recv_deadline(last_moment);
    let _ = all_watchers_ended.recv_deadline(last_moment);
    if let Some(cluster) = &cluster {
        // After every publish still under way.
        cluster.leave(LEAVE_TIME);
    }
    if let Some(disk) = &disk {
        disk.leave(CLOSE_TIME);
    }
    serving.finish(last_moment);
    if let Some(file) = socket_file {
        file.remove();
    }
    log::info!(
        "event=stopped published={} delivered={}",
        hub.counters().published.get(),
        hub.counters().delivered.get()
    );
    Ok(())
}

/// Threads whose panic does not end the process: only a request or a stream is lost. Without any other thread the
/// server would look healthy and do nothing; the process ends instead, and whoever started it can restart it.
const EXPENDABLE: [&str; 3] = ["worker", "stream", "waiting"];

/// Logs every panic, in one line. A thread without a name is tiny_http's.
fn watch_panics() {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = host::spawned_name().or(thread.name());
        let name = name.unwrap_or("tiny_http");
        if name == queued_log::THREAD {
            return;
        }
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or(payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        log::error!("event=panic thread={name} place={place:?} message={message:?}");
        if !EXPENDABLE.contains(&name) {
            log::logger().flush();
            std::process::abort();
        }
    }));
    queued_log::silence_caught_panics();
}

/// Writes to the terminal, after what was logged. The terminal may be stopped, so this must not block.
fn greet(lines: String) {
    let write = move || {
        log::logger().flush();
        let _ = std::io::stderr().write_all(lines.as_bytes());
    };
    // Without a thread the lines are lost.
    let _ = host::start("welcome", write);
}

fn raise_descriptor_limit(config: &Config) -> usize {
    // One per client, and some for requests and the log.
    let wanted = config.max_clients.saturating_add(1024);
    let limit = host::raise_descriptor_limit(wanted);
    if limit < wanted {
        log::warn!(
            "event=low_descriptor_limit limit={limit} wanted={wanted} hint=\"raise it with ulimit -n {wanted}, or lower MAX_CLIENTS\""
        );
    }
    limit
}

fn cannot_listen(config: &Config, error: &std::io::Error) -> Failure {
    let is_other_file =
        |path| std::fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket());
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => match &config.listen {
            Listen::Tcp(_) => "; stop what listens there, or set LISTEN or PORT to something else",
            Listen::Unix(path) if is_other_file(path) => {
                "; what is there is no socket: move it away, or set LISTEN to something else"
            }
            Listen::Unix(_) => "; stop what listens there, or set LISTEN to something else",
        },
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            "; make its folder, or set LISTEN to something else"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "; it is not an address of this machine; set LISTEN to one that is"
        }
        std::io::ErrorKind::PermissionDenied => "; set LISTEN to one that this user may use",
        _ => "",
    };
    Failure::new(format!("cannot listen on {}: {error}{hint}", config.listen))
}

fn no_thread(error: std::io::Error) -> Failure {
    system_failure("start a thread", &error)
}

fn system_failure(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {what}: {error}"))
}

/// Reads the rules again, and applies them to open streams too.
fn reload(config: &Config, access: &Access, hub: &Hub, live: &LiveStatistics) {
    let Some(path) = &config.access_file else {
        log::info!("event=reload_ignored hint=\"SIGHUP reloads ACCESS_FILE, which is not set\"");
        return;
    };
    match access.reload(path) {
        Ok(tokens) => {
            let still_grants = |permit: &Permit| access.still_grants(permit);
            let ended = hub.revoke(still_grants) + live.revoke(still_grants);
            log::info!("event=reload tokens={tokens} streams_ended={ended}");
        }
        Err(FileFault {
            path,
            position,
            what,
        }) => match position {
            Some((line, column)) => log::error!(
                "event=reload_failed file={path:?} line={line} column={column} error={what:?} hint=\"the rules stay as they were\""
            ),
            None => log::error!(
                "event=reload_failed file={path:?} error={what:?} hint=\"the rules stay as they were\""
            ),
        },
    }
}

/// Makes up a token if none is configured, and shows it this once. With rules there are other tokens, so none is made
/// up.
fn make_up_token(config: &Config, is_shown_elsewhere: bool) -> Result<Option<Token>, Failure> {
    if config.auth_token.is_some() || config.access_file.is_some() {
        return Ok(None);
    }
    let random =
        host::random_bytes().map_err(|error| system_failure("get random bytes", &error))?;
    let token = Token::from_random(random);
    if !is_shown_elsewhere {
        log::warn!(
            "event=token token={} hint=\"made up for this run; set AUTH_TOKEN to choose one\"",
            token.reveal()
        );
    }
    Ok(Some(token))
}

fn limits(config: &Config) -> Limits {
    Limits {
        history_events: config.history_events,
        history_bytes: config.history_bytes,
        history_age: config.history_age,
        channel_ttl: config.channel_ttl,
        max_clients: config.max_clients,
        max_channels: config.max_channels,
        client_queue: config.client_queue,
        heartbeat: config.heartbeat,
        ids_come_from_outside: config.redis.is_some() || config.data_dir.is_some(),
    }
}

/// Joins the other servers, if Redis is configured.
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
        host::random_bytes().map_err(|error| system_failure("get random bytes", &error))?;
    let name = cluster::server_name(&place, random);
    let cluster = Cluster::start(address.clone(), hub.clone(), name).map_err(no_thread)?;
    cluster.wait_until_connected(REDIS_START_TIME);
    Ok(Some(cluster))
}

/// Opens the folder, if the history is kept in one. Afterwards the hub has its history, and `keys` has its keys.
fn open_disk(config: &Config, hub: &Arc<Hub>, keys: &Keys) -> Result<Option<Arc<Disk>>, Failure> {
    let Some(data_dir) = &config.data_dir else {
        return Ok(None);
    };
    match Disk::open(data_dir, config.sync_time, hub.clone(), keys) {
        Ok(disk) => Ok(Some(disk)),
        Err(error) if error.is_misuse => Err(Failure::misuse(error.line)),
        Err(error) => Err(Failure::new(error.line)),
    }
}
