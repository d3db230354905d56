//! Cursors: opaque to clients, a place in a list to us.

use std::fmt::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest text that can be one of our cursors.
const MAX: usize = 512;

/// Writes a place as text that is safe in a URL.
pub(crate) fn encode<C: Serialize>(place: &C) -> String {
    let json = serde_json::to_vec(place).unwrap_or_default();
    json.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads such a text back.
pub(crate) fn decode<C: DeserializeOwned>(text: &str) -> Result<C, String> {
    let malformed = || "must be a cursor that an earlier answer gave, unchanged".to_owned();
    if text.len() > MAX || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(malformed());
    }
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digits).collect();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_nothing_else_is_taken() {
        let text = encode(&(7, "x"));
        assert_eq!(decode::<(u32, String)>(&text), Ok((7, "x".to_owned())));
        let long = "00".repeat(MAX);
        for bad in ["", "0", "zz", "7b7d", "é0", long.as_str()] {
            assert!(decode::<(u32, String)>(bad).is_err(), "{bad}");
        }
    }
}
