//! How an endpoint is named.

use super::sight::Sight;
use crate::domain::endpoint::{Endpoint, Source};

/// Whether its URL and rules are shown: a customer does not see those that the operator has set up.
pub fn is_seen(endpoint: &Endpoint, sight: &Sight) -> bool {
    sight.setup || endpoint.source != Source::Toml
}

/// Its URL, or what stands for it.
pub fn url_of(endpoint: &Endpoint, sight: &Sight) -> String {
    match is_seen(endpoint, sight) {
        true => endpoint.shown_url().into_owned(),
        false => "set up by the operator".to_owned(),
    }
}
