//! Many requests, a few at a time.

use futures::future::BoxFuture;
use futures::{StreamExt, stream};

/// Runs futures, at most `at_once` of them at any time; their results come in the order in which they end.
pub(crate) async fn concurrently<'a, T: 'a>(at_once: usize, futures: Vec<BoxFuture<'a, T>>) -> Vec<T> {
    stream::iter(futures).buffer_unordered(at_once).collect().await
}
