//! For every document: its size, its examples and its language. tests/readme follows the commands, tests/links the links.

use crate::common;

use common::documents::{block, document};
use common::Server;
use std::collections::BTreeSet;
use std::path::Path;

/// The README, the chapters in both languages, the pages for contributors, and those of the rooms in src/, by their paths.
pub fn documents() -> Vec<String> {
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
    for folder in ["assets/docs", "assets/docs/pt-BR", ".github"] {
        documents.extend(
            names(folder)
                .into_iter()
                .filter(|name| name.ends_with(".md")),
        );
    }
    documents.extend(rooms.filter(|page| root.join(page).exists()));
    documents
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
fn assistants_are_told_what_there_is() {
    let server = Server::start(&[("CORS_ORIGINS", "https://example.org")]);
    let reply = server.get("/llms.txt");
    assert_eq!(reply.status, 200);
    let content_type = reply.header("Content-Type");
    assert_eq!(content_type, Some("text/plain; charset=utf-8"));
    assert_eq!(reply.header("Cache-Control"), Some("no-cache"));
    let text = reply.text();
    assert_eq!(text, document("assets/docs/llms.txt"));
    assert!(text.len() <= 3_000, "llms.txt has {} bytes", text.len());
    let tag = [("If-None-Match", reply.header("ETag").expect("it has a tag"))];
    assert_eq!(server.request("GET", "/llms.txt", &tag, b"").status, 304);
    assert_eq!(server.request("HEAD", "/llms.txt", &[], b"").status, 200);
    // All variables, all paths, and chapters that are there.
    for variable in crate::words::variables().keys() {
        assert!(
            text.contains(&format!(" {variable}")),
            "llms.txt: {variable}"
        );
    }
    let described: serde_json::Value =
        serde_json::from_str(&document("assets/openapi.json")).expect("it is JSON");
    for path in described["paths"].as_object().expect("an object").keys() {
        assert!(text.contains(path.as_str()), "llms.txt: {path}");
    }
    let (_, chapters) = text.split_once("assets/docs/: ").expect("it lists them");
    let named: BTreeSet<&str> = chapters.split_whitespace().collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/docs");
    let found = std::fs::read_dir(folder).expect("the folder is there");
    let found = found.map(|entry| entry.expect("an entry").file_name());
    let found: Vec<String> = found
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let chapters = found.iter().filter(|name| name.ends_with(".md"));
    assert_eq!(named, chapters.map(String::as_str).collect(), "llms.txt");
}

/// A block without comments.
fn code(block: &str) -> Vec<&str> {
    let lines = block.lines().filter(|line| {
        let line = line.trim_start();
        !["//", "/*", "*", "#"]
            .iter()
            .any(|mark| line.starts_with(mark))
    });
    lines
        .map(|line| {
            let end = line.find(" # ").or(line.find(" // "));
            line[..end.unwrap_or(line.len())].trim_end()
        })
        .collect()
}

#[test]
fn the_files_of_the_portuguese_chapters_are_those_of_the_english_ones() {
    let mut compared = 0;
    for chapter in ["react.md", "scripts.md"] {
        let english = format!("assets/docs/{chapter}");
        let portuguese = format!("assets/docs/pt-BR/{chapter}");
        for mark in document(&english).split("<!-- ").skip(1) {
            let (mark, _) = mark.split_once(" -->").expect("a comment ends");
            // These two have words of their own in them.
            let is_translated = mark.ends_with(".conf") || mark.ends_with(".service");
            if !mark.starts_with("file: ") || is_translated {
                continue;
            }
            let (english, portuguese) = (block(&english, mark), block(&portuguese, mark));
            assert_eq!(code(&portuguese), code(&english), "{chapter}, {mark}");
            compared += 1;
        }
    }
    assert!(compared >= 15, "{compared} files");
}

#[test]
fn each_chapter_in_portuguese_begins_with_a_link_to_the_english_one_and_back() {
    for (english, portuguese) in [
        ("README.md", "assets/docs/pt-BR/README.md"),
        ("assets/docs/react.md", "assets/docs/pt-BR/react.md"),
        ("assets/docs/scripts.md", "assets/docs/pt-BR/scripts.md"),
    ] {
        for (page, other) in [(english, portuguese), (portuguese, english)] {
            let text = document(page);
            let link = text.split(['(', ')']).nth(1).unwrap_or_default();
            let folder = Path::new(page).parent().expect("a file is in a folder");
            let target = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(folder)
                .join(link);
            let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join(other);
            assert_eq!(
                target.canonicalize().ok(),
                wanted.canonicalize().ok(),
                "{page}"
            );
            assert!(text.starts_with('['), "{page}: it is not the first line");
        }
    }
}
