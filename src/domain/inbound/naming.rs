//! The type of an event that comes in, made valid.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::call::View;
use super::place::Item;
use crate::domain::event::{EventType, RESERVED_PREFIX};
use crate::domain::json::Json;
use crate::domain::template::{Limits, Names, Template};

/// The longest type, in bytes.
const MAX_TYPE: usize = 128;
/// What a template of a type may use. A type is short.
const LIMITS: Limits = Limits {
    steps: 5_000,
    output: 4096,
};

/// What makes the types of the events of one call.
pub(super) struct Naming<'v, 'a> {
    preset: &'v str,
    template: Option<&'v Template>,
    view: &'v View<'a>,
    /// The parameters of the query and the headers that templates do not see.
    hides: &'v dyn Fn(&str) -> bool,
    /// Made once for all elements of a call.
    headers: OnceCell<Arc<Json>>,
    query: OnceCell<Arc<Json>>,
}

impl<'v, 'a> Naming<'v, 'a> {
    pub(super) fn new(
        preset: &'v str,
        template: Option<&'v Template>,
        view: &'v View<'a>,
        hides: &'v dyn Fn(&str) -> bool,
    ) -> Naming<'v, 'a> {
        Naming {
            preset,
            template,
            view,
            hides,
            headers: OnceCell::new(),
            query: OnceCell::new(),
        }
    }

    /// `provider_type` is the type in the provider's words.
    pub(super) fn event_type(
        &self,
        provider_type: Option<&str>,
        delivery_id: &str,
        item: Item<'_>,
    ) -> EventType {
        let provider_type = provider_type.unwrap_or_default();
        let text = match self.template {
            None => format!("{}.{provider_type}", self.preset),
            Some(template) => {
                let names = self.names(template.source(), provider_type, delivery_id, item);
                template.render(&names, LIMITS).unwrap_or_default()
            }
        };
        let is_named = self.template.is_some() || !provider_type.is_empty();
        match valid(&text).filter(|_| is_named) {
            Some(event_type) => event_type,
            None => unnamed(self.preset),
        }
    }

    fn names(&self, source: &str, provider_type: &str, id: &str, item: Item<'_>) -> Names {
        let mut names = Names::new()
            .with_text("type", provider_type)
            .with_text("id", id);
        if source.contains("data")
            && let Ok(data) = Json::parse(item.unwrap_or(self.view.document()))
        {
            names = names.with_json("data", Arc::new(data));
        }
        if source.contains("headers") {
            let headers = self.headers.get_or_init(|| {
                let all = self.view.call.headers.iter();
                self.shown(all.map(|(name, value)| {
                    (name.as_str(), String::from_utf8_lossy(value.as_bytes()))
                }))
            });
            names = names.with_json("headers", headers.clone());
        }
        if source.contains("query") {
            let query = self.query.get_or_init(|| {
                let all = self.view.query().iter();
                self.shown(all.map(|(name, value)| (name.as_ref(), Cow::from(value.as_ref()))))
            });
            names = names.with_json("query", query.clone());
        }
        names
    }

    /// An object of what templates may see; of values under one name the first.
    fn shown<'t>(&self, all: impl Iterator<Item = (&'t str, Cow<'t, str>)>) -> Arc<Json> {
        self.view.note_read();
        let mut fields = indexmap::IndexMap::new();
        for (name, value) in all.filter(|(name, _)| !(self.hides)(name)) {
            let first = fields.entry(name.into());
            first.or_insert_with(|| Json::from(&*value));
        }
        Arc::new(Json::Object(fields))
    }
}

/// `PRESET.unnamed`.
fn unnamed(preset: &str) -> EventType {
    let fallback = || EventType::new("custom.unnamed").ok();
    let named = EventType::new(&format!("{preset}.unnamed")).ok();
    // Names of presets are segments of types, which a test holds.
    named
        .or_else(fallback)
        .expect("a constant that is a type name")
}

/// The text as a type: `/` becomes `.`, what cannot stand in a type `_`, empty segments go, what is
/// too long is cut. `None` if nothing is left, or it would be a type of the daemon's own.
fn valid(text: &str) -> Option<EventType> {
    let mut out = String::with_capacity(text.len().min(MAX_TYPE));
    for segment in text.split(['/', '.']).filter(|segment| !segment.is_empty()) {
        if !out.is_empty() {
            out.push('.');
        }
        for c in segment.chars() {
            let fits = c.is_ascii_alphanumeric() || c == '_' || c == '-';
            out.push(if fits { c } else { '_' });
        }
        if out.len() > MAX_TYPE {
            break;
        }
    }
    out.truncate(MAX_TYPE);
    let out = out.trim_end_matches('.');
    let reserved = out.starts_with(RESERVED_PREFIX);
    EventType::new(out).ok().filter(|_| !reserved)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn types_are_made_valid() {
        let long = "a".repeat(200);
        for (text, wanted) in [
            ("shopify.orders/create", "shopify.orders.create"),
            ("a b.ü", "a_b._"),
            ("..a...b//c.", "a.b.c"),
            ("a\n{}", "a___"),
            (&long, &long[..128]),
        ] {
            assert_eq!(valid(text).unwrap().as_str(), wanted);
        }
        let cut = format!("{}.b", "a".repeat(127));
        assert_eq!(valid(&cut).unwrap().as_str(), &cut[..127]);
        for bad in ["", "...", "/", "outboxd.endpoint.disabled", "/outboxd/x"] {
            assert_eq!(valid(bad), None, "{bad}");
        }
        assert_eq!(valid("outboxd").unwrap().as_str(), "outboxd");
    }

    proptest! {
        #[test]
        fn every_text_is_a_type_or_nothing(text in any::<String>(), dots in "[./a]{0,300}") {
            for text in [text, dots] {
                if let Some(event_type) = valid(&text) {
                    prop_assert!(!event_type.is_reserved());
                }
            }
        }
    }
}
