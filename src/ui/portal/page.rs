//! Where the portal is, and what it shows to the holder of a link.

use std::sync::Arc;

use super::state::Look;
use crate::api::portal_links::PortalLink;
use crate::ui::base::view::{Can, Kind, Link, View};
use crate::ui::views::sight::Sight;

/// Where the pages are.
pub const BASE: &str = "/portal";
/// The page at which a link is used.
pub const HOME: &str = "/portal/";
/// Where its code goes, and a page that always has the form for it.
pub const ENTER: &str = "/portal/enter";

static KIND: Kind = Kind {
    base: BASE,
    home: "To the first page",
    nav: &[
        Link {
            path: "/",
            label: "Overview",
        },
        Link {
            path: "/endpoints",
            label: "Endpoints",
        },
        Link {
            path: "/events",
            label: "Events",
        },
        Link {
            path: "/deliveries",
            label: "Deliveries",
        },
        Link {
            path: "/dead",
            label: "Dead letters",
        },
        Link {
            path: "/tail",
            label: "Live tail",
        },
    ],
};

/// What the holder of a link sees and can do; nothing without one.
pub fn view(look: &Look, link: Option<&Arc<PortalLink>>) -> View {
    let wanted = link.map(|link| &link.wanted);
    let can = wanted.map(|wanted| wanted.capabilities).unwrap_or_default();
    View {
        kind: &KIND,
        brand: look.brand.clone(),
        sight: Sight::of_tenant(BASE, look.grants.clone()),
        can: Can {
            manage: can.manage,
            replay: can.replay,
            secrets: can.secrets,
            operate: false,
        },
        tenant: wanted.map(|wanted| wanted.tenant.clone()),
        return_url: wanted.and_then(|wanted| wanted.return_url.clone()),
    }
}
