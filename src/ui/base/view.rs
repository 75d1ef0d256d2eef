//! The pages that a visitor sees: where they are, how they look, and what can be seen and done there.

use std::sync::Arc;

use super::brand::Brand;
use crate::domain::event::Tenant;
use crate::ui::views::sight::Sight;

/// A kind of pages.
#[derive(Debug)]
pub struct Kind {
    /// Their path, without a slash at its end.
    pub base: &'static str,
    pub nav: &'static [Link],
    /// Where a failed page leads.
    pub home: &'static str,
}

/// An entry of the list of pages.
#[derive(Debug)]
pub struct Link {
    /// Below the base.
    pub path: &'static str,
    pub label: &'static str,
}

/// What a visitor may do. Pages show no button for anything else; the router refuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Can {
    /// Make, change, pause, test and delete endpoints.
    pub manage: bool,
    /// Retry, cancel and replay deliveries.
    pub replay: bool,
    /// See and replace signing secrets.
    pub secrets: bool,
    /// What concerns the daemon or all tenants.
    pub operate: bool,
}

impl Can {
    /// The operator.
    pub const EVERYTHING: Can = Can {
        manage: true,
        replay: true,
        secrets: true,
        operate: true,
    };
}

/// See the module.
#[derive(Clone, Debug)]
pub struct View {
    pub kind: &'static Kind,
    pub brand: Arc<Brand>,
    pub sight: Sight,
    pub can: Can,
    /// Only this tenant's things are there; `None`: those of all.
    pub tenant: Option<Tenant>,
    /// A link back to where the visitor came from.
    pub return_url: Option<Arc<str>>,
}
