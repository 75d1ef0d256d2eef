//! What holds for every provider: its calls are verified and answered as it wants, repeated ones
//! are known, and its secrets can be replaced.

use serde_json::json;

use super::further_stand_ins::*;
use super::stand_in::{Known, StandIn};
use super::stand_ins::*;
use super::{
    Call, Signing, assert_counts, assert_empty, event, events, made, now_ms, patch, start,
};
use crate::harness::http::Response;
use crate::harness::{Daemon, Home, Receiver, endpoint};

/// Presets that this build does not have. A preset that it has must not be here.
const LATER: &[&str] = &[];

/// A test for each stand-in.
macro_rules! each {
    ($($test:ident: $stand_in:ident,)*) => {$(
        #[test]
        fn $test() {
            goes_through_all(&$stand_in);
            comes_again_after_a_kill(&$stand_in);
        }
    )*};
}

each! {
    github: GITHUB,
    stripe: STRIPE,
    slack: SLACK,
    slack_commands: SLACK_COMMAND,
    slack_actions: SLACK_ACTION,
    meta: META,
    standard_webhooks: STANDARD_WEBHOOKS,
    standard_webhooks_of_svix: SVIX,
    standard_webhooks_with_a_public_key: STANDARD_WEBHOOKS_V1A,
    gitlab: GITLAB,
    gitlab_with_its_token: GITLAB_TOKEN,
    shopify: SHOPIFY,
    zalo: ZALO,
    hubspot: HUBSPOT,
    salesforce: SALESFORCE,
    twilio: TWILIO,
    twilio_with_json: TWILIO_JSON,
    zendesk: ZENDESK,
    square: SQUARE,
    linear: LINEAR,
    discord: DISCORD,
    discord_commands: DISCORD_COMMAND,
    telegram: TELEGRAM,
    cloudevents: CLOUDEVENTS,
    zoom: ZOOM,
    twitter: TWITTER,
    twitch: TWITCH,
    line: LINE,
    gitea: GITEA,
    bitbucket: BITBUCKET,
    woocommerce: WOOCOMMERCE,
    haravan: HARAVAN,
    intercom: INTERCOM,
    pagerduty: PAGERDUTY,
    xero: XERO,
    sentry: SENTRY,
    okta: OKTA,
    asana: ASANA,
    dropbox: DROPBOX,
    microsoft_graph: MS_GRAPH,
    monday: MONDAY,
    nylas: NYLAS,
    strava: STRAVA,
    trello: TRELLO,
    sendgrid: SENDGRID,
    sepay: SEPAY,
    api_keys: API_KEY,
    http_basic: BASIC,
    bearer_tokens: BEARER,
    tokens_in_the_url: QUERY_TOKEN,
}

/// Whether this build does not have the preset. Asserts that it is so for all that are said to be.
#[track_caller]
pub fn is_for_later(daemon: &Daemon, one: &StandIn) -> bool {
    if !LATER.contains(&one.preset) {
        return false;
    }
    let definition = one.definition(&[one.two_secrets()[0]]).to_string();
    let answer = daemon.tcp.post_json("/v1/sources", definition);
    let detail = answer.problem(400);
    assert!(detail.contains("`preset`"), "it is there: {detail}");
    true
}

/// A daemon with the source of one stand-in.
struct Taking<'a> {
    one: &'a StandIn,
    receiver: Receiver,
    daemon: Daemon,
    _home: Home,
}

fn goes_through_all(one: &StandIn) {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = start(&home, &endpoint("app", &receiver.url("/"), ""));
    let taking = Taking {
        one,
        receiver,
        daemon,
        _home: home,
    };
    let [old, new] = one.two_secrets();
    if is_for_later(&taking.daemon, one) {
        return;
    }
    made(&taking.daemon, &one.definition(&[old]));
    taking.is_taken_once(old);
    taking.is_refused(old, new);
    taking.is_rotated(old, new);
    taking.is_tested();
}

/// The daemon dies when the call is durable, and the answer is lost with it. So the provider makes the
/// same call again: it is a success, and the receiver has one event.
fn comes_again_after_a_kill(one: &StandIn) {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("app", &receiver.url("/"), "");
    let secret = one.two_secrets()[0];
    let daemon = start(&home, &config);
    if is_for_later(&daemon, one) {
        return;
    }
    made(&daemon, &one.definition(&[secret]));
    let call = (one.call)(Signing {
        secret,
        at_ms: now_ms(),
        number: 1,
    });
    call.send(&daemon, one.name);
    daemon.kill();
    let taking = Taking {
        one,
        daemon: start(&home, &config),
        receiver,
        _home: home,
    };
    taking.assert_answer(&taking.send(&call));
    if one.repeats {
        return;
    }
    assert_eq!(events(&taking.daemon).len(), 1);
    let seen = taking.receiver.wait(1);
    assert!(seen.iter().all(|other| other.id() == seen[0].id()));
}

