//! Where the operator's pages are, and what they are.

use std::sync::{Arc, OnceLock};

use crate::ui::base::brand::Brand;
use crate::ui::base::view::{Can, Kind, Link, View};
use crate::ui::views::sight::Sight;

/// Where the pages are.
pub const BASE: &str = "/ui";

static KIND: Kind = Kind {
    base: BASE,
    home: "To the overview",
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
        Link {
            path: "/send",
            label: "Send",
        },
        Link {
            path: "/sources",
            label: "Sources",
        },
        Link {
            path: "/jobs",
            label: "Jobs",
        },
        Link {
            path: "/status",
            label: "Status",
        },
    ],
};

/// What the operator sees and can do: everything.
pub fn view() -> View {
    static BRAND: OnceLock<Arc<Brand>> = OnceLock::new();
    View {
        kind: &KIND,
        brand: BRAND.get_or_init(|| Arc::new(Brand::own())).clone(),
        sight: Sight::whole(BASE),
        can: Can::EVERYTHING,
        tenant: None,
        return_url: None,
    }
}
