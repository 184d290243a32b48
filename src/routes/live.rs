//! The live statistics: the server's figures as JSON, and a small hub that brings one snapshot a second to all
//! watchers. Watchers are no clients. One thread does all of it.

use super::recent::Recent;
use crate::access::Permit;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::event::{ChannelName, Form, Topic};
use crate::host::{self, memory};
use crate::hub::{Hub, HubStats, Limits, Refusal, Start, Subscription, Turns};
use crossbeam_channel::Receiver;
use serde_json::{json, Value};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUND: Duration = Duration::from_secs(1);

const MAX_WATCHERS: usize = 1000;

/// A hub without threads and its two channels, and what they tell about.
pub struct LiveStatistics {
    watched: Arc<Hub>,
    cluster: Option<Arc<Cluster>>,
    disk: Option<Arc<Disk>>,
    hub: Arc<Hub>,
    figures: ChannelName,
    with_channels: ChannelName,
    recent: Recent,
}

impl LiveStatistics {
    /// Starts to watch a hub. The receiver closes when this is closed and the last stream has ended.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(
        watched: Arc<Hub>,
        cluster: Option<Arc<Cluster>>,
        disk: Option<Arc<Disk>>,
    ) -> std::io::Result<(Arc<Self>, Receiver<Infallible>)> {
        let limits = Limits {
            history_events: 0,
            history_bytes: 0,
            history_age: None,
            channel_ttl: ROUND,
            max_clients: MAX_WATCHERS,
            max_channels: 2,
            client_queue: 16,
            // There is traffic each second.
            heartbeat: Duration::MAX,
            ids_come_from_outside: false,
        };
        let (hub, turns, all_ended) = Hub::without_threads(limits, Arc::default());
        let live = Arc::new(LiveStatistics {
            watched,
            cluster,
            disk,
            hub,
            figures: ChannelName::internal("figures"),
            with_channels: ChannelName::internal("channels"),
            recent: Recent::default(),
        });
        let publisher = live.clone();
        host::start("statistics", move || publisher.publish_for_ever(turns))?;
        Ok((live, all_ended))
    }

    /// A stream of snapshots, with each channel's figures if the permit includes them.
    ///
    /// # Errors
    /// The refusal.
    pub fn watch(&self, permit: Permit) -> Result<Subscription, Refusal> {
        let channel = if permit.is_for_channel_figures {
            &self.with_channels
        } else {
            &self.figures
        };
        self.hub.subscribe(
            &[Topic::Channel(channel.clone())],
            Form::Plain,
            Start::NOW,
            permit,
        )
    }

    /// Ends the streams whose permit `still_grants` rejects, and returns how many.
    pub fn revoke(&self, still_grants: impl Fn(&Permit) -> bool) -> usize {
        self.hub.revoke(still_grants)
    }

    /// The number of watchers.
    pub fn watchers(&self) -> usize {
        self.hub.stats().connected_clients
    }

    /// Ends all streams.
    pub fn close(&self) {
        self.hub.close();
    }

    fn publish_for_ever(&self, mut turns: Turns) {
        let mut next = Instant::now();
        while !self.hub.is_closing() {
            // The close ends this early, and so may a leftover wake-up of a round.
            let pause = next.saturating_duration_since(Instant::now());
            if !pause.is_zero() {
                std::thread::park_timeout(pause);
                continue;
            }
            // In step, so that one comes each second; but not after the whole machine was paused.
            next = (next + ROUND).max(Instant::now());
            let clients = self.watched.stats().connected_clients;
            self.recent.note(clients, self.watched.counters());
            for channel in self.hub.channel_stats() {
                if channel.clients == 0 {
                    continue;
                }
                let with_channels = channel.name == self.with_channels;
                let text = self.snapshot(with_channels).to_string().into();
                // It is refused only during the close. If watchers are behind, the next snapshot will do.
                let _ = self.hub.try_publish(&channel.name, None, vec![text]);
            }
            turns.take();
        }
    }

    /// The last minutes, one sample per second.
    pub fn history(&self) -> Value {
        self.recent.history()
    }

    /// The current figures, with or without each channel's.
    pub fn snapshot(&self, with_channels: bool) -> Value {
        let hub = &self.watched;
        let stats = hub.stats();
        let counters = hub.counters();
        let mut figures = json!({
            "active_channels": stats.active_channels,
            "connected_clients": stats.connected_clients,
            "messages_published": counters.published.get(),
            "messages_delivered": counters.delivered.get(),
            "publishes_repeated": counters.repeated.get(),
            "slow_clients_disconnected": counters.slow_clients.get(),
            "history_bytes": stats.history_bytes,
            "memory_bytes": memory::resident(),
            "uptime_seconds": counters.uptime_seconds(),
            "version": env!("CARGO_PKG_VERSION"),
            "limits": limits(hub.limits(), &stats),
            "last_minute": self.recent.last_minute(counters),
        });
        if let Some(cluster) = &self.cluster {
            let is_connected = cluster.is_connected();
            figures["redis"] = if is_connected { "connected" } else { "away" }.into();
            figures["cluster"] = cluster.statistics();
        }
        if let Some(disk) = &self.disk {
            figures["disk"] = disk_figures(disk);
        }
        if with_channels {
            figures["channels"] = channels(hub);
        }
        figures
    }
}

/// How much of each limit is used.
fn limits(limits: &Limits, stats: &HubStats) -> Value {
    let part = |used: usize, limit: usize| json!({ "used": used, "limit": limit });
    json!({
        "clients": part(stats.connected_clients, limits.max_clients),
        "channels": part(stats.channels_of_a_kind, limits.max_channels),
        "history_bytes": part(stats.history_bytes, limits.history_bytes),
    })
}

fn disk_figures(disk: &Disk) -> Value {
    let figures = disk.figures();
    json!({
        "state": if figures.is_writable { "writable" } else { "failing" },
        "sync": disk.sync_time().to_string(),
        "bytes": figures.bytes,
        "faults": figures.faults,
        "last_fault": figures.last_fault,
    })
}

fn channels(hub: &Hub) -> Value {
    let list = hub.channel_stats().into_iter().map(|channel| {
        json!({
            "canal": channel.name.as_str(),
            "clients": channel.clients,
            "messages": channel.messages,
            "history": channel.history,
            "idle_seconds": channel.idle.as_secs(),
        })
    });
    Value::Array(list.collect())
}
