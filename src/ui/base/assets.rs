//! The style sheet, the script and the icon, under names that change with their content.

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use sha2::{Digest, Sha256};

/// Below the path of the pages.
const DIRECTORY: &str = "assets/";

/// One file.
#[derive(Debug)]
pub struct Asset {
    /// With a part of the digest of its content.
    name: String,
    content_type: &'static str,
    content: Bytes,
}

/// The files of all pages.
#[derive(Debug)]
pub struct Assets {
    style: Asset,
    script: Asset,
    icon: Asset,
}

impl Asset {
    pub fn new(
        stem: &str,
        end: &str,
        content_type: &'static str,
        content: impl Into<Bytes>,
    ) -> Asset {
        let content = content.into();
        let digest = Sha256::digest(&content);
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

    /// Its path below `base`, the path of the pages without a slash at its end.
    pub fn path(&self, base: &str) -> String {
        format!("{base}/{DIRECTORY}{}", self.name)
    }

    fn answer(&self, request: &Request) -> Response {
        let tag = format!("\"{}\"", self.name);
        let known = request.headers().get_all(header::IF_NONE_MATCH).iter();
        let is_known = known
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .any(|one| one.trim() == tag || one.trim() == "*");
        let mut response = match is_known {
            true => Response::new(Body::empty()),
            false => Response::new(Body::from(self.content.clone())),
        };
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static(self.content_type);
        headers.insert(header::CONTENT_TYPE, kind);
        let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(header::CACHE_CONTROL, forever);
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        response
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
            &include_bytes!("../assets/pages.css")[..],
        ),
        script: Asset::new(
            "pages",
            ".js",
            "text/javascript; charset=utf-8",
            &include_bytes!("../assets/pages.js")[..],
        ),
        icon: Asset::new(
            "icon",
            ".svg",
            "image/svg+xml",
            &include_bytes!("../assets/icon.svg")[..],
        ),
    })
}

impl Assets {
    /// The paths of the files below `base`, the path of the pages without a slash at its end.
    pub fn style(&self, base: &str) -> String {
        self.style.path(base)
    }

    pub fn script(&self, base: &str) -> String {
        self.script.path(base)
    }

    pub fn icon(&self, base: &str) -> String {
        self.icon.path(base)
    }

    /// Answers a request for one of the files or of `more`; `None` if its path is not that of one.
    pub fn answer<'a>(
        &'a self,
        base: &str,
        request: &Request,
        more: impl IntoIterator<Item = &'a Asset>,
    ) -> Option<Response> {
        let path = request.uri().path().strip_prefix(base)?;
        let name = path.strip_prefix('/')?.strip_prefix(DIRECTORY)?;
        let all = [&self.style, &self.script, &self.icon];
        let mut all = all.into_iter().chain(more);
        let asset = all.find(|asset| asset.name == name)?;
        Some(asset.answer(request))
    }
}
