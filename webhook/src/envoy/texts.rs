//! Bootstraps as text, made once for each kind of sidecar: pods of one Deployment share theirs.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;

use super::{Proxy, bootstrap};

/// Most texts that are kept, each of about 5 KB.
const MOST_TEXTS: usize = 2048;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    port: u16,
    all_families: bool,
    objectives: Vec<u64>,
}

impl From<&Proxy> for Key {
    fn from(proxy: &Proxy) -> Self {
        Self {
            port: proxy.application_port,
            all_families: proxy.all_families,
            objectives: proxy
                .objectives_seconds
                .iter()
                .map(|seconds| seconds.to_bits())
                .collect(),
        }
    }
}

type Texts = HashMap<Key, Arc<str>>;

/// Read without a lock; a new text replaces the map, and two that come at once may both be made.
static TEXTS: LazyLock<ArcSwap<Texts>> = LazyLock::new(ArcSwap::default);

/// The bootstrap of a sidecar as text.
#[must_use]
pub fn bootstrap_text(proxy: &Proxy) -> Arc<str> {
    let key = Key::from(proxy);
    let texts = TEXTS.load();
    if let Some(text) = texts.get(&key) {
        return Arc::clone(text);
    }
    let text: Arc<str> = bootstrap(proxy).to_string().into();
    let mut more = if texts.len() < MOST_TEXTS {
        Texts::clone(&texts)
    } else {
        Texts::new()
    };
    more.insert(key, Arc::clone(&text));
    TEXTS.store(Arc::new(more));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_that_of_its_own_sidecar() {
        let proxy = |port: u16, seconds: f64| Proxy {
            application_port: port,
            objectives_seconds: vec![seconds],
            all_families: false,
        };
        for port in 1..=2100 {
            let proxy = proxy(port, f64::from(port) / 1000.0);
            assert_eq!(*bootstrap_text(&proxy), *bootstrap(&proxy).to_string());
        }
        assert!(TEXTS.load().len() <= MOST_TEXTS);
        assert!(Arc::ptr_eq(
            &bootstrap_text(&proxy(2100, 2.1)),
            &bootstrap_text(&proxy(2100, 2.1))
        ));
    }
}
