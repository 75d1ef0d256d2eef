//! `[portal]`: how the customers' pages look, and who may show them in a frame.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use super::fault::quoted;
use super::files::read_whole;
use super::reader::{Flaw, Section, Value};
use super::values::{path, unless_empty};
use crate::domain::http_url::parse_url;

/// The longest name, in characters.
const MAX_NAME: usize = 64;
/// The largest logo, in bytes.
const MAX_LOGO: u64 = 256 * 1024;
/// The longest colour, in bytes.
const MAX_COLOUR: usize = 64;

/// The table `[portal]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Portal {
    /// Empty: `Webhooks`.
    pub name: String,
    pub logo: Option<Logo>,
    pub accent: Option<Accent>,
    /// Origins, over https.
    pub frame_ancestors: Vec<String>,
    /// Where an expired link leads.
    pub refresh_url: Option<String>,
}

/// A picture, as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Logo {
    pub path: PathBuf,
    pub kind: LogoKind,
    pub content: Bytes,
}

/// What browsers show as a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoKind {
    Png,
    Jpeg,
    Gif,
    Webp,
    Svg,
}

impl LogoKind {
    /// The kind of a file, by how it begins.
    fn of(content: &[u8]) -> Option<LogoKind> {
        let head = content.get(..1024).unwrap_or(content);
        match content {
            [0x89, b'P', b'N', b'G', ..] => Some(LogoKind::Png),
            [0xff, 0xd8, 0xff, ..] => Some(LogoKind::Jpeg),
            [b'G', b'I', b'F', b'8', ..] => Some(LogoKind::Gif),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(LogoKind::Webp),
            _ if head.windows(4).any(|part| part == b"<svg") => Some(LogoKind::Svg),
            _ => None,
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            LogoKind::Png => "image/png",
            LogoKind::Jpeg => "image/jpeg",
            LogoKind::Gif => "image/gif",
            LogoKind::Webp => "image/webp",
            LogoKind::Svg => "image/svg+xml",
        }
    }

    /// The end of a file's name.
    pub fn suffix(self) -> &'static str {
        match self {
            LogoKind::Png => ".png",
            LogoKind::Jpeg => ".jpg",
            LogoKind::Gif => ".gif",
            LogoKind::Webp => ".webp",
            LogoKind::Svg => ".svg",
        }
    }
}

/// A CSS colour: `#rgb`, `#rrggbb`, a name, or a function such as `rgb(0 80 60)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accent(String);

impl fmt::Display for Accent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Accent {
    /// Reads a colour. It holds nothing that could end a rule of a style sheet.
    pub fn parse(text: &str) -> Option<Accent> {
        let text = text.trim().to_ascii_lowercase();
        let is_colour = match text.strip_prefix('#') {
            Some(digits) => {
                matches!(digits.len(), 3 | 6) && digits.bytes().all(|one| one.is_ascii_hexdigit())
            }
            None => NAMES.split_ascii_whitespace().any(|name| name == text) || is_function(&text),
        };
        is_colour.then_some(Accent(text))
    }

    /// Whether black is the text that can be read on it; `None` where that is not computed here.
    pub fn is_light(&self) -> Option<bool> {
        let digits: Vec<u32> = self
            .0
            .strip_prefix('#')?
            .chars()
            .filter_map(|c| c.to_digit(16))
            .collect();
        let parts = match *digits.as_slice() {
            [r, g, b] => [r * 17, g * 17, b * 17],
            [r, r2, g, g2, b, b2] => [r * 16 + r2, g * 16 + g2, b * 16 + b2],
            _ => return None,
        };
        // The relative luminance of WCAG 2; on 0.179 black and white contrast alike.
        let linear = parts.map(|part| {
            let part = f64::from(part) / 255.0;
            match part <= 0.040_45 {
                true => part / 12.92,
                false => ((part + 0.055) / 1.055).powf(2.4),
            }
        });
        let [r, g, b] = linear;
        Some(0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179)
    }
}

fn is_function(text: &str) -> bool {
    let functions = ["rgb", "hsl", "hwb", "lab", "lch", "oklab", "oklch"];
    let inside = text.strip_suffix(')').and_then(|text| text.split_once('('));
    let Some((name, inside)) = inside else {
        return false;
    };
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | ',' | '.' | '%' | '/' | '+' | '-');
    let has_number = inside.chars().any(|c| c.is_ascii_digit());
    functions.contains(&name)
        && text.len() <= MAX_COLOUR
        && has_number
        && inside.chars().all(is_plain)
}

