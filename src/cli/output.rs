//! What every command does with its results and its errors.

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::causes::causes;

/// A runtime with that many worker threads; 0 means the calling thread alone.
///
/// # Errors
/// When the system refuses the threads.
pub fn runtime(threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = if threads == 0 {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    if threads > 0 {
        builder.worker_threads(threads);
    }
    Ok(builder.enable_all().build()?)
}

/// Writes a result to the standard output. A reader that went away, as `head` does, is not an error.
///
/// # Errors
/// When the standard output cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Tells a person something beside the result.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Reports an error with its causes in one line and the exit code for it.
#[must_use]
pub fn fail(error: &anyhow::Error) -> ExitCode {
    // Nothing is left to tell if the standard error is gone too.
    let _ = writeln!(io::stderr(), "error: {}", causes(error.as_ref()));
    ExitCode::FAILURE
}
