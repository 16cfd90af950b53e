//! An error with its causes.

use std::error::Error;

/// What an error says and then each of its causes, as far as it was not said before: some libraries put the text of a
/// cause into their own.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let error = anyhow!("refused").context("connecting: refused").context("no cluster");
        assert_eq!(causes(error.as_ref()), "no cluster: connecting: refused");
    }
}
