//! Tools that tests run where they are there.

use std::io::Write;

/// Names of tools, with spaces between, without which a test fails where it would be skipped.
const REQUIRED: &str = "VALENCE_REQUIRE_TOOLS";

/// Says that a test is skipped for want of a tool: past the test runner, which keeps to itself what a test that passes
/// prints.
///
/// # Panics
/// Where `VALENCE_REQUIRE_TOOLS` names the tool: it was installed there, so a skip would be a failure that nobody sees.
pub fn skipped(test: &str, tool: &str, why: &str) {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    assert!(
        !required.split_whitespace().any(|name| name == tool),
        "{test} needs {tool}: {why}"
    );
    let _ = writeln!(std::io::stderr(), "skipped: {test} ({why})");
}
