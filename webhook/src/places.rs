//! How many connections may be open: by one caller, and in all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts open connections by the address of their other end. Whoever has too many gets no more, and others still do.
#[derive(Debug)]
pub struct Places {
    each: usize,
    all: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection; dropping it makes room.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    caller: IpAddr,
}

impl Places {
    /// At most `each` connections from one address, and `all` together.
    #[must_use]
    pub fn new(each: usize, all: usize) -> Arc<Self> {
        Arc::new(Self {
            each,
            all,
            held: Mutex::default(),
        })
    }

    /// A place for a caller, if there is one.
    #[must_use]
    pub fn take(self: &Arc<Self>, caller: IpAddr) -> Option<Place> {
        let mut held = self.held.lock();
        let own = held.get(&caller).copied().unwrap_or_default();
        if own >= self.each || held.values().sum::<usize>() >= self.all {
            return None;
        }
        held.insert(caller, own + 1);
        Some(Place {
            places: Arc::clone(self),
            caller,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held.lock();
        if let Some(own) = held.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_caller_cannot_take_the_places_of_others() {
        let places = Places::new(2, 3);
        let [greedy, other, third] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());
        let first = places.take(greedy).unwrap();
        let _second = places.take(greedy).unwrap();
        assert!(places.take(greedy).is_none());
        let _of_other = places.take(other).unwrap();
        assert!(places.take(third).is_none(), "all are taken");
        drop(first);
        assert!(places.take(third).is_some());
        assert_eq!(places.held.lock().len(), 2, "who holds none is forgotten");
    }
}
