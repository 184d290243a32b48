//! Signed tokens that carry their own rights: JSON Web Tokens (RFC 7519), signed with HS256 and nothing else. No rights
//! are read from a token before its signature was found to be good. Called by `Access`.

use super::object::Object;
use super::rules::{self, Grant};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{Algorithm, AlgorithmSignature, UntrustedToken, ValidationError};
use serde::de::IgnoredAny;
use serde::Deserialize;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// Shortest secret, in bytes: as long as the signature (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// Length of an HMAC with SHA-256.
const SIGNATURE_BYTES: usize = 32;

/// A token may be used this much before its `nbf`: the clocks of two machines differ by that. Its `exp` is taken as it
/// is, because its stream ends at that moment.
const EARLY: Duration = Duration::from_secs(5);

/// The secrets of `JWT_SECRET`: a token that is signed with one of them is good.
#[derive(Clone)]
pub struct Secrets(Vec<Hs256Key>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// What a good token says.
#[derive(Debug)]
pub struct Claims {
    /// Whom it was made for.
    pub subject: Option<String>,
    /// What its holder may do.
    pub grant: Grant,
    /// When it expires; `None` if that is beyond what the clock can tell.
    pub expires: Option<Instant>,
}

/// Why a token is not good.
#[derive(Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is not three parts of base64url, the first of them a header.
    Malformed,
    /// `alg` is not `HS256`.
    WrongAlgorithm,
    /// The header has `crit`: something that has to be understood, and is not.
    UnknownExtension,
    /// None of the secrets has made the signature.
    WrongSignature,
    /// The claims cannot be read; holds why.
    BadClaims(String),
    /// There is no `exp`.
    NoExpiry,
    /// `exp` is over.
    Expired,
    /// `nbf` is still to come.
    NotYetValid,
}

/// The header's fields that matter beside `alg`.
#[derive(Clone, Deserialize)]
struct Header {
    crit: Option<IgnoredAny>,
}

/// The claims that matter beside `exp` and `nbf`.
#[derive(Deserialize)]
struct Written {
    sub: Option<String>,
    #[serde(default)]
    sse: Object<Grant>,
}

impl Secrets {
    /// Takes one secret, or several that are separated by commas.
    ///
    /// # Errors
    /// What is wrong and what would be right, without a secret.
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
                Ok(Hs256Key::new(secret))
            }
        });
        secrets.collect::<Result<_, _>>().map(Secrets)
    }

    /// Reads a token as of `now`.
    ///
    /// # Errors
    /// The first flaw.
    pub fn read(&self, token: &str, now: SystemTime) -> Result<Claims, Flaw> {
        let (signed, _) = token.rsplit_once('.').ok_or(Flaw::Malformed)?;
        let token: UntrustedToken<Header> = token.try_into().map_err(|_| Flaw::Malformed)?;
        if token.algorithm() != "HS256" {
            return Err(Flaw::WrongAlgorithm);
        }
        if token.header().other_fields.crit.is_some() {
            return Err(Flaw::UnknownExtension);
        }
        if !self.have_signed(signed, token.signature_bytes()) {
            return Err(Flaw::WrongSignature);
        }
        // Trusted from here on.
        let claims = token
            .deserialize_claims_unchecked::<Written>()
            .map_err(|error| Flaw::BadClaims(describe(&error)))?;
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let since_epoch = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let exp = claims.expiration.ok_or(Flaw::NoExpiry)?;
        let left = since_epoch(exp.timestamp()).saturating_sub(now);
        if left.is_zero() {
            return Err(Flaw::Expired);
        }
        if let Some(nbf) = claims.not_before {
            if since_epoch(nbf.timestamp()) > now + EARLY {
                return Err(Flaw::NotYetValid);
            }
        }
        Ok(Claims {
            subject: claims.custom.sub,
            grant: claims.custom.sse.0,
            expires: Instant::now().checked_add(left),
        })
    }

    /// Whether one of the secrets has made the signature; compared in constant time.
    fn have_signed(&self, signed: &str, signature: &[u8]) -> bool {
        // The library panics on any other length.
        if signature.len() != SIGNATURE_BYTES {
            return false;
        }
        <Hs256 as Algorithm>::Signature::try_from_slice(signature).is_ok_and(|signature| {
            let mut keys = self.0.iter();
            keys.any(|key| Hs256.verify_signature(&signature, key, signed.as_bytes()))
        })
    }
}

fn describe(error: &ValidationError) -> String {
    match error {
        ValidationError::MalformedClaims(error) => rules::describe(error),
        other => other.to_string(),
    }
}
