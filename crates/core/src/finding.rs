//! What can be wrong with a row, a cell or a label.
//!
//! The codes are Frictionless' where it has one (<https://framework.frictionlessdata.io/docs/errors/>).

use serde::{Deserialize, Serialize};

macro_rules! finding_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A stable name for what is wrong; each has a page `docs/errors/CODE.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum FindingCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl FindingCode {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name as users see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        // By hand: the derive cannot see a name that comes in through this macro.
        impl utoipa::PartialSchema for FindingCode {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some("A stable name for what is wrong."))
                    .enum_values(Some([$($text),*]))
                    .into()
            }
        }

        impl utoipa::ToSchema for FindingCode {}

        impl std::str::FromStr for FindingCode {
            type Err = UnknownCode;

            fn from_str(text: &str) -> Result<Self, UnknownCode> {
                match text { $($text => Ok(Self::$name),)* _ => Err(UnknownCode) }
            }
        }
    };
}

/// A text that is no finding code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown finding code")]
pub struct UnknownCode;

finding_codes! {
    /// An empty line, or a row of nothing but delimiters.
    BlankRow = "blank-row",
    /// The row is too short: one finding for each absent cell.
    MissingCell = "missing-cell",
    /// The row is too long: one finding for each cell too many.
    ExtraCell = "extra-cell",
    /// The cell is not of its column's type or format.
    TypeError = "type-error",
    /// The cell breaks a constraint of its column.
    ConstraintError = "constraint-error",
    /// An earlier row has the same value in a `unique` column.
    UniqueError = "unique-error",
    /// The row's primary key is empty or was seen before.
    PrimaryKey = "primary-key",
    /// Bytes that the encoding does not allow, or a NUL.
    EncodingError = "encoding-error",
    /// A quote opens here and never closes.
    UnclosedQuote = "unclosed-quote",
    /// The record is longer than a limit allows.
    LineTooLong = "line-too-long",
    /// The cell of a workbook holds an error such as `#DIV/0!`.
    ExcelErrorValue = "excel-error-value",
    /// The header has this label already.
    DuplicateLabel = "duplicate-label",
    /// The header has an empty label.
    BlankLabel = "blank-label",
    /// The column is not in the schema.
    ExtraLabel = "extra-label",
    /// A column of the schema is not in the file.
    MissingLabel = "missing-label",
}

/// Characters of a raw value that a finding keeps.
pub const RAW_VALUE_CHARS: usize = 256;

/// One thing wrong at one place.
///
/// Ordered by `(row_number, seq)`, which is also its identity within a job. `row_number` 0 is the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// 1 is the first data row; 0 the header.
    pub row_number: u64,
    /// Ordinal among the findings of its row, from 0.
    pub seq: u32,
    /// Physical line where the record begins, 1 is the first of the file. In workbooks the sheet's row.
    pub line: u64,
    /// Start of the row in the bytes as uploaded; absent in workbooks and transcoded text.
    pub byte_offset: Option<u64>,
    /// The column's label; absent where the whole row is meant.
    pub column_name: Option<String>,
    /// The column's place, from 1.
    pub column_number: Option<u32>,
    /// The cell as a spreadsheet names it (`C17`).
    pub cell: Option<String>,
    /// What is wrong.
    #[serde(rename = "error_type")]
    pub code: FindingCode,
    /// One sentence with what was expected.
    #[serde(rename = "error_message")]
    pub message: String,
    /// The cell's text as it came, cut at [`RAW_VALUE_CHARS`].
    pub raw_value: Option<String>,
}

impl Finding {
    /// The `id` users see: row and ordinal, unique within the job.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{}", self.row_number, self.seq)
    }
}

/// Counts of findings by code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeCounts([u64; FindingCode::ALL.len()]);

impl CodeCounts {
    /// Counts one more finding with `code`.
    pub fn add(&mut self, code: FindingCode) {
        self.0[code as usize] += 1;
    }

    /// Counts `n` more findings with `code`.
    pub fn add_many(&mut self, code: FindingCode, n: u64) {
        self.0[code as usize] += n;
    }

    /// Adds the counts of another part of the same file.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// How many findings have `code`.
    #[must_use]
    pub fn get(&self, code: FindingCode) -> u64 {
        self.0[code as usize]
    }

    /// How many findings there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The codes that were found, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (FindingCode, u64)> + '_ {
        FindingCode::ALL
            .iter()
            .zip(self.0)
            .filter(|(_, n)| *n > 0)
            .map(|(code, n)| (*code, n))
    }
}

impl Serialize for CodeCounts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for CodeCounts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<FindingCode, u64>::deserialize(deserializer)?;
        let mut counts = Self::default();
        for (code, n) in map {
            counts.0[code as usize] = n;
        }
        Ok(counts)
    }
}
