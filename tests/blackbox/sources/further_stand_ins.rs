//! Further providers, and senders of no provider that bring a token.

use super::crypto::{base64, hex, hmac_sha1, p256, p256_sign};
use super::stand_in::{Answer, Call, Known, Signing, StandIn, url};
use super::stand_ins::{PLAIN, base64_mac, hex_mac, json_call};

pub const GITEA: StandIn = StandIn {
    name: "gitea",
    preset: "gitea",
    call: gitea,
    signature: "x-gitea-signature",
    event_type: "gitea.push",
    ..PLAIN
};

pub const BITBUCKET: StandIn = StandIn {
    name: "bitbucket",
    preset: "bitbucket",
    call: bitbucket,
    signature: "x-hub-signature",
    event_type: "bitbucket.repo_push",
    ..PLAIN
};

pub const WOOCOMMERCE: StandIn = StandIn {
    name: "woocommerce",
    preset: "woocommerce",
    call: woocommerce,
    signature: "x-wc-webhook-signature",
    event_type: "woocommerce.order.created",
    ..PLAIN
};

pub const HARAVAN: StandIn = StandIn {
    name: "haravan",
    preset: "haravan",
    call: haravan,
    signature: "x-haravan-hmacsha256",
    event_type: "haravan.orders.create",
    has_id: false,
    ..PLAIN
};

pub const INTERCOM: StandIn = StandIn {
    name: "intercom",
    preset: "intercom",
    call: intercom,
    signature: "x-hub-signature",
    event_type: "intercom.conversation.user.created",
    ..PLAIN
};

pub const PAGERDUTY: StandIn = StandIn {
    name: "pagerduty",
    preset: "pagerduty",
    call: pagerduty,
    signature: "x-pagerduty-signature",
    event_type: "pagerduty.incident.triggered",
    ..PLAIN
};

pub const XERO: StandIn = StandIn {
    name: "xero",
    preset: "xero",
    call: xero,
    signature: "x-xero-signature",
    event_type: "xero.INVOICE.CREATE",
    has_id: false,
    ..PLAIN
};

pub const SENTRY: StandIn = StandIn {
    name: "sentry",
    preset: "sentry",
    call: sentry,
    signature: "sentry-hook-signature",
    event_type: "sentry.issue.created",
    ..PLAIN
};

pub const OKTA: StandIn = StandIn {
    name: "okta",
    preset: "okta",
    known: Known::Token,
    call: okta,
    signature: "authorization",
    event_type: "okta.user.lifecycle.create",
    ..PLAIN
};

pub const ASANA: StandIn = StandIn {
    name: "asana",
    preset: "asana",
    call: asana,
    signature: "x-hook-signature",
    event_type: "asana.task.changed",
    has_id: false,
    ..PLAIN
};

pub const DROPBOX: StandIn = StandIn {
    name: "dropbox",
    preset: "dropbox",
    call: dropbox,
    signature: "x-dropbox-signature",
    event_type: "dropbox.list_folder",
    has_id: false,
    repeats: true,
    ..PLAIN
};

pub const MS_GRAPH: StandIn = StandIn {
    name: "ms_graph",
    preset: "ms_graph",
    known: Known::Token,
    call: ms_graph,
    signature: "body:clientState",
    event_type: "ms_graph.created",
    answer: Answer {
        status: 202,
        content_type: None,
        body: "",
    },
    has_id: false,
    repeats: true,
    ..PLAIN
};

pub const MONDAY: StandIn = StandIn {
    name: "monday",
    preset: "monday",
    known: Known::UrlToken,
    call: monday,
    event_type: "monday.create_pulse",
    ..PLAIN
};

pub const NYLAS: StandIn = StandIn {
    name: "nylas",
    preset: "nylas",
    call: nylas,
    signature: "x-nylas-signature",
    event_type: "nylas.message.created",
    ..PLAIN
};

pub const STRAVA: StandIn = StandIn {
    name: "strava",
    preset: "strava",
    known: Known::UrlToken,
    call: strava,
    event_type: "strava.activity.create",
    has_id: false,
    ..PLAIN
};

pub const TRELLO: StandIn = StandIn {
    name: "trello",
    preset: "trello",
    call: trello,
    signature: "x-trello-webhook",
    event_type: "trello.createCard",
    ..PLAIN
};

