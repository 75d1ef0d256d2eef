//! What the portal works with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::api::Api;
use crate::api::portal_links::PortalLink;
use crate::app::{Error, random_bytes};
use crate::config::Config;
use crate::server::remote::TrustedProxies;
use crate::ui::base::brand::Brand;
use crate::ui::base::form_token::FormKey;
use crate::ui::base::sessions::Sessions;

/// Sessions at once.
const SESSIONS: usize = 16 * 1024;

/// The customers' pages.
pub struct Portal {
    pub api: Arc<Api>,
    pub sessions: Sessions<Arc<PortalLink>>,
    pub form_key: FormKey,
    pub proxies: TrustedProxies,
    look: ArcSwap<Look>,
}

/// What the configuration says of the pages.
#[derive(Debug)]
pub struct Look {
    pub brand: Arc<Brand>,
    /// Networks whose responses are not shown.
    pub grants: Arc<[IpNet]>,
    pub frame_ancestors: Vec<String>,
    pub refresh_url: Option<String>,
}

impl Look {
    fn of(config: &Config) -> Look {
        let of_endpoints = config.endpoints.iter().map(|one| &one.allow_networks);
        let grants = of_endpoints.chain([&config.delivery.allow_networks]);
        Look {
            brand: Arc::new(Brand::of(&config.portal)),
            grants: grants.flatten().copied().collect(),
            frame_ancestors: config.portal.frame_ancestors.clone(),
            refresh_url: config.portal.refresh_url.clone(),
        }
    }
}

impl Portal {
    /// # Errors
    /// The operating system gives no randomness.
    pub fn new(api: Arc<Api>, config: &Config) -> Result<Arc<Portal>, Error> {
        Ok(Arc::new(Portal {
            api,
            sessions: Sessions::with_room(SESSIONS),
            form_key: FormKey::new(random_bytes()?),
            proxies: TrustedProxies::new(config.listen.trusted_proxies.clone()),
            look: ArcSwap::from_pointee(Look::of(config)),
        }))
    }

    pub fn look(&self) -> Arc<Look> {
        self.look.load_full()
    }

    /// Follows another configuration from now on.
    pub fn reconfigure(&self, config: &Config) {
        self.look.store(Arc::new(Look::of(config)));
    }
}
