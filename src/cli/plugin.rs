//! What the command is called: `valence`, or `kubectl-valence` and `kubectl_complete-valence`, which are how kubectl
//! finds a plugin and asks for its completions.

use std::ffi::OsString;
use std::path::Path;

use clap::builder::StyledStr;
use clap::{Arg, Command};

/// Tells kubectl's shell that no file names are wanted.
const NO_FILES: &str = ":4";

/// What a call by some name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The command.
    Valence,
    /// The same as a plugin.
    Plugin,
    /// A shell that asks how a line of `kubectl valence` may go on.
    Completion,
}

impl Called {
    /// By the name of the program.
    #[must_use]
    pub fn by(program: Option<&OsString>) -> Self {
        let stem = program.and_then(|program| Path::new(program).file_stem());
        match stem.and_then(|stem| stem.to_str()) {
            Some("kubectl-valence") => Self::Plugin,
            Some("kubectl_complete-valence") => Self::Completion,
            _ => Self::Valence,
        }
    }

    /// The name in usages.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self == Self::Valence {
            "valence"
        } else {
            "kubectl valence"
        }
    }
}

/// How a line may go on, as kubectl reads it: a word and what it means, with a tab between, and a directive at the end.
#[must_use]
pub fn completions(root: &Command, words: &[String]) -> String {
    let (last, before) = words
        .split_last()
        .map_or(("", words), |(last, before)| (last.as_str(), before));
    let mut command = root;
    for word in before {
        command = command.find_subcommand(word).unwrap_or(command);
    }
    let option = before.last().and_then(|word| option(command, word));
    let all = match option {
        Some(option) => values(option),
        None if last.starts_with('-') => options(command),
        None => subcommands(command),
    };
    let fitting = all.into_iter().filter(|(word, _)| word.starts_with(last));
    let lines = fitting.map(|(word, about)| format!("{word}\t{about}\n"));
    lines.collect::<String>() + NO_FILES + "\n"
}

type Candidate = (String, String);

fn first_line(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn subcommands(command: &Command) -> Vec<Candidate> {
    let visible = command.get_subcommands().filter(|one| !one.is_hide_set());
    let mut all: Vec<_> = visible
        .map(|one| (one.get_name().to_owned(), first_line(one.get_about())))
        .collect();
    all.extend(command.get_positionals().flat_map(values));
    all
}

fn options(command: &Command) -> Vec<Candidate> {
    let visible = command.get_arguments().filter(|one| !one.is_hide_set());
    visible
        .filter_map(|one| Some((format!("--{}", one.get_long()?), first_line(one.get_help()))))
        .collect()
}

/// The option that a word names, where its value is yet to come.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let named = |one: &&Arg| {
        one.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
            || one
                .get_short()
                .is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str()))
    };
    command
        .get_arguments()
        .filter(|one| one.get_action().takes_values())
        .find(named)
}

fn values(argument: &Arg) -> Vec<Candidate> {
    let all = argument.get_possible_values();
    all.iter()
        .map(|value| (value.get_name().to_owned(), first_line(value.get_help())))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Valence;

    fn after(line: &str) -> Vec<String> {
        let mut root = Valence::command();
        root.build();
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let text = completions(&root, &words);
        text.lines()
            .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn a_line_goes_on_as_the_command_allows() {
        assert_eq!(after("ex"), ["explain", "export", NO_FILES]);
        assert_eq!(after("slo im"), ["import", NO_FILES]);
        assert_eq!(after("status --all"), ["--all-namespaces", NO_FILES]);
        assert_eq!(after("status -o j"), ["json", NO_FILES]);
        assert_eq!(after("completions f"), ["fish", NO_FILES]);
        assert!(after("").contains(&"check".to_owned()));
    }

    #[test]
    fn a_name_says_what_is_wanted() {
        let by = |name: &str| Called::by(Some(&OsString::from(name)));
        assert_eq!(by("/usr/bin/valence"), Called::Valence);
        assert_eq!(by("/usr/bin/kubectl-valence"), Called::Plugin);
        assert_eq!(by("kubectl_complete-valence"), Called::Completion);
        assert_eq!(Called::by(None), Called::Valence);
    }
}