pub const SENDGRID: StandIn = StandIn {
    name: "sendgrid",
    preset: "sendgrid",
    known: Known::PublicKey,
    call: sendgrid,
    signature: "x-twilio-email-event-webhook-signature",
    event_type: "sendgrid.processed",
    tolerance: Some(300),
    ..PLAIN
};

pub const SEPAY: StandIn = StandIn {
    name: "sepay",
    preset: "sepay",
    known: Known::Token,
    call: sepay,
    signature: "authorization",
    event_type: "sepay.transaction.in",
    answer: Answer {
        status: 200,
        content_type: Some("application/json"),
        body: "{\"success\":true}",
    },
    ..PLAIN
};

/// Of no provider: all that there is to know is the body.
const ANY: StandIn = StandIn {
    known: Known::Token,
    has_id: false,
    ..PLAIN
};

pub const API_KEY: StandIn = StandIn {
    name: "api_key",
    preset: "api_key",
    call: api_key,
    signature: "x-api-key",
    event_type: "api_key.unnamed",
    ..ANY
};

pub const BASIC: StandIn = StandIn {
    name: "basic",
    preset: "basic",
    call: basic,
    signature: "authorization",
    event_type: "basic.unnamed",
    ..ANY
};

pub const BEARER: StandIn = StandIn {
    name: "bearer",
    preset: "bearer",
    call: bearer,
    signature: "authorization",
    event_type: "bearer.unnamed",
    ..ANY
};

pub const QUERY_TOKEN: StandIn = StandIn {
    name: "query_token",
    preset: "query_token",
    known: Known::UrlToken,
    call: query_token,
    event_type: "query_token.unnamed",
    ..ANY
};

fn gitea(by: Signing<'_>) -> Call {
    let body = format!("{{\"ref\":\"refs/heads/main\",\"at\":{}}}", by.at_ms);
    json_call(&body)
        .with("x-gitea-event", "push")
        .with("x-gitea-delivery", &by.uuid())
        .with("x-gitea-signature", &hex_mac(by.secret, &[&body]))
}

fn bitbucket(by: Signing<'_>) -> Call {
    let body = format!("{{\"push\":{{\"changes\":[]}},\"at\":{}}}", by.at_ms);
    let mac = hex_mac(by.secret, &[&body]);
    json_call(&body)
        .with("x-event-key", "repo:push")
        .with("x-request-uuid", &by.uuid())
        .with("x-hub-signature", &format!("sha256={mac}"))
}

fn woocommerce(by: Signing<'_>) -> Call {
    let body = format!("{{\"id\":{},\"at\":{}}}", by.number, by.at_ms);
    json_call(&body)
        .with("x-wc-webhook-topic", "order.created")
        .with("x-wc-webhook-delivery-id", &by.uuid())
        .with("x-wc-webhook-signature", &base64_mac(by.secret, &[&body]))
}

fn haravan(by: Signing<'_>) -> Call {
    let body = format!("{{\"id\":{},\"at\":{}}}", by.number, by.at_ms);
    json_call(&body)
        .with("x-haravan-topic", "orders/create")
        .with("x-haravan-hmacsha256", &base64_mac(by.secret, &[&body]))
}

fn intercom(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"type\":\"notification_event\",\"topic\":\"conversation.user.created\",\
         \"id\":\"notif_{}\",\"created_at\":{}}}",
        by.number, by.at_ms
    );
    let mac = hex(&hmac_sha1(by.secret.as_bytes(), &[body.as_bytes()]));
    json_call(&body).with("x-hub-signature", &format!("sha1={mac}"))
}

fn pagerduty(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"event\":{{\"id\":\"{}\",\"event_type\":\"incident.triggered\",\"at\":{}}}}}",
        by.uuid(),
        by.at_ms
    );
    let (mac, other) = (hex_mac(by.secret, &[&body]), "0".repeat(64));
    json_call(&body).with("x-pagerduty-signature", &format!("v1={other},v1={mac}"))
}

fn xero(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"events\":[{{\"resourceId\":\"{}\",\"eventCategory\":\"INVOICE\",\
         \"eventType\":\"CREATE\"}}],\"firstEventSequence\":{},\"entropy\":\"{}\"}}",
        by.uuid(),
        by.number,
        by.at_ms
    );
    json_call(&body).with("x-xero-signature", &base64_mac(by.secret, &[&body]))
}

