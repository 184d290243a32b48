//! Request targets: the path's segments and the query's parameters, percent-decoded once (WHATWG URL, section 5.1 for
//! the query). Knows nothing of their meaning.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// A parsed request target.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// The path, still encoded, without the query.
    pub path: String,
    /// The query's parameters, in their order.
    pub query: Query,
}

impl Target {
    /// Parses a target in origin form (`/path?query`), or in absolute form (`http://host/path`), which servers have to
    /// accept too (RFC 9112, section 3.2.2).
    pub fn parse(target: &str) -> Target {
        let (target, is_absolute) = match strip_origin(target) {
            Some(rest) => (rest, true),
            None => (target, false),
        };
        // A fragment does not belong in a request; some clients send one anyway.
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // Only `http://host?query` may leave it out.
        let path = match path {
            "" if is_absolute => "/",
            path => path,
        };
        Target {
            path: path.into(),
            query: Query::parse(query),
        }
    }
}

/// What stands behind the host of an absolute form.
fn strip_origin(target: &str) -> Option<&str> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(&rest[end..])
}

/// Decoded bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// Decodes a segment of a path. A bad escape stays as it is.
///
/// # Errors
/// If the result is not UTF-8.
pub fn decode_segment(segment: &str) -> Result<String, NotUtf8> {
    let decoded = percent_decode_str(segment).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| NotUtf8)
}

fn decode_form(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

/// A query's parameters, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    fn parse(query: &str) -> Query {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode_form(name), decode_form(value))
                })
                .collect(),
        )
    }

    /// Every value of a parameter, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Result<&'a str, NotUtf8>> + 'a {
        self.0
            .iter()
            .filter(move |(key, _)| key == name.as_bytes())
            .map(|(_, value)| std::str::from_utf8(value).map_err(|_| NotUtf8))
    }

    /// The first value of a parameter.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<Result<&'a str, NotUtf8>> {
        self.all(name).next()
    }

    /// Whether a parameter is there.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_apart() {
        for (target, path) in [
            ("/a?b", "/a"),
            ("/a", "/a"),
            ("http://host:1/a?b", "/a"),
            ("HTTP://host", "/"),
            ("http://host?b", "/"),
            ("http://host#b", "/"),
            ("/a#b?c", "/a"),
            ("*", "*"),
            ("", ""),
            ("?a", ""),
        ] {
            assert_eq!(Target::parse(target).path, path, "path of {target:?}");
        }
    }

    #[test]
    fn a_query_is_decoded_as_a_form() {
        let query = Target::parse("/?a=1+2&a=%2B%zz%&b&=c&%61=3").query;
        let all: Vec<_> = query.all("a").collect();
        assert_eq!(all, [Ok("1 2"), Ok("+%zz%"), Ok("3")]);
        assert_eq!(query.first("b"), Some(Ok("")));
        assert_eq!(query.first("c"), None);
        assert_eq!(
            Target::parse("/?a=%ff").query.first("a"),
            Some(Err(NotUtf8))
        );
    }
}
