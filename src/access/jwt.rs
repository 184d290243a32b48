//! Signed tokens that carry their own rights: JSON Web Tokens (RFC 7519) in the compact form (RFC 7515), signed with
//! HS256 only. No rights are read from a token before its signature is verified.

use super::denial::Denial;
use super::grant::{Action, Grant};
use super::object::{Object, Shape};
use super::rules;
use crate::moments::YEAR_10000;
use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, Visitor};
use serde::Deserialize;
use sha2::Sha256;
use std::fmt;
use std::time::{Duration, SystemTime};

/// The shortest secret, in bytes: as long as the signature (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A token may be used this long before its `nbf`, because clocks differ. Its `exp` is exact: its stream ends at that
/// moment.
const EARLY: Duration = Duration::from_secs(5);

/// The secrets of `JWT_SECRET`: each of them makes valid signatures.
#[derive(Clone)]
pub struct Secrets(Vec<Hmac<Sha256>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// The content of a valid token.
#[derive(Debug)]
pub struct Claims {
    /// For whom it was made.
    pub subject: Option<String>,
    /// Its holder's rights.
    pub grant: Grant,
    /// When it expires.
    pub expires: SystemTime,
    /// When it becomes valid, if it says so (`nbf`).
    pub not_before: Option<SystemTime>,
}

/// The header's fields that matter. The others, such as `typ`, `cty` and `kid`, are for applications (RFC 7515,
/// sections 4 and 4.1.10). Claims that are themselves a token are no JSON object, so `cty` is not needed.
#[derive(Deserialize)]
struct JwtHeader {
    alg: String,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
    #[serde(default, deserialize_with = "not_null")]
    b64: Option<bool>,
}

impl Shape for JwtHeader {
    const SHAPE: &'static str = "an object such as {\"alg\": \"HS256\"}";
}

/// The claims that matter. A time that is null is an error, not a missing time.
#[derive(Deserialize)]
struct RawClaims {
    #[serde(default, deserialize_with = "not_null")]
    exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "not_null")]
    nbf: Option<NumericDate>,
    sub: Option<String>,
    #[serde(default)]
    sse: Object<Grant>,
}

impl Shape for RawClaims {
    const SHAPE: &'static str = "an object such as {\"exp\": …, \"sse\": {…}}";
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Seconds since the Unix epoch, with or without a fraction (RFC 7519, section 2). A time before the epoch counts as
/// the epoch.
struct NumericDate(SystemTime);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NumericDate, D::Error> {
        struct Seconds;

        impl Visitor<'_> for Seconds {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds since 1970")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<NumericDate, E> {
                after_epoch(Some(Duration::from_secs(seconds)), &seconds)
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<NumericDate, E> {
                self.visit_u64(u64::try_from(seconds).unwrap_or(0))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<NumericDate, E> {
                let since = Duration::try_from_secs_f64(seconds.max(0.0));
                after_epoch(since.ok(), &seconds)
            }
        }

        deserializer.deserialize_any(Seconds)
    }
}

/// A time after the year 9999 is refused: the token would not expire.
fn after_epoch<E: Error>(
    since: Option<Duration>,
    given: &dyn fmt::Display,
) -> Result<NumericDate, E> {
    let since = since.filter(|since| *since < YEAR_10000);
    let moment = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    moment.map(NumericDate).ok_or_else(|| {
        E::custom(format_args!(
            "the time {given} is after the year 9999; give seconds since 1970, not milliseconds"
        ))
    })
}

impl Secrets {
    /// Parses one secret, or several separated by commas.
    ///
    /// # Errors
    /// What is wrong and what would be right. No secret is shown.
    pub fn parse(text: &str) -> Result<Secrets, String> {
        let secrets = text.split(',').enumerate().map(|(i, secret)| {
            let number = i + 1;
            if secret.trim() != secret {
                Err(format!(
                    "secret {number} begins or ends with white space; give the secrets with nothing but commas between them"
                ))
            } else if secret.len() < MIN_SECRET_BYTES {
                Err(format!(
                    "secret {number} has {} bytes; give at least {MIN_SECRET_BYTES}, as openssl rand -hex 32 makes them",
                    secret.len()
                ))
            } else {
                Hmac::new_from_slice(secret.as_bytes())
                    .map_err(|error| format!("secret {number} cannot be used: {error}"))
            }
        });
        secrets.collect::<Result<_, _>>().map(Secrets)
    }

