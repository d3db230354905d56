//! How the text of a cell becomes a value, by type: one module each.
//!
//! Everything here takes text without surrounding blanks and answers `None` for what is not of the type;
//! nothing allocates for plain text.

use std::cmp::Ordering;

pub mod boolean;
pub mod number;
pub mod temporal;
pub mod text;

/// The rules by which a type reads text.
pub trait Parse {
    /// What a text becomes.
    type Value: Value;

    /// The value of `text`, or `None` when it is not of the type.
    fn parse(&self, text: &[u8]) -> Option<Self::Value>;

    /// The same for a cell of a workbook that holds what `native` says and no text; `text` is how we write that. The
    /// notations that the column has for text say nothing of it.
    fn parse_native(&self, text: &[u8], native: Native) -> Option<Self::Value>;
}

/// What a cell of a workbook holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// Text, or nothing.
    Text,
    /// A number: digits with `.` before the fraction.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A day, a time of day, or both: ISO 8601.
    Moment,
}

/// A value that can be compared with the bounds and the `enum` of its column.
pub trait Value: Copy + std::fmt::Debug {
    /// Total order; for numbers NaN comes last and both zeros are equal.
    fn order(&self, other: &Self) -> Ordering;
}

macro_rules! ordered {
    ($($type:ty),*) => {$(
        impl Value for $type {
            #[inline]
            fn order(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    )*};
}
ordered!(i32, i64, bool);

impl Value for f64 {
    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.partial_cmp(other)
            .unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

/// Texts to look a cell up in: `missingValues`, `trueValues`, an `enum` of strings.
#[derive(Debug, Clone, Default)]
pub struct TextSet {
    /// Sorted; most sets hold a handful.
    texts: Vec<Box<[u8]>>,
    shortest: usize,
    longest: usize,
}

impl TextSet {
    /// A set of the given texts.
    pub fn new<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut texts: Vec<Box<[u8]>> = texts.into_iter().map(|t| t.as_ref().into()).collect();
        texts.sort_unstable();
        texts.dedup();
        Self {
            shortest: texts.iter().map(|t| t.len()).min().unwrap_or(1),
            longest: texts.iter().map(|t| t.len()).max().unwrap_or(0),
            texts,
        }
    }

    /// Whether `text` is one of them, to the byte.
    #[inline]
    #[must_use]
    pub fn contains(&self, text: &[u8]) -> bool {
        // Nearly every cell is ruled out, or known to be the empty text, by its length alone.
        text.len() >= self.shortest
            && text.len() <= self.longest
            && (text.is_empty() || self.find(text))
    }

    fn find(&self, text: &[u8]) -> bool {
        self.texts.binary_search_by(|t| (**t).cmp(text)).is_ok()
    }

    /// Whether the empty text is the only one.
    #[must_use]
    pub fn is_only_empty(&self) -> bool {
        matches!(&self.texts[..], [only] if only.is_empty())
    }

    /// The texts, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.texts.iter().map(|t| &**t)
    }
}