fn sentry(by: Signing<'_>) -> Call {
    let body = format!("{{\"action\":\"created\",\"at\":{}}}", by.at_ms);
    json_call(&body)
        .with("request-id", &by.uuid())
        .with("sentry-hook-resource", "issue")
        .with("sentry-hook-signature", &hex_mac(by.secret, &[&body]))
}

fn okta(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"eventType\":\"com.okta.event_hook\",\"eventId\":\"{}\",\"at\":{},\
         \"data\":{{\"events\":[{{\"eventType\":\"user.lifecycle.create\"}}]}}}}",
        by.uuid(),
        by.at_ms
    );
    json_call(&body).with("authorization", by.secret)
}

fn asana(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"events\":[{{\"action\":\"changed\",\"created_at\":\"{}\",\
         \"resource\":{{\"gid\":\"{}\",\"resource_type\":\"task\"}}}}]}}",
        by.at_ms, by.number
    );
    json_call(&body).with("x-hook-signature", &hex_mac(by.secret, &[&body]))
}

fn dropbox(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"list_folder\":{{\"accounts\":[\"dbid:{}\"]}},\"delta\":{{\"users\":[{}]}}}}",
        by.number, by.at_ms
    );
    json_call(&body).with("x-dropbox-signature", &hex_mac(by.secret, &[&body]))
}

fn ms_graph(by: Signing<'_>) -> Call {
    let item = format!(
        "{{\"subscriptionId\":\"{}\",\"clientState\":\"{}\",\"changeType\":\"created\",\"at\":{}}}",
        by.number, by.secret, by.at_ms
    );
    json_call(&format!("{{\"value\":[{item},{item}]}}"))
}

fn monday(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"event\":{{\"type\":\"create_pulse\",\"triggerUuid\":\"{}\",\"at\":{}}}}}",
        by.uuid(),
        by.at_ms
    );
    Call {
        query: format!("token={}", by.secret),
        ..json_call(&body)
    }
}

fn nylas(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{}\",\"type\":\"message.created\",\"at\":{}}}",
        by.uuid(),
        by.at_ms
    );
    json_call(&body).with("x-nylas-signature", &hex_mac(by.secret, &[&body]))
}

fn strava(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"object_type\":\"activity\",\"aspect_type\":\"create\",\"object_id\":{},\
         \"event_time\":{}}}",
        by.number, by.at_ms
    );
    Call {
        query: format!("token={}", by.secret),
        ..json_call(&body)
    }
}

fn trello(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"action\":{{\"id\":\"{}\",\"type\":\"createCard\",\"at\":{}}}}}",
        by.uuid(),
        by.at_ms
    );
    let url = url("trello");
    let mac = hmac_sha1(by.secret.as_bytes(), &[body.as_bytes(), url.as_bytes()]);
    json_call(&body).with("x-trello-webhook", &base64(&mac))
}

fn sendgrid(by: Signing<'_>) -> Call {
    let seconds = by.seconds().to_string();
    let body = format!(
        "[{{\"event\":\"processed\",\"sg_event_id\":\"{}\",\"at\":{}}}]\r\n",
        by.uuid(),
        by.at_ms
    );
    let signature = p256_sign(&p256(by.secret), &[seconds.as_bytes(), body.as_bytes()]);
    json_call(&body)
        .with("x-twilio-email-event-webhook-timestamp", &seconds)
        .with(
            "x-twilio-email-event-webhook-signature",
            &base64(&signature),
        )
}

fn sepay(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"id\":{},\"transferType\":\"in\",\"transferAmount\":{}}}",
        by.number, by.at_ms
    );
    json_call(&body).with("authorization", &format!("Apikey {}", by.secret))
}

fn any(by: Signing<'_>) -> Call {
    json_call(&format!("{{\"n\":{},\"at\":{}}}", by.number, by.at_ms))
}

fn api_key(by: Signing<'_>) -> Call {
    any(by).with("x-api-key", by.secret)
}

fn basic(by: Signing<'_>) -> Call {
    let credentials = base64(by.secret.as_bytes());
    any(by).with("authorization", &format!("Basic {credentials}"))
}

fn bearer(by: Signing<'_>) -> Call {
    any(by).with("authorization", &format!("Bearer {}", by.secret))
}

fn query_token(by: Signing<'_>) -> Call {
    Call {
        query: format!("token={}", by.secret),
        ..any(by)
    }
}