    /// The number of secrets.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Makes a token, signed with the first secret. `None` if `expires` is after the year 9999.
    pub fn sign(
        &self,
        subject: Option<&str>,
        grant: &Grant,
        expires: SystemTime,
    ) -> Option<String> {
        let exp = expires.duration_since(SystemTime::UNIX_EPOCH).ok();
        let exp = exp.filter(|exp| *exp < YEAR_10000)?;
        let names = |action| grant.channels(action).names().collect::<Vec<_>>();
        let mut rights = serde_json::json!({
            "subscribe": names(Action::Subscribe),
            "publish": names(Action::Publish),
            "stats": grant.stats,
        });
        if let Some(rights) = rights.as_object_mut() {
            rights.retain(|_, right| *right != serde_json::json!([]) && *right != false);
        }
        let mut claims = serde_json::json!({ "exp": exp.as_secs(), "sse": rights });
        if let Some(subject) = subject {
            claims["sub"] = subject.into();
        }
        let encode = Base64UrlUnpadded::encode_string;
        let header = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
        let mac = self.0.first()?.clone().chain_update(&signed);
        Some(format!("{signed}.{}", encode(&mac.finalize().into_bytes())))
    }

    /// Reads a token that has to be valid at `now`.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn read(&self, token: &str, now: SystemTime) -> Result<Claims, Denial> {
        let claims = self.read_whenever(token)?;
        if now >= claims.expires {
            return Err(Denial::wrong(EXPIRED));
        }
        let left_until = |moment: SystemTime| moment.duration_since(now).unwrap_or_default();
        if claims.not_before.map(left_until) > Some(EARLY) {
            return Err(Denial::wrong(NOT_YET_VALID));
        }
        Ok(claims)
    }

    /// Reads a token whatever its times are.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn read_whenever(&self, token: &str) -> Result<Claims, Denial> {
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let header: JwtHeader = object(&decode(header)?).map_err(|_| malformed())?;
        let claims = decode(claims)?;
        let signature = decode(signature)?;
        if header.alg != "HS256" {
            return Err(Denial::wrong("the token is not signed with HS256"));
        }
        if header.crit {
            // It demands something that is not supported here, whatever the value is (RFC 7515, section 4.1.11).
            let why = "the token has the header crit, which is not supported";
            return Err(Denial::wrong(why));
        }
        if header.b64 == Some(false) {
            // The claims would be something else than what is signed here (RFC 7797, which in section 7 forbids it for
            // claims).
            let why = "the token has the header b64 as false, which is not supported";
            return Err(Denial::wrong(why));
        }
        if !self.have_signed(signed, &signature) {
            return Err(Denial::wrong("the signature of the token is wrong"));
        }
        // Trusted from here on.
        let claims: RawClaims = object(&claims).map_err(|error| Denial::TokenWrong {
            why: "the claims of the token cannot be used",
            more: rules::describe(&error),
        })?;
        let NumericDate(expires) = claims
            .exp
            .ok_or_else(|| Denial::wrong("the token has no exp"))?;
        let not_before = claims.nbf.map(|NumericDate(moment)| moment);
        Ok(Claims {
            subject: claims.sub,
            grant: claims.sse.0,
            expires,
            not_before,
        })
    }

    /// Whether one of the secrets made the signature; compared in constant time.
    fn have_signed(&self, signed: &str, signature: &[u8]) -> bool {
        self.0.iter().any(|key| {
            let mac = key.clone().chain_update(signed);
            mac.verify_slice(signature).is_ok()
        })
    }
}

const EXPIRED: &str = "the token has expired";
const NOT_YET_VALID: &str = "the token is not valid yet (nbf)";

fn malformed() -> Denial {
    Denial::wrong("the token is not a well-formed JWT")
}

/// Base64url without padding and without surplus bits (RFC 7515, section 2).
fn decode(part: &str) -> Result<Vec<u8>, Denial> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| malformed())
}

/// A JSON object in which no key that matters appears twice (RFC 7515, section 4; RFC 7519, section 4).
fn object<T: DeserializeOwned + Shape>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes).map(|Object(it)| it)
}
