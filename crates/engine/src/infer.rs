//! Infers a schema from the first batch of a file.

use filejobs_core::TableSchema;
use filejobs_core::schema::value::Native;
use filejobs_core::schema::value::number::{float, integer, is_name, survives};
use filejobs_core::schema::value::temporal::{iso_date, iso_datetime, iso_time, keeps_fraction};
use filejobs_core::schema::{Constraints, Field, FieldType};

use crate::batch::{RawBatch, RowKind};
use crate::validate::{Places, trimmed};

/// A column has a type when at least this share of its cells has it, in percent.
const SHARE: u64 = 95;

/// The schema of a file that came without one: every column required, its type the narrowest that at least
/// 95 % of its non-empty cells in `raw` have. `names` are the columns' names in the results.
///
/// Text that would not survive being a number makes a string column: a leading zero or plus sign anywhere, whole
/// numbers past 64 bits, or more digits than a float keeps. So do times finer than microseconds. Truth values are `true`
/// and `false` in words, dates and times ISO 8601 only. Where a sheet has moments, its days are their midnights.
#[must_use]
pub fn infer(raw: &RawBatch, places: Places, names: &[String]) -> TableSchema {
    let mut columns = vec![Column::default(); names.len()];
    for (index, row) in raw.rows.iter().enumerate() {
        if row.kind == RowKind::Cells {
            for (column, cell) in columns.iter_mut().zip(raw.row_cells(index)) {
                let is_moment = places.native(raw, cell) == Native::Moment;
                column.add(trimmed(raw.text(cell)), is_moment);
            }
        }
    }
    let fields = names.iter().zip(&columns).map(|(name, column)| Field {
        name: name.clone(),
        kind: column.kind(),
        constraints: Constraints {
            required: true,
            ..Constraints::default()
        },
        ..Field::default()
    });
    TableSchema {
        fields: fields.collect(),
        ..TableSchema::default()
    }
}

/// How many cells of a column have each type.
#[derive(Debug, Clone, Default)]
struct Column {
    cells: u64,
    booleans: u64,
    integers: u64,
    /// Whole ones included.
    numbers: u64,
    dates: u64,
    /// Those that a sheet holds as a moment.
    midnights: u64,
    datetimes: u64,
    times: u64,
    /// A number here is the name of something: `007`, `+49 30`; or a value that no number of 64 bits is.
    names: bool,
    /// A whole number that would lose digits as a float.
    long: bool,
}

impl Column {
    fn add(&mut self, text: &[u8], is_moment: bool) {
        if text.is_empty() {
            return;
        }
        self.cells += 1;
        match text {
            b"true" | b"True" | b"TRUE" | b"false" | b"False" | b"FALSE" => self.booleans += 1,
            [b'+', ..] => self.names |= float(text).is_some(),
            _ if is_name(text) && float(text).is_some() => self.names = true,
            [b'0'..=b'9' | b'-' | b'.', ..] => self.add_number_or_time(text, is_moment),
            _ => {}
        }
    }

    fn add_number_or_time(&mut self, text: &[u8], is_moment: bool) {
        if integer(text).is_some() {
            self.integers += 1;
            self.numbers += 1;
            self.long |= !survives(text);
        } else if iso_date(text).is_some() {
            self.dates += 1;
            self.midnights += u64::from(is_moment);
        } else if iso_datetime(text).is_some() {
            self.datetimes += u64::from(keeps_fraction(text));
        } else if iso_time(text).is_some() {
            self.times += u64::from(keeps_fraction(text));
        } else if text
            .strip_prefix(b"-")
            .unwrap_or(text)
            .iter()
            .all(u8::is_ascii_digit)
        {
            // Past 64 bits.
            self.names |= text != b"-";
        } else if float(text).is_some() {
            self.numbers += 1;
            self.names |= !survives(text);
        }
    }

