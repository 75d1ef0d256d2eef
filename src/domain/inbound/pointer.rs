//! JSON pointers (RFC 6901) into bodies, with `*` for every item of an array.
//!
//! A lookup walks the text once and builds nothing but what it finds, as slices of the text: a
//! body may have megabytes, and most recipes need two values of it. Of a key that is repeated the
//! last value counts, as `domain::json` has it.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The longest pointer, in bytes.
const MAX_POINTER: usize = 256;
/// The deepest one, which bounds the stack of a lookup.
const MAX_SEGMENTS: usize = 16;
/// The most values of one lookup.
pub(super) const MAX_FOUND: usize = 1000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// A name, which an array reads as an index.
    Name(Box<str>),
    Every,
}

impl Pointer {
    /// `None` if the text is not a pointer. The empty one points at the whole.
    pub(super) fn parse(text: &str) -> Option<Pointer> {
        let Some(text) = text.strip_prefix('/') else {
            return text.is_empty().then(|| Pointer(Vec::new()));
        };
        let mut segments = Vec::new();
        for segment in text.split('/') {
            segments.push(match segment {
                "*" => Segment::Every,
                name => Segment::Name(name.replace("~1", "/").replace("~0", "~").into()),
            });
        }
        let fits = text.len() < MAX_POINTER && segments.len() <= MAX_SEGMENTS;
        fits.then_some(Pointer(segments))
    }

    /// The last name of it.
    pub(super) fn last(&self) -> Option<&str> {
        match self.0.last() {
            Some(Segment::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// What it points at, in the order of the text. Nothing if the text is not JSON, or if there are
    /// more than [`MAX_FOUND`] values.
    pub(super) fn find<'t>(&self, text: &'t [u8]) -> Vec<&'t RawValue> {
        let mut found = Vec::new();
        let mut reader = serde_json::Deserializer::from_slice(text);
        let descent = Descent {
            segments: &self.0,
            found: &mut found,
        };
        let read = descent.deserialize(&mut reader);
        if read.and_then(|()| reader.end()).is_err() || found.len() > MAX_FOUND {
            found.clear();
        }
        found
    }

    /// The only value that it points at.
    pub(super) fn find_one<'t>(&self, text: &'t [u8]) -> Option<&'t RawValue> {
        match self.find(text).as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// A string, number or boolean as a text; `None` for what is null or has parts.
pub(super) fn scalar(value: &RawValue) -> Option<String> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(text.to_owned()),
    }
}

struct Descent<'p, 'f, 't> {
    segments: &'p [Segment],
    found: &'f mut Vec<&'t RawValue>,
}

impl<'t> DeserializeSeed<'t> for Descent<'_, '_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, reader: D) -> Result<(), D::Error> {
        if !self.segments.is_empty() {
            return reader.deserialize_any(self);
        }
        let value = <&RawValue>::deserialize(reader)?;
        // One more than are allowed tells that there are too many.
        if self.found.len() <= MAX_FOUND {
            self.found.push(value);
        }
        Ok(())
    }
}

impl<'t> Visitor<'t> for Descent<'_, '_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.found.len();
        let (first, rest) = match self.segments.split_first() {
            Some((Segment::Name(name), rest)) => (Some(name), rest),
            _ => (None, self.segments),
        };
        while let Some(is_wanted) = map.next_key_seed(NameIs(first.map(|name| &**name)))? {
            if is_wanted {
                self.found.truncate(start);
                map.next_value_seed(Descent {
                    segments: rest,
                    found: &mut *self.found,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut seq: A) -> Result<(), A::Error> {
        let (wanted, rest) = match self.segments.split_first() {
            Some((Segment::Name(name), rest)) => (name.parse().ok(), rest),
            Some((Segment::Every, rest)) => (None, rest),
            None => (None, self.segments),
        };
        let every = matches!(self.segments.first(), Some(Segment::Every));
        let mut index = 0_usize;
        loop {
            let more = if every || wanted == Some(index) {
                let descent = Descent {
                    segments: rest,
                    found: &mut *self.found,
                };
                seq.next_element_seed(descent)?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            index = index.saturating_add(1);
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Whether a key has that name, without a copy of it.
struct NameIs<'p>(Option<&'p str>);

impl<'t> DeserializeSeed<'t> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'t>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(self.0 == Some(name))
    }
}

/// The first key of the object that is not `name`.
pub(super) fn other_key(text: &[u8], name: &str) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let found = reader.deserialize_map(OtherKey(name)).ok()?;
    reader.end().ok()?;
    found
}

struct OtherKey<'p>(&'p str);

impl<'t> Visitor<'t> for OtherKey<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let mut found: Option<String> = None;
        while let Some(key) = map.next_key::<String>()? {
            if found.is_none() && key != self.0 {
                found = Some(key);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(pointer: &str, text: &str) -> Vec<String> {
        let pointer = Pointer::parse(pointer).unwrap();
        let found = pointer.find(text.as_bytes());
        found.iter().map(|raw| raw.get().to_owned()).collect()
    }

    #[test]
    fn values_are_found_as_they_were_written() {
        let text = r#" {"a": {"b": [1, 12.50, "x"]}, "e/~": null, "": 3} "#;
        assert_eq!(found("/a/b/1", text), ["12.50"]);
        assert_eq!(found("/a/b/*", text), ["1", "12.50", "\"x\""]);
        assert_eq!(found("/a/b", text), [r#"[1, 12.50, "x"]"#]);
        assert_eq!(found("/e~1~0", text), ["null"]);
        assert_eq!(found("/", text), ["3"]);
        assert_eq!(found("", "[1]"), ["[1]"]);
        assert_eq!(found("/*/id", r#"[{"id":1},{},{"id":2},3]"#), ["1", "2"]);
        for nothing in ["/a/b/3", "/x", "/a/b/1/c", "/a/*", "/a/b/-"] {
            assert!(found(nothing, text).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn the_last_of_a_repeated_key_counts_and_what_is_not_json_has_nothing() {
        assert_eq!(found("/a", r#"{"a":1,"a":2}"#), ["2"]);
        assert_eq!(found("/a/*", r#"{"a":[1,2],"a":[3]}"#), ["3"]);
        assert!(found("/a/b", r#"{"a":{"b":1},"a":2}"#).is_empty());
        for bad in [r#"{"a":1} x"#, r#"{"a":1"#, "", "{\"a\":1,}"] {
            assert!(found("/a", bad).is_empty(), "{bad}");
        }
        let many = format!("[{}1]", "1,".repeat(MAX_FOUND));
        assert!(found("/*", &many).is_empty());
    }

    #[test]
    fn what_is_too_long_or_no_pointer_is_refused() {
        assert_eq!(Pointer::parse("a"), None);
        assert_eq!(Pointer::parse(&"/a".repeat(MAX_SEGMENTS + 1)), None);
        assert_eq!(
            Pointer::parse(&format!("/{}", "a".repeat(MAX_POINTER))),
            None
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(pointer in "(/[a-c*0-2~]{0,3}){0,5}", text in any::<Vec<u8>>(),
                          json in "[\\[\\]{}:,\"abc012.e-]{0,40}") {
            if let Some(pointer) = Pointer::parse(&pointer) {
                pointer.find(&text);
                pointer.find(json.as_bytes());
            }
        }
    }
}
