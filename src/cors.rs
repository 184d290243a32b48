//! Cross-origin resource sharing (WHATWG Fetch, section 3.2): which origins may use the server, and the headers that
//! say so. Called by the routes for every answer, errors too.

/// Which origins may use the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every page may.
    Any,
    /// Pages of these origins may.
    Listed(Vec<String>),
}

/// A header of an answer.
pub type Header = (&'static str, String);

/// A preflight's answer may be kept for a day, in seconds.
const PREFLIGHT_MAX_AGE: &str = "86400";

impl Origins {
    /// Reads `*`, or origins separated by commas.
    ///
    /// # Errors
    /// The part that is no origin.
    pub fn parse(text: &str) -> Result<Origins, String> {
        if text.trim() == "*" {
            return Ok(Origins::Any);
        }
        text.split(',')
            .map(|origin| {
                let origin = origin.trim();
                // Browsers send scheme and host in lower case.
                is_origin(origin)
                    .then(|| origin.to_ascii_lowercase())
                    .ok_or_else(|| origin.to_string())
            })
            .collect::<Result<_, _>>()
            .map(Origins::Listed)
    }

    /// Whether this origin is listed. `*` lists none: it is for pages that bring a token of their own.
    pub fn list(&self, origin: &str) -> bool {
        match self {
            Origins::Any => false,
            Origins::Listed(listed) => listed.iter().any(|listed| listed == origin),
        }
    }

    /// The headers of an answer to a request with this `Origin`. Listed origins may send their cookies along.
    pub fn headers(&self, origin: Option<&str>) -> Vec<Header> {
        match self {
            Origins::Any => vec![("Access-Control-Allow-Origin", "*".into())],
            Origins::Listed(_) => {
                // Caches must not give one origin's answer to another, so this is also sent when there is no match.
                let mut headers = vec![("Vary", "Origin".into())];
                if let Some(origin) = origin.filter(|origin| self.list(origin)) {
                    headers.push(("Access-Control-Allow-Origin", origin.into()));
                    headers.push(("Access-Control-Allow-Credentials", "true".into()));
                }
                headers
            }
        }
    }

    /// The headers of the answer to a preflight, beside those that every answer has.
    pub fn preflight_headers() -> Vec<Header> {
        vec![
            (
                "Access-Control-Allow-Methods",
                "GET, HEAD, POST, OPTIONS".into(),
            ),
            (
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Last-Event-ID, Cache-Control".into(),
            ),
            ("Access-Control-Max-Age", PREFLIGHT_MAX_AGE.into()),
        ]
    }
}

/// `scheme://host` or `scheme://host:port`, nothing behind it.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let scheme_is_good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host_is_good = !host.is_empty()
        && host.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':')
        });
    let port_is_good = port
        .is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    scheme_is_good && host_is_good && port_is_good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_no_path() {
        for good in [
            "http://a",
            "https://a.b:1",
            "http://[::1]:80",
            "app://x",
            "http://[::1]",
        ] {
            assert!(is_origin(good), "{good} is an origin");
        }
        for bad in [
            "",
            "a",
            "http://",
            "http://a/",
            "http://a:b",
            "http://a b",
            "*",
            "http://a:",
            "://a",
            "http://a:99999",
        ] {
            assert!(!is_origin(bad), "{bad:?} is no origin");
        }
    }
}
