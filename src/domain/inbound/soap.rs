//! What is read of a Salesforce outbound message: who sends it, and the ids of its notifications.
//!
//! A scanner of a few forms of XML, and not a parser: it takes the declaration at the start, tags,
//! attributes and text. Salesforce writes nothing else. Comments, CDATA, document types and
//! processing instructions are refused wherever they stand, so that no part of a body is read in one
//! way here and in another by a parser. A field counts at its place alone, below `Envelope`, `Body` and
//! `notifications`; the records cannot hold one, since their text is escaped. It is letters and digits
//! without references, and the organization stands there once.

use subtle::ConstantTimeEq;

/// Deeper elements are refused.
const MAX_DEPTH: usize = 32;
/// Salesforce sends up to 100.
const MAX_NOTIFICATIONS: usize = 1000;

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    OrganizationId,
    /// Of each notification; several are joined by spaces.
    Id,
}

impl Field {
    pub(super) fn named(name: &str) -> Option<Field> {
        match name {
            "OrganizationId" => Some(Field::OrganizationId),
            "Id" => Some(Field::Id),
            _ => None,
        }
    }
}

/// The text of a field; `None` if the body is not such a message, or does not have it.
pub(super) fn read(body: &[u8], field: Field) -> Option<String> {
    let message = scan(std::str::from_utf8(body).ok()?)?;
    match field {
        Field::OrganizationId => message.organization.map(str::to_owned),
        Field::Id if message.ids.is_empty() => None,
        Field::Id => Some(message.ids.join(" ")),
    }
}

/// Whether two ids of an organization are the same. The last three of 18 characters only repeat
/// the case of the others.
pub(super) fn same_account(one: &str, other: &str) -> bool {
    let is_id = |text: &str| matches!(text.len(), 15 | 18) && is_plain(text);
    let (shared, rest) = (one.get(..15), one.get(15..).unwrap_or_default());
    let other_rest = other.get(15..).unwrap_or_default();
    let same = |one: &str, other: &str| bool::from(one.as_bytes().ct_eq(other.as_bytes()));
    let same_rest = rest.is_empty() || other_rest.is_empty() || same(rest, other_rest);
    let other_shared = other.get(..15).unwrap_or_default();
    let same_shared = same(shared.unwrap_or_default(), other_shared);
    is_id(one) & is_id(other) & same_shared & same_rest
}

#[derive(Debug, Default)]
struct Message<'t> {
    organization: Option<&'t str>,
    ids: Vec<&'t str>,
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn scan(text: &str) -> Option<Message<'_>> {
    let mut message = Message::default();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if let Some(declaration) = rest.strip_prefix("<?xml ") {
        rest = declaration.split_once("?>")?.1;
    }
    let mut closed = false;
    while let Some((before, after)) = rest.split_once('<') {
        if open.is_empty() && !before.trim().is_empty() {
            return None;
        }
        let (tag, after) = tag(after)?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop()? != name.trim_end() {
                return None;
            }
            closed = open.is_empty();
            continue;
        }
        let (tag, empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let name = tag.split([' ', '\t', '\r', '\n']).next()?;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_:.-".contains(&b);
        if name.is_empty() || !name.bytes().all(is_name) || open.len() >= MAX_DEPTH || closed {
            return None;
        }
        if empty {
            continue;
        }
        open.push(name);
        take(&mut message, &open, rest)?;
    }
    (closed && rest.trim().is_empty()).then_some(message)
}

/// A tag without its brackets, and what follows it.
fn tag(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['!', '?']) {
        return None;
    }
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (_, b'<') => return None,
            (Some(open), byte) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

/// Takes the text of the element that was opened last, if it is one of the fields.
fn take<'t>(message: &mut Message<'t>, open: &[&str], rest: &'t str) -> Option<()> {
    let local = |name: &&str| name.rsplit(':').next().unwrap_or_default().to_owned();
    if open.len() > 5 {
        return Some(());
    }
    let path: Vec<String> = open.iter().map(local).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let value = || {
        let value = rest.split_once('<')?.0;
        (!value.is_empty() && value.len() <= 64 && is_plain(value)).then_some(value)
    };
    match path.as_slice() {
        ["Envelope", "Body", "notifications", "OrganizationId"] => {
            if message.organization.is_some() {
                return None;
            }
            message.organization = Some(value()?);
        }
        ["Envelope", "Body", "notifications", "Notification", "Id"] => {
            if message.ids.len() >= MAX_NOTIFICATIONS {
                return None;
            }
            message.ids.push(value()?);
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope xmlns:soapenv=\"x\">\
             <soapenv:Body><notifications xmlns=\"http://soap.sforce.com/2005/09/outbound\">{inner}\
             </notifications></soapenv:Body></soapenv:Envelope>\n"
        )
    }

    fn organization(inner: &str) -> Option<String> {
        read(message(inner).as_bytes(), Field::OrganizationId)
    }

    const ID: &str = "00D000000000062";

    #[test]
    fn the_organization_and_the_ids_are_read() {
        let inner = format!(
            "<OrganizationId>{ID}</OrganizationId><ActionId>04k</ActionId><SessionId \
             xsi:nil=\"true\"/><Notification><Id>04l01</Id><sObject xsi:type='sf:Lead>'>\
             <sf:Id>00Q1</sf:Id></sObject></Notification><Notification><Id>04l02</Id>\
             </Notification>"
        );
        assert_eq!(organization(&inner).unwrap(), ID);
        let ids = read(message(&inner).as_bytes(), Field::Id);
        assert_eq!(ids.unwrap(), "04l01 04l02");
    }

    #[test]
    fn nothing_but_its_own_place_makes_an_organization() {
        let real = format!("<OrganizationId>{ID}</OrganizationId>");
        for forged in [
            format!("<!-- {real} -->"),
            format!("<![CDATA[{real}]]>"),
            format!("<?x {real}?>"),
            format!("<a b=\"{real}\"/>"),
            format!("<a>{real}</a>"),
            format!("<OrganizationId>{ID}<!-- x --></OrganizationId><!-- x -->"),
            format!("{real}{real}"),
            "<OrganizationId>&#48;0D</OrganizationId>".to_owned(),
            "<OrganizationId/>".to_owned(),
            format!("{real}<b>"),
            format!("</notifications>{real}<notifications>"),
        ] {
            assert_eq!(organization(&forged), None, "{forged}");
        }
        let whole = message(&real);
        for body in [
            format!("<!DOCTYPE x>{whole}"),
            format!("{whole}{whole}"),
            format!("x{whole}"),
            format!("{whole}x"),
            real,
        ] {
            assert_eq!(read(body.as_bytes(), Field::OrganizationId), None, "{body}");
        }
    }

    #[test]
    fn ids_of_15_and_18_characters_are_the_same() {
        assert!(same_account(ID, "00D000000000062EAA"));
        assert!(same_account("00D000000000062EAA", "00D000000000062EAA"));
        assert!(!same_account("00D000000000062EAB", "00D000000000062EAA"));
        assert!(!same_account("00D000000000063", ID));
        assert!(!same_account("00d000000000062", ID));
        assert!(!same_account("", "") && !same_account("00D0000000000620", ID));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[<>/a-c!?\"'= :&;]{0,60}", bytes in any::<Vec<u8>>()) {
            let _ = (scan(&text), read(&bytes, Field::Id));
            let _ = scan(&message(&text));
        }
    }
}