    fn kind(&self) -> FieldType {
        let most = |count: u64| self.cells > 0 && count * 100 >= self.cells * SHARE;
        let number = |kind| if self.names { FieldType::String } else { kind };
        if most(self.booleans) {
            FieldType::Boolean
        } else if most(self.integers) {
            number(FieldType::Integer)
        } else if most(self.numbers) && !self.long {
            number(FieldType::Number)
        } else if self.datetimes > 0 && most(self.datetimes + self.midnights) {
            FieldType::Datetime
        } else if most(self.dates) {
            FieldType::Date
        } else if most(self.times) {
            FieldType::Time
        } else {
            FieldType::String
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::mark;

    fn kind_of(cells: &[&str]) -> FieldType {
        let mut raw = RawBatch::default();
        for cell in cells {
            raw.push_cell(cell.as_bytes());
            raw.push_row(1, 0, RowKind::Cells);
        }
        let schema = infer(&raw, Places::Text, &["a".to_owned()]);
        assert!(schema.fields[0].constraints.required);
        schema.fields[0].kind
    }

    #[test]
    fn a_column_has_the_narrowest_type_that_fits() {
        use FieldType::{Boolean, Date, Datetime, Integer, Number, String, Time};
        for (cells, kind) in [
            (&["1", "-2", " 3 ", ""][..], Integer),
            (&["0", "1", "1"], Integer),
            (&["1", "2.5", "1e3"], Number),
            (&["0.5", "-0.5", "0"], Number),
            (&["true", "FALSE"], Boolean),
            (&["true", "1"], String),
            (&["2024-01-01", "2024-02-29"], Date),
            (&["2024-01-01T00:00:00Z", "2024-01-01 00:00:00"], Datetime),
            (&["2024-01-01", "2024-01-01T00:00:00Z"], String),
            (&["12:00:00", "23:59:59.5"], Time),
            (&["01/02/2024"], String),
            (&["007", "8", "9"], String),
            (&["1", "2", "-03"], String),
            (&["00.5", "1.5"], String),
            (&["+4930123456", "+4930123457"], String),
            (&["12345678901234567890", "1"], String),
            (&["9007199254740993", "1"], Integer),
            (&["9007199254740993", "1.5"], String),
            (&["1.234567890123456789", "1.5"], String),
            (&["0.30000000000000004", "1.5"], Number),
            (&["1.000000000000000056e-01"], Number),
            (&["12:00:00.1234567"], String),
            (&["2024-01-01T00:00:00.123456789Z"], String),
            (&["NaN", "INF"], String),
            (&["", ""], String),
            (&[], String),
            (&["a", "1"], String),
        ] {
            assert_eq!(kind_of(cells), kind, "{cells:?}");
        }
    }

    #[test]
    fn midnights_of_a_sheet_fit_in_with_its_other_moments() {
        let kind_of = |cells: &[&str]| {
            let mut raw = RawBatch::default();
            for cell in cells {
                raw.bytes.push(mark(Native::Moment));
                raw.push_cell(cell.as_bytes());
                raw.push_row(1, 0, RowKind::Cells);
            }
            let schema = infer(&raw, Places::Sheet { first_column: 0 }, &["a".to_owned()]);
            schema.fields[0].kind
        };
        let days = ["2024-01-01", "2024-01-02"];
        assert_eq!(kind_of(&days), FieldType::Date);
        let moments = ["2024-01-01", "2024-01-02", "2024-01-02T12:00:00"];
        assert_eq!(kind_of(&moments), FieldType::Datetime);
        assert_eq!(kind_of(&["2024-01-01", "12:00:00"]), FieldType::String);
    }

    #[test]
    fn a_few_odd_cells_do_not_change_the_type() {
        let mut cells = vec!["5"; 95];
        cells.extend(["x"; 5]);
        assert_eq!(kind_of(&cells), FieldType::Integer);
        cells.push("x");
        assert_eq!(kind_of(&cells), FieldType::String);
    }

    #[test]
    fn one_leading_zero_far_down_makes_text() {
        let mut cells = vec!["5"; 9_999];
        cells.push("05");
        assert_eq!(kind_of(&cells), FieldType::String);
    }
}
