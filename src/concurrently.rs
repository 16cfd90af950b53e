//! Many requests, a few at a time.

use futures::future::BoxFuture;
use futures::{StreamExt, stream};

/// Runs futures, at most `at_once` of them at any time; their results come in the order in which they end.
pub(crate) fn concurrently<'a, T: 'a>(
    at_once: usize,
    futures: impl Iterator<Item = BoxFuture<'a, T>>,
) -> impl Future<Output = Vec<T>> {
    // Made at once: a future that holds an iterator of closures cannot be shown to be `Send`.
    let futures: Vec<_> = futures.collect();
    stream::iter(futures).buffer_unordered(at_once).collect()
}
