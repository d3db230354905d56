//! Names for requests: the client's where it is harmless in headers and logs, else one of ours.

use filejobs_core::Sources;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries the name, both ways.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that is taken over from a client.
const MAX: usize = 128;

/// The name of a request.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// Takes the client's name, or makes one.
    pub(crate) fn of(headers: &HeaderMap, sources: &Sources) -> Self {
        let sane = |text: &&str| {
            (1..=MAX).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
        match given.filter(sane) {
            Some(text) => Self(text.to_owned()),
            None => Self(sources.ids.uuid(sources.now()).to_string()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a header's value.
    pub(crate) fn to_header(&self) -> HeaderValue {
        // Letters, digits, `-`, `_` and `.` only, by construction.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_names_are_taken_over() {
        let sources = Sources::system();
        let of = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
            RequestId::of(&headers, &sources).0
        };
        assert_eq!(of(b"deploy-7.a_B"), "deploy-7.a_B");
        for bad in [&b"a b"[..], b"", b"a\tb", b"\xff", b"<x>", &[b'a'; 129]] {
            assert_eq!(of(bad).len(), 36, "{}", bad.escape_ascii());
        }
    }
}
