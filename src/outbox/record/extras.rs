//! An event's extras, as they stand behind its content in the body of its record: headers may be
//! personal, and bodies can be overwritten.

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use super::spelling::{BadRecord, put, take};
use crate::domain::cloudevents;
use crate::domain::extras::{Channel, Extras};

/// What takes the place of a record's kind in faults.
const EXTRAS: u8 = 0;

/// See [`Extras`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ExtrasRow<'a> {
    pub channels: Vec<&'a str>,
    pub headers: Vec<(&'a str, &'a [u8])>,
    pub trace: Vec<(&'a str, &'a [u8])>,
    /// In the JSON format.
    pub cloudevent: Option<&'a [u8]>,
    pub source: Option<&'a str>,
}

/// Their bytes; none if there is nothing to say.
pub fn spell_extras(extras: &Extras) -> Vec<u8> {
    let mut out = Vec::new();
    if extras.is_empty() {
        return out;
    }
    fn pairs(headers: &[(HeaderName, HeaderValue)]) -> Vec<(&str, &[u8])> {
        let pairs = headers.iter();
        pairs
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect()
    }
    let cloudevent = extras.cloudevent.as_ref().map(cloudevents::structured);
    let row = ExtrasRow {
        channels: extras.channels.iter().map(Channel::as_str).collect(),
        headers: pairs(&extras.headers),
        trace: pairs(&extras.trace),
        cloudevent: cloudevent.as_deref(),
        source: extras.source.as_deref(),
    };
    put(&row, &mut out);
    out
}

/// Reads what [`spell_extras`] gave.
pub fn read_extras(bytes: &[u8]) -> Result<Extras, BadRecord> {
    if bytes.is_empty() {
        return Ok(Extras::default());
    }
    let row: ExtrasRow<'_> = take(EXTRAS, bytes)?;
    let bad = BadRecord { kind: EXTRAS };
    let channels = row.channels.iter().map(|name| Channel::new(name));
    let cloudevent = row
        .cloudevent
        .map(|text| cloudevents::parse_structured(&Bytes::copy_from_slice(text)).map_err(|_| bad));
    Ok(Extras {
        channels: channels.collect::<Result<_, _>>().map_err(|_| bad)?,
        headers: headers(&row.headers).ok_or(bad)?,
        trace: headers(&row.trace).ok_or(bad)?,
        cloudevent: cloudevent.transpose()?,
        source: row.source.map(str::to_owned),
    })
}

fn headers(pairs: &[(&str, &[u8])]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let read = |(name, value): &(&str, &[u8])| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_bytes(value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    pairs.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extras_are_read_as_they_were_spelled(
            channels in proptest::collection::vec("[a-z]{1,8}", 0..4),
            headers in proptest::collection::vec(("x-[a-z]{1,8}", "[!-~]{0,20}"), 0..4),
            subject in proptest::option::of("[a-z]{1,8}"),
            source in proptest::option::of("[a-z]{1,8}"),
        ) {
            let pairs: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let extras = Extras {
                channels: channels.iter().map(|name| Channel::new(name).unwrap()).collect(),
                headers: pairs.clone(),
                trace: pairs,
                cloudevent: subject.map(|subject| {
                    let text = format!(
                        r#"{{"specversion":"1.0","id":"1","source":"/a","type":"t","subject":"{subject}","n":7}}"#
                    );
                    cloudevents::parse_structured(&text.into()).unwrap()
                }),
                source,
            };
            let bytes = spell_extras(&extras);
            prop_assert_eq!(bytes.is_empty(), extras.is_empty());
            prop_assert_eq!(read_extras(&bytes).unwrap(), extras);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_extras(&bytes);
        }
    }
}
