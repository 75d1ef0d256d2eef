//! What a list is filtered by: the fields of the address, so that a list can be sent on as a link.

use std::fmt::Display;
use std::str::FromStr;

use crate::domain::endpoint::TypePattern;
use crate::domain::event::{Key, Tenant};
use crate::domain::time::Timestamp;
use crate::domain::when;
use crate::outbox::{Cursor, EventFilter};
use crate::ui::base::form::Form;

/// Rows of a page.
pub const ROWS: usize = 50;
/// The longest cursor that is looked at, in bytes.
const MAX_CURSOR: usize = 1024;

/// Reads the fields; all faults at once.
pub struct Filters<'a> {
    asked: &'a Form,
    now: Timestamp,
    /// The only tenant whose things are listed.
    tenant: Option<&'a Tenant>,
    pub faults: Vec<String>,
}

impl<'a> Filters<'a> {
    pub fn new(asked: &'a Form, now: Timestamp, tenant: Option<&'a Tenant>) -> Filters<'a> {
        Filters {
            asked,
            now,
            tenant,
            faults: Vec::new(),
        }
    }

    /// The value of a field as it was typed; empty without one.
    pub fn typed(&self, name: &str) -> String {
        self.asked.text(name).unwrap_or_default().to_owned()
    }

    fn with<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match read(self.asked.text(name)?) {
            Ok(value) => Some(value),
            Err(why) => {
                self.faults.push(format!("{name}: {why}"));
                None
            }
        }
    }

    pub fn read<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        self.with(name, str::parse)
    }

    /// The tenant whose things are listed; `None`: those of all.
    pub fn tenant(&mut self) -> Option<Tenant> {
        match self.tenant {
            Some(only) => Some(only.clone()),
            None => self.read("tenant"),
        }
    }

    pub fn pattern(&mut self, name: &str) -> Option<TypePattern> {
        self.with(name, TypePattern::parse)
    }

    /// A time, or a span before now.
    pub fn time(&mut self, name: &str) -> Option<Timestamp> {
        let now = self.now;
        self.with(name, |text| when::parse_past(text, now))
    }

    /// One of these by its name.
    pub fn one_of<T: Copy>(
        &mut self,
        name: &str,
        all: &[T],
        named: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        self.with(name, |text| {
            let mut found = all.iter().copied();
            found
                .find(|one| named(*one) == text)
                .ok_or("there is no such choice")
        })
    }

    pub fn events(&mut self) -> EventFilter {
        EventFilter {
            tenant: self.tenant(),
            event_type: self.pattern("type"),
            key: self.with("key", Key::new),
            idempotency_key: self.with("idempotency_key", Key::new),
            since: self.time("since"),
            until: self.time("until"),
        }
    }

    pub fn cursor(&mut self) -> Option<Cursor> {
        self.with("cursor", |text| match text.len() > MAX_CURSOR {
            true => Err("not one that a list gave"),
            false => Ok(Cursor(text.to_owned())),
        })
    }

    /// The address of the list from a cursor on, with the same fields.
    pub fn next(&self, path: &str, names: &[&str], cursor: Option<&Cursor>) -> Option<String> {
        let Cursor(cursor) = cursor?;
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for name in names {
            if let Some(value) = self.asked.text(name) {
                query.append_pair(name, value);
            }
        }
        query.append_pair("cursor", cursor);
        Some(format!("{path}?{}", query.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_fields_and_links_keep_them() {
        let asked = Form::parse(b"type=*.a&since=1h&until=soon&tenant=a.b&key=%26");
        let now = Timestamp::from_millis(1_767_225_600_000);
        let mut filters = Filters::new(&asked, now, None);
        let events = filters.events();
        assert_eq!(
            events.since.unwrap().as_millis(),
            now.as_millis() - 3_600_000
        );
        let named: Vec<&str> = filters
            .faults
            .iter()
            .map(|fault| fault.split(':').next().unwrap())
            .collect();
        assert_eq!(named, ["tenant", "type", "until"]);
        let next = filters.next("/ui/events", &["type", "key"], Some(&Cursor("c".into())));
        assert_eq!(
            next.as_deref(),
            Some("/ui/events?type=*.a&key=%26&cursor=c")
        );
    }
}
