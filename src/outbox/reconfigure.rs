//! The configuration changes while the store runs.
//!
//! What endpoints of the file become is made durable first, in one batch; then the rules and the
//! definitions are in force, and the dispatcher gets notices. Without room for the batch, or with an
//! index that cannot be read, nothing changes.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointNo, Source};
use crate::outbox::committer::{Committer, WriterError};
use crate::outbox::decide::restate::Turned;
use crate::outbox::decide::{Draft, bulk, endpoint, restate};
use crate::outbox::request::{Changed, Commit, Notice, Settings};
use crate::outbox::rules::Defaults;
use crate::outbox::views::Refused;

/// What is to be in force once the batch is durable.
#[derive(Default)]
struct Plan {
    in_force: Vec<(EndpointNo, Option<Arc<Endpoint>>)>,
    notices: Vec<Notice>,
    switched: Vec<restate::Switched>,
    changed: Changed,
}

impl Committer {
    /// Puts the settings in force.
    pub fn reconfigure(
        &mut self,
        settings: Settings,
    ) -> Result<Result<Changed, Refused>, WriterError> {
        let Settings {
            limits,
            keep,
            defaults,
            endpoints,
        } = settings;
        let mut plan = Plan::default();
        let mut draft = self.draft();
        self.plan_present(endpoints, &mut plan, &mut draft)?;
        if self.defaults != defaults {
            self.plan_defaults(&defaults, &mut plan)?;
        }
        if !self.commit(draft)?.is_durable() {
            return Ok(Err(self.limits.refusal()));
        }
        self.limits.set_rules(&limits);
        self.index.write().share_out(self.limits.share);
        self.shared.set_rules(self.limits.rules(keep));
        self.defaults = defaults;
        // Bulk work that waited for room may fit now.
        self.nudge();
        for (no, endpoint) in plan.in_force {
            self.shared.put_in_force(no, endpoint);
        }
        let notices = plan.notices;
        self.tell(Commit {
            notices,
            ..Commit::default()
        });
        let switched = plan.switched;
        let _ = self.push_one(|basis, draft| restate::report_switched(basis, &switched, draft))?;
        Ok(Ok(plan.changed))
    }

    /// Plans for the endpoints of the file, and for those that are gone from it.
    fn plan_present(
        &self,
        endpoints: Vec<Endpoint>,
        plan: &mut Plan,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        let mut present: HashSet<EndpointNo> = {
            let in_force = self.shared.endpoints();
            let of_api = in_force.from(None);
            let of_api = of_api.filter(|(_, endpoint)| endpoint.source == Source::Api);
            of_api.map(|(no, _)| no).collect()
        };
        for endpoint in endpoints {
            present.insert(self.plan_one(endpoint, plan, draft)?);
        }
        let reason = DisabledReason::Manual;
        let missing = restate::missing(&self.index.read(), &present);
        for no in missing {
            self.decide(draft, |basis, draft| {
                restate::push_missing(basis, no, draft)
            })?;
            plan.in_force.push((no, None));
            plan.notices.push(Notice::Held { no, reason });
            plan.changed.removed += 1;
        }
        Ok(())
    }

    fn plan_one(
        &self,
        mut endpoint: Endpoint,
        plan: &mut Plan,
        draft: &mut Draft,
    ) -> Result<EndpointNo, WriterError> {
        let configured = self.decide(draft, |basis, draft| {
            restate::configure(basis, &endpoint, draft)
        })?;
        let no = configured.no;
        plan.switched.extend(configured.switched);
        let before = self.shared.endpoints().get(no).cloned();
        let is_same = before.as_ref().is_some_and(|old| endpoint.is_same_as(old));
        if !is_same {
            match &before {
                Some(_) => plan.changed.changed += 1,
                None => plan.changed.added += 1,
            }
            let rate_limit = endpoint.rate_limit;
            self.decide(draft, |basis, draft| {
                bulk::begin_release(basis, no, rate_limit, draft)
            })?;
            if let Some(old) = &before {
                endpoint.keep_shaping_of(old);
            }
            plan.in_force.push((no, Some(Arc::new(endpoint))));
            plan.notices.push(Notice::Configured { no });
        }
        let reason = DisabledReason::Manual;
        match configured.turned {
            Some(Turned::Off) => plan.notices.push(Notice::Held { no, reason }),
            Some(Turned::On { at }) => plan.notices.push(Notice::Released { no, at }),
            None => {}
        }
        Ok(no)
    }

    /// Plans for the endpoints of the API, which have the default for each field that is not set.
    fn plan_defaults(&self, defaults: &Defaults, plan: &mut Plan) -> Result<(), WriterError> {
        let defined = endpoint::defined(&self.index.read(), defaults)?;
        for (no, mut endpoint) in defined {
            let Some(old) = self.shared.endpoints().get(no).cloned() else {
                continue;
            };
            if endpoint.is_same_as(&old) {
                continue;
            }
            if let Some(endpoint) = Arc::get_mut(&mut endpoint) {
                endpoint.keep_shaping_of(&old);
            }
            plan.in_force.push((no, Some(endpoint)));
            plan.notices.push(Notice::Configured { no });
        }
        Ok(())
    }
}
