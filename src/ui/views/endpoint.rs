//! How an endpoint is named.

use super::body::printable;
use super::sight::Sight;
use crate::app::App;
use crate::domain::endpoint::{Endpoint, EndpointId, Source};

/// The longest name, in characters.
const MAX_NAME: usize = 48;

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

/// What people call an endpoint whose id says nothing: the id that they gave it in the file that they
/// apply, its description, or the host that it sends to. `None`: the operator has chosen the id.
fn name_of(endpoint: &Endpoint) -> Option<String> {
    let applied_as = endpoint.applied_as.as_ref().map(EndpointId::as_str);
    let host = endpoint.url.host_str().unwrap_or_default();
    (endpoint.source != Source::Toml)
        .then(|| name(applied_as, &endpoint.description, host))
        .filter(|name| !name.is_empty())
}

/// What people call the endpoint in force that has this id, where the id says nothing.
pub fn name_of_id(app: &App, id: &EndpointId) -> Option<String> {
    name_of(&*app.endpoints.in_force(id)?)
}

fn name(applied_as: Option<&str>, description: &str, host: &str) -> String {
    let described = description.lines().next().unwrap_or_default().trim();
    let name = match (applied_as, described) {
        (Some(id), _) => id.to_owned(),
        (None, "") => host.to_owned(),
        (None, described) => printable(described),
    };
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_id_does_not() {
        assert_eq!(
            name(Some("shop"), "orders of the shop", "a.example"),
            "shop"
        );
        assert_eq!(name(None, " orders\nof the shop", "a.example"), "orders");
        assert_eq!(name(None, " \n", "a.example"), "a.example");
        assert_eq!(name(None, &"ä".repeat(100), ""), "ä".repeat(48) + "…");
    }
}
