//! What a visitor may see of a thing, and where its pages are.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::domain::address;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The path of the pages, without a slash at its end.
    pub base: &'static str,
    /// Tenants are named.
    pub tenants: bool,
    /// The addresses that were dialled, and details of faults, which may name some.
    pub addresses: bool,
    /// What the operator has set up: URLs and rules of endpoints in the configuration file, sources,
    /// and what the app says about an event to outboxd alone.
    pub setup: bool,
    pub responses: Responses,
}

/// Whose responses are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responses {
    All,
    /// Those from public addresses which no grant of the configuration holds.
    Public {
        grants: Arc<[IpNet]>,
    },
}

impl Responses {
    /// Whether a response from this address is shown.
    pub fn show(&self, from: Option<IpAddr>) -> bool {
        match (self, from) {
            (Responses::All, _) => true,
            // Through a proxy the address is not known.
            (Responses::Public { .. }, None) => false,
            (Responses::Public { grants }, Some(ip)) => {
                let ip = ip.to_canonical();
                address::special(ip).is_none() && !grants.iter().any(|grant| grant.contains(&ip))
            }
        }
    }
}

impl Sight {
    /// Everything.
    pub const fn whole(base: &'static str) -> Sight {
        Sight {
            base,
            tenants: true,
            addresses: true,
            setup: true,
            responses: Responses::All,
        }
    }

    /// What a customer sees of their own tenant.
    pub fn of_tenant(base: &'static str, grants: Arc<[IpNet]>) -> Sight {
        Sight {
            base,
            tenants: false,
            addresses: false,
            setup: false,
            responses: Responses::Public { grants },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_sees_responses_of_public_addresses_alone() {
        let grants = Arc::from(["198.41.0.0/24".parse().unwrap()]);
        let sight = Sight::of_tenant("/portal", grants);
        for (ip, expected) in [
            ("8.8.8.8", true),
            ("2606:4700::1111", true),
            ("198.41.0.4", false),
            ("::ffff:198.41.0.4", false),
            ("10.0.0.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(sight.responses.show(Some(ip)), expected, "{ip}");
            assert!(Responses::All.show(Some(ip)), "{ip}");
        }
        assert!(!sight.responses.show(None) && Responses::All.show(None));
    }
}
