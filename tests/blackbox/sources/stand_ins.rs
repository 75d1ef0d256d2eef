//! Each provider that has a preset, as its documentation says (docs/sources.md).

use super::crypto::{base64, hex, hmac_sha1, hmac_sha256, sha256, whsec};
use super::stand_in::{Answer, Call, Known, OK, Signing, StandIn, key, url};

/// What most providers are: what differs is written where it does.
pub const PLAIN: StandIn = StandIn {
    name: "",
    preset: "",
    known: Known::Text,
    field: None,
    call: github,
    signature: "",
    event_type: "",
    answer: OK,
    tolerance: None,
    has_id: true,
    repeats: false,
};

pub const GITHUB: StandIn = StandIn {
    name: "github",
    preset: "github",
    signature: "x-hub-signature-256",
    event_type: "github.pull_request.opened",
    ..PLAIN
};

pub const STRIPE: StandIn = StandIn {
    name: "stripe",
    preset: "stripe",
    call: stripe,
    signature: "stripe-signature",
    event_type: "stripe.charge.succeeded",
    tolerance: Some(300),
    ..PLAIN
};

pub const SLACK: StandIn = StandIn {
    name: "slack",
    preset: "slack",
    call: slack,
    signature: "x-slack-signature",
    event_type: "slack.app_mention",
    tolerance: Some(300),
    ..PLAIN
};

pub const SLACK_COMMAND: StandIn = StandIn {
    name: "slack_command",
    call: slack_command,
    event_type: "slack.slash_command.",
    ..SLACK
};

pub const SLACK_ACTION: StandIn = StandIn {
    name: "slack_action",
    call: slack_action,
    event_type: "slack.block_actions",
    ..SLACK
};

pub const META: StandIn = StandIn {
    name: "meta",
    preset: "meta",
    call: meta,
    signature: "x-hub-signature-256",
    event_type: "meta.page.feed",
    has_id: false,
    ..PLAIN
};

pub const STANDARD_WEBHOOKS: StandIn = StandIn {
    name: "standard_webhooks",
    preset: "standard_webhooks",
    known: Known::Whsec,
    call: standard_webhooks,
    signature: "webhook-signature",
    event_type: "standard_webhooks.invoice.paid",
    tolerance: Some(300),
    ..PLAIN
};

pub const SVIX: StandIn = StandIn {
    name: "svix",
    call: svix,
    signature: "svix-signature",
    ..STANDARD_WEBHOOKS
};

pub const STANDARD_WEBHOOKS_V1A: StandIn = StandIn {
    name: "standard_webhooks_v1a",
    known: Known::PublicKey,
    call: standard_webhooks_v1a,
    ..STANDARD_WEBHOOKS
};

pub const GITLAB: StandIn = StandIn {
    name: "gitlab",
    preset: "gitlab",
    known: Known::Whsec,
    call: gitlab,
    signature: "webhook-signature",
    event_type: "gitlab.merge_request.open",
    tolerance: Some(300),
    ..PLAIN
};

pub const GITLAB_TOKEN: StandIn = StandIn {
    name: "gitlab_token",
    known: Known::Token,
    call: gitlab_token,
    signature: "x-gitlab-token",
    tolerance: None,
    ..GITLAB
};

pub const SHOPIFY: StandIn = StandIn {
    name: "shopify",
    preset: "shopify",
    call: shopify,
    signature: "x-shopify-hmac-sha256",
    event_type: "shopify.orders.create",
    ..PLAIN
};

pub const ZALO: StandIn = StandIn {
    name: "zalo",
    preset: "zalo",
    field: Some(("app_id", "app-1")),
    call: zalo,
    signature: "x-zevent-signature",
    event_type: "zalo.user_send_text",
    tolerance: Some(86_400),
    ..PLAIN
};

pub const HUBSPOT: StandIn = StandIn {
    name: "hubspot",
    preset: "hubspot",
    call: hubspot,
    signature: "x-hubspot-signature-v3",
    event_type: "hubspot.",
    tolerance: Some(300),
    has_id: false,
    ..PLAIN
};

