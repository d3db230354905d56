//! Script, style and icon, embedded in the binary and addressed by what they hold, so that browsers may keep them.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;

use crate::layers::fallback;

/// A file that pages load.
struct Asset {
    name: &'static str,
    media: &'static str,
    text: &'static str,
}

const STYLE: Asset = Asset {
    name: "app.css",
    media: "text/css; charset=utf-8",
    text: include_str!("../../assets/app.css"),
};
const SCRIPT: Asset = Asset {
    name: "app.js",
    media: "text/javascript; charset=utf-8",
    text: include_str!("../../assets/app.js"),
};
const ICON: Asset = Asset {
    name: "icon.svg",
    media: "image/svg+xml",
    text: include_str!("../../assets/icon.svg"),
};
const ALL: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];

/// Addresses of the assets, for the head of every page.
#[derive(Debug, Clone)]
pub(super) struct Links {
    pub(super) style: String,
    pub(super) script: String,
    pub(super) icon: String,
}

/// The addresses of this build.
pub(super) static LINKS: LazyLock<Links> = LazyLock::new(|| {
    let link =
        |asset: &Asset| format!("/assets/{}?v={}", asset.name, digest(asset.text.as_bytes()));
    Links {
        style: link(&STYLE),
        script: link(&SCRIPT),
        icon: link(&ICON),
    }
});

/// Which build's asset is wanted.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    v: Option<String>,
}

/// `GET /assets/{name}`.
pub(super) async fn asset(Path(name): Path<String>, Query(version): Query<Version>) -> Response {
    let Some(asset) = ALL.into_iter().find(|asset| asset.name == name) else {
        return fallback::route_not_found().await.into_response();
    };
    // Only under an address that names its content may an asset be kept for good.
    let kept = if version
        .v
        .is_some_and(|v| v == digest(asset.text.as_bytes()))
    {
        "public, max-age=31536000, immutable"
    } else {
        "public, no-cache"
    };
    (
        [(CONTENT_TYPE, asset.media), (CACHE_CONTROL, kept)],
        asset.text,
    )
        .into_response()
}

/// An entity tag for `bytes`.
pub(super) fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", digest(bytes))
}

/// A short name for content: half of its SHA-256.
fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(bytes);
    hash.iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
