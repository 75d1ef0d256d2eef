//! The style sheet, the script and the icon, under names that change with their content.

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderValue};
use sha2::{Digest, Sha256};

/// Below the path of the pages.
const DIRECTORY: &str = "assets/";

/// One file.
#[derive(Debug)]
struct Asset {
    /// With a part of the digest of its content.
    name: String,
    content_type: &'static str,
    content: &'static [u8],
}

/// The files of all pages.
#[derive(Debug)]
pub struct Assets {
    style: Asset,
    script: Asset,
    icon: Asset,
}

impl Asset {
    fn new(stem: &str, end: &str, content_type: &'static str, content: &'static [u8]) -> Asset {
        let digest = Sha256::digest(content);
        let mut name = format!("{stem}-");
        for byte in digest.iter().take(8) {
            name.push_str(&format!("{byte:02x}"));
        }
        name.push_str(end);
        Asset {
            name,
            content_type,
            content,
        }
    }
}

/// The files that are compiled in.
pub fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| Assets {
        style: Asset::new(
            "pages",
            ".css",
            "text/css; charset=utf-8",
            include_bytes!("../assets/pages.css"),
        ),
        script: Asset::new(
            "pages",
            ".js",
            "text/javascript; charset=utf-8",
            include_bytes!("../assets/pages.js"),
        ),
        icon: Asset::new(
            "icon",
            ".svg",
            "image/svg+xml",
            include_bytes!("../assets/icon.svg"),
        ),
    })
}

impl Assets {
    /// The paths of the files below `base`, the path of the pages without a slash at its end.
    pub fn style(&self, base: &str) -> String {
        format!("{base}/{DIRECTORY}{}", self.style.name)
    }

    pub fn script(&self, base: &str) -> String {
        format!("{base}/{DIRECTORY}{}", self.script.name)
    }

    pub fn icon(&self, base: &str) -> String {
        format!("{base}/{DIRECTORY}{}", self.icon.name)
    }

    /// Answers a request for a file; `None` if the path is not one of a file.
    pub fn answer(&self, base: &str, request: &Request) -> Option<Response> {
        let path = request.uri().path().strip_prefix(base)?;
        let name = path.strip_prefix('/')?.strip_prefix(DIRECTORY)?;
        let all = [&self.style, &self.script, &self.icon];
        let asset = all.into_iter().find(|asset| asset.name == name)?;
        let tag = format!("\"{}\"", asset.name);
        let known = request.headers().get_all(header::IF_NONE_MATCH).iter();
        let is_known = known
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .any(|one| one.trim() == tag || one.trim() == "*");
        let mut response = match is_known {
            true => Response::new(Body::empty()),
            false => Response::new(Body::from(asset.content)),
        };
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static(asset.content_type);
        headers.insert(header::CONTENT_TYPE, kind);
        let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(header::CACHE_CONTROL, forever);
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        Some(response)
    }
}
