//! How many connections each remote address has open, so that one caller cannot take all slots.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::remote::network_of;

/// The connections that are open, by the network of their address ([`network_of`]).
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    /// Only addresses with a connection are here, so it is bounded by the slots.
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// At most `most` connections an address.
    pub fn new(most: usize) -> Arc<Crowd> {
        Arc::new(Crowd {
            most,
            open: Mutex::default(),
        })
    }

    /// A place for one more connection from `ip`; `None` when it has all that it may.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let address = network_of(ip);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&address).copied().unwrap_or_default();
        if count >= self.most {
            return None;
        }
        open.insert(address, count + 1);
        Some(Place {
            crowd: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = &self.crowd.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_no_more() {
        let crowd = Crowd::new(2);
        let enter = |ip: &str| crowd.enter(ip.parse().unwrap());
        let first = enter("203.0.113.9");
        let second = enter("::ffff:203.0.113.9");
        assert!(first.is_some() && second.is_some());
        assert!(enter("203.0.113.9").is_none());
        assert!(enter("203.0.113.8").is_some());
        drop(first);
        let third = enter("203.0.113.9");
        assert!(third.is_some() && enter("203.0.113.9").is_none());
        drop((second, third));
        assert!(crowd.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let crowd = Crowd::new(1);
        let place = crowd.enter("2001:db8::1".parse().unwrap());
        assert!(place.is_some());
        assert!(
            crowd
                .enter("2001:db8::ffff:0:0:2".parse().unwrap())
                .is_none()
        );
        assert!(crowd.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