pub const SALESFORCE: StandIn = StandIn {
    name: "salesforce",
    preset: "salesforce",
    known: Known::Account,
    call: salesforce,
    signature: "body:OrganizationId",
    event_type: "salesforce.outbound_message",
    answer: Answer {
        status: 200,
        content_type: Some("text/xml"),
        body: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
            <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\">\
            <soapenv:Body>\
            <notificationsResponse xmlns=\"http://soap.sforce.com/2005/09/outbound\">\
            <Ack>true</Ack></notificationsResponse></soapenv:Body></soapenv:Envelope>",
    },
    ..PLAIN
};

pub const TWILIO: StandIn = StandIn {
    name: "twilio",
    preset: "twilio",
    call: twilio,
    signature: "x-twilio-signature",
    event_type: "twilio.call.ringing",
    answer: Answer {
        status: 200,
        content_type: Some("text/xml"),
        body: "<Response/>",
    },
    ..PLAIN
};

pub const TWILIO_JSON: StandIn = StandIn {
    name: "twilio_json",
    call: twilio_json,
    event_type: "twilio.com.twilio.messaging.message.sent",
    answer: OK,
    ..TWILIO
};

pub const ZENDESK: StandIn = StandIn {
    name: "zendesk",
    preset: "zendesk",
    call: zendesk,
    signature: "x-zendesk-webhook-signature",
    event_type: "zendesk.zen_event-type_ticket.created",
    tolerance: Some(300),
    ..PLAIN
};

pub const SQUARE: StandIn = StandIn {
    name: "square",
    preset: "square",
    call: square,
    signature: "x-square-hmacsha256-signature",
    event_type: "square.payment.updated",
    ..PLAIN
};

pub const LINEAR: StandIn = StandIn {
    name: "linear",
    preset: "linear",
    call: linear,
    signature: "linear-signature",
    event_type: "linear.Issue.create",
    tolerance: Some(60),
    ..PLAIN
};

pub const DISCORD: StandIn = StandIn {
    name: "discord",
    preset: "discord",
    known: Known::PublicKey,
    call: discord_event,
    signature: "x-signature-ed25519",
    event_type: "discord.APPLICATION_AUTHORIZED",
    answer: Answer {
        status: 204,
        content_type: Some("application/json"),
        body: "",
    },
    tolerance: Some(300),
    has_id: false,
    ..PLAIN
};

pub const DISCORD_COMMAND: StandIn = StandIn {
    name: "discord_command",
    call: discord_command,
    event_type: "discord.",
    answer: Answer {
        status: 200,
        content_type: Some("application/json"),
        body: "{\"type\":5}",
    },
    ..DISCORD
};

pub const TELEGRAM: StandIn = StandIn {
    name: "telegram",
    preset: "telegram",
    known: Known::Token,
    call: telegram,
    signature: "x-telegram-bot-api-secret-token",
    event_type: "telegram.message",
    ..PLAIN
};

pub const CLOUDEVENTS: StandIn = StandIn {
    name: "cloudevents",
    preset: "cloudevents",
    known: Known::UrlToken,
    call: cloudevents,
    event_type: "cloudevents.com.example.made",
    ..PLAIN
};

pub const ZOOM: StandIn = StandIn {
    name: "zoom",
    preset: "zoom",
    call: zoom,
    signature: "x-zm-signature",
    event_type: "zoom.meeting.started",
    tolerance: Some(300),
    has_id: false,
    ..PLAIN
};

pub const TWITTER: StandIn = StandIn {
    name: "twitter",
    preset: "twitter",
    call: twitter,
    signature: "x-twitter-webhooks-signature",
    event_type: "twitter.",
    has_id: false,
    ..PLAIN
};

pub const TWITCH: StandIn = StandIn {
    name: "twitch",
    preset: "twitch",
    call: twitch,
    signature: "twitch-eventsub-message-signature",
    event_type: "twitch.notification.channel.follow",
    tolerance: Some(600),
    ..PLAIN
};

