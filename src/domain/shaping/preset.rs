//! Presets: chat and paging services as data. A preset is a template with its content type, rate
//! and answer rule under one name, and a text that it carries.

use std::sync::OnceLock;

use super::escape::Escape;
use crate::domain::answer_rule::AnswerRule;
use crate::domain::json::Json;
use crate::domain::rate::Rate;
use crate::domain::template::{Output, Template};

/// As configuration and APIs write them.
pub const NAMES: [&str; 8] = [
    "slack",
    "discord",
    "teams",
    "telegram",
    "pagerduty",
    "google_chat",
    "mattermost",
    "ntfy",
];

/// The files, in the order of [`NAMES`].
const FILES: [&str; 8] = [
    include_str!("presets/slack.toml"),
    include_str!("presets/discord.toml"),
    include_str!("presets/teams.toml"),
    include_str!("presets/telegram.toml"),
    include_str!("presets/pagerduty.toml"),
    include_str!("presets/google_chat.toml"),
    include_str!("presets/mattermost.toml"),
    include_str!("presets/ntfy.toml"),
];

/// One service.
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    pub content_type: String,
    /// Of the body; `text` in it is the message.
    pub template: Template,
    /// Of the message, unless the endpoint has its own.
    pub text: Template,
    pub escape: Escape,
    /// A message is cut there, in characters.
    pub longest_text: usize,
    /// And in bytes.
    pub longest_bytes: usize,
    pub rate: Rate,
    pub answer: AnswerRule,
    /// The data of a test event.
    pub sample: String,
    /// What its template takes from the query of the endpoint's URL.
    pub params: Vec<String>,
}

/// A file of a preset.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    content_type: String,
    template: String,
    text: String,
    escape: Escape,
    longest_text: usize,
    /// `None`: the service counts characters alone.
    longest_bytes: Option<usize>,
    per_second: f64,
    answer: String,
    sample: String,
    #[serde(default)]
    params: Vec<String>,
}

/// The preset of that name.
pub fn named(name: &str) -> Option<&'static Preset> {
    static PRESETS: OnceLock<Vec<Preset>> = OnceLock::new();
    let presets = PRESETS.get_or_init(|| {
        let files = NAMES.into_iter().zip(FILES);
        files.filter_map(|(name, text)| read(name, text)).collect()
    });
    presets.iter().find(|preset| preset.name == name)
}

/// `None` for a file that is wrong, which a test excludes.
fn read(name: &'static str, text: &str) -> Option<Preset> {
    let file: File = toml::from_str(text).ok()?;
    let is_json = file.content_type.starts_with("application/json");
    let output = if is_json { Output::Json } else { Output::Text };
    Some(Preset {
        name,
        template: Template::parse(&file.template, output).ok()?,
        text: Template::parse(&file.text, file.escape.output()).ok()?,
        content_type: file.content_type,
        escape: file.escape,
        longest_text: file.longest_text,
        longest_bytes: file.longest_bytes.unwrap_or(usize::MAX),
        rate: Rate {
            per_second: file.per_second,
        },
        answer: AnswerRule::parse(&Json::parse(file.answer.as_bytes()).ok()?).ok()?,
        sample: file.sample,
        params: file.params,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read() {
        for (name, text) in NAMES.into_iter().zip(FILES) {
            toml::from_str::<File>(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            let preset = named(name).unwrap_or_else(|| panic!("{name}"));
            assert!(Json::parse(preset.sample.as_bytes()).is_ok(), "{name}");
        }
        assert!(named("myspace").is_none());
    }
}
