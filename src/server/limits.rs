//! How much clients may ask for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much clients may ask for, all together and each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How many may be connected.
    pub clients: usize,
    /// How many of them from one address.
    pub clients_per_address: usize,
    /// How long the handshake may take: TLS, and the header of a request.
    pub handshake: Duration,
    /// The largest message of a client, in bytes.
    pub message_bytes: usize,
    /// How many messages a client may send in a second, in the long run.
    pub messages_per_second: u32,
    /// How many bytes of messages may wait for all clients together; shared out among them.
    pub total_buffer: usize,
    /// After how long a silence a client is pinged, and given up after three such pings. Zero for never.
    pub ping: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            clients: 1000,
            clients_per_address: 1000,
            handshake: Duration::from_secs(10),
            message_bytes: 4 * 1024 * 1024,
            messages_per_second: 1000,
            total_buffer: 512 * 1024 * 1024,
            ping: Duration::from_secs(20),
        }
    }
}

/// The least that may wait for a client, in bytes, however many there are.
const LEAST_BUFFER: usize = 1024 * 1024;

impl Limits {
    /// How many bytes may wait for each of so many clients, where it is no more than `most` for any.
    pub(super) fn share(&self, clients: usize, most: usize) -> usize {
        (self.total_buffer / clients.max(1)).max(LEAST_BUFFER).min(most)
    }
}

/// For how many seconds' worth of messages a client may send at once: it subscribes to many topics one by one.
const BURST_SECONDS: u32 = 5;

/// Counts the messages of a client: what it may send at once comes back with time.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Allowance { per_second, left: per_second * f64::from(BURST_SECONDS), at: now }
    }

    /// Takes one message. Says whether it may be.
    pub fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.left = (self.left + gained).min(self.per_second * f64::from(BURST_SECONDS)) - 1.0;
        self.left >= 0.0
    }
}

/// Counts who is there, in all and from each address: clients, connections, streams of events.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one of them; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Full {
    /// All places are taken, of which there are so many.
    All(usize),
    /// All those for one address are.
    Address(usize),
}

impl Places {
    /// So many places, and so many of them for one address.
    pub fn new(all: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Places { all, per_address, taken: Mutex::default() })
    }

    /// A place for somebody from this address.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let mut taken = self.lock();
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.all >= self.all {
            return Err(Full::All(self.all));
        }
        if here >= self.per_address {
            return Err(Full::Address(self.per_address));
        }
        taken.all += 1;
        taken.by_address.insert(address, here + 1);
        Ok(Place { places: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing that holds it panics.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_comes_back_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance::new(10, start);
        assert!((0..50).all(|_| allowance.take(start)));
        assert!(!allowance.take(start));
        let later = start + Duration::from_secs(1);
        assert!((0..8).all(|_| allowance.take(later)));
        assert!(!(0..3).all(|_| allowance.take(later)));
    }

    #[test]
    fn places_are_given_back() {
        let places = Places::new(3, 2);
        let [here, there] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let mut taken = vec![places.take(here).unwrap(), places.take(here).unwrap()];
        assert_eq!(places.take(here).err(), Some(Full::Address(2)));
        taken.push(places.take(there).unwrap());
        assert_eq!(places.take(there).err(), Some(Full::All(3)));
        taken.clear();
        assert!(places.take(here).is_ok());
        assert!(places.lock().by_address.is_empty());
    }

    #[test]
    fn the_buffer_is_shared_out() {
        let limits = Limits { total_buffer: 64 << 20, ..Limits::default() };
        assert_eq!(limits.share(0, 32 << 20), 32 << 20);
        assert_eq!(limits.share(2, 32 << 20), 32 << 20);
        assert_eq!(limits.share(4, 32 << 20), 16 << 20);
        assert_eq!(limits.share(1000, 32 << 20), 1 << 20);
        assert_eq!(limits.share(1000, 1 << 10), 1 << 10);
    }
}