pub const LINE: StandIn = StandIn {
    name: "line",
    preset: "line",
    call: line,
    signature: "x-line-signature",
    event_type: "line.",
    has_id: false,
    ..PLAIN
};

pub fn json_call(body: &str) -> Call {
    Call::post(body.as_bytes()).with("content-type", "application/json")
}

pub fn hex_mac(secret: &str, parts: &[&str]) -> String {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    hex(&hmac_sha256(secret.as_bytes(), &parts))
}

pub fn base64_mac(secret: &str, parts: &[&str]) -> String {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    base64(&hmac_sha256(secret.as_bytes(), &parts))
}

fn github(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"action\": \"opened\", \"number\": {}, \"at\": {}}}",
        by.number, by.at_ms
    );
    json_call(&body)
        .with("x-github-event", "pull_request")
        .with("x-github-delivery", &by.uuid())
        .with("x-github-hook-id", "292430182")
        .with(
            "x-hub-signature-256",
            &format!("sha256={}", hex_mac(by.secret, &[&body])),
        )
}

fn stripe(by: Signing<'_>) -> Call {
    let (seconds, number) = (by.seconds().to_string(), by.number);
    let body = format!(
        "{{\n  \"id\": \"evt_{number}\",\n  \"object\": \"event\",\n  \"created\": {},\n  \
         \"type\": \"charge.succeeded\"\n}}",
        by.at_ms
    );
    let mac = hex_mac(by.secret, &[&seconds, ".", &body]);
    // During a roll there are several; v0 is of the test mode and counts for nothing.
    let others = "0".repeat(64);
    let signature = format!("t={seconds},v1={others},v1={mac},v0={others}");
    json_call(&body)
        .with("content-type", "application/json; charset=utf-8")
        .with("stripe-signature", &signature)
}

/// With Slack's signature over the body.
pub fn slack_signed(by: Signing<'_>, body: &str, content_type: &str) -> Call {
    let seconds = by.seconds().to_string();
    let mac = hex_mac(by.secret, &["v0:", &seconds, ":", body]);
    Call::post(body.as_bytes())
        .with("content-type", content_type)
        .with("x-slack-request-timestamp", &seconds)
        .with("x-slack-signature", &format!("v0={mac}"))
}

fn slack(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"type\":\"event_callback\",\"event_id\":\"Ev{}\",\"event_time\":{},\
         \"event\":{{\"type\":\"app_mention\",\"text\":\"hi\"}}}}",
        by.number, by.at_ms
    );
    slack_signed(by, &body, "application/json")
}

const FORM: &str = "application/x-www-form-urlencoded";

fn slack_command(by: Signing<'_>) -> Call {
    let body = format!(
        "token=x&command=%2Fdeploy&text=at+{}&trigger_id=398738663015.{}",
        by.at_ms, by.number
    );
    slack_signed(by, &body, FORM)
}

fn slack_action(by: Signing<'_>) -> Call {
    let body = format!(
        "payload=%7B%22type%22%3A%22block_actions%22%2C%22at%22%3A{}%2C\
         %22trigger_id%22%3A%22398.{}%22%7D",
        by.at_ms, by.number
    );
    slack_signed(by, &body, FORM)
}

fn meta(by: Signing<'_>) -> Call {
    // As Meta writes it: what is not ASCII is escaped, and signed as it is.
    let body = format!(
        "{{\"object\":\"page\",\"entry\":[{{\"id\":\"1\",\"time\":{},\"changes\":\
         [{{\"field\":\"feed\",\"value\":{{\"message\":\"xin ch\\u00e0o\",\"n\":{}}}}}]}}]}}",
        by.at_ms, by.number
    );
    let mac = hex_mac(by.secret, &[&body]);
    json_call(&body).with("x-hub-signature-256", &format!("sha256={mac}"))
}

