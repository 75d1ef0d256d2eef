//! Which endpoints want an event: an index by tenant and type, so that the cost of a
//! match follows the number of endpoints that want it and not of those there are.
//!
//! A pattern costs a hash and a number: a hundred thousand endpoints of as many tenants
//! are a few megabytes. A match of
//! hashes is checked against the endpoint itself, so that a collision never gives a tenant
//! the events of another.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use super::endpoint::{EndpointNo, TypePattern};
use super::event::{EventType, RESERVED_PREFIX, Tenant};

/// The subscriptions of all endpoints. Changed in place: built anew for each change, ten
/// thousand new endpoints would cost the square of that.
#[derive(Debug, Default)]
pub struct Subscriptions {
    patterns: BTreeSet<(u64, EndpointNo)>,
    hash: RandomState,
}

const ANY: (u8, &str) = (0, "");
const EXACT: u8 = 1;
/// With its dot.
const PREFIX: u8 = 2;

impl Subscriptions {
    /// Takes in an endpoint's patterns.
    pub fn add(&mut self, no: EndpointNo, tenant: &Tenant, types: &[TypePattern]) {
        for pattern in types {
            let hash = self.hash_of(tenant, spelled(pattern));
            self.patterns.insert((hash, no));
        }
    }

    /// Takes out an endpoint that was added with these patterns.
    pub fn remove(&mut self, no: EndpointNo, tenant: &Tenant, types: &[TypePattern]) {
        for pattern in types {
            let hash = self.hash_of(tenant, spelled(pattern));
            self.patterns.remove(&(hash, no));
        }
    }

    /// The endpoints of `tenant` that want `event_type`, each once, in order of their
    /// numbers. `wants` says whether an endpoint that may want it really does.
    pub fn matching(
        &self,
        tenant: &Tenant,
        event_type: &EventType,
        wants: impl Fn(EndpointNo) -> bool,
    ) -> Vec<EndpointNo> {
        if self.patterns.is_empty() {
            return Vec::new();
        }
        let name = event_type.as_str();
        let reserved = event_type.is_reserved();
        let mut found = Vec::new();
        let mut look_up = |pattern| {
            let hash = self.hash_of(tenant, pattern);
            let range = (hash, EndpointNo(0))..=(hash, EndpointNo(u32::MAX));
            let numbers = self.patterns.range(range).map(|(_, no)| *no);
            found.extend(numbers.filter(|no| wants(*no)));
        };
        if !reserved {
            look_up(ANY);
        }
        look_up((EXACT, name));
        for (dot, _) in name.match_indices('.') {
            let prefix = &name[..=dot];
            if !reserved || prefix.starts_with(RESERVED_PREFIX) {
                look_up((PREFIX, prefix));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn hash_of(&self, tenant: &Tenant, pattern: (u8, &str)) -> u64 {
        self.hash.hash_one((tenant.as_str(), pattern))
    }
}

fn spelled(pattern: &TypePattern) -> (u8, &str) {
    match pattern {
        TypePattern::Any => ANY,
        TypePattern::Prefix(prefix) => (PREFIX, prefix),
        TypePattern::Exact(name) => (EXACT, name.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    type Known = HashMap<EndpointNo, (Tenant, Vec<TypePattern>)>;

    fn wants(known: &Known, no: EndpointNo, tenant: &Tenant, event_type: &EventType) -> bool {
        let (own, types) = &known[&no];
        own == tenant && types.iter().any(|pattern| pattern.matches(event_type))
    }

    fn tenant() -> impl Strategy<Value = Tenant> {
        "[ab]".prop_map(|text| Tenant::new(&text).unwrap())
    }

    fn pattern() -> impl Strategy<Value = TypePattern> {
        let text = "\\*|(outboxd|a|b)(\\.(a|b)){0,2}(\\.\\*)?";
        text.prop_map(|text| TypePattern::parse(&text).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The index finds what asking every endpoint would find.
        #[test]
        fn matching_is_asking_everyone(
            steps in proptest::collection::vec(
                (0..8u32, proptest::option::of((tenant(), proptest::collection::vec(pattern(), 1..4)))),
                0..30,
            ),
            asked in tenant(),
            name in "(outboxd|a|b)(\\.(a|b)){0,3}",
        ) {
            let mut subscriptions = Subscriptions::default();
            let mut known = Known::default();
            for (no, step) in steps {
                let no = EndpointNo(no);
                if let Some((tenant, types)) = known.remove(&no) {
                    subscriptions.remove(no, &tenant, &types);
                }
                if let Some((tenant, types)) = step {
                    subscriptions.add(no, &tenant, &types);
                    known.insert(no, (tenant, types));
                }
            }
            let event_type = EventType::new(&name).unwrap();
            let wanted = |no: EndpointNo| wants(&known, no, &asked, &event_type);
            let mut expected: Vec<EndpointNo> =
                known.keys().copied().filter(|no| wanted(*no)).collect();
            expected.sort_unstable();
            // The check must not do the index's work, but for collisions.
            let found = subscriptions.matching(&asked, &event_type, |_| true);
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(subscriptions.matching(&asked, &event_type, |_| false), vec![]);
            for (no, (tenant, types)) in known {
                subscriptions.remove(no, &tenant, &types);
            }
            prop_assert!(subscriptions.patterns.is_empty());
        }
    }
}
