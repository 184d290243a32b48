//! What the documents show: tests run it exactly as written.

use std::path::Path;

/// A document, by its path in the repository.
#[track_caller]
pub fn document(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of the code block after `<!-- MARK -->`.
#[track_caller]
pub fn block(path: &str, mark: &str) -> String {
    let text = document(path);
    let (_, rest) = text
        .split_once(&format!("<!-- {mark} -->\n```"))
        .unwrap_or_else(|| panic!("{path} has no block behind <!-- {mark} -->"));
    let (_, lines) = rest.split_once('\n').expect("the block has lines");
    let (lines, _) = lines.split_once("\n```").expect("the block ends");
    format!("{lines}\n")
}

/// As `block`, with each example text replaced.
#[track_caller]
pub fn block_with(path: &str, mark: &str, replacements: &[(&str, &str)]) -> String {
    replacements
        .iter()
        .fold(block(path, mark), |block, (example, real)| {
            assert!(
                block.contains(example),
                "{path}, {mark}: {example:?} is not in:\n{block}"
            );
            block.replace(example, real)
        })
}

/// The section of a chapter with this title.
#[track_caller]
pub fn section(path: &str, title: &str) -> String {
    let text = document(path);
    let (_, rest) = text
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("{path} has no section {title}"));
    rest.split("\n## ").next().unwrap_or_default().to_string()
}