fn invoice(by: Signing<'_>) -> (String, String, String) {
    let body = format!(
        "{{\"type\": \"invoice.paid\", \"timestamp\": {}}}",
        by.at_ms
    );
    (format!("msg_{}", by.number), by.seconds().to_string(), body)
}

fn standard_v1(secret: &str, id: &str, seconds: &str, body: &str) -> String {
    let signed = format!("{id}.{seconds}.{body}");
    let mac = base64(&hmac_sha256(&whsec(secret), &[signed.as_bytes()]));
    // Others stand beside it: of another secret, and of a version that nobody knows.
    let other = base64(&[7; 32]);
    format!("v1,{other} v1,{mac} v2,{other}")
}

fn standard_webhooks(by: Signing<'_>) -> Call {
    let (id, seconds, body) = invoice(by);
    json_call(&body)
        .with("webhook-id", &id)
        .with("webhook-timestamp", &seconds)
        .with(
            "webhook-signature",
            &standard_v1(by.secret, &id, &seconds, &body),
        )
}

fn svix(by: Signing<'_>) -> Call {
    let (id, seconds, body) = invoice(by);
    json_call(&body)
        .with("svix-id", &id)
        .with("svix-timestamp", &seconds)
        .with(
            "svix-signature",
            &standard_v1(by.secret, &id, &seconds, &body),
        )
}

fn standard_webhooks_v1a(by: Signing<'_>) -> Call {
    let (id, seconds, body) = invoice(by);
    let signature = key(by.secret).sign(format!("{id}.{seconds}.{body}").as_bytes());
    json_call(&body)
        .with("webhook-id", &id)
        .with("webhook-timestamp", &seconds)
        .with(
            "webhook-signature",
            &format!("v1a,{}", base64(signature.as_ref())),
        )
}

fn gitlab_unsigned(by: Signing<'_>) -> (Call, String) {
    let body = format!(
        "{{\"object_kind\":\"merge_request\",\"at\":{},\
         \"object_attributes\":{{\"iid\":{},\"action\":\"open\"}}}}",
        by.at_ms, by.number
    );
    let call = json_call(&body)
        .with("x-gitlab-event", "Merge Request Hook")
        .with(
            "x-gitlab-event-uuid",
            "13792a34-cac6-4fda-95a8-c58e00a3954e",
        )
        .with("idempotency-key", &by.uuid());
    (call, body)
}

fn gitlab(by: Signing<'_>) -> Call {
    let (call, body) = gitlab_unsigned(by);
    let (id, seconds) = (by.uuid(), by.seconds().to_string());
    let signature = standard_v1(by.secret, &id, &seconds, &body);
    call.with("webhook-id", &id)
        .with("webhook-timestamp", &seconds)
        .with("webhook-signature", &signature)
}

fn gitlab_token(by: Signing<'_>) -> Call {
    gitlab_unsigned(by).0.with("x-gitlab-token", by.secret)
}

fn shopify(by: Signing<'_>) -> Call {
    let body = format!("{{\"id\":{},\"at\":{}}}", by.number, by.at_ms);
    json_call(&body)
        .with("x-shopify-topic", "orders/create")
        .with("x-shopify-webhook-id", &by.uuid())
        .with("x-shopify-shop-domain", "example.myshopify.com")
        .with("x-shopify-hmac-sha256", &base64_mac(by.secret, &[&body]))
}

fn zalo(by: Signing<'_>) -> Call {
    let time = by.at_ms.to_string();
    let body = format!(
        "{{\"app_id\":\"app-1\",\"event_name\":\"user_send_text\",\"timestamp\":\"{time}\",\
         \"message\":{{\"msg_id\":\"90071992547409{}\",\"text\":\"xin chào\"}}}}",
        by.number
    );
    let parts = ["app-1", &body, &time, by.secret].map(str::as_bytes);
    json_call(&body).with("x-zevent-timestamp", &time).with(
        "x-zevent-signature",
        &format!("mac={}", hex(&sha256(&parts))),
    )
}

