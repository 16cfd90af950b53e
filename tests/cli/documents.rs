//! The documents against what they speak of: links, make targets, flags and metrics must be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder whose names end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// Every document with its name and text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut all = files(&root().join("docs"), ".md");
    all.extend(files(&root().join(".github"), ".md"));
    let more = [
        "README.md",
        "tests/playground/README.md",
        "tests/playground/src/apiserver/README.md",
    ];
    all.extend(more.map(|name| root().join(name)));
    all.into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// The text without its blocks of code, in which a bracket is no link and a `#` no heading.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything that is marked as code: lines of blocks, and spans.
fn code(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut all = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside ^= true;
        } else if inside {
            all.push(line.to_owned());
        } else {
            all.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    all
}

/// What a heading is called in a link.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for (path, text) in documents() {
        for rest in prose(&text).split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            assert!(linked.exists(), "{}: {target} leads nowhere", path.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&linked).unwrap());
                assert!(there.contains(anchor), "{}: {target}: {there:?}", path.display());
            }
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn every_make_target_that_is_named_is_there() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<_> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '.', '#', ' ']))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    let mut named = BTreeSet::new();
    for (path, text) in documents() {
        for span in code(&text) {
            for command in span.split("&&") {
                let mut words = command
                    .split_whitespace()
                    .skip_while(|word| word.contains('=') || *word == "$");
                if words.next() != Some("make") {
                    continue;
                }
                for target in words
                    .take_while(|word| !word.starts_with('#'))
                    .filter(|word| !word.contains('='))
                {
                    assert!(targets.contains(target), "{}: make {target}", path.display());
                    named.insert(target.to_owned());
                }
            }
        }
    }
    assert!(named.len() >= 5, "{named:?}");
}

/// Long flags of a command and of everything below it.
fn flags(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|one| one.get_long());
    let mut all: BTreeSet<_> = own.map(|long| format!("--{long}")).collect();
    for below in command.get_subcommands() {
        all.extend(flags(below));
    }
    all
}

#[test]
fn every_flag_that_is_named_is_one_of_the_command() {
    let mut command = valence::cli::Valence::command();
    command.build();
    let known = flags(&command);
    let mut count = 0;
    for (path, text) in documents() {
        // The playground has a command of its own, and so have the benchmarks.
        let others = ["benchmark.md", "performance.md", "scale.md", "soak.md"];
        if path.starts_with(root().join("tests")) || others.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        for span in code(&text) {
            for part in span.split(['|', ';', '#']).flat_map(|part| part.split("&&")) {
                let words: Vec<_> = part.split_whitespace().collect();
                let ours = words
                    .first()
                    .is_some_and(|word| word.starts_with("--") && *word != "---")
                    || words.iter().take(2).any(|word| *word == "valence")
                    || part.contains("kubectl valence");
                if !ours {
                    continue;
                }
                for flag in words.iter().filter(|word| word.starts_with("--") && **word != "---") {
                    let flag = flag.split('=').next().unwrap();
                    count += 1;
                    assert!(known.contains(flag), "{}: {flag} in {span}", path.display());
                }
            }
        }
    }
    assert!(count >= 8, "{count}");
}

/// Every name of a metric in a text, as far as it is spelt out.
fn metrics(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (start, _) in text.match_indices("valence_") {
        if text[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[start..];
        let end = rest
            .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
            .unwrap_or(rest.len());
        all.insert(rest[..end].to_owned());
    }
    all
}

#[test]
fn every_metric_that_is_named_is_exposed() {
    let mut exposed = BTreeSet::new();
    for folder in ["src", "webhook/src", "certs/src"] {
        for path in files(&root().join(folder), ".rs") {
            let text = fs::read_to_string(path).unwrap();
            exposed.extend(
                text.split('"')
                    .skip(1)
                    .filter(|text| text.starts_with("valence_"))
                    .map(str::to_owned),
            );
        }
    }
    let mut texts = documents();
    for path in [
        files(&root().join("deploy/grafana"), ".json"),
        files(&root().join("deploy/alerts"), ".yml"),
    ]
    .concat()
    {
        let text = fs::read_to_string(&path).unwrap();
        texts.push((path, text));
    }
    let mut count = 0;
    for (path, text) in texts {
        for name in metrics(&text) {
            let plain = ["_bucket", "_sum", "_count", "_total"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            // `valence_original_*` and `valence_recommendations_{cpu,memory}` stand for several.
            let several = name.ends_with('_') && exposed.iter().any(|one| one.starts_with(&name));
            let known = exposed.contains(&name) || plain.is_some_and(|plain| exposed.contains(plain)) || several;
            // A crate, a variable of the environment in lower case, a label.
            let other = ["valence_webhook", "valence_certs", "valence_playground"].contains(&name.as_str());
            assert!(known || other, "{}: {name} is exposed nowhere", path.display());
            count += usize::from(known);
        }
    }
    assert!(count > 60, "{count}");
}

/// What is told about what callers may hold is what the code allows.
#[test]
fn bounds_that_are_told_are_those_of_the_code() {
    use valence::report::CONNECTIONS;
    use valence_webhook::{BOUNDS, MOST_BODY_BYTES, MOST_ELEMENTS, STREAMS};

    let text = fs::read_to_string(root().join(".github/SECURITY.md")).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let scraped = valence::scrape::exposition::Limits::default();
    for told in [
        format!("{} MiB a body", MOST_BODY_BYTES >> 20),
        format!("{} elements of lists and maps", thousands(MOST_ELEMENTS)),
        format!("{} MiB of bodies in all", BOUNDS.bytes >> 20),
        format!(
            "{} connections of one address, {} in all; {STREAMS} streams on one",
            BOUNDS.connections_each,
            thousands(BOUNDS.connections)
        ),
        format!(
            "{} connections of one address, {} in all, 10 seconds",
            CONNECTIONS.connections_each, CONNECTIONS.connections
        ),
        format!(
            "{} KiB a line, {} samples",
            scraped.line_bytes >> 10,
            thousands(scraped.samples)
        ),
    ] {
        assert!(text.contains(&told), "SECURITY.md does not say {told:?}");
    }
}

/// A number as people write it.
fn thousands(number: usize) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{},{:03}", number / 1000, number % 1000)
}
