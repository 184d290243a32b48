//! The door's connections, each in a place that its key names, and the memory that they hold.

use super::client::Client;
use super::mailbox::Key;
use std::cmp::Reverse;

/// Bits of a key that name the place; the others are a counter.
const PLACE_BITS: u32 = 24;

/// Idle connections to close at once when there is no room: a fraction of all, so that a storm does not search them for
/// every newcomer.
const PART_TO_GO: usize = 64;

/// All connections from accept to close.
#[derive(Default)]
pub struct Clients {
    places: Vec<Option<Client>>,
    free: Vec<usize>,
    /// Counts all connections, so that no two have the same key.
    count: u64,
    here: usize,
    /// Bytes of requests and answers that all hold, as last counted.
    held: usize,
}

impl Clients {
    fn place(key: Key) -> usize {
        (key & ((1 << PLACE_BITS) - 1)) as usize
    }

    /// Adds a client, which is made with its key. `None` beyond 16 million.
    pub fn add(&mut self, make: impl FnOnce(Key) -> Client) -> Option<Key> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < 1 << PLACE_BITS => {
                self.places.push(None);
                self.places.len() - 1
            }
            None => return None,
        };
        self.count = (self.count + 1) % (1 << (63 - PLACE_BITS));
        let key = (self.count << PLACE_BITS) | place as u64;
        self.places[place] = Some(make(key));
        self.here += 1;
        Some(key)
    }

    /// The client with this key, if it is still here.
    pub fn get(&mut self, key: Key) -> Option<&mut Client> {
        let client = self.places.get_mut(Self::place(key))?.as_mut()?;
        (client.connection.key() == key).then_some(client)
    }

    /// Removes a client, and frees its place.
    pub fn remove(&mut self, key: Key) -> Option<Client> {
        self.get(key)?;
        let place = Self::place(key);
        let client = self.places[place].take()?;
        self.free.push(place);
        self.here -= 1;
        self.held -= client.held;
        Some(client)
    }

    /// In no order.
    pub fn all(&self) -> impl Iterator<Item = &Client> {
        self.places.iter().flatten()
    }

    /// The keys of the clients that `is_one` accepts.
    pub fn keys(&self, is_one: impl Fn(&Client) -> bool) -> Vec<Key> {
        let those = self.all().filter(|client| is_one(client));
        those.map(|client| client.connection.key()).collect()
    }

    pub fn len(&self) -> usize {
        self.here
    }

    /// Counts anew what a client holds. Returns whether it holds more than before, and all together more than `limit` bytes.
    pub fn is_too_much(&mut self, key: Key, limit: usize) -> bool {
        let Some(client) = self.get(key) else {
            return false;
        };
        let now = client.held_bytes();
        let before = std::mem::replace(&mut client.held, now);
        self.held = self.held - before + now;
        now > before && self.held > limit
    }

    /// The newest of the idle ones: at least one, if there is one.
    pub fn newest_idle(&self) -> Vec<Key> {
        let mut idle = self.keys(Client::is_idle);
        let count = (self.here / PART_TO_GO).max(1);
        if count < idle.len() {
            // Keys grow with every connection that comes.
            idle.select_nth_unstable_by_key(count, |&key| Reverse(key));
            idle.truncate(count);
        }
        idle
    }
}
