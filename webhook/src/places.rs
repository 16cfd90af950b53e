//! How many connections may be open, and how much may be held of what they send: by one caller, and in all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// A body up to this size finds room where larger ones no longer do, in bytes: few reviews are larger.
const SMALL: usize = 256 << 10;

/// What callers may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections of one address.
    pub connections_each: usize,
    /// Connections in all.
    pub connections: usize,
    /// Bytes of requests that are held at a time, in all. One address gets a quarter of them, and bodies of more than
    /// 256 KiB three quarters.
    pub bytes: usize,
}

/// Counts open connections by the address of their other end. Where there are too many, the one that was of use the
/// longest ago, of the address that holds most, makes room for a new one: whoever takes all places loses them to others.
#[derive(Debug)]
pub struct Places {
    bounds: Bounds,
    addresses: Mutex<HashMap<IpAddr, Address>>,
    bytes: AtomicUsize,
}

/// What one address holds.
#[derive(Debug, Default)]
struct Address {
    seats: Vec<Arc<Seat>>,
    bytes: Arc<AtomicUsize>,
}

/// What is known of a connection.
#[derive(Debug)]
struct Seat {
    taken: Instant,
    /// Milliseconds between that and its last use, 0 when there was none.
    used: AtomicU64,
    /// Requests under way.
    busy: AtomicUsize,
    leave: CancellationToken,
}

impl Seat {
    fn last_use(&self) -> Option<Instant> {
        let used = self.used.load(Ordering::Relaxed);
        (used > 0).then(|| self.taken + Duration::from_millis(used))
    }

    /// Who is to go first: the idle before the busy, and of those the one that was of use the longest ago.
    fn rank(&self) -> (bool, Instant) {
        let busy = self.busy.load(Ordering::Relaxed) > 0;
        (busy, self.last_use().unwrap_or(self.taken))
    }
}

/// One open connection; dropping it makes room.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    caller: IpAddr,
    seat: Arc<Seat>,
    bytes: Arc<AtomicUsize>,
}

impl Places {
    /// With nobody in them.
    #[must_use]
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            addresses: Mutex::default(),
            bytes: AtomicUsize::new(0),
        })
    }

    /// A place for a caller, if need be that of another connection.
    #[must_use]
    pub fn take(self: &Arc<Self>, caller: IpAddr) -> Arc<Place> {
        self.take_at(caller, Instant::now())
    }

    fn take_at(self: &Arc<Self>, caller: IpAddr, now: Instant) -> Arc<Place> {
        let seat = Arc::new(Seat {
            taken: now,
            used: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            leave: CancellationToken::new(),
        });
        let mut addresses = self.addresses.lock();
        let own = addresses.get(&caller).map_or(0, |own| own.seats.len());
        if own >= self.bounds.connections_each {
            make_room(&mut addresses, caller);
        } else if addresses.values().map(|held| held.seats.len()).sum::<usize>() >= self.bounds.connections
            && let Some(greedy) = greediest(&addresses)
        {
            make_room(&mut addresses, greedy);
        }
        let address = addresses.entry(caller).or_default();
        address.seats.push(Arc::clone(&seat));
        Arc::new(Place {
            places: Arc::clone(self),
            caller,
            seat,
            bytes: Arc::clone(&address.bytes),
        })
    }
}

/// The address that holds most; of several, that of the connection that is to go first.
fn greediest(addresses: &HashMap<IpAddr, Address>) -> Option<IpAddr> {
    let most = addresses.values().map(|held| held.seats.len()).max()?;
    let greedy = addresses.iter().filter(|(_, held)| held.seats.len() == most);
    let first = greedy.min_by_key(|(_, held)| held.seats.iter().map(|seat| seat.rank()).min());
    first.map(|(address, _)| *address)
}

fn make_room(addresses: &mut HashMap<IpAddr, Address>, from: IpAddr) {
    let Some(held) = addresses.get_mut(&from) else { return };
    let first = held.seats.iter().enumerate().min_by_key(|(_, seat)| seat.rank());
    if let Some(position) = first.map(|(position, _)| position) {
        held.seats.swap_remove(position).leave.cancel();
    }
}

impl Place {
    /// Ends when the connection has to make room for another.
    pub async fn lost(&self) {
        self.seat.leave.cancelled().await;
    }

    /// When the place was taken.
    #[must_use]
    pub fn taken(&self) -> Instant {
        self.seat.taken
    }

