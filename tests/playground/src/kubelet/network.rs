//! Addresses: each playground owns one /16 of the loopback network, each pod one address of it.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;
use parking_lot::Mutex;

/// The port by whose binding a playground claims its network.
const CLAIM: u16 = 10250;

/// A network 127.N.0.0/16 that no other playground on this machine uses.
pub struct Network {
    second: u8,
    pods: Mutex<Pool>,
    /// Holds the claim.
    _claim: TcpListener,
}

#[derive(Default)]
struct Pool {
    used: HashMap<String, Ipv4Addr>,
    taken: BTreeSet<u16>,
    next: u16,
}

/// Host numbers of pods: 127.N.1.0 to 127.N.127.255.
const FIRST: u16 = 0x0100;
const LAST: u16 = 0x7fff;

impl Network {
    /// Claims the first free network of 127.64.0.0 to 127.127.0.0.
    ///
    /// # Errors
    /// When all of them are in use.
    pub fn claim() -> anyhow::Result<Self> {
        let claimed = (64..128u8).find_map(|second| {
            let claim = TcpListener::bind((Ipv4Addr::new(127, second, 0, 1), CLAIM)).ok()?;
            Some((second, claim))
        });
        let (second, claim) = claimed.context("64 playgrounds run already: no loopback network is free")?;
        Ok(Self {
            second,
            pods: Mutex::default(),
            _claim: claim,
        })
    }

    /// The node's own address.
    pub fn node(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// The network as CIDR.
    pub fn cidr(&self) -> String {
        format!("127.{}.0.0/16", self.second)
    }

    fn address(&self, host: u16) -> Ipv4Addr {
        let [third, fourth] = host.to_be_bytes();
        Ipv4Addr::new(127, self.second, third, fourth)
    }

    /// The address of a pod, the same for the same UID. Addresses are used in turn, so that one comes back late.
    ///
    /// # Errors
    /// When every address is in use.
    pub fn pod(&self, uid: &str) -> anyhow::Result<Ipv4Addr> {
        let mut pool = self.pods.lock();
        if let Some(address) = pool.used.get(uid) {
            return Ok(*address);
        }
        let start = pool.next.max(FIRST);
        let mut hosts = (start..=LAST)
            .chain(FIRST..start)
            .filter(|host| !matches!(host & 0xff, 0 | 255));
        let host = hosts
            .find(|host| !pool.taken.contains(host))
            .context("no pod address is free")?;
        pool.taken.insert(host);
        pool.next = host + 1;
        let address = self.address(host);
        pool.used.insert(uid.to_owned(), address);
        Ok(address)
    }

    /// Takes a pod's address back.
    pub fn release(&self, uid: &str) {
        let mut pool = self.pods.lock();
        if let Some(address) = pool.used.remove(uid) {
            let [_, _, third, fourth] = address.octets();
            pool.taken.remove(&u16::from_be_bytes([third, fourth]));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_playgrounds_have_two_networks() {
        let (one, two) = (Network::claim().unwrap(), Network::claim().unwrap());
        assert_ne!(one.node(), two.node());
    }

    #[test]
    fn a_pod_keeps_its_address_and_a_released_one_comes_back_late() {
        let network = Network::claim().unwrap();
        let first = network.pod("a").unwrap();
        assert_eq!(network.pod("a").unwrap(), first);
        network.release("a");
        assert_ne!(network.pod("b").unwrap(), first);
    }
}
