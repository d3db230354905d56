//! What is wrong at one place, in two words, until it is written out.

use filejobs_core::FindingCode;

/// What is wrong. The order is that of findings at the same cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum What {
    BlankRow,
    UnclosedQuote,
    LineTooLong,
    InvalidBytes,
    Nul,
    ExcelError,
    MissingCell,
    ExtraCell,
    Type,
    Required,
    MinLength,
    MaxLength,
    Minimum,
    Maximum,
    Pattern,
    Enum,
    Unique,
    EmptyKey,
    RepeatedKey,
}

impl What {
    /// All, in the order of their numbers.
    const ALL: [Self; 19] = [
        Self::BlankRow,
        Self::UnclosedQuote,
        Self::LineTooLong,
        Self::InvalidBytes,
        Self::Nul,
        Self::ExcelError,
        Self::MissingCell,
        Self::ExtraCell,
        Self::Type,
        Self::Required,
        Self::MinLength,
        Self::MaxLength,
        Self::Minimum,
        Self::Maximum,
        Self::Pattern,
        Self::Enum,
        Self::Unique,
        Self::EmptyKey,
        Self::RepeatedKey,
    ];

    /// The code users see.
    pub(crate) fn code(self) -> FindingCode {
        match self {
            Self::BlankRow => FindingCode::BlankRow,
            Self::UnclosedQuote => FindingCode::UnclosedQuote,
            Self::LineTooLong => FindingCode::LineTooLong,
            Self::InvalidBytes | Self::Nul => FindingCode::EncodingError,
            Self::ExcelError => FindingCode::ExcelErrorValue,
            Self::MissingCell => FindingCode::MissingCell,
            Self::ExtraCell => FindingCode::ExtraCell,
            Self::Type => FindingCode::TypeError,
            Self::Required
            | Self::MinLength
            | Self::MaxLength
            | Self::Minimum
            | Self::Maximum
            | Self::Pattern
            | Self::Enum => FindingCode::ConstraintError,
            Self::Unique => FindingCode::UniqueError,
            Self::EmptyKey | Self::RepeatedKey => FindingCode::PrimaryKey,
        }
    }
}

/// The place of a whole row among columns: after all of them.
pub(crate) const WHOLE_ROW: u32 = 0x00ff_ffff;

/// One thing wrong at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Row in the batch, column in the file, what: one number, so that sorting is cheap.
    place: u64,
    /// The earlier row of a repeated key; otherwise 0.
    pub(crate) first_row: u64,
}

impl Problem {
    pub(crate) fn new(row: u32, column: u32, what: What) -> Self {
        Self::repeated(row, column, what, 0)
    }

    pub(crate) fn repeated(row: u32, column: u32, what: What, first_row: u64) -> Self {
        let place = u64::from(row) << 32 | u64::from(column.min(WHOLE_ROW)) << 8 | what as u64;
        Self { place, first_row }
    }

    /// Index of the row in its batch.
    pub(crate) fn row(self) -> u32 {
        (self.place >> 32) as u32
    }

    /// Index of the column, or [`WHOLE_ROW`].
    pub(crate) fn column(self) -> u32 {
        (self.place >> 8) as u32 & WHOLE_ROW
    }

    pub(crate) fn what(self) -> What {
        What::ALL[(self.place & 0xff) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_place() {
        for (i, what) in What::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, i);
            let problem = Problem::repeated(9_999, 16_383, what, 7);
            assert_eq!(
                (
                    problem.row(),
                    problem.column(),
                    problem.what(),
                    problem.first_row
                ),
                (9_999, 16_383, what, 7)
            );
        }
        assert_eq!(
            Problem::new(u32::MAX, u32::MAX, What::BlankRow).column(),
            WHOLE_ROW
        );
    }

    #[test]
    fn problems_sort_by_row_then_column_then_kind() {
        let mut problems = vec![
            Problem::new(2, 0, What::Type),
            Problem::new(1, WHOLE_ROW, What::RepeatedKey),
            Problem::new(1, 1, What::Pattern),
            Problem::new(1, 1, What::MinLength),
            Problem::new(1, 0, What::Enum),
        ];
        let sorted = [4, 3, 2, 1, 0].map(|i: usize| problems[i]);
        problems.sort_unstable();
        assert_eq!(problems, sorted);
    }
}