fn hubspot(by: Signing<'_>) -> Call {
    let time = by.at_ms.to_string();
    let body = format!(
        "[{{\"eventId\":{},\"subscriptionType\":\"contact.creation\",\"occurredAt\":{time}}}]",
        by.number
    );
    let mac = base64_mac(by.secret, &["POST", &url("hubspot"), &body, &time]);
    json_call(&body)
        .with("x-hubspot-request-timestamp", &time)
        .with("x-hubspot-signature-v3", &mac)
}

fn salesforce(by: Signing<'_>) -> Call {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">\n <soapenv:Body>\n  \
         <notifications xmlns=\"http://soap.sforce.com/2005/09/outbound\">\n   \
         <OrganizationId>{}</OrganizationId>\n   <ActionId>04k000000000001AAA</ActionId>\n   \
         <SessionId>session</SessionId>\n   <Notification>\n    \
         <Id>04l00000000{:04}AAA</Id>\n    \
         <sObject xsi:type=\"sf:Account\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:sf=\"urn:sobject.enterprise.soap.sforce.com\"><sf:Name>{}</sf:Name></sObject>\n   \
         </Notification>\n  </notifications>\n </soapenv:Body>\n</soapenv:Envelope>",
        by.secret, by.number, by.at_ms
    );
    Call::post(body.as_bytes())
        .with("content-type", "text/xml; charset=utf-8")
        .with("soapaction", "\"\"")
}

fn twilio(by: Signing<'_>) -> Call {
    let sid = format!("CA{:032}", by.number);
    let body = format!(
        "To=%2B18005551212&AccountSid=AC1&CallStatus=ringing&From=%2B14158675309&CallSid={sid}&Digits={}",
        by.at_ms
    );
    let signed = format!(
        "{}AccountSidAC1CallSid{sid}CallStatusringingDigits{}From+14158675309To+18005551212",
        url("twilio"),
        by.at_ms
    );
    let mac = hmac_sha1(by.secret.as_bytes(), &[signed.as_bytes()]);
    Call::post(body.as_bytes())
        .with("content-type", FORM)
        .with("i-twilio-idempotency-token", &by.uuid())
        .with("x-twilio-signature", &base64(&mac))
}

fn twilio_json(by: Signing<'_>) -> Call {
    let body = format!(
        "[{{\"type\": \"com.twilio.messaging.message.sent\", \"n\": {}, \"at\": {}}}]",
        by.number, by.at_ms
    );
    let query = format!("bodySHA256={}", hex(&sha256(&[body.as_bytes()])));
    let signed = format!("{}?{query}", url("twilio_json"));
    let mac = hmac_sha1(by.secret.as_bytes(), &[signed.as_bytes()]);
    Call {
        query,
        ..json_call(&body)
            .with("i-twilio-idempotency-token", &by.uuid())
            .with("x-twilio-signature", &base64(&mac))
    }
}

fn zendesk(by: Signing<'_>) -> Call {
    let time = by.rfc3339();
    let body = format!(
        "{{\"type\":\"zen:event-type:ticket.created\",\"n\":{},\"at\":{}}}",
        by.number, by.at_ms
    );
    json_call(&body)
        .with("x-zendesk-webhook-id", "01FB9W9HHXK5WJ5QFDGWD4N5ZC")
        .with("x-zendesk-webhook-invocation-id", &by.uuid())
        .with("x-zendesk-webhook-signature-timestamp", &time)
        .with(
            "x-zendesk-webhook-signature",
            &base64_mac(by.secret, &[&time, &body]),
        )
}

fn square(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"type\":\"payment.updated\",\"event_id\":\"{}\",\"at\":{}}}",
        by.uuid(),
        by.at_ms
    );
    json_call(&body).with(
        "x-square-hmacsha256-signature",
        &base64_mac(by.secret, &[&url("square"), &body]),
    )
}

fn linear(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"action\":\"create\",\"type\":\"Issue\",\"webhookTimestamp\":{}}}",
        by.at_ms
    );
    json_call(&body)
        .with("linear-delivery", &by.uuid())
        .with("linear-event", "Issue")
        .with("linear-signature", &hex_mac(by.secret, &[&body]))
}

