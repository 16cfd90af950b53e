//! What commands read.

use std::io::Read;
use std::path::Path;

use anyhow::Context;

/// The text of a file, or of the standard input for `-`.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn text(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}
