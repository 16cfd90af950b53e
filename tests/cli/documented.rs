//! What the documents show of the commands.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{cluster, shell};

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")
}

/// The document with the output of every `$ valence` line put in place of what is there.
fn renewed(text: &str, mut output: impl FnMut(&str) -> String) -> String {
    let mut new = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        new += line;
        new.push('\n');
        if line != "```console" {
            continue;
        }
        while let Some(line) = lines.next_if(|line| *line != "```") {
            if let Some(command) = line.strip_prefix("$ ") {
                new += line;
                new.push('\n');
                new += &output(command);
            }
        }
    }
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_shows_what_the_commands_print() {
    let playground = cluster().await;
    let text = fs::read_to_string(document()).unwrap();
    let mut count = 0;
    let new = renewed(&text, |command| {
        count += 1;
        let output = shell(command, playground.kubeconfig());
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!said.is_empty(), "{command} says nothing");
        said
    });
    playground.stop().await;
    assert!(count >= 8, "{count}");
    if std::env::var_os("VALENCE_DOCS").is_some_and(|value| value == "write") {
        fs::write(document(), &new).unwrap();
    }
    similar(&fs::read_to_string(document()).unwrap(), &new);
}

/// Compares line by line, so that a difference is easy to find.
fn similar(before: &str, after: &str) {
    for (index, (before, after)) in before.lines().zip(after.lines()).enumerate() {
        assert_eq!(
            before,
            after,
            "docs/cli.md, line {}: run VALENCE_DOCS=write cargo test --test cli",
            index + 1
        );
    }
    assert_eq!(before.len(), after.len());
}
