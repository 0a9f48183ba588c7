//! A bound on the connections of one address, so that one client cannot take the places of all others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of one address. Alertmanager needs one for each group that it sends at the same moment.
pub const MOST: usize = 8;

/// How many connections each address has. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// The seat of one connection, free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    peers: Peers,
    address: IpAddr,
}

impl Peers {
    /// A seat for one more connection of this address; none if it has [`MOST`].
    pub fn seat(&self, address: IpAddr) -> Option<Seat> {
        // The same client is not two: an IPv4 address may be written as one of IPv6.
        let address = address.to_canonical();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(address).or_default();
        if *taken >= MOST {
            return None;
        }
        *taken += 1;
        drop(all);
        Some(Seat { peers: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_few_seats_of_its_own_and_nothing_is_kept_of_those_that_left() {
        let peers = Peers::default();
        let [one, mapped, other] =
            ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let mut seats: Vec<Seat> = (0..MOST).map(|_| peers.seat(one).unwrap()).collect();
        assert!(peers.seat(one).is_none() && peers.seat(mapped).is_none());
        assert!(peers.seat(other).is_some());
        seats.pop();
        seats.push(peers.seat(mapped).unwrap());
        assert!(peers.seat(one).is_none());
        seats.clear();
        assert!(peers.0.lock().unwrap().is_empty());
    }
}
