//! Tokens as configured and as received: never shown, and compared by their digests in constant time. Knows nothing of
//! rights.

use crate::numbers::hexadecimal;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};
use subtle::ConstantTimeEq;

/// A bearer token: visible ASCII characters, as a header can carry them. Never shown, not even in `Debug`.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// A token of fewer bytes can be guessed. 16 hexadecimal digits are 64 bits: the least that withstands thousands of
    /// tries a second.
    pub const SAFE_BYTES: usize = 16;

    /// A longer token leaves too little of a request's head, which may have 16 KiB, to everything else.
    const MAX_BYTES: usize = 15 << 10;

    /// Parses a configured token.
    ///
    /// # Errors
    /// What is wrong with it and what would be right, without the token.
    pub fn parse(text: &str) -> Result<Token, String> {
        if text.is_empty() {
            return Err("is empty; give visible ASCII characters".into());
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("has white space, a control or a non-ASCII character; give visible ASCII characters only, as a header can carry them".into());
        }
        match Token::excess(text) {
            Some(excess) => Err(excess + "; openssl rand -hex 32 makes a good one"),
            None => Ok(Token(text.into())),
        }
    }

    /// How much too long a token is for a request, if it is.
    pub fn excess(text: &str) -> Option<String> {
        let (bytes, most) = (text.len(), Token::MAX_BYTES);
        (bytes > most).then(|| format!("has {bytes} bytes, and a request can carry {most}"))
    }

    /// A token of 32 random bytes, in hexadecimal.
    pub fn from_random(bytes: [u8; 32]) -> Token {
        Token(hexadecimal(&bytes).into())
    }

    /// Whether it is short enough to be guessed.
    pub fn is_short(&self) -> bool {
        self.0.len() < Token::SAFE_BYTES
    }

    /// The token itself, for the places that may show it: the lines at the start, for a token made up there.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The digest that stands for it in comparisons.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The SHA-256 of a token. Comparing two digests takes the same time however much of them matches. In a hash map, which
/// digests are compared depends on a key that nobody outside the process knows.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl PartialEq for Digest {
    /// Compares in constant time.
    fn eq(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Digest {
    /// The digest of a received token.
    pub fn of(token: &str) -> Digest {
        Digest(Sha256::digest(token.as_bytes()).into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads 64 hexadecimal digits, as `sha256sum` prints them.
    pub fn from_hex(text: &str) -> Option<Digest> {
        let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        is_hex.then_some(Digest(digest))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A weak token can be guessed from its digest.
        f.write_str("Digest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_sha256sum_prints_it() {
        // printf abc | sha256sum
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for text in [hex.to_string(), hex.to_uppercase()] {
            let digest = Digest::from_hex(&text).expect("it is one");
            assert_eq!(digest, Digest::of("abc"));
            assert_ne!(digest, Digest::of("abd"));
        }
        for bad in [
            "",
            &hex[1..],
            &hex.replace('b', "g"),
            &format!("+{}", &hex[1..]),
            &"é".repeat(32),
        ] {
            assert!(Digest::from_hex(bad).is_none(), "{bad:?} is no digest");
        }
    }
}
