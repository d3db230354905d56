//! The page parameters that lists share, and the links that lead on.

use filejobs_store::Page;
use http::header::LINK;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cursor;
use super::query::Query;

/// Pages of a list when nobody asks for another size.
pub(crate) const DEFAULT_SIZE: u32 = 50;
/// The highest page number, so that every offset fits into the database's integers.
pub(crate) const MAX_PAGE: u64 = 1_000_000_000;

/// Which page of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paging<C> {
    /// Its number from 1; not meaningful beside a cursor.
    pub(crate) page: u64,
    /// How many to a page.
    pub(crate) size: u32,
    /// Where the page before ended.
    pub(crate) cursor: Option<C>,
}

impl<C: DeserializeOwned> Paging<C> {
    /// Takes `page`, `page_size` and `cursor`.
    pub(crate) fn take(query: &mut Query, max_size: u32) -> Self {
        let size = query.number("page_size", 1, u64::from(max_size));
        let cursor = query.take("cursor", cursor::decode);
        Self {
            page: query.number("page", 1, MAX_PAGE).unwrap_or(1),
            size: size
                .and_then(|s| u32::try_from(s).ok())
                .unwrap_or(DEFAULT_SIZE.min(max_size)),
            cursor,
        }
    }

    /// The page as the store takes it. A cursor wins over a page number.
    pub(crate) fn into_page(self) -> Page<C> {
        match self.cursor {
            Some(cursor) => Page::After {
                cursor: Some(cursor),
                limit: self.size,
            },
            None => Page::Offset {
                offset: (self.page - 1) * u64::from(self.size),
                limit: self.size,
            },
        }
    }
}

/// Pages of `size` that `total` items fill; 0 for none.
pub(crate) fn total_pages(total: u64, size: u32) -> u64 {
    total.div_ceil(u64::from(size.max(1)))
}

/// `Link: rel="next"` to the same call with a cursor, when there is more.
pub(crate) fn next_link<C: Serialize>(uri: &http::Uri, next: Option<&C>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(next) = next else { return headers };
    let kept = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .filter(|(name, _)| name != "cursor" && name != "page");
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept)
        .append_pair("cursor", &cursor::encode(next))
        .finish();
    let link = format!("<{}?{query}>; rel=\"next\"", uri.path());
    if let Ok(value) = HeaderValue::from_str(&link) {
        headers.insert(LINK, value);
    }
    headers
}
