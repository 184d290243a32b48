//! One try to publish with a key, as the digests by which it is compared.

use crate::event::{ChannelName, EventName};
use crate::numbers::hexadecimal;
use sha2::{Digest, Sha256};
use std::fmt;

/// The first half of a SHA-256: 128 bits, which nobody finds twice.
const BYTES: usize = 16;

/// A digest, shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Half([u8; BYTES]);

impl Half {
    fn of(parts: &[&[u8]]) -> Half {
        let mut hash = Sha256::new();
        for part in parts {
            // So that no two lists of parts look alike.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let whole = hash.finalize();
        let mut half = [0; BYTES];
        half.copy_from_slice(&whole[..BYTES]);
        Half(half)
    }

    /// The bytes, for whoever stores them.
    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// As it was stored.
    pub fn from_bytes(bytes: [u8; BYTES]) -> Half {
        Half(bytes)
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexadecimal(&self.0))
    }
}

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One try to publish with a key. Two with the same `key` are tries of one publish if their `content` is the same, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Of the publisher's token, the channel, and the key that was given.
    pub key: Half,
    /// Of the event's name and the messages.
    pub content: Half,
}

impl Attempt {
    /// A try of whoever is behind `scope` to publish `messages` to a channel.
    pub fn new(
        scope: &[u8],
        channel: &ChannelName,
        key: &str,
        event_name: Option<&EventName>,
        is_batch: bool,
        messages: &[Box<str>],
    ) -> Attempt {
        let name = event_name.map_or("", EventName::as_str);
        // A batch of one is answered in another form than a message.
        let form: &[u8] = if is_batch { b"batch" } else { b"message" };
        let mut content = vec![name.as_bytes(), form];
        content.extend(messages.iter().map(|text| text.as_bytes()));
        Attempt {
            key: Half::of(&[scope, channel.as_str().as_bytes(), key.as_bytes()]),
            content: Half::of(&content),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(scope: &str, channel: &str, key: &str, messages: &[&str]) -> Attempt {
        let channel = ChannelName::parse(channel).expect("it is a name");
        let messages: Vec<Box<str>> = messages.iter().map(|text| (*text).into()).collect();
        let is_batch = messages.len() > 1;
        Attempt::new(scope.as_bytes(), &channel, key, None, is_batch, &messages)
    }

    #[test]
    fn whatever_differs_makes_another_attempt() {
        let one = attempt("s", "a", "k", &["x"]);
        assert_eq!(one, attempt("s", "a", "k", &["x"]));
        for (scope, channel, key) in [
            ("t", "a", "k"),
            ("s", "b", "k"),
            ("s", "a", "l"),
            ("sa", "k", "k"),
        ] {
            let other = attempt(scope, channel, key, &["x"]);
            assert_ne!(one.key, other.key, "{scope} {channel} {key}");
            assert_eq!(one.content, other.content);
        }
        let two = attempt("s", "a", "k", &["x", "y"]);
        for messages in [&["x", "yz"][..], &["xy", ""], &["x", "y", ""], &["y", "x"]] {
            let other = attempt("s", "a", "k", messages);
            assert_ne!(two.content, other.content, "{messages:?}");
            assert_eq!(two.key, other.key);
        }
    }
}
