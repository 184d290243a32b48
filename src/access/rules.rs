//! The rules of `ACCESS_FILE`: what each token may do, and what needs none. Read from JSON; errors have a line and a
//! column.

use super::file;
use super::grant::Grant;
use super::object::{text, Object, Shape};
use super::patterns::Patterns;
use super::token::{Digest, Token};
use crate::numbers::{column, line_of};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A token in the rules.
#[derive(Debug)]
pub struct Entry {
    /// Its holder's name in the log.
    pub name: Box<str>,
    /// Its token's.
    pub digest: Digest,
    /// The token is so short that it can be guessed.
    pub is_short: bool,
    /// Its holder's rights.
    pub grant: Grant,
}

type Entries = HashMap<Digest, Arc<Entry>>;

/// The checked rules of one file. A reload replaces them as a whole.
#[derive(Debug)]
pub struct Rules {
    entries: Entries,
    /// The rights that need no token.
    pub public: Grant,
}

/// What is wrong with a file, and where.
#[derive(Debug)]
pub struct FileFault {
    /// The file.
    pub path: PathBuf,
    /// Line and column, both from 1; `None` if it cannot be read at all.
    pub position: Option<(usize, usize)>,
    /// One line for a person, without a token.
    pub what: String,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ACCESS_FILE {}", self.path.display())?;
        if let Some((line, column)) = self.position {
            write!(f, ", line {line}, column {column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl Rules {
    /// The rules without a file: everybody may subscribe to everything, only the operator publishes.
    pub fn without_file() -> Rules {
        Rules {
            entries: Entries::new(),
            public: Grant::new(Patterns::everything(), Patterns::default(), false),
        }
    }

    /// Reads a file. None of its tokens may be the `operator`'s, who may do everything.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(path: &Path, operator: Option<Digest>) -> Result<Rules, FileFault> {
        let fault = |position, what| FileFault {
            path: path.into(),
            position,
            what,
        };
        let bytes = file::read(path).map_err(|what| fault(None, what))?;
        let rules = Rules::parse(&bytes).map_err(|error| {
            let position = (error.line(), column(&bytes, &error));
            fault(Some(position), explain(&bytes, &error))
        })?;
        match operator.and_then(|digest| rules.find(&digest)) {
            None => Ok(rules),
            Some(entry) => Err(fault(
                None,
                format!(
                    "{:?} has the same token as {OPERATOR_NAME}; give each its own",
                    entry.name
                ),
            )),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Rules, serde_json::Error> {
        let Object(file) = serde_json::from_slice::<Object<File>>(bytes)?;
        Ok(Rules {
            entries: file.tokens.0,
            public: file.public.0,
        })
    }

    /// The token with this digest.
    pub fn find(&self, digest: &Digest) -> Option<&Arc<Entry>> {
        self.entries.get(digest)
    }

    /// The number of tokens.
    pub fn token_count(&self) -> usize {
        self.entries.len()
    }

    /// All tokens, by name.
    pub fn tokens(&self) -> Vec<&Entry> {
        let mut tokens: Vec<_> = self.entries.values().map(Arc::as_ref).collect();
        tokens.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        tokens
    }
}

/// What is wrong with a file that is no JSON, or not that of rules, and what would be right.
fn explain(bytes: &[u8], error: &serde_json::Error) -> String {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return "the file begins with a byte order mark; save it as UTF-8 without one".into();
    }
    if bytes.trim_ascii().is_empty() {
        return "the file is empty; give at least {}".into();
    }
    let text = describe(error);
    if let Some(key) = text.strip_prefix("missing field ") {
        return format!("the key {key} is missing; every token needs it");
    }
    match line_of(bytes, error).get(error.column().saturating_sub(1)) {
        Some(b'/' | b'#') if error.is_syntax() => format!("{text}; JSON has no comments"),
        _ => text,
    }
}

/// The message without its position, which is reported separately, and without serde's quotes of misplaced values and
/// unknown keys: a quote may show a token in the wrong place.
pub(super) fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&position).unwrap_or(&text);
    let Some((rest, expected)) = text.rsplit_once(", expected ") else {
        return text.into();
    };
    if let Some(found) = rest.strip_prefix("invalid type: ") {
        let kind = found.split(['"', '`']).next().unwrap_or_default().trim();
        format!("{kind} found where {expected} is expected")
    } else if rest.starts_with("unknown field ") {
        format!("unknown key, expected {expected}")
    } else {
        text.into()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    tokens: Tokens,
    public: Object<Grant>,
}

impl Shape for File {
    const SHAPE: &'static str = "an object such as {\"tokens\": […], \"public\": {…}}";
}

#[derive(Default)]
struct Tokens(Entries);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tokens, D::Error> {
        struct TokensVisitor;

