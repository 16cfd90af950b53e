//! The state of the model as one short, versioned line of text.

/// Version of the format; another one is not restored.
pub const VERSION: u32 = 1;

/// Why a checkpoint could not be restored. The model then starts cold.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It was written by another version.
    #[error("checkpoint has version {found:?}, this build reads version {VERSION}")]
    Version {
        /// What stands before the first colon.
        found: String,
    },
    /// It cannot be read.
    #[error("checkpoint cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A number in it is out of range.
    #[error("checkpoint holds a value out of range: {0}")]
    Invalid(&'static str),
}
