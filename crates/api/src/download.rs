//! Answers that are files: their names, and bodies that are made piece by piece as the client takes them.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use filejobs_core::FileName;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};

/// What a body that breaks off breaks off with: the client sees a cut connection, the log the cause.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A file on its way to a client.
#[derive(Debug)]
pub(crate) struct Download {
    media: &'static str,
    name: String,
    body: Body,
    length: Option<u64>,
}

impl Download {
    /// A file called after the uploaded one: `orders.csv` with `-results.csv` becomes `orders-results.csv`.
    pub(crate) fn new(media: &'static str, uploaded: &str, suffix: &str, body: Body) -> Self {
        let safe = FileName::new(uploaded, 200).sanitized();
        let stem = safe
            .rsplit_once('.')
            .map_or(safe.as_str(), |(stem, _)| stem);
        let stem = if stem.is_empty() { "file" } else { stem };
        Self {
            media,
            name: format!("{stem}{suffix}"),
            body,
            length: None,
        }
    }

    /// The same with its size known.
    pub(crate) fn of_length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }
}

impl IntoResponse for Download {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media));
        // The name holds ASCII letters, digits, `.`, `_` and `-` only.
        if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", self.name))
        {
            headers.insert(CONTENT_DISPOSITION, value);
        }
        if let Some(length) = self.length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}

/// A body from a stream; where it breaks off, the cause is logged once.
pub(crate) fn body<S>(chunks: S) -> Body
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
{
    Body::from_stream(chunks.inspect_err(|error| {
        tracing::error!(error = %error, "a download broke off");
    }))
}

/// Pieces of a file that are made by blocking work.
pub(crate) trait Pieces: Send + 'static {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> Result<Option<Bytes>, BodyError>;
}

/// A stream of pieces. Each is made on a blocking thread when the client is ready for it, so that a slow client
/// holds no thread.
pub(crate) fn pieces<P: Pieces>(source: P) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    stream::try_unfold(Some(source), |source| async move {
        let Some(mut source) = source else {
            return Ok(None);
        };
        let made = tokio::task::spawn_blocking(move || source.next().map(|piece| (piece, source)));
        let (piece, source) = made.await.map_err(BodyError::from)??;
        Ok(piece.map(|piece| (piece, Some(source))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_downloads_are_harmless() {
        for (uploaded, name) in [
            ("orders.csv", "orders-results.csv"),
            ("a\"; evil=\"b.csv", "a___evil__b-results.csv"),
            ("日本.xlsx", "__-results.csv"),
            ("x\u{202e}vsc.csv", "x_u_202e_vsc-results.csv"),
            (".csv", "csv-results.csv"),
        ] {
            let download = Download::new("text/csv", uploaded, "-results.csv", Body::empty());
            assert_eq!(download.name, name, "{uploaded}");
        }
    }
}
