//! `--check`: reads the configuration and the rules as a start does, and prints what is in force.

use super::doubts::doubts;
use super::setup::{print, read_config, read_rules, Failure};
use crate::config::{Config, VARIABLES};
use crate::disk;

/// Values that are never shown, only whether they are set.
const SECRET: [&str; 3] = ["AUTH_TOKEN", "JWT_SECRET", "REDIS_URL"];

pub(super) fn check() -> Result<(), Failure> {
    let config = read_config()?;
    let rules = read_rules(&config)?;
    let mut lines = vec![format!(
        "sse-server {}: the configuration is valid\n",
        env!("CARGO_PKG_VERSION")
    )];
    for (name, default, _) in VARIABLES {
        let value = match name {
            "LISTEN" => config.listen.to_string(),
            // LISTEN includes it.
            "PORT" => continue,
            name if SECRET.contains(&name) => secret(name, &config),
            // A path need not be UTF-8.
            name => match std::env::var_os(name) {
                Some(value) => value.to_string_lossy().into_owned(),
                None => format!("{default} (default)"),
            },
        };
        lines.push(format!("  {name:<23} {value}"));
    }
    lines.push("\nWho may do what:".into());
    lines.push(format!("  {:<23} {}", "everybody", rules.public));
    for entry in rules.tokens() {
        lines.push(format!("  {:<23} {}", entry.name, entry.grant));
    }
    if config.jwt_secrets.is_some() {
        lines.push(format!("  {:<23} what they grant", "signed tokens"));
    }
    if config.auth_token.is_some() || config.access_file.is_none() {
        lines.push(format!("  {:<23} everything", "AUTH_TOKEN"));
    }
    if let Some(data_dir) = &config.data_dir {
        let found = disk::outlook(data_dir).map_err(|error| Failure::misuse(error.line))?;
        lines.push(format!("\nIn DATA_DIR: {found}"));
    }
    for doubt in doubts(&config, &rules) {
        lines.push(format!("\nWarning: {}", doubt.sentence()));
    }
    print(&lines.join("\n"))
}

fn secret(name: &str, config: &Config) -> String {
    match name {
        "AUTH_TOKEN" if config.auth_token.is_some() => "set".into(),
        "AUTH_TOKEN" if config.access_file.is_some() => "none".into(),
        "AUTH_TOKEN" => "made up at each start".into(),
        "JWT_SECRET" => match &config.jwt_secrets {
            Some(secrets) if secrets.count() == 1 => "set".into(),
            Some(secrets) => format!("set, {} secrets", secrets.count()),
            None => "none".into(),
        },
        _ => match &config.redis {
            Some(address) => address.to_string(),
            None => "none".into(),
        },
    }
}
