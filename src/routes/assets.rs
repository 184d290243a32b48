//! Files built into the program: the statistics page at `/`, the client for pages, and a page for
//! assistants. The statistics page loads no other file, and its policy lets it talk only to its own origin.

use crate::http::reply::Reply;
use crate::http::request::Request;
use std::hash::{DefaultHasher, Hash, Hasher};

const PAGE: &str = include_str!("../../assets/index.html");

/// Minified from `assets/sse-client.js`.
const CLIENT: &str = include_str!("../../assets/sse-client.min.js");

const CLIENT_TYPES: &str = include_str!("../../assets/sse-client.d.ts");

const FOR_ASSISTANTS: &str = include_str!("../../assets/docs/llms.txt");

/// The page's Content Security Policy (Level 3). The two hashes are of its style and its script; a test below prints
/// the right ones after a change.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-QyMi1FtF9BRRYKXF7JrtZwq/nqcDU8rJ/Svdss04olc='; \
    script-src 'sha256-opSjqW4Bbvkn6JpLW6FhMk19NvtsZd/pc+zeGwmns/A='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

pub(super) fn page(request: &Request) -> Reply {
    file(request, "text/html; charset=utf-8", PAGE)
        .with("Content-Security-Policy", POLICY)
        .with("Referrer-Policy", "no-referrer")
}

/// An ES module.
pub(super) fn client(request: &Request) -> Reply {
    file(request, "text/javascript; charset=utf-8", CLIENT)
}

/// For TypeScript.
pub(super) fn client_types(request: &Request) -> Reply {
    file(request, "text/plain; charset=utf-8", CLIENT_TYPES)
}

/// What a language model needs to help somebody with the server (llmstxt.org).
pub(super) fn for_assistants(request: &Request) -> Reply {
    file(request, "text/plain; charset=utf-8", FOR_ASSISTANTS)
}

/// The file, or `304` to a browser that has it (RFC 9110, section 13.1.2).
fn file(request: &Request, content_type: &'static str, text: &'static str) -> Reply {
    let tag = entity_tag(text);
    let known = request
        .header("If-None-Match")
        .is_some_and(|tags| names(tags, &tag));
    let reply = if known {
        Reply::new(304)
    } else {
        Reply::new(200).with_body(content_type, text)
    };
    reply
        .with("ETag", tag)
        // Cached, but revalidated each time: it belongs to the running version.
        .with("Cache-Control", "no-cache")
        .with("X-Content-Type-Options", "nosniff")
}

fn entity_tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Whether a list of entity tags includes this one. A proxy that compresses makes a tag weak.
fn names(tags: &str, tag: &str) -> bool {
    tags.split(',').any(|candidate| {
        let candidate = candidate.trim();
        candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64ct::{Base64, Encoding};
    use sha2::{Digest, Sha256};

    /// The text between `<name …>` and `</name>`.
    fn content(name: &str) -> &'static str {
        let (_, after) = PAGE.split_once(&format!("<{name}")).expect("it begins");
        let (_, content) = after.split_once('>').expect("its tag ends");
        let (content, rest) = content.split_once(&format!("</{name}>")).expect("it ends");
        assert!(!rest.contains(&format!("<{name}")), "there is one {name}");
        content
    }

    #[test]
    fn the_policy_names_the_style_and_the_script_of_the_page() {
        for name in ["style", "script"] {
            let hash = Base64::encode_string(&Sha256::digest(content(name)));
            assert!(
                POLICY.contains(&format!("{name}-src 'sha256-{hash}'")),
                "assets/index.html has another {name}: write 'sha256-{hash}' into POLICY of src/routes/assets.rs"
            );
        }
    }

    #[test]
    fn a_list_of_tags_names_the_page_or_not() {
        for good in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(names(good, "\"a\""), "{good} names it");
        }
        for bad in ["", "\"b\"", "a", "\"aa\"", "W/\"b\", \"c\""] {
            assert!(!names(bad, "\"a\""), "{bad:?} does not name it");
        }
    }
}
