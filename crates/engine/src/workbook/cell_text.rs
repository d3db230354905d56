//! Cells of a workbook as the text that a CSV file would hold for them.

use std::io::Write;

use calamine::{DataRef, ExcelDateTime};
use filejobs_core::schema::value::Native;

/// Days from 1970-01-01 back to day 0 of each date system.
const EPOCH_1900: i64 = -25_569;
const EPOCH_1904: i64 = -24_107;
/// The day that the 1900 system has and no calendar: 1900-02-29.
const LEAP_DAY_1900: i64 = 60;
/// 9999-12-31 in the 1900 system.
const LAST_DAY: i64 = 2_958_465;
const DAY_MS: i64 = 86_400_000;
/// 2^53: a float below it that is whole is no other whole number rounded.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A value of a cell, wherever it was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Empty,
    Text(&'a str),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// A serial number with a date or time format.
    Moment(ExcelDateTime),
    /// A date, time or both in ISO 8601.
    Iso(&'a str),
    /// A duration in ISO 8601 (`PT1H30M`).
    IsoDuration(&'a str),
    Error(&'a str),
}

impl<'a> Value<'a> {
    pub(super) fn of_ref(data: &'a DataRef<'_>) -> Self {
        match data {
            DataRef::Empty => Self::Empty,
            DataRef::Int(n) => Self::Integer(*n),
            DataRef::Float(n) => Self::Number(*n),
            DataRef::String(text) => Self::text(text),
            DataRef::SharedString(text) => Self::text(text),
            DataRef::Bool(b) => Self::Boolean(*b),
            DataRef::DateTime(moment) => Self::Moment(*moment),
            DataRef::DateTimeIso(text) => Self::Iso(text),
            DataRef::DurationIso(text) => Self::IsoDuration(text),
            DataRef::Error(error) => Self::Error(error_text(error)),
        }
    }

    /// A text without a character is an empty cell, as it is in CSV.
    pub(super) fn text(text: &'a str) -> Self {
        if text.is_empty() {
            Self::Empty
        } else {
            Self::Text(text)
        }
    }

    /// Appends the value's text and says what it is. `dates_1904` is the workbook's date system.
    pub(super) fn write(self, dates_1904: bool, out: &mut Vec<u8>) -> Native {
        match self {
            Self::Empty => Native::Text,
            Self::Text(text) | Self::Error(text) => {
                out.extend_from_slice(text.as_bytes());
                Native::Text
            }
            Self::Integer(n) => {
                integer(n, out);
                Native::Number
            }
            Self::Number(n) => {
                number(n, out);
                Native::Number
            }
            Self::Boolean(b) => {
                out.extend_from_slice(if b { b"true" } else { b"false" });
                Native::Boolean
            }
            Self::Moment(moment) => serial(&moment, dates_1904, out),
            Self::Iso(text) => {
                iso(text, out);
                Native::Moment
            }
            Self::IsoDuration(text) => {
                iso_duration(text, out);
                Native::Moment
            }
        }
    }
}

pub(super) fn error_text(error: &calamine::CellErrorType) -> &'static str {
    use calamine::CellErrorType as E;
    match error {
        E::Div0 => "#DIV/0!",
        E::NA => "#N/A",
        E::Name => "#NAME?",
        E::Null => "#NULL!",
        E::Num => "#NUM!",
        E::Ref => "#REF!",
        E::Value => "#VALUE!",
        E::GettingData => "#GETTING_DATA",
    }
}

fn integer(n: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Whole numbers without a fraction, others and those that may have been rounded with the fewest digits that
/// tell them apart.
fn number(n: f64, out: &mut Vec<u8>) {
    let size = n.abs();
    if n.fract() == 0.0 && size < EXACT_MAX {
        return integer(n as i64, out);
    }
    // Writing into a vector cannot fail.
    let _ = match size {
        _ if n.is_nan() => out.write_all(b"NaN"),
        _ if n.is_infinite() => out.write_all(if n > 0.0 { b"INF" } else { b"-INF" }),
        1e-5..1e15 => out.write_all(zmij::Buffer::new().format_finite(n).as_bytes()),
        1e15..EXACT_MAX => write!(out, "{n}"),
        // A whole number this large may have been rounded when it became a float: that of a card, say. Written with
        // an exponent, no column of integers takes it.
        _ => write!(out, "{n:e}"),
    };
}

fn serial(moment: &ExcelDateTime, dates_1904: bool, out: &mut Vec<u8>) -> Native {
    let value = moment.as_f64();
    let day_max = if dates_1904 {
        LAST_DAY + EPOCH_1900 - EPOCH_1904
    } else {
        LAST_DAY
    };
    let is_duration = moment.is_duration();
    // What is no date stays the number it is, and a schema that wants a date says so.
    if !value.is_finite() || value.abs() >= (day_max + 1) as f64 || (value < 0.0 && !is_duration) {
        number(value, out);
        return Native::Number;
    }
    let ms = (value * DAY_MS as f64).round() as i64;
    if is_duration || ms < DAY_MS {
        if ms < 0 {
            out.push(b'-');
        }
        clock(ms.abs(), out);
        return Native::Moment;
    }
    let (day, ms) = (ms / DAY_MS, ms % DAY_MS);
    if day == LEAP_DAY_1900 && !dates_1904 {
        out.extend_from_slice(b"1900-02-29");
    } else {
        let epoch = if dates_1904 { EPOCH_1904 } else { EPOCH_1900 };
        // Before its false leap day the 1900 system is a day behind.
        let early = i64::from(!dates_1904 && day < LEAP_DAY_1900);
        let (year, month, day) = civil(day + epoch + early);
        digits(year, 4, out);
        out.push(b'-');
        digits(month, 2, out);
        out.push(b'-');
        digits(day, 2, out);
    }
    if ms > 0 {
        out.push(b'T');
        clock(ms, out);
    }
    Native::Moment
}

/// `HH:MM:SS`, with milliseconds where there are any; hours go past 24.
fn clock(ms: i64, out: &mut Vec<u8>) {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let hours = seconds / 3600;
    if hours < 100 {
        digits(hours, 2, out);
    } else {
        integer(hours, out);
    }
    out.push(b':');
    digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    digits(seconds % 60, 2, out);
    if ms > 0 {
        out.push(b'.');
        digits(ms, 3, out);
    }
}

/// The last `count` digits of a number, with leading zeros.
fn digits(n: i64, count: u32, out: &mut Vec<u8>) {
    for place in (0..count).rev() {
        out.push(b"0123456789"[(n / 10_i64.pow(place)).rem_euclid(10) as usize]);
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years that begin on 1 March, so that leap days come last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// A date with a time of midnight is a date.
fn iso(text: &str, out: &mut Vec<u8>) {
    let date = text.split_once('T').filter(|(_, time)| {
        let time = time.strip_suffix('Z').unwrap_or(time);
        let fraction = time.strip_prefix("00:00:00");
        fraction.is_some_and(|f| {
            f.is_empty()
                || f.strip_prefix('.')
                    .is_some_and(|f| f.bytes().all(|b| b == b'0'))
        })
    });
    out.extend_from_slice(date.map_or(text, |(date, _)| date).as_bytes());
}

fn iso_duration(text: &str, out: &mut Vec<u8>) {
    match duration_ms(text) {
        Some(ms) => clock(ms, out),
        None => out.extend_from_slice(text.as_bytes()),
    }
}

/// `PT10H30M15.5S` in milliseconds; nothing for other shapes, which stay as they are.
fn duration_ms(text: &str) -> Option<i64> {
    let mut rest = text.strip_prefix("PT")?;
    let mut total = 0.0;
    for (unit, ms) in [('H', 3_600_000.0), ('M', 60_000.0), ('S', 1000.0)] {
        if let Some((count, after)) = rest.split_once(unit) {
            let count: f64 = fast_float2::parse(count).ok()?;
            total += count * ms;
            rest = after;
        }
    }
    let whole = total.round();
    (rest.is_empty() && (0.0..9e15).contains(&whole)).then_some(whole as i64)
}

#[cfg(test)]
mod tests {
    use calamine::ExcelDateTimeType::{DateTime, TimeDelta};

    use super::*;

    fn text(value: Value<'_>, dates_1904: bool) -> String {
        let mut out = Vec::new();
        value.write(dates_1904, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_csv_writers_do() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (-9_007_199_254_740_991.0, "-9007199254740991"),
            (9_007_199_254_740_992.0, "9.007199254740992e15"),
            (12_345_678_901_234_568.0, "1.2345678901234568e16"),
            (-12_345_678_901_234_568.0, "-1.2345678901234568e16"),
            (1e20, "1e20"),
            (1e300, "1e300"),
            (0.1, "0.1"),
            (-1234.5, "-1234.5"),
            (0.000_012_5, "0.0000125"),
            (123_456_789_012_345.67, "123456789012345.67"),
            (1_234_567_890_123_456.5, "1234567890123456.5"),
            (1.5e-7, "1.5e-7"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-INF"),
        ];
        for (n, expected) in cases {
            assert_eq!(text(Value::Number(n), false), expected);
        }
    }

    #[test]
    fn serial_numbers_become_dates_and_times() {
        let cases = [
            (1.0, DateTime, false, "1900-01-01"),
            (59.0, DateTime, false, "1900-02-28"),
            (60.0, DateTime, false, "1900-02-29"),
            (61.0, DateTime, false, "1900-03-01"),
            (44_197.0, DateTime, false, "2021-01-01"),
            (44_197.5, DateTime, false, "2021-01-01T12:00:00"),
            (44_197.000_011_574, DateTime, false, "2021-01-01T00:00:01"),
            (44_196.999_999_999_9, DateTime, false, "2021-01-01"),
            (
                44_197.25 + 0.123 / 86_400.0,
                DateTime,
                false,
                "2021-01-01T06:00:00.123",
            ),
            (0.5, DateTime, false, "12:00:00"),
            (0.0, DateTime, false, "00:00:00"),
            (1.5, TimeDelta, false, "36:00:00"),
            (100.0, TimeDelta, false, "2400:00:00"),
            (-0.25, TimeDelta, false, "-06:00:00"),
            (1.0, DateTime, true, "1904-01-02"),
            (42_735.0, DateTime, true, "2021-01-01"),
            (2_958_465.0, DateTime, false, "9999-12-31"),
            (2_958_466.0, DateTime, false, "2958466"),
            (-1.0, DateTime, false, "-1"),
        ];
        for (n, kind, dates_1904, expected) in cases {
            let moment = Value::Moment(ExcelDateTime::new(n, kind, dates_1904));
            assert_eq!(text(moment, dates_1904), expected, "{n}");
        }
    }

    #[test]
    fn iso_texts_are_brought_into_the_same_shape() {
        let cases = [
            (Value::Iso("2021-01-01T00:00:00.000Z"), "2021-01-01"),
            (Value::Iso("2021-01-01T10:00:00"), "2021-01-01T10:00:00"),
            (Value::Iso("2021-01-01"), "2021-01-01"),
            (Value::IsoDuration("PT10H03M15S"), "10:03:15"),
            (Value::IsoDuration("PT0H0M1.5S"), "00:00:01.500"),
            (Value::IsoDuration("P1D"), "P1D"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value, false), expected);
        }
    }
}