    /// When the connection was last of use, if ever.
    #[must_use]
    pub fn last_use(&self) -> Option<Instant> {
        self.seat.last_use()
    }

    /// Notes that the connection was of use just now.
    pub fn used(&self) {
        self.used_at(Instant::now());
    }

    pub(crate) fn used_at(&self, now: Instant) {
        let after = now.duration_since(self.seat.taken).as_millis().max(1);
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.seat.used.store(after, Ordering::Relaxed);
    }

    /// Begins a request.
    #[must_use]
    pub fn request(self: &Arc<Self>) -> Load {
        self.seat.busy.fetch_add(1, Ordering::Relaxed);
        Load {
            place: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.places.addresses.lock();
        if let Some(held) = addresses.get_mut(&self.caller) {
            held.seats.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
            if held.seats.is_empty() {
                addresses.remove(&self.caller);
            }
        }
    }
}

/// A request under way and what is held of it; dropping it ends it.
#[derive(Debug)]
pub struct Load {
    place: Arc<Place>,
    bytes: usize,
}

impl Load {
    /// Bytes that are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds more bytes, where there is room for them.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let all = self.place.places.bounds.bytes;
        let most = if self.bytes + more > SMALL { all / 4 * 3 } else { all };
        let fits = add(&self.place.bytes, more, all / 4) && {
            let fits = add(&self.place.places.bytes, more, most);
            if !fits {
                self.place.bytes.fetch_sub(more, Ordering::Relaxed);
            }
            fits
        };
        self.bytes += if fits { more } else { 0 };
        fits
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.place.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.place.places.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.place.seat.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds to a sum that stays within a bound; no lock, for every request passes here.
fn add(sum: &AtomicUsize, more: usize, most: usize) -> bool {
    let fits = sum.fetch_add(more, Ordering::Relaxed) + more <= most;
    if !fits {
        sum.fetch_sub(more, Ordering::Relaxed);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections_each: 2,
        connections: 3,
        bytes: 4 << 20,
    };

    fn addresses() -> [IpAddr; 3] {
        [1, 2, 3].map(|host| IpAddr::from([10, 0, 0, host]))
    }

    fn is_lost(place: &Place) -> bool {
        place.seat.leave.is_cancelled()
    }

    #[test]
    fn whoever_holds_most_makes_room() {
        let (places, start) = (Places::new(BOUNDS), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let [greedy, other, third] = addresses();
        let first = places.take_at(greedy, at(0));
        let second = places.take_at(greedy, at(1));
        first.used_at(at(2));
        let of_other = places.take_at(other, at(2));
        let of_third = places.take_at(third, at(3));
        assert!(is_lost(&second), "it was never of use");
        assert!(!is_lost(&first) && !is_lost(&of_other) && !is_lost(&of_third));
        // Now each holds one, and the one that was of use the longest ago goes.
        first.used_at(at(4));
        let of_fourth = places.take_at([10, 0, 0, 4].into(), at(4));
        let lost = [&first, &of_other, &of_third, &of_fourth].map(|place| is_lost(place));
        assert_eq!(lost, [false, true, false, false]);
        drop((second, of_other, of_third, of_fourth));
        assert_eq!(places.addresses.lock().len(), 1, "who holds none is forgotten");
    }

    #[test]
    fn one_caller_makes_room_for_itself() {
        let places = Places::new(BOUNDS);
        let [greedy, ..] = addresses();
        let (first, second) = (places.take(greedy), places.take(greedy));
        let _busy = first.request();
        let _third = places.take(greedy);
        assert!(!is_lost(&first) && is_lost(&second), "the idle go before the busy");
    }

    #[test]
    fn bytes_are_shared() {
        let places = Places::new(BOUNDS);
        let held = addresses().map(|address| places.take(address));
        let mut loads = held.each_ref().map(|place| place.request());
        assert!(loads.iter_mut().all(|load| load.grow(1 << 20)));
        assert!(!loads[0].grow(1), "a quarter is one address's share");
        let fourth = places.take([10, 0, 0, 4].into());
        let mut load = fourth.request();
        assert!(!load.grow(SMALL + 1), "the last quarter is for small bodies");
        assert!(load.grow(SMALL));
        assert_eq!(load.bytes(), SMALL);
        drop(loads);
        let mut again = held[0].request();
        assert!(again.grow(1 << 20));
        drop((again, load));
        assert_eq!(places.bytes.load(Ordering::Relaxed), 0);
    }
}