/// With Discord's signature over the body.
pub fn discord_signed(by: Signing<'_>, body: &str) -> Call {
    let time = by.seconds().to_string();
    let signature = key(by.secret).sign(format!("{time}{body}").as_bytes());
    json_call(body)
        .with("x-signature-timestamp", &time)
        .with("x-signature-ed25519", &hex(signature.as_ref()))
}

fn discord_event(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"version\":1,\"application_id\":\"7\",\"type\":1,\"event\":\
         {{\"type\":\"APPLICATION_AUTHORIZED\",\"data\":{{\"n\":{},\"at\":{}}}}}}}",
        by.number, by.at_ms
    );
    discord_signed(by, &body)
}

fn discord_command(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"type\":2,\"id\":\"{}\",\"application_id\":\"7\",\"data\":{{\"at\":{}}}}}",
        by.number, by.at_ms
    );
    discord_signed(by, &body)
}

fn telegram(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"update_id\":{},\"message\":{{\"date\":{},\"text\":\"hi\"}}}}",
        by.number, by.at_ms
    );
    json_call(&body).with("x-telegram-bot-api-secret-token", by.secret)
}

fn cloudevents(by: Signing<'_>) -> Call {
    Call {
        query: format!("token={}", by.secret),
        ..json_call(&format!("{{\"at\":{}}}", by.at_ms))
            .with("ce-specversion", "1.0")
            .with("ce-type", "com.example.made")
            .with("ce-source", "/shop")
            .with("ce-id", &by.uuid())
    }
}

/// With Zoom's signature over the body.
pub fn zoom_signed(by: Signing<'_>, body: &str) -> Call {
    let time = by.seconds().to_string();
    let mac = hex_mac(by.secret, &["v0:", &time, ":", body]);
    json_call(body)
        .with("x-zm-request-timestamp", &time)
        .with("x-zm-signature", &format!("v0={mac}"))
}

fn zoom(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"event\":\"meeting.started\",\"event_ts\":{},\"payload\":{{\"n\":{}}}}}",
        by.at_ms, by.number
    );
    zoom_signed(by, &body)
}

fn twitter(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"for_user_id\":\"2244994945\",\"tweet_create_events\":[{{\"id_str\":\"{}\",\
         \"timestamp_ms\":\"{}\"}}]}}",
        by.number, by.at_ms
    );
    let mac = base64_mac(by.secret, &[&body]);
    json_call(&body).with("x-twitter-webhooks-signature", &format!("sha256={mac}"))
}

/// A message of Twitch's of this type.
pub fn twitch_signed(by: Signing<'_>, kind: &str, body: &str) -> Call {
    let (id, time) = (by.uuid(), by.rfc3339());
    let mac = hex_mac(by.secret, &[&id, &time, body]);
    json_call(body)
        .with("twitch-eventsub-message-id", &id)
        .with("twitch-eventsub-message-timestamp", &time)
        .with("twitch-eventsub-message-type", kind)
        .with("twitch-eventsub-subscription-type", "channel.follow")
        .with(
            "twitch-eventsub-message-signature",
            &format!("sha256={mac}"),
        )
}

fn twitch(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"subscription\":{{\"type\":\"channel.follow\"}},\"event\":{{\"at\":{}}}}}",
        by.at_ms
    );
    twitch_signed(by, "notification", &body)
}

/// With LINE's signature over the body.
pub fn line_signed(by: Signing<'_>, body: &str) -> Call {
    let mac = base64_mac(by.secret, &[body]);
    json_call(body).with("x-line-signature", &mac)
}

fn line(by: Signing<'_>) -> Call {
    let body = format!(
        "{{\"destination\":\"U1\",\"events\":[{{\"type\":\"message\",\"timestamp\":{},\
         \"webhookEventId\":\"01H{:010}\"}}]}}",
        by.at_ms, by.number
    );
    line_signed(by, &body)
}
