//! What each server reports about itself, once a second, under a key of its own that expires a few seconds after the
//! last report. So a dead server drops out by itself. No I/O here.

use super::resp::{pack, Answer};
use super::system::{self, lock, Mutex};
use crate::host::memory;
use crate::hub::Hub;
use crate::moments;
use crate::numbers::hexadecimal;
use serde_json::{json, Map, Value as Json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) const ROUND: Duration = Duration::from_secs(1);

const LIFE: Duration = Duration::from_secs(5);

/// The names of all servers that reported and are not known to be gone.
const SERVERS: &str = "sse-server:servers";

fn key(name: &str) -> String {
    format!("sse-server:server:{name}")
}

/// The latest reports of all servers.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Guards the reports by name, with the time at which each was written.
    known: Mutex<BTreeMap<String, (Json, Instant)>>,
}

/// Packs this server's report and the question for all others. Returns the number of answers.
pub(super) fn pack_report(out: &mut Vec<u8>, own_name: &str, hub: &Hub) -> usize {
    let (report, life) = (own(hub).to_string(), LIFE.as_millis().to_string());
    pack(out, &["SET", &key(own_name), &report, "PX", &life]);
    pack(out, &["SADD", SERVERS, own_name]);
    // One consistent answer; a name without a report is removed.
    pack(out, &["EVAL", COLLECT, "1", SERVERS, &key("")]);
    3
}

/// Pairs of name, report and time to live in ms.
const COLLECT: &str = r"
local found = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local report = redis.call('GET', ARGV[1] .. name)
  if report then
    found[#found + 1] = {name, report, redis.call('PTTL', ARGV[1] .. name)}
  else
    redis.call('SREM', KEYS[1], name)
  end
end
return found
";

/// Answers to `pack_leave`.
pub(super) const LEAVE_COMMANDS: usize = 2;

/// Packs the commands that remove this server. Returns the number of answers.
pub(super) fn pack_leave(out: &mut Vec<u8>, name: &str) -> usize {
    pack(out, &["DEL", &key(name)]);
    pack(out, &["SREM", SERVERS, name]);
    LEAVE_COMMANDS
}

/// This server's figures.
fn own(hub: &Hub) -> Json {
    let stats = hub.stats();
    let counters = hub.counters();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": counters.uptime_seconds(),
        "active_channels": stats.active_channels,
        "connected_clients": stats.connected_clients,
        "messages_published": counters.published.get(),
        "messages_delivered": counters.delivered.get(),
        "memory_bytes": memory::resident(),
    })
}

impl Reports {
    /// Reads the last answer to `pack_report`.
    pub(super) fn take(&self, found: Answer) {
        let Some(found) = found.list() else {
            return;
        };
        let now = system::now();
        let known = found.filter_map(|report| {
            let [name, Answer::Text(report), Answer::Int(left)] =
                report.list()?.collect::<Vec<_>>()[..]
            else {
                return None;
            };
            let report: Json = serde_json::from_slice(report).ok()?;
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            let written = moments::before(now, LIFE.saturating_sub(left));
            Some((name.text()?.into(), (report, written)))
        });
        let known: BTreeMap<_, _> = known.collect();
        *lock(&self.known) = known;
    }

    /// The live servers, this one as of now, and their sums.
    pub(super) fn statistics(&self, own_name: &str, hub: &Hub) -> Json {
        let mut reports = lock(&self.known).clone();
        reports.insert(own_name.into(), (own(hub), system::now()));
        reports.retain(|_, (_, written)| system::now().saturating_duration_since(*written) < LIFE);
        let servers = reports
            .into_iter()
            .map(|(name, (report, written))| server(name, &report, written));
        let servers: Vec<Json> = servers.collect();
        let figures = |name: &'static str| {
            let of = move |server: &Json| server[name].as_u64().unwrap_or(0);
            servers.iter().map(of)
        };
        json!({
            // Every server has the channels of all messages; only those without messages differ.
            "active_channels": figures("active_channels").max(),
            "connected_clients": figures("connected_clients").sum::<u64>(),
            "messages_published": figures("messages_published").sum::<u64>(),
            "messages_delivered": figures("messages_delivered").sum::<u64>(),
            "servers": servers,
        })
    }
}

fn server(name: String, report: &Json, written: Instant) -> Json {
    const FIGURES: [&str; 7] = [
        "version",
        "uptime_seconds",
        "active_channels",
        "connected_clients",
        "messages_published",
        "messages_delivered",
        "memory_bytes",
    ];
    let mut server = Map::new();
    server.insert("name".into(), name.into());
    for figure in FIGURES {
        server.insert(figure.into(), report[figure].clone());
    }
    let seen = system::now()
        .saturating_duration_since(written)
        .as_secs_f64();
    server.insert("seen_seconds".into(), json!((seen * 10.0).round() / 10.0));
    Json::Object(server)
}

/// A name that no other server has.
pub fn server_name(port_or_path: &str, random: [u8; 2]) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "server",
        host => host,
    };
    format!("{host}:{port_or_path}-{}", hexadecimal(&random))
}