impl Taking<'_> {
    /// A call of the stand-in's of `late` seconds from now.
    fn call(&self, secret: &str, number: u32, late: i64) -> Call {
        (self.one.call)(Signing {
            secret,
            at_ms: now_ms() - late * 1000,
            number,
        })
    }

    fn send(&self, call: &Call) -> Response {
        call.send(&self.daemon, self.one.name)
    }

    /// Asserts the provider's success answer, and nothing but it.
    #[track_caller]
    fn assert_answer(&self, answer: &Response) {
        let wanted = self.one.answer;
        let shown = (answer.status, answer.header("content-type"), answer.text());
        let wanted = (wanted.status, wanted.content_type, wanted.body.to_owned());
        assert_eq!(shown, wanted, "{}", self.daemon.log_text());
    }

    /// The one that verified the newest event.
    fn verified_by(&self) -> String {
        let newest = events(&self.daemon).remove(0);
        let event = event(&self.daemon, newest["id"].as_str().unwrap());
        event["received"]["verified_by"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn is_taken_once(&self, old: &str) {
        let call = self.call(old, 1, 0);
        self.assert_answer(&self.send(&call));
        let seen = self.receiver.wait(1).remove(0);
        assert_eq!(seen.body, call.body);
        let sent = call.headers.iter().find(|(name, _)| name == "content-type");
        assert_eq!(seen.header("content-type"), sent.unwrap().1);
        assert_eq!(seen.header("outboxd-source"), self.one.name);
        let event_type = seen.header("outboxd-event-type");
        match self.one.event_type.strip_suffix('.') {
            Some(start) => assert!(event_type.starts_with(start), "{event_type}"),
            None => assert_eq!(event_type, self.one.event_type),
        }
        // Again as it was, and as a provider signs it anew.
        self.assert_answer(&self.send(&call));
        if self.one.repeats {
            assert_counts(&self.daemon, self.one.name, 2, 0);
            return;
        }
        let mut duplicates = 1;
        if self.one.has_id {
            let anew = self.call(old, 1, 1);
            assert_ne!(anew.body, call.body);
            self.assert_answer(&self.send(&anew));
            duplicates = 2;
        }
        assert_counts(&self.daemon, self.one.name, 1, duplicates);
        assert_eq!(events(&self.daemon).len(), 1);
    }

    fn is_refused(&self, old: &str, other: &str) {
        let mut calls = vec![
            ("another secret", self.call(other, 2, 0)),
            ("no signature", self.one.unsigned(self.call(old, 2, 0))),
        ];
        if self.one.signs_body() {
            let call = self.call(old, 2, 0);
            let body = [&call.body[..], b" "].concat();
            calls.push(("another body", call.body(&body)));
        }
        if let Some(tolerance) = self.one.tolerance {
            calls.push(("too old", self.call(old, 2, tolerance + 20)));
            calls.push(("too new", self.call(old, 2, -tolerance - 20)));
            let barely = self.call(old, 3, tolerance / 2);
            self.assert_answer(&self.send(&barely));
        }
        let before = events(&self.daemon).len();
        for (what, call) in calls {
            let answer = self.send(&call);
            assert_eq!(
                (answer.status, answer.text()),
                (401, String::new()),
                "{what}"
            );
        }
        assert_eq!(events(&self.daemon).len(), before);
    }

    fn is_rotated(&self, old: &str, new: &str) {
        let (key, both) = self.one.known_by(&[new, old]);
        let change = json!({key: both});
        patch(&self.daemon.tcp, self.one.name, &change).expect(200);
        self.assert_answer(&self.send(&self.call(new, 4, 0)));
        let has_several = matches!(self.one.known, Known::Text | Known::Whsec | Known::Token);
        if has_several {
            assert_eq!(self.verified_by(), "secret 1");
            self.assert_answer(&self.send(&self.call(old, 5, 0)));
            assert_eq!(self.verified_by(), "secret 2");
            let (key, only) = self.one.known_by(&[new]);
            patch(&self.daemon.tcp, self.one.name, &json!({key: only})).expect(200);
            self.assert_answer(&self.send(&self.call(new, 6, 0)));
        }
        assert_empty(&self.send(&self.call(old, 7, 0)), 401);
    }

    /// The daemon's own sample is a call like the stand-in's.
    fn is_tested(&self) {
        let path = format!("/v1/sources/{}/test", self.one.name);
        let tested = self.daemon.tcp.post_json(&path, "{}");
        if self.one.known == Known::PublicKey {
            let detail = tested.problem(400);
            assert!(detail.contains("private key"), "{detail}");
            return;
        }
        let tested = tested.expect(200);
        assert_eq!(tested["events"].as_array().unwrap().len(), 1, "{tested}");
        assert!(tested["reason"].is_null(), "{tested}");
    }
}
