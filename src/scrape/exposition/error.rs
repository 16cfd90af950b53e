//! Where and why an exposition was not understood.

/// A line that was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Longer than the limit.
    #[error("too long")]
    LineTooLong,
    /// More samples than the limit.
    #[error("too many samples")]
    TooManySamples,
    /// The text ends within a line.
    #[error("the last line is cut short")]
    Unfinished,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// No metric name at its beginning.
    #[error("no metric name")]
    Name,
    /// A label name is missing or has a character that it must not have.
    #[error("malformed label name")]
    LabelName,
    /// A label value without quotes around it.
    #[error("label value is not quoted")]
    LabelValue,
    /// Something between labels that is not a comma, or no closing brace.
    #[error("labels are not closed")]
    Labels,
    /// The value is missing or not a number.
    #[error("malformed value")]
    Value,
    /// The timestamp is not a number.
    #[error("malformed timestamp")]
    Timestamp,
    /// Something follows `# EOF`.
    #[error("something follows the end")]
    AfterEnd,
    /// Something follows the sample that is no exemplar.
    #[error("malformed exemplar")]
    Exemplar,
}
