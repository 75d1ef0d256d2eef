//! What the operator's pages work with.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::api::Api;
use crate::api::access::Caller;
use crate::app::{App, Error, random_bytes};
use crate::config::{Config, show};
use crate::server::remote::TrustedProxies;
use crate::ui::base::form_token::FormKey;
use crate::ui::base::login_rate::LoginRate;
use crate::ui::base::sessions::Sessions;

/// The operator's pages.
pub struct Operator {
    pub api: Arc<Api>,
    pub sessions: Sessions<Caller>,
    pub form_key: FormKey,
    pub login_rate: LoginRate,
    pub proxies: TrustedProxies,
    /// The configuration in effect, its secrets masked.
    pub config: ArcSwap<String>,
}

impl Operator {
    /// # Errors
    /// The operating system gives no randomness.
    pub fn new(api: Arc<Api>, config: &Config) -> Result<Arc<Operator>, Error> {
        Ok(Arc::new(Operator {
            api,
            sessions: Sessions::default(),
            form_key: FormKey::new(random_bytes()?),
            login_rate: LoginRate::default(),
            proxies: TrustedProxies::new(config.listen.trusted_proxies.clone()),
            config: ArcSwap::from_pointee(show::to_toml(config)),
        }))
    }

    pub fn app(&self) -> &App {
        self.api.app()
    }

    /// Shows another configuration from now on. Its rules of access are those of the API.
    pub fn reconfigure(&self, config: &Config) {
        self.config.store(Arc::new(show::to_toml(config)));
    }
}
