//! The tools of `.ci/tools.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use valence_playground::tools::skipped;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A tool from `.tools/bin` or PATH; where it is missing, the test is skipped and says so.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(root().join(".tools/bin")).chain(std::env::split_paths(&path));
    let found = folders
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        skipped(
            test,
            name,
            &format!("there is no {name}; .ci/tools.sh {name} installs it"),
        );
    }
    found
}

/// Runs a tool in the repository and gives back its standard output.
pub fn run(tool: &Path, arguments: &[&str]) -> String {
    let output = outcome(tool, arguments);
    assert!(
        output.status.success(),
        "{} {}: {}{}",
        tool.display(),
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a tool in the repository.
pub fn outcome(tool: &Path, arguments: &[&str]) -> Output {
    Command::new(tool).args(arguments).current_dir(root()).output().unwrap()
}
