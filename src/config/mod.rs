#![doc = include_str!("README.md")]

mod listen;
mod slips;
mod variables;

pub use listen::Listen;
pub use slips::meant_by;
pub use variables::VARIABLES;

use crate::access::{Secrets, Token};
use crate::cluster::RedisAddress;
use crate::disk::{DataDir, SyncTime};
use crate::http::cors::Origins;
use crate::http::proxies::TrustedProxies;
use crate::numbers::digits;
use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Config {
    /// `LISTEN`, or `PORT`.
    pub listen: Listen,
    /// `AUTH_TOKEN`; `None` means that one is made up, unless there is an `access_file`.
    pub auth_token: Option<Token>,
    /// `ACCESS_FILE`; not opened yet.
    pub access_file: Option<PathBuf>,
    /// `JWT_SECRET`.
    pub jwt_secrets: Option<Secrets>,
    /// `CORS_ORIGINS`.
    pub origins: Origins,
    /// `HISTORY_EVENTS`.
    pub history_events: usize,
    /// `HISTORY_BYTES`.
    pub history_bytes: usize,
    /// `HISTORY_AGE`; `None` means no limit.
    pub history_age: Option<Duration>,
    /// `DATA_DIR`.
    pub data_dir: Option<DataDir>,
    /// `SYNC`.
    pub sync_time: SyncTime,
    /// `CHANNEL_TTL`.
    pub channel_ttl: Duration,
    /// `HEARTBEAT`.
    pub heartbeat: Duration,
    /// `MAX_CLIENTS`.
    pub max_clients: usize,
    /// `MAX_CLIENTS_PER_ADDRESS`; 0 is no limit.
    pub max_clients_per_address: usize,
    /// `MAX_CHANNELS`.
    pub max_channels: usize,
    /// `MAX_MESSAGE_BYTES`.
    pub max_message_bytes: usize,
    /// `CLIENT_QUEUE`.
    pub client_queue: usize,
    /// `TRUSTED_PROXIES`; none by default.
    pub trusted_proxies: TrustedProxies,
    /// `REDIS_URL`.
    pub redis: Option<RedisAddress>,
    /// `RUST_LOG`.
    pub log_level: log::LevelFilter,
}

/// An unusable variable: one line for a person.
#[derive(Debug, PartialEq, Eq)]
pub struct BadValue(String);

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Config {
    /// Reads the variables through `get`, which is `std::env::var_os` outside of tests.
    ///
    /// # Errors
    /// The first variable that cannot be used.
    pub fn read(get: impl Fn(&str) -> Option<OsString>) -> Result<Config, BadValue> {
        let env = Environment { get };
        let seconds = |name, default, range| {
            env.number(name, default, range)
                .map(|n| Duration::from_secs(n as u64))
        };
        let data_dir = env.data_dir()?;
        // It may have a password in it: `RedisAddress` shows none.
        let redis = env.parsed("REDIS_URL", None, |url| RedisAddress::parse(url).map(Some))?;
        if redis.is_some() && data_dir.is_some() {
            return Err(BadValue(
                "DATA_DIR and REDIS_URL are both set; the history is kept in one of the two: set DATA_DIR for one server, REDIS_URL for several".into(),
            ));
        }
        let channel_ttl = if data_dir.is_some() { WEEK } else { 300 };
        Ok(Config {
            listen: env.listen()?,
            auth_token: env.auth_token()?,
            access_file: env.access_file()?,
            jwt_secrets: env.jwt_secrets()?,
            origins: env.origins()?,
            history_events: env.number("HISTORY_EVENTS", 100, 0..=1_000_000)?,
            history_bytes: env.number("HISTORY_BYTES", 16 << 20, 0..=MAX_BYTES)?,
            history_age: Some(seconds("HISTORY_AGE", 0, 1..=YEAR)?).filter(|age| !age.is_zero()),
            channel_ttl: seconds("CHANNEL_TTL", channel_ttl, 0..=YEAR)?,
            heartbeat: seconds("HEARTBEAT", 15, 1..=HOUR)?,
            max_clients: env.number("MAX_CLIENTS", 10_000, 1..=1_000_000)?,
            max_clients_per_address: env.number("MAX_CLIENTS_PER_ADDRESS", 0, 0..=1_000_000)?,
            max_channels: env.number("MAX_CHANNELS", 10_000, 1..=10_000_000)?,
            max_message_bytes: env.number("MAX_MESSAGE_BYTES", 65_536, 1..=MAX_MESSAGE)?,
            client_queue: env.number("CLIENT_QUEUE", 256, 1..=1_000_000)?,
            trusted_proxies: env.parsed(
                "TRUSTED_PROXIES",
                TrustedProxies::default(),
                TrustedProxies::parse,
            )?,
            redis,
            data_dir,
            sync_time: env.sync_time()?,
            log_level: env.log_level()?,
        })
    }
}

