//! Rules in a file, and signed tokens as a backend makes them.

use super::Server;
use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A secret that is long enough.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A file of rules, removed afterwards.
pub struct RulesFile(PathBuf);

impl RulesFile {
    pub fn new(content: impl AsRef<[u8]>) -> RulesFile {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "sse-server-rules-{}-{}.json",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let file = RulesFile(std::env::temp_dir().join(name));
        file.write(content);
        file
    }

    pub fn write(&self, content: impl AsRef<[u8]>) {
        std::fs::write(&self.0, content).expect("a file can be written");
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("the path is UTF-8")
    }
}

impl Drop for RulesFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Seconds since the Unix epoch, with the fraction.
pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is set").as_secs_f64()
}

/// Whole seconds since the Unix epoch, this much later.
pub fn in_seconds(seconds: i64) -> i64 {
    now() as i64 + seconds
}

pub fn sha256_hex(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

/// Signs any header and claims.
pub fn sign(secret: &str, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", base64url(header), base64url(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", base64url(mac.finalize().into_bytes()))
}

/// A token with these claims, signed with `SECRET`.
pub fn jwt(claims: &Value) -> String {
    sign(SECRET, r#"{"alg":"HS256","typ":"JWT"}"#, claims.to_string())
}

/// A token of ten minutes with these rights, signed with `SECRET`.
pub fn jwt_for(sse: &Value) -> String {
    jwt(&json!({"sub": "ana", "exp": in_seconds(600), "sse": sse}))
}

/// A server with these rules and with signed tokens.
pub fn start(rules: &RulesFile, more: &[(&str, &str)]) -> Server {
    let variables = [
        &[("ACCESS_FILE", rules.path()), ("JWT_SECRET", SECRET)],
        more,
    ]
    .concat();
    Server::start(&variables)
}
