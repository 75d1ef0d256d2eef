//! A URL in the forms in which providers sign it.

use std::borrow::Cow;

use super::recipe::UrlForm;

/// The forms to try, at most two, and first the one that the provider's own calls have.
pub(super) fn variants(form: UrlForm, url: &str) -> Vec<Cow<'_, str>> {
    let given = Cow::Borrowed(url);
    match form {
        UrlForm::Whole => vec![given],
        UrlForm::AnyPort => match other_port(url) {
            Some(other) => vec![given, Cow::Owned(other)],
            None => vec![given],
        },
        UrlForm::HubSpot => match hubspot(url) {
            decoded if decoded == url => vec![given],
            decoded => vec![Cow::Owned(decoded), given],
        },
    }
}

/// With the port of its scheme if it has none, and without its port if it has one.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => Some(format!("{scheme}://{host}{path}")),
        _ => {
            let port = match scheme {
                "https" => 443,
                "http" => 80,
                _ => return None,
            };
            Some(format!("{scheme}://{authority}:{port}{path}"))
        }
    }
}

/// The codes that HubSpot decodes before it signs, and no others.
const HUBSPOT: &[u8] = b":/?@!$'()*,;";

fn hubspot(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let code = after.get(..2);
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match byte.filter(|byte| HUBSPOT.contains(byte)) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_tried_both_ways() {
        let other = |url| {
            variants(UrlForm::AnyPort, url)
                .get(1)
                .map(|url| url.to_string())
        };
        assert_eq!(
            other("https://a.b/c?d=e:1").unwrap(),
            "https://a.b:443/c?d=e:1"
        );
        assert_eq!(other("http://a.b").unwrap(), "http://a.b:80");
        assert_eq!(other("https://a.b:8443/c").unwrap(), "https://a.b/c");
        assert_eq!(other("https://[::1]/c").unwrap(), "https://[::1]:443/c");
        assert_eq!(other("ftp://a.b/c"), None);
    }

    #[test]
    fn hubspot_decodes_its_own_codes_alone() {
        let url = "https://a.b/c%20d%2Fe?f=%3Ag%40%2c%25%3D%";
        assert_eq!(hubspot(url), "https://a.b/c%20d/e?f=:g@,%25%3D%");
        assert_eq!(variants(UrlForm::HubSpot, "https://a.b/").len(), 1);
    }
}
