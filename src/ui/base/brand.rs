//! The name, logo and colour that pages show.

use std::fmt::Write;

use super::assets::Asset;
use crate::config::{Accent, Portal};

/// See the module.
#[derive(Debug)]
pub struct Brand {
    pub name: String,
    pub logo: Option<Asset>,
    /// A style sheet with the colour, beside that of all pages: the policy of pages allows no style
    /// inside them.
    pub style: Option<Asset>,
}

impl Brand {
    /// outboxd's own.
    pub fn own() -> Brand {
        Brand {
            name: "outboxd".to_owned(),
            logo: None,
            style: None,
        }
    }

    /// That of the configuration.
    pub fn of(portal: &Portal) -> Brand {
        let logo = portal.logo.as_ref();
        let style = portal.accent.as_ref().map(style);
        Brand {
            name: match portal.name.as_str() {
                "" => "Webhooks".to_owned(),
                name => name.to_owned(),
            },
            logo: logo.map(|logo| {
                let kind = logo.kind;
                Asset::new(
                    "logo",
                    kind.suffix(),
                    kind.media_type(),
                    logo.content.clone(),
                )
            }),
            style: style.map(|text| Asset::new("brand", ".css", "text/css; charset=utf-8", text)),
        }
    }
}

/// The colour behind text, with a text colour that can be read on it. Links keep theirs, which can be
/// read on light and dark pages.
fn style(accent: &Accent) -> String {
    let mut text = String::new();
    let on = match accent.is_light() {
        Some(true) => "color:#000".to_owned(),
        Some(false) => "color:#fff".to_owned(),
        // Browsers that cannot compute it keep the first.
        None => format!("color:#fff;color:oklch(from {accent} calc((.62 - l)*1000) 0 0)"),
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "header.top{{border-top:4px solid {accent}}}\
         nav a[aria-current],button.main,.button.main{{background:{accent};border-color:{accent};{on}}}"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_on_the_colour_can_be_read() {
        let of = |colour: &str| style(&Accent::parse(colour).unwrap());
        assert!(of("#ffee00").contains("background:#ffee00;border-color:#ffee00;color:#000}"));
        assert!(of("#036").contains("color:#fff}"));
        assert!(of("rebeccapurple").contains("oklch(from rebeccapurple "));
    }

    #[test]
    fn without_a_name_there_is_one() {
        assert_eq!(Brand::of(&Portal::default()).name, "Webhooks");
    }
}
