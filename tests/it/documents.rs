//! For every document: links lead somewhere, and examples are good ones. tests/readme follows the commands.

use crate::common;

use common::documents::{document, section};
use std::collections::BTreeSet;
use std::path::Path;

/// The README, the chapters, and the pages of the rooms in src/, by their paths.
fn documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(folder)).expect("the folder is there");
        let entries = entries.map(|entry| entry.expect("an entry").file_name());
        entries
            .map(|name| format!("{folder}/{}", name.to_string_lossy()))
            .collect()
    };
    let rooms = names("src")
        .into_iter()
        .map(|room| format!("{room}/README.md"));
    let mut documents = vec!["README.md".to_string(), "src/README.md".to_string()];
    documents.extend(names("assets/docs"));
    documents.extend(rooms.filter(|page| root.join(page).exists()));
    documents
}

/// A document without its code blocks.
fn prose(text: &str) -> String {
    let mut is_code = false;
    text.lines()
        .filter(|line| {
            let is_fence = line.starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let titles = prose(text);
    let titles = titles.lines().filter(|line| line.starts_with('#'));
    titles
        .map(|title| {
            let title = title.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    for path in documents() {
        let text = document(&path);
        let folder = Path::new(&path).parent().expect("a file is in a folder");
        for link in prose(&text).split("](").skip(1) {
            let (link, _) = link.split_once(')').expect("a link ends");
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let text = match file {
                "" => text.clone(),
                file => document(folder.join(file).to_str().expect("paths are UTF-8")),
            };
            assert!(
                anchor.is_empty() || anchors(&text).contains(anchor),
                "{path}: {link} has no such section"
            );
        }
    }
}

#[test]
fn the_readme_is_short() {
    let lines = document("README.md").lines().count();
    assert!(lines <= 220, "README.md has {lines} lines, of at most 220");
}

#[test]
fn no_example_has_a_token_that_the_server_warns_of() {
    for path in documents() {
        for example in document(&path).split("AUTH_TOKEN=").skip(1) {
            let token = example.split([' ', '\n', '`']).next().unwrap_or_default();
            assert!(
                token.is_empty() || token.len() >= 16,
                "{path}: AUTH_TOKEN={token} has less than 16 characters"
            );
        }
    }
}

#[test]
fn the_readme_names_every_variable() {
    let help = common::run(&["--help"], &[]).stdout;
    let help = String::from_utf8_lossy(&help).into_owned();
    let (_, variables) = help
        .split_once("Environment variables")
        .expect("--help lists them");
    let known: BTreeSet<&str> = variables
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let table = section("README.md", "Configuration");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    assert_eq!(named, known, "README.md, section Configuration, and --help");
}
