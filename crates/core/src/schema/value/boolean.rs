//! Truth values.

use super::{Native, Parse, TextSet};

/// Texts of `true` where the schema says nothing, as in Table Schema.
pub const TRUE_VALUES: [&str; 4] = ["true", "True", "TRUE", "1"];
/// Texts of `false` where the schema says nothing.
pub const FALSE_VALUES: [&str; 4] = ["false", "False", "FALSE", "0"];

/// The texts of both values in one column.
#[derive(Debug, Clone)]
pub struct BooleanText {
    /// Texts of `true`.
    pub true_values: TextSet,
    /// Texts of `false`.
    pub false_values: TextSet,
}

impl Default for BooleanText {
    fn default() -> Self {
        Self {
            true_values: TextSet::new(TRUE_VALUES),
            false_values: TextSet::new(FALSE_VALUES),
        }
    }
}

impl Parse for BooleanText {
    type Value = bool;

    #[inline]
    fn parse(&self, text: &[u8]) -> Option<bool> {
        if self.true_values.contains(text) {
            Some(true)
        } else if self.false_values.contains(text) {
            Some(false)
        } else {
            None
        }
    }

    #[inline]
    fn parse_native(&self, text: &[u8], native: Native) -> Option<bool> {
        match native {
            Native::Boolean => Some(text == b"true"),
            Native::Text | Native::Number | Native::Moment => self.parse(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_texts_are_truth_values() {
        let plain = BooleanText::default();
        for (text, value) in [
            ("true", Some(true)),
            ("TRUE", Some(true)),
            ("1", Some(true)),
            ("False", Some(false)),
            ("0", Some(false)),
            ("tRUE", None),
            ("yes", None),
            ("", None),
            ("10", None),
        ] {
            assert_eq!(plain.parse(text.as_bytes()), value, "{text}");
        }
        let own = BooleanText {
            true_values: TextSet::new(["ja"]),
            false_values: TextSet::new(["nein", ""]),
        };
        assert_eq!(own.parse(b"ja"), Some(true));
        assert_eq!(own.parse(b""), Some(false));
        assert_eq!(own.parse(b"true"), None);
    }
}
