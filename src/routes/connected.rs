//! Who is connected: every client with a stream, and what operators see of it.

use crate::access::Caller;
use crate::event::{ChannelName, Topic};
use crate::http::request::Peer;
use crate::hub::{Progress, Subscription};
use crate::locks::lock;
use crate::log::Logged;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Every client with a stream, by number: in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct ConnectedClients {
    /// Held for a few lines, or while one answer is made.
    by_number: Arc<Mutex<BTreeMap<u64, Connected>>>,
}

#[derive(Debug)]
struct Connected {
    peer: Peer,
    token: Option<Box<str>>,
    subject: Option<Box<str>>,
    topics: Box<[Topic]>,
    since: Instant,
    progress: Arc<Progress>,
}

/// A client's entry in the list. Dropping it removes the client.
#[derive(Debug)]
pub struct ListedClient {
    clients: ConnectedClients,
    number: u64,
}

impl ConnectedClients {
    /// Logs that a client has connected, and lists it while its stream lasts.
    pub(super) fn add(
        &self,
        subscription: &Subscription,
        topics: Vec<Topic>,
        peer: Peer,
        caller: &Caller,
    ) -> ListedClient {
        let names: Vec<&str> = topics.iter().map(Topic::as_str).collect();
        log::info!(
            "event=connect client={} peer={peer} {caller} channels={}",
            subscription.number,
            Logged(&names.join(",")),
        );
        let client = Connected {
            peer,
            token: caller.token_name().map(Box::from),
            subject: caller.subject().map(Box::from),
            topics: topics.into(),
            since: Instant::now(),
            progress: subscription.progress.clone(),
        };
        let number = subscription.number;
        lock(&self.by_number).insert(number, client);
        ListedClient {
            clients: self.clone(),
            number,
        }
    }

    /// Removes a client before its thread has noticed the end of its stream.
    pub(super) fn remove(&self, number: u64) {
        lock(&self.by_number).remove(&number);
    }

    /// Describes up to `most` clients that follow one of the `wanted` channels, or any. Also returns whether there are
    /// more.
    pub(super) fn describe(
        &self,
        wanted: Option<&[ChannelName]>,
        most: usize,
    ) -> (Vec<Value>, bool) {
        let clients = lock(&self.by_number);
        let mut found = clients.iter().filter(|(_, client)| match wanted {
            None => true,
            Some(wanted) => wanted.iter().any(|channel| client.follows(channel)),
        });
        let first = found.by_ref().take(most);
        let described = first
            .map(|(&number, client)| client.describe(number))
            .collect();
        (described, found.next().is_some())
    }
}

impl Drop for ListedClient {
    fn drop(&mut self) {
        self.clients.remove(self.number);
    }
}

impl Connected {
    /// Whether a message to this channel reaches the client.
    fn follows(&self, channel: &ChannelName) -> bool {
        channel.is_broadcast() || self.topics.iter().any(|topic| topic.covers(channel))
    }

    fn describe(&self, number: u64) -> Value {
        let channels: Vec<&str> = self.topics.iter().map(Topic::as_str).collect();
        json!({
            "client": number,
            "address": self.peer.to_string(),
            "token": self.token,
            "subject": self.subject,
            "channels": channels,
            "connected_seconds": self.since.elapsed().as_secs(),
            "messages": self.progress.messages(),
            "lag": self.progress.lag(),
        })
    }
}