        impl<'de> Visitor<'de> for TokensVisitor {
            type Value = Tokens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tokens")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tokens, A::Error> {
                let mut entries = Entries::new();
                let mut names = HashSet::new();
                while let Some(entry) = list.next_element_seed(EntryAfter(&entries, &names))? {
                    names.insert(entry.name.clone());
                    entries.insert(entry.digest, Arc::new(entry));
                }
                Ok(Tokens(entries))
            }
        }

        deserializer.deserialize_seq(TokensVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    #[serde(deserialize_with = "name")]
    name: String,
    #[serde(default, deserialize_with = "token")]
    token: Option<Token>,
    #[serde(default, deserialize_with = "sha256")]
    sha256: Option<Digest>,
    #[serde(default)]
    publish: Patterns,
    #[serde(default)]
    subscribe: Patterns,
    #[serde(default)]
    stats: bool,
}

/// Reads one entry, given those before it. It is checked while it is read, so that errors have its position.
struct EntryAfter<'a>(&'a Entries, &'a HashSet<Box<str>>);

impl<'de> DeserializeSeed<'de> for EntryAfter<'_> {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntryAfter<'_> {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an object such as {\"name\": …, \"token\": …, \"publish\": […], \"subscribe\": […]}",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        let written = WrittenEntry::deserialize(MapAccessDeserializer::new(map))?;
        written.check(self.0, self.1).map_err(A::Error::custom)
    }
}

impl WrittenEntry {
    fn check(self, before: &Entries, names: &HashSet<Box<str>>) -> Result<Entry, String> {
        let name = self.name;
        let is_short = self.token.as_ref().is_some_and(Token::is_short);
        let digest = match (self.token.map(|token| token.digest()), self.sha256) {
            (Some(digest), None) | (None, Some(digest)) => digest,
            (None, None) => {
                return Err(format!(
                    "{name:?} has no token; give \"token\", or \"sha256\""
                ))
            }
            (Some(_), Some(_)) => {
                return Err(format!(
                    "{name:?} has both \"token\" and \"sha256\"; give one of the two"
                ))
            }
        };
        if names.contains(name.as_str()) {
            return Err(format!(
                "two tokens are named {name:?}; the log shows these names, so give each token its own"
            ));
        }
        if let Some(same) = before.get(&digest) {
            return Err(format!(
                "{name:?} has the same token as {:?}; give each its own, or give one entry all the rights",
                same.name
            ));
        }
        Ok(Entry {
            name: name.into(),
            digest,
            is_short,
            grant: Grant::new(self.subscribe, self.publish, self.stats),
        })
    }
}

/// The name of `AUTH_TOKEN`'s holder in the log.
pub const OPERATOR_NAME: &str = "AUTH_TOKEN";

/// The longest name of a token, in bytes.
const MAX_NAME_BYTES: usize = 64;

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, "a name", |text| {
        let is_good = text.len() <= MAX_NAME_BYTES
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:@".contains(&b));
        if text == OPERATOR_NAME {
            Err(format!(
                "the name {text:?} is reserved for that variable's token; choose another"
            ))
        } else if is_good {
            Ok(text.to_string())
        } else {
            Err(format!(
                "the name is not 1 to {MAX_NAME_BYTES} letters, digits, '-', '_', '.', ':' or '@' that begin with a letter or digit"
            ))
        }
    })
}

fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Token>, D::Error> {
    text(deserializer, "the token as text", |text| {
        Token::parse(text)
            .map(Some)
            .map_err(|wrong| format!("the token {wrong}"))
    })
}

fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
    text(deserializer, "the token's SHA-256 as text", |text| {
        match Digest::from_hex(text) {
            Some(digest) => Ok(Some(digest)),
            None => {
                Err("sha256 is not 64 hexadecimal digits; give what sha256sum prints for the token, hashed without a line end".into())
            }
        }
    })
}
