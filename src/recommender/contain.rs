//! A fault over one workload stays with it: it takes neither the models of others nor admission down.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::error;

use super::subjects::Key;

/// Does some work on what belongs to one workload; `None` where it failed by a fault of our own. What it worked on is then
/// not to be used any more.
pub fn contained<T>(key: &Key, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        error!(
            namespace = key.0,
            name = key.1,
            "a fault over this Deployment; its model begins anew from its checkpoint"
        );
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_no_end() {
        let key = ("shop".to_owned(), "web".to_owned());
        assert_eq!(contained(&key, || 7), Some(7));
        assert_eq!(contained::<u32>(&key, || panic!("as a fault would")), None);
    }
}