/// The named colours of CSS Color 4.
const NAMES: &str = "aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue \
    blueviolet brown burlywood cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan \
    darkblue darkcyan darkgoldenrod darkgray darkgreen darkgrey darkkhaki darkmagenta darkolivegreen \
    darkorange darkorchid darkred darksalmon darkseagreen darkslateblue darkslategray darkslategrey \
    darkturquoise darkviolet deeppink deepskyblue dimgray dimgrey dodgerblue firebrick floralwhite \
    forestgreen fuchsia gainsboro ghostwhite gold goldenrod gray green greenyellow grey honeydew hotpink \
    indianred indigo ivory khaki lavender lavenderblush lawngreen lemonchiffon lightblue lightcoral \
    lightcyan lightgoldenrodyellow lightgray lightgreen lightgrey lightpink lightsalmon lightseagreen \
    lightskyblue lightslategray lightslategrey lightsteelblue lightyellow lime limegreen linen magenta \
    maroon mediumaquamarine mediumblue mediumorchid mediumpurple mediumseagreen mediumslateblue \
    mediumspringgreen mediumturquoise mediumvioletred midnightblue mintcream mistyrose moccasin \
    navajowhite navy oldlace olive olivedrab orange orangered orchid palegoldenrod palegreen \
    paleturquoise palevioletred papayawhip peachpuff peru pink plum powderblue purple rebeccapurple red \
    rosybrown royalblue saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue slateblue \
    slategray slategrey snow springgreen steelblue tan teal thistle tomato turquoise violet wheat white \
    whitesmoke yellow yellowgreen";

pub(super) fn read(mut portal: Section<'_>) -> Portal {
    let read = Portal {
        name: portal.take("name", name).unwrap_or_default(),
        logo: portal.take("logo_file", unless_empty(logo)).flatten(),
        accent: portal.take("accent", unless_empty(accent)).flatten(),
        frame_ancestors: portal.each("frame_ancestors", ancestor).unwrap_or_default(),
        refresh_url: portal
            .take("refresh_url", unless_empty(refresh_url))
            .flatten(),
    };
    portal.finish();
    read
}

fn name(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?.trim();
    match text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            "the name is too long for the head of a page, or has control characters",
            "write at most 64 characters on one line",
        )),
    }
}

fn logo(value: &Value<'_>) -> Result<Logo, Flaw> {
    let path = path(value)?;
    let content = read_whole(&path, MAX_LOGO).map_err(|error| {
        let problem = format!("cannot read {}: {error}", path.display());
        Flaw::new(
            problem,
            "name a picture of at most 256 KiB that the daemon's user can read",
        )
    })?;
    let kind = LogoKind::of(&content).ok_or_else(|| {
        let problem = format!("{} is not a picture that browsers show", path.display());
        Flaw::new(problem, "use SVG, PNG, JPEG, GIF or WebP")
    })?;
    Ok(Logo {
        path,
        kind,
        content: content.into(),
    })
}

fn accent(value: &Value<'_>) -> Result<Accent, Flaw> {
    let text = value.text()?;
    Accent::parse(text).ok_or_else(|| {
        Flaw::new(
            format!("{} is not a CSS colour", quoted(text)),
            "write one such as \"#14604e\", \"teal\" or \"oklch(45% 0.09 170)\"",
        )
    })
}

fn ancestor(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    let example =
        "write the origin of the pages that show the portal, such as \"https://app.example.com\"";
    let fault = |problem: String| Flaw::new(problem, example);
    let Some(authority) = text.strip_prefix("https://") else {
        return Err(fault(format!(
            "{} does not begin with https://, and frames are shown over HTTPS only",
            quoted(text)
        )));
    };
    // A wildcard may stand for the first labels of a host.
    let bare = authority.strip_prefix("*.").unwrap_or(authority);
    let url = parse_url(&format!("https://{bare}")).map_err(|bad| fault(bad.to_string()))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let is_origin = bare.chars().all(is_plain) && url.path() == "/" && url.query().is_none();
    match is_origin {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(fault(format!("{} is more than an origin", quoted(text)))),
    }
}

fn refresh_url(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    let url = parse_url(text).map_err(|bad| {
        let fix = "write the page of your app that makes a new link, such as \"https://app.example.com/webhooks\"";
        Flaw::new(bad.to_string(), fix)
    })?;
    Ok(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_css() {
        for colour in [
            "#fff",
            "#14604E",
            "teal",
            " Teal ",
            "rgb(0 80 60)",
            "hsl(120deg, 50%, 20% / .5)",
        ] {
            assert!(Accent::parse(colour).is_some(), "{colour}");
        }
        for other in [
            "",
            "#ff",
            "#ggg",
            "greenish",
            "url(x)",
            "rgb(0)}a{",
            "rgb()",
            "var(--x)",
            "#fff;",
            "red}",
        ] {
            assert!(Accent::parse(other).is_none(), "{other}");
        }
        assert_eq!(Accent::parse("#fff").unwrap().is_light(), Some(true));
        assert_eq!(Accent::parse("#14604e").unwrap().is_light(), Some(false));
        assert_eq!(Accent::parse("teal").unwrap().is_light(), None);
    }

    #[test]
    fn pictures_are_known_by_their_beginning() {
        assert_eq!(LogoKind::of(b"\x89PNG\r\n"), Some(LogoKind::Png));
        assert_eq!(LogoKind::of(b"RIFF0000WEBPVP8 "), Some(LogoKind::Webp));
        assert_eq!(
            LogoKind::of(b"<?xml version=\"1.0\"?><svg/>"),
            Some(LogoKind::Svg)
        );
        assert_eq!(LogoKind::of(b"<html>"), None);
        assert_eq!(LogoKind::of(b""), None);
    }
}
