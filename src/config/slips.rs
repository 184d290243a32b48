//! Probably misspelt variables: their values would never be used, and nobody would notice.

use super::variables::VARIABLES;

/// The variable that `name` is one typing slip away from: a character too many, one missing, a wrong one, or two
/// swapped; case is ignored. `None` for names that are right, or far off.
pub fn meant_by(name: &str) -> Option<&'static str> {
    let mut known = VARIABLES.iter().map(|(known, ..)| *known);
    if known.clone().any(|known| known == name) {
        return None;
    }
    let written: Vec<char> = name.chars().map(|c| c.to_ascii_uppercase()).collect();
    known.find(|known| {
        let known: Vec<char> = known.chars().collect();
        is_one_slip_away(&written, &known)
    })
}

fn is_one_slip_away(mut a: &[char], mut b: &[char]) -> bool {
    while let ([first, rest @ ..], [same, others @ ..]) = (a, b) {
        if first != same {
            break;
        }
        (a, b) = (rest, others);
    }
    while let ([rest @ .., last], [others @ .., same]) = (a, b) {
        if last != same {
            break;
        }
        (a, b) = (rest, others);
    }
    match (a, b) {
        ([], []) | ([_], []) | ([], [_]) | ([_], [_]) => true,
        ([a1, a2], [b1, b2]) => a1 == b2 && a2 == b1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_is_seen_and_two_are_another_name() {
        for (name, meant) in [
            ("AUTH_TOKN", Some("AUTH_TOKEN")),
            ("UTH_TOKEN", Some("AUTH_TOKEN")),
            ("AUTH_TOKENS", Some("AUTH_TOKEN")),
            ("AUTH__TOKEN", Some("AUTH_TOKEN")),
            ("AUTH-TOKEN", Some("AUTH_TOKEN")),
            ("AUTHTOKEN", Some("AUTH_TOKEN")),
            ("auth_token", Some("AUTH_TOKEN")),
            ("AUTH_TÖKEN", Some("AUTH_TOKEN")),
            ("LISTN", Some("LISTEN")),
            ("LITSEN", Some("LISTEN")),
            ("REDIS_ULR", Some("REDIS_URL")),
            ("REDIS_URI", Some("REDIS_URL")),
            ("CORS_ORIGIN", Some("CORS_ORIGINS")),
            ("MAX_CLIENT", Some("MAX_CLIENTS")),
            ("TRUSTED_PROXY", None),
            ("AUTH_TOKEN", None),
            ("AUTH_TOK", None),
            ("HTUA_TOKEN", None),
            ("LISTEN_FDS", None),
            ("LISTEN_PID", None),
            ("PATH", None),
            ("PWD", None),
            ("HOME", None),
            ("", None),
        ] {
            assert_eq!(meant_by(name), meant, "{name:?}");
        }
    }

    #[test]
    fn no_variable_is_mistaken_for_another() {
        for (name, ..) in VARIABLES {
            assert_eq!(meant_by(name), None, "{name}");
        }
    }
}
