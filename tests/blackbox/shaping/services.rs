//! Chat and paging services as they answer: each stand-in refuses what the real one refuses.

use serde_json::{Value, json};

use crate::harness::{Answer, Receiver, Seen};

/// In every URL: what must be shown nowhere.
pub const TOKEN: &str = "AAH0dTokenThatNobodyMaySee";
/// The longest that ntfy takes as a message, in bytes.
const NTFY_BYTES: usize = 4096;

#[derive(Clone, Copy)]
pub struct Service {
    pub preset: &'static str,
    /// Path and query of its URL.
    pub path: &'static str,
    /// What it answers to a request, by its rules.
    pub answer: fn(&Seen) -> Answer,
    /// Over its rate, to be asked again after a second.
    pub limited: fn() -> Answer,
    /// A failure that no second attempt mends.
    pub refused: fn() -> Answer,
}

pub const SLACK: Service = Service {
    preset: "slack",
    path: "/services/T0TEAM/B0UILDER/AAH0dTokenThatNobodyMaySee",
    answer: slack,
    limited: retry_after,
    refused: || Answer::reply(403, &[], "action_prohibited"),
};
pub const DISCORD: Service = Service {
    preset: "discord",
    path: "/api/webhooks/1/AAH0dTokenThatNobodyMaySee?wait=true",
    answer: discord,
    limited: || {
        let body =
            r#"{"message": "You are being rate limited.", "retry_after": 0.9, "global": false}"#;
        Answer::reply(429, &[], body)
    },
    refused: || {
        let body = r#"{"message": "Unknown Webhook", "code": 10015}"#;
        Answer::reply(404, &[], body)
    },
};
pub const TEAMS: Service = Service {
    preset: "teams",
    path: "/powerautomate/automations/direct/workflows/1/triggers/manual/paths/invoke?api-version=1&sig=AAH0dTokenThatNobodyMaySee",
    answer: teams,
    limited: retry_after,
    refused: || {
        Answer::reply(
            401,
            &[],
            r#"{"error": {"code": "DirectApiAuthorizationRequired"}}"#,
        )
    },
};
pub const TELEGRAM: Service = Service {
    preset: "telegram",
    path: "/bot1:AAH0dTokenThatNobodyMaySee/sendMessage?chat_id=-100123",
    answer: telegram,
    limited: || {
        let body = r#"{"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 1", "parameters": {"retry_after": 1}}"#;
        Answer::reply(429, &[], body)
    },
    refused: || {
        let body = r#"{"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"}"#;
        Answer::reply(403, &[], body)
    },
};
pub const PAGERDUTY: Service = Service {
    preset: "pagerduty",
    path: "/v2/enqueue?routing_key=AAH0dTokenThatNobodyMaySee",
    answer: pagerduty,
    limited: retry_after,
    refused: || Answer::reply(400, &[], r#"{"status": "invalid event", "errors": []}"#),
};
pub const GOOGLE_CHAT: Service = Service {
    preset: "google_chat",
    path: "/v1/spaces/AAA/messages?key=k&token=AAH0dTokenThatNobodyMaySee",
    answer: google_chat,
    limited: retry_after,
    refused: || {
        Answer::reply(
            403,
            &[],
            r#"{"error": {"code": 403, "status": "PERMISSION_DENIED"}}"#,
        )
    },
};
pub const MATTERMOST: Service = Service {
    preset: "mattermost",
    path: "/hooks/AAH0dTokenThatNobodyMaySee",
    answer: mattermost,
    limited: retry_after,
    refused: || {
        Answer::reply(
            400,
            &[],
            r#"{"id": "web.incoming_webhook.invalid.app_error"}"#,
        )
    },
};
pub const NTFY: Service = Service {
    preset: "ntfy",
    path: "/AAH0dTokenThatNobodyMaySee",
    answer: ntfy,
    limited: retry_after,
    refused: || {
        Answer::reply(
            403,
            &[],
            r#"{"code": 40301, "http": 403, "error": "forbidden"}"#,
        )
    },
};

pub const ALL: [Service; 8] = [
    SLACK,
    DISCORD,
    TEAMS,
    TELEGRAM,
    PAGERDUTY,
    GOOGLE_CHAT,
    MATTERMOST,
    NTFY,
];

impl Service {
    /// Stands in for it.
    pub fn stand_in(self) -> Receiver {
        Receiver::answering(self.answer)
    }

    /// The same, but `first` answers the first request.
    pub fn stand_in_after(self, first: fn() -> Answer) -> Receiver {
        Receiver::answering(move |seen| match seen.number {
            0 => first(),
            _ => (self.answer)(seen),
        })
    }

    /// The message that a request carries, as it stands in the body.
    #[track_caller]
    pub fn message(self, seen: &Seen) -> String {
        let text = seen.text();
        if self.preset == "ntfy" {
            return text;
        }
        let body: Value = serde_json::from_str(&text).expect("JSON");
        let place = match self.preset {
            "discord" => "/content",
            "teams" => "/attachments/0/content/body/0/text",
            "pagerduty" => "/payload/summary",
            _ => "/text",
        };
        let message = body.pointer(place).and_then(Value::as_str);
        message
            .unwrap_or_else(|| panic!("no {place} in {body}"))
            .to_owned()
    }
}

fn retry_after() -> Answer {
    Answer::reply(429, &[("retry-after", "1")], "slow down")
}

/// The body, if the request is one that JSON services take at this path.
fn body(seen: &Seen, service: Service) -> Option<Value> {
    let is_json = seen.header("content-type").starts_with("application/json");
    let fits = is_json && seen.method == "POST" && seen.path == service.path;
    serde_json::from_slice(&seen.body).ok().filter(|_| fits)
}

/// A text of 1 to `most` characters.
fn is_text(value: &Value, most: usize) -> bool {
    let text = value.as_str().unwrap_or_default();
    (1..=most).contains(&text.chars().count())
}

fn only(value: &Value, keys: &[&str]) -> bool {
    let fields = value.as_object();
    fields.is_some_and(|fields| fields.keys().all(|key| keys.contains(&key.as_str())))
}

fn slack(seen: &Seen) -> Answer {
    match body(seen, SLACK) {
        None => Answer::reply(400, &[], "invalid_payload"),
        Some(body) if body["text"].as_str().unwrap_or_default().is_empty() => {
            Answer::reply(400, &[], "no_text")
        }
        Some(body) if !is_text(&body["text"], 40_000) => Answer::reply(400, &[], "msg_too_long"),
        Some(_) => Answer::reply(200, &[("content-type", "text/html")], "ok"),
    }
}

fn discord(seen: &Seen) -> Answer {
    let fits = |body: &Value| {
        is_text(&body["content"], 2000)
            && body["allowed_mentions"] == json!({"parse": []})
            && only(body, &["content", "allowed_mentions"])
    };
    match body(seen, DISCORD).filter(fits) {
        Some(_) => Answer::reply(200, &[], r#"{"id": "1", "type": 0}"#),
        None => Answer::reply(
            400,
            &[],
            r#"{"code": 50035, "message": "Invalid Form Body"}"#,
        ),
    }
}

/// The real one accepts wrong cards too, and they fail unseen; and it takes 28 KB.
fn teams(seen: &Seen) -> Answer {
    let fits = |body: &Value| {
        let attachment = &body["attachments"][0];
        let card = &attachment["content"];
        let block = &card["body"][0];
        body["type"] == "message"
            && attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
            && card["type"] == "AdaptiveCard"
            && card["version"] == "1.4"
            && block["type"] == "TextBlock"
            && block["wrap"] == true
            && is_text(&block["text"], 28_000)
            && seen.body.len() <= 28 * 1024
    };
    match body(seen, TEAMS).filter(fits) {
        Some(_) => Answer::status(202),
        None => Answer::status(400),
    }
}

fn telegram(seen: &Seen) -> Answer {
    let refused = |why: &str| {
        let body =
            json!({"ok": false, "error_code": 400, "description": format!("Bad Request: {why}")});
        Answer::reply(400, &[], &body.to_string())
    };
    let Some(body) = body(seen, TELEGRAM) else {
        return refused("no such call");
    };
    if body["chat_id"] != "-100123" && body["chat_id"] != json!(-100_123) {
        return refused("chat not found");
    }
    if body["parse_mode"] != "HTML" || body["link_preview_options"]["is_disabled"] != true {
        return refused("not how the preset asks");
    }
    match shown_html(body["text"].as_str().unwrap_or_default()) {
        None => refused("can't parse entities"),
        Some(shown) if shown.is_empty() => refused("message text is empty"),
        Some(shown) if shown.chars().count() > 4096 => refused("message is too long"),
        Some(_) => Answer::reply(200, &[], r#"{"ok": true, "result": {"message_id": 7}}"#),
    }
}

/// The text that Telegram shows of its HTML; `None` where it cannot be parsed.
pub fn shown_html(html: &str) -> Option<String> {
    let (mut shown, mut open, mut rest) = (String::new(), Vec::new(), html);
    while let Some(c) = rest.chars().next() {
        if c == '<' {
            let (tag, after) = rest[1..].split_once('>')?;
            match tag.strip_prefix('/') {
                Some(name) => (open.pop()? == name).then_some(())?,
                None => ["b", "i", "code", "pre"]
                    .contains(&tag)
                    .then(|| open.push(tag))?,
            }
            rest = after;
            continue;
        }
        let entities = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>')];
        match entities.iter().find(|(entity, _)| rest.starts_with(entity)) {
            Some((entity, stands_for)) => {
                shown.push(*stands_for);
                rest = &rest[entity.len()..];
            }
            None => {
                shown.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    open.is_empty().then_some(shown)
}

fn pagerduty(seen: &Seen) -> Answer {
    let severities = ["critical", "error", "warning", "info"];
    let fits = |body: &Value| {
        let payload = &body["payload"];
        let action = body["event_action"].as_str().unwrap_or_default();
        body["routing_key"] == TOKEN
            && ["trigger", "acknowledge", "resolve"].contains(&action)
            && is_text(&body["dedup_key"], 255)
            && is_text(&payload["summary"], 1024)
            && is_text(&payload["source"], 10_000)
            && severities.iter().any(|one| payload["severity"] == *one)
            && payload["timestamp"]
                .as_str()
                .is_some_and(|at| at.ends_with('Z'))
            && seen.body.len() <= 512 * 1024
    };
    match body(seen, PAGERDUTY).filter(fits) {
        Some(body) => {
            let answer = json!({"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]});
            Answer::reply(202, &[], &answer.to_string())
        }
        None => Answer::reply(400, &[], r#"{"status": "invalid event"}"#),
    }
}

fn google_chat(seen: &Seen) -> Answer {
    match body(seen, GOOGLE_CHAT)
        .filter(|body| is_text(&body["text"], 4096) && only(body, &["text"]))
    {
        Some(_) => Answer::reply(200, &[], r#"{"name": "spaces/AAA/messages/1"}"#),
        None => Answer::reply(
            400,
            &[],
            r#"{"error": {"code": 400, "status": "INVALID_ARGUMENT"}}"#,
        ),
    }
}

fn mattermost(seen: &Seen) -> Answer {
    match body(seen, MATTERMOST).filter(|body| is_text(&body["text"], 16_383)) {
        Some(_) => Answer::reply(200, &[], "ok"),
        None => Answer::reply(400, &[], r#"{"id": "web.incoming_webhook.text.app_error"}"#),
    }
}

fn ntfy(seen: &Seen) -> Answer {
    let is_text = seen.header("content-type").starts_with("text/plain");
    // A longer one becomes an attachment, which few servers allow.
    match is_text && seen.path == NTFY.path && (1..=NTFY_BYTES).contains(&seen.body.len()) {
        true => Answer::reply(200, &[], r#"{"id": "1", "event": "message"}"#),
        false => Answer::reply(
            400,
            &[],
            r#"{"code": 40014, "error": "attachments not allowed"}"#,
        ),
    }
}
