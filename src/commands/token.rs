//! `token`: makes a signed token, or explains a token.

use super::setup::{print, read_config, read_rules, Failure};
use crate::access::{Access, Denial, Grant, Patterns, Token};
use crate::numbers::duration;
use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

/// A token's lifetime, unless `--expires` is given.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

const USAGE: &str = "sse-server token [--subscribe CHANNELS] [--publish CHANNELS] [--stats] [--expires 10m] [--subject NAME], or sse-server token --explain TOKEN";

pub(super) fn token(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["--explain", "-"] => {
            let mut token = String::new();
            let read = std::io::stdin().take(1 << 16).read_to_string(&mut token);
            read.map_err(|error| Failure::new(format!("cannot read the token: {error}")))?;
            explain(token.trim())
        }
        ["--explain", token] => explain(token),
        ["--explain"] => Err(no_value("--explain")),
        _ => make(arguments),
    }
}

fn no_value(option: &str) -> Failure {
    Failure::misuse(format!("{option} has no value; use {USAGE}"))
}

/// What the new token should have.
#[derive(Default)]
struct TokenWish<'a> {
    subscribe: Vec<&'a str>,
    publish: Vec<&'a str>,
    stats: bool,
    expires: Option<&'a str>,
    subject: Option<&'a str>,
}

impl<'a> TokenWish<'a> {
    fn read(arguments: &[&'a str]) -> Result<TokenWish<'a>, Failure> {
        let mut wish = TokenWish::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (option, beside) = match argument.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (*argument, None),
            };
            let mut value = || {
                let value = beside.or_else(|| arguments.next().copied());
                let value = value.filter(|value| !value.is_empty());
                value.ok_or_else(|| no_value(option))
            };
            match option {
                "--subscribe" => wish.subscribe.push(value()?),
                "--publish" => wish.publish.push(value()?),
                "--expires" => wish.expires = Some(value()?),
                "--subject" => wish.subject = Some(value()?),
                "--stats" if beside.is_none() => wish.stats = true,
                _ => {
                    return Err(Failure::misuse(format!(
                        "unknown argument {argument:?}; use {USAGE}"
                    )))
                }
            }
        }
        Ok(wish)
    }

    fn grant(&self) -> Result<Grant, Failure> {
        let patterns = |lists: &[&str]| {
            let names = lists.iter().flat_map(|list| list.split(','));
            Patterns::parse(names.filter(|name| !name.is_empty())).map_err(Failure::misuse)
        };
        let (subscribe, publish) = (patterns(&self.subscribe)?, patterns(&self.publish)?);
        if subscribe.is_empty() && publish.is_empty() && !self.stats {
            return Err(Failure::misuse(format!(
                "the token would grant no right; use {USAGE}"
            )));
        }
        Ok(Grant::new(subscribe, publish, self.stats))
    }
}

fn make(arguments: &[&str]) -> Result<(), Failure> {
    let wish = TokenWish::read(arguments)?;
    let grant = wish.grant()?;
    let life = match wish.expires {
        None => DEFAULT_LIFE,
        Some(text) => duration(text).filter(|life| !life.is_zero()).ok_or_else(|| {
            Failure::misuse(format!(
                "--expires is {text:?}; give a number of seconds, minutes, hours or days, such as 90s, 10m, 2h or 1d"
            ))
        })?,
    };
    let config = read_config()?;
    let Some(secrets) = &config.jwt_secrets else {
        return Err(Failure::misuse(
            "JWT_SECRET is not set; set it to the server's secret (openssl rand -hex 32 makes one)",
        ));
    };
    let expires = SystemTime::now().checked_add(life);
    let token = expires.and_then(|expires| secrets.sign(wish.subject, &grant, expires));
    let token =
        token.ok_or_else(|| Failure::misuse("--expires is too far in the future; give less"))?;
    print(&token)?;
    if let Some(excess) = Token::excess(&token) {
        let _ = writeln!(
            std::io::stderr(),
            "sse-server: the token {excess}; name fewer channels"
        );
    }
    Ok(())
}

fn explain(token: &str) -> Result<(), Failure> {
    let config = read_config()?;
    let rules = read_rules(&config)?;
    let public = rules.public.clone();
    let secrets = config.jwt_secrets.clone();
    let access = Access::new(config.auth_token, config.jwt_secrets, rules);
    let now = SystemTime::now();
    let secrets = secrets.as_ref();
    let signed = secrets.and_then(|secrets| secrets.read_whenever(token).ok());
    let mut lines = Vec::new();
    let denial = match access.identify(Some(token)) {
        Ok(caller) => {
            // A signed token without a subject is nobody's.
            lines.push(match caller.subject().as_deref() {
                Some("") => "good: a signed token".into(),
                _ => format!("good: {caller}"),
            });
            match caller.own_grant() {
                None => lines.push("may: everything".into()),
                Some(grant) => {
                    lines.push(format!("may: {grant}"));
                    lines.push(format!("as everybody: {public}"));
                }
            }
            if let Some(signed) = signed {
                lines.push(format!("until: {}", moment(signed.expires, now)));
            }
            return print(&lines.join("\n"));
        }
        Err(denial) => denial,
    };
    if let Some(signed) = signed {
        if let Some(begin) = signed.not_before {
            lines.push(format!("from: {}", moment(begin, now)));
        }
        lines.push(format!("until: {}", moment(signed.expires, now)));
        lines.push(format!("would be for: {}", signed.grant));
    } else if secrets.is_none() && token.split('.').count() == 3 {
        lines.push("it looks like a signed token, and JWT_SECRET is not set".into());
    }
    if !lines.is_empty() {
        print(&lines.join("\n"))?;
    }
    let why = match denial {
        Denial::TokenWrong { why, more } if more.is_empty() => why.to_string(),
        Denial::TokenWrong { why, more } => format!("{why} ({more})"),
        Denial::TokenMissing | Denial::NotAllowed => "it gives no right".into(),
    };
    Err(Failure::new(format!("refused: {why}")))
}

/// A moment, and how far away it is.
fn moment(moment: SystemTime, now: SystemTime) -> String {
    let far = match moment.duration_since(now) {
        Ok(ahead) => format!("in {}", rough(ahead)),
        Err(over) => format!("{} ago", rough(over.duration())),
    };
    format!("{} ({far})", httpdate::fmt_http_date(moment))
}

fn rough(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", (seconds + 30) / 60),
        7200..172_800 => format!("{} h", (seconds + 1800) / 3600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}
