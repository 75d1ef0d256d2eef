//! An event's extras, as they stand behind its content in the body of its record: headers may be
//! personal, and bodies can be overwritten.

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use super::spelling::{BadRecord, put, take, take_first};
use crate::domain::cloudevents;
use crate::domain::extras::{Channel, Extras, Received};

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

/// See [`Received`]. Follows the [`ExtrasRow`] of an event that a source took in; nothing stands
/// for it with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ReceivedRow<'a> {
    pub verified_by: &'a str,
    pub remote: &'a str,
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
    if let Some(received) = &extras.received {
        let row = ReceivedRow {
            verified_by: &received.verified_by,
            remote: &received.remote,
        };
        put(&row, &mut out);
    }
    out
}

/// Reads what [`spell_extras`] gave.
pub fn read_extras(bytes: &[u8]) -> Result<Extras, BadRecord> {
    if bytes.is_empty() {
        return Ok(Extras::default());
    }
    let (row, rest): (ExtrasRow<'_>, _) = take_first(EXTRAS, bytes)?;
    let bad = BadRecord { kind: EXTRAS };
    let channels = row.channels.iter().map(|name| Channel::new(name));
    let cloudevent = row
        .cloudevent
        .map(|text| cloudevents::parse_structured(&Bytes::copy_from_slice(text)).map_err(|_| bad));
    let received = match rest {
        [] => None,
        rest => Some(take::<ReceivedRow<'_>>(EXTRAS, rest)?),
    };
    Ok(Extras {
        channels: channels.collect::<Result<_, _>>().map_err(|_| bad)?,
        headers: headers(&row.headers).ok_or(bad)?,
        trace: headers(&row.trace).ok_or(bad)?,
        cloudevent: cloudevent.transpose()?,
        source: row.source.map(str::to_owned),
        received: received.map(|row| Received {
            verified_by: row.verified_by.to_owned(),
            remote: row.remote.to_owned(),
        }),
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

    fn of_a_source() -> Extras {
        Extras {
            channels: vec![Channel::new("eu").unwrap()],
            headers: vec![("x-a".parse().unwrap(), "b".parse().unwrap())],
            source: Some("stripe-live".into()),
            received: Some(Received {
                verified_by: "secret 1".into(),
                remote: "203.0.113.7".into(),
            }),
            ..Extras::default()
        }
    }

    /// What stores hold today. If this fails, the format has changed.
    #[test]
    fn extras_keep_their_golden_bytes() {
        let hex = |extras: &Extras| -> String {
            let bytes = spell_extras(extras);
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let whole = of_a_source();
        let before = Extras {
            received: None,
            ..of_a_source()
        };
        assert_eq!(
            hex(&before),
            "010265750103782d6101620000010b7374726970652d6c697665"
        );
        assert_eq!(
            hex(&whole),
            "010265750103782d6101620000010b7374726970652d6c6976650873656372657420310b3230332e302e3131332e37"
        );
    }

    proptest! {
        #[test]
        fn extras_are_read_as_they_were_spelled(
            channels in proptest::collection::vec("[a-z]{1,8}", 0..4),
            headers in proptest::collection::vec(("x-[a-z]{1,8}", "[!-~]{0,20}"), 0..4),
            subject in proptest::option::of("[a-z]{1,8}"),
            source in proptest::option::of("[a-z]{1,8}"),
            received in proptest::option::of(("[a-z 0-9]{0,8}", "[0-9.:]{0,12}")),
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
                received: received
                    .map(|(verified_by, remote)| Received { verified_by, remote }),
            };
            let bytes = spell_extras(&extras);
            prop_assert_eq!(bytes.is_empty(), extras.is_empty());
            prop_assert_eq!(read_extras(&bytes).unwrap(), extras);
        }

        #[test]
        fn extras_cut_short_are_not_read_as_others(at in 0..47usize) {
            let whole = spell_extras(&of_a_source());
            prop_assert_eq!(whole.len(), 47);
            let cut = read_extras(&whole[..at]);
            let without = Extras { received: None, ..of_a_source() };
            let bare = spell_extras(&without).len();
            match at {
                0 => prop_assert_eq!(cut.unwrap(), Extras::default()),
                at if at == bare => prop_assert_eq!(cut.unwrap(), without),
                _ => prop_assert!(cut.is_err()),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_extras(&bytes);
        }
    }
}
