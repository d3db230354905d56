//! Typed cells as JSON and as CSV.

use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float64Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow_schema::{DataType, TimeUnit};
use filejobs_core::export;
use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Span, Timestamp};

use crate::download::BodyError;

/// A column of a batch by its type.
pub(super) enum Column<'a> {
    Text(&'a StringArray),
    Integer(&'a PrimitiveArray<Int64Type>),
    Number(&'a PrimitiveArray<Float64Type>),
    Boolean(&'a BooleanArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Datetime(&'a PrimitiveArray<TimestampMicrosecondType>),
}

impl<'a> Column<'a> {
    /// The column by its type; a type that no engine of ours writes is an error.
    pub(super) fn of(array: &'a ArrayRef) -> Result<Self, BodyError> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Int64 => Self::Integer(array.as_primitive()),
            DataType::Float64 => Self::Number(array.as_primitive()),
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Datetime(array.as_primitive()),
            other => return Err(format!("a part holds a column of type {other}").into()),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(a) => a.is_null(row),
            Self::Integer(a) => a.is_null(row),
            Self::Number(a) => a.is_null(row),
            Self::Boolean(a) => a.is_null(row),
            Self::Date(a) => a.is_null(row),
            Self::Time(a) => a.is_null(row),
            Self::Datetime(a) => a.is_null(row),
        }
    }

    /// Appends the cell as JSON.
    pub(super) fn push_json(&self, out: &mut Vec<u8>, row: usize) -> Result<(), BodyError> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Self::Text(a) => serde_json::to_writer(&mut *out, a.value(row))?,
            Self::Integer(a) => serde_json::to_writer(&mut *out, &a.value(row))?,
            Self::Boolean(a) => serde_json::to_writer(&mut *out, &a.value(row))?,
            Self::Number(a) => match a.value(row) {
                number if number.is_finite() => serde_json::to_writer(&mut *out, &number)?,
                special => serde_json::to_writer(&mut *out, not_finite(special))?,
            },
            Self::Date(_) | Self::Time(_) | Self::Datetime(_) => {
                out.push(b'"');
                self.push_text(out, row)?;
                out.push(b'"');
            }
        }
        Ok(())
    }

    /// Appends the cell as it stands in a CSV file; nothing for an empty one.
    pub(super) fn push_csv(&self, out: &mut Vec<u8>, row: usize) -> Result<(), BodyError> {
        if self.is_null(row) {
            return Ok(());
        }
        if let Self::Text(a) = self {
            export::push_cell(out, a.value(row).as_bytes());
            return Ok(());
        }
        self.push_text(out, row)
    }

    /// Appends a cell that is no text in its plain form: letters, digits, `.`, `:`, `+` and `-` only.
    fn push_text(&self, out: &mut Vec<u8>, row: usize) -> Result<(), BodyError> {
        match self {
            Self::Text(a) => out.extend_from_slice(a.value(row).as_bytes()),
            Self::Integer(a) => write!(out, "{}", a.value(row))?,
            Self::Boolean(a) => write!(out, "{}", a.value(row))?,
            Self::Number(a) => match a.value(row) {
                number if number.is_finite() => serde_json::to_writer(&mut *out, &number)?,
                special => out.extend_from_slice(not_finite(special).as_bytes()),
            },
            Self::Date(a) => write!(out, "{}", date(a.value(row))?)?,
            Self::Time(a) => write!(out, "{}", time(a.value(row))?)?,
            Self::Datetime(a) => write!(out, "{}", Timestamp::from_microsecond(a.value(row))?)?,
        }
        Ok(())
    }
}

/// The names that Table Schema has for what is no number.
fn not_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "INF"
    } else {
        "-INF"
    }
}

fn date(days: i32) -> Result<Date, BodyError> {
    Ok(Date::constant(1970, 1, 1).checked_add(Span::new().try_days(days)?)?)
}

fn time(micros: i64) -> Result<Time, BodyError> {
    Ok(Time::midnight().checked_add(SignedDuration::from_micros(micros))?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn cells_are_plain_in_both_forms() {
        let cases: Vec<(ArrayRef, &str, &str)> = vec![
            (
                Arc::new(StringArray::from(vec![Some("a\"b")])),
                r#""a\"b""#,
                r#""a""b""#,
            ),
            (
                Arc::new(StringArray::from(vec![Some("=1")])),
                r#""=1""#,
                "'=1",
            ),
            (Arc::new(StringArray::from(vec![None::<&str>])), "null", ""),
            (
                Arc::new(PrimitiveArray::<Int64Type>::from(vec![i64::MIN])),
                "-9223372036854775808",
                "-9223372036854775808",
            ),
            (
                Arc::new(PrimitiveArray::<Float64Type>::from(vec![1e300])),
                "1e+300",
                "1e+300",
            ),
            (
                Arc::new(PrimitiveArray::<Float64Type>::from(vec![0.1])),
                "0.1",
                "0.1",
            ),
            (
                Arc::new(PrimitiveArray::<Float64Type>::from(vec![f64::NAN])),
                r#""NaN""#,
                "NaN",
            ),
            (
                Arc::new(PrimitiveArray::<Float64Type>::from(vec![f64::NEG_INFINITY])),
                r#""-INF""#,
                "-INF",
            ),
            (Arc::new(BooleanArray::from(vec![true])), "true", "true"),
            (
                Arc::new(PrimitiveArray::<Date32Type>::from(vec![-1])),
                r#""1969-12-31""#,
                "1969-12-31",
            ),
            (
                Arc::new(PrimitiveArray::<Time64MicrosecondType>::from(vec![
                    43_200_500_000,
                ])),
                r#""12:00:00.5""#,
                "12:00:00.5",
            ),
            (
                Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(vec![0])),
                r#""1970-01-01T00:00:00Z""#,
                "1970-01-01T00:00:00Z",
            ),
        ];
        for (array, json, csv) in cases {
            let column = Column::of(&array).unwrap();
            let (mut as_json, mut as_csv) = (Vec::new(), Vec::new());
            column.push_json(&mut as_json, 0).unwrap();
            column.push_csv(&mut as_csv, 0).unwrap();
            assert_eq!(String::from_utf8(as_json).unwrap(), json);
            assert_eq!(String::from_utf8(as_csv).unwrap(), csv);
        }
    }
}
