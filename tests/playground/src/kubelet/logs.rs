//! What containers print, kept in memory.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Lines kept of each container.
const LINES: usize = 4000;

/// The log of one container: its present instance and the one before.
#[derive(Default)]
pub struct Log {
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    present: VecDeque<String>,
    previous: Option<VecDeque<String>>,
}

impl Log {
    /// Adds a line.
    pub fn push(&self, line: impl Into<String>) {
        let mut lines = self.lines.lock();
        if lines.present.len() == LINES {
            lines.present.pop_front();
        }
        lines.present.push_back(line.into());
    }

    /// Begins the log of the next instance.
    pub fn turn(&self) {
        let mut lines = self.lines.lock();
        let ended = std::mem::take(&mut lines.present);
        lines.previous = Some(ended);
    }

    /// The text, or its last lines; `None` for the previous instance where there was none.
    pub fn text(&self, previous: bool, tail: Option<usize>) -> Option<String> {
        let lines = self.lines.lock();
        let lines = if previous {
            lines.previous.as_ref()?
        } else {
            &lines.present
        };
        let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        Some(
            lines
                .iter()
                .skip(skipped)
                .fold(String::new(), |text, line| text + line + "\n"),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_previous_instance_is_kept_apart() {
        let log = Log::default();
        assert_eq!(log.text(true, None), None);
        log.push("one");
        log.push("two");
        log.turn();
        log.push("three");
        assert_eq!(log.text(true, Some(1)).unwrap(), "two\n");
        assert_eq!(log.text(false, None).unwrap(), "three\n");
    }

    #[test]
    fn old_lines_are_dropped() {
        let log = Log::default();
        (0..LINES + 5).for_each(|number| log.push(number.to_string()));
        assert!(log.text(false, None).unwrap().starts_with("5\n"));
    }
}