const HOUR: usize = 3_600;
const WEEK: usize = 604_800;
const YEAR: usize = 31_536_000;
/// 1 GiB: the most that a 32-bit device can provide.
const MAX_BYTES: usize = 1 << 30;
/// 16 MiB: memory holds a whole message, several times.
const MAX_MESSAGE: usize = 16 << 20;

struct Environment<G> {
    get: G,
}

impl<G: Fn(&str) -> Option<OsString>> Environment<G> {
    fn text(&self, name: &str) -> Result<Option<String>, BadValue> {
        match (self.get)(name) {
            None => Ok(None),
            Some(value) => value
                .into_string()
                .map(Some)
                .map_err(|_| BadValue(format!("{name} is not UTF-8; give it as UTF-8 text"))),
        }
    }

    /// Parses a variable; `parse` says what is wrong with the value, and what would be right.
    fn parsed<T>(
        &self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, BadValue> {
        match self.text(name)? {
            None => Ok(default),
            Some(text) => parse(&text).map_err(|wrong| BadValue(format!("{name} {wrong}"))),
        }
    }

    fn number(
        &self,
        name: &str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, BadValue> {
        self.parsed(name, default, |text| {
            let number = digits(text).filter(|number| range.contains(number));
            number.ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                format!("is {text:?}; give a whole number from {least} to {most}")
            })
        })
    }

    fn listen(&self) -> Result<Listen, BadValue> {
        match (self.text("LISTEN")?, self.text("PORT")?) {
            (None, None) => Ok(Listen::everywhere(8080)),
            (None, Some(port)) => digits(&port).map(Listen::everywhere).ok_or_else(|| {
                BadValue(format!("PORT is {port:?}; give a whole number from 0 to 65535"))
            }),
            (Some(listen), None) => Listen::parse(&listen).ok_or_else(|| {
                BadValue(format!(
                    "LISTEN is {listen:?}; give an IP address and a port, as in 0.0.0.0:8080 or [::1]:8080, localhost:8080, :8080, or unix:/path of up to 103 bytes"
                ))
            }),
            (Some(listen), Some(port)) => Err(BadValue(format!(
                "PORT is {port:?} while LISTEN is {listen:?}; set one of the two"
            ))),
        }
    }

    fn auth_token(&self) -> Result<Option<Token>, BadValue> {
        // The value is a secret: no message may show it.
        self.parsed("AUTH_TOKEN", None, |text| match text {
            "" => Err("is empty; give a token, or unset it to get a random one".into()),
            text => Token::parse(text).map(Some),
        })
    }

    fn access_file(&self) -> Result<Option<PathBuf>, BadValue> {
        match (self.get)("ACCESS_FILE") {
            Some(path) if path.is_empty() => Err(BadValue(
                "ACCESS_FILE is empty; give the path of a file of JSON rules, or unset it".into(),
            )),
            path => Ok(path.map(PathBuf::from)),
        }
    }

    fn jwt_secrets(&self) -> Result<Option<Secrets>, BadValue> {
        let secrets = self.text("JWT_SECRET")?;
        secrets
            .map(|text| Secrets::parse(&text))
            .transpose()
            .map_err(|what| BadValue(format!("JWT_SECRET: {what}")))
    }

    fn origins(&self) -> Result<Origins, BadValue> {
        self.parsed("CORS_ORIGINS", Origins::Any, |text| {
            Origins::parse(text).map_err(|bad| {
                format!("contains {bad:?}; give * or a list of origins such as https://example.org,http://localhost:3000")
            })
        })
    }

    fn data_dir(&self) -> Result<Option<DataDir>, BadValue> {
        let path = (self.get)("DATA_DIR").map(DataDir::parse);
        path.transpose()
            .map_err(|wrong| BadValue(format!("DATA_DIR {wrong}")))
    }

    fn sync_time(&self) -> Result<SyncTime, BadValue> {
        self.parsed("SYNC", SyncTime::Always, |text| {
            SyncTime::parse(text).ok_or_else(|| {
                format!("is {text:?}; give always, or a time up to 60s, such as 1s or 200ms")
            })
        })
    }

    fn log_level(&self) -> Result<log::LevelFilter, BadValue> {
        self.parsed("RUST_LOG", log::LevelFilter::Info, |text| {
            text.parse()
                .map_err(|_| format!("is {text:?}; give off, error, warn, info, debug or trace"))
        })
    }
}
