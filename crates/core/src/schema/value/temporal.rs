//! Days, times of day, and instants.
//!
//! By default ISO 8601 as Table Schema has it: `2024-02-29`, `23:59:59`, `2024-02-29T23:59:59Z`. Seconds may
//! have a fraction, of which microseconds are kept; what is finer is cut. An instant may have a blank for its `T` and an offset
//! for its `Z`; without an offset it is read as UTC. Days that no calendar has are no values.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::Offset;

use super::{Native, Parse};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// How days, times or instants are written in one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TemporalFormat {
    /// ISO 8601.
    #[default]
    Iso,
    /// ISO 8601 with nothing finer than microseconds, so that all of the text is kept.
    IsoKept,
    /// ISO 8601 and the common notations that cannot be misread: see [`ANY_DATES`] and [`ANY_TIMES`].
    Any,
    /// A pattern of `strptime`.
    Pattern(String),
}

/// Patterns of days that format `any` takes besides ISO 8601. Day and month as numbers with slashes are
/// left out: their order cannot be told.
pub const ANY_DATES: [&str; 8] = [
    "%Y/%m/%d",
    "%Y%m%d",
    "%d.%m.%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d-%b-%Y",
];

/// Patterns of times that format `any` takes besides ISO 8601.
pub const ANY_TIMES: [&str; 4] = ["%H:%M", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p"];

/// Reads days, as days since 1970-01-01.
#[derive(Debug, Clone, Default)]
pub struct DateText(pub TemporalFormat);

/// Reads times of day, as microseconds since midnight.
#[derive(Debug, Clone, Default)]
pub struct TimeText(pub TemporalFormat);

/// Reads instants, as microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Default)]
pub struct DatetimeText(pub TemporalFormat);

impl Parse for DateText {
    type Value = i32;

    #[inline]
    fn parse(&self, text: &[u8]) -> Option<i32> {
        match &self.0 {
            TemporalFormat::Iso | TemporalFormat::IsoKept => iso_date(text),
            TemporalFormat::Any => iso_date(text).or_else(|| {
                ANY_DATES
                    .iter()
                    .find_map(|pattern| Some(days(broken_down(pattern, text)?.to_date().ok()?)))
            }),
            TemporalFormat::Pattern(pattern) => {
                Some(days(broken_down(pattern, text)?.to_date().ok()?))
            }
        }
    }

    #[inline]
    fn parse_native(&self, text: &[u8], native: Native) -> Option<i32> {
        match native {
            Native::Moment => iso_date(text).or_else(|| self.parse(text)),
            Native::Text | Native::Number | Native::Boolean => self.parse(text),
        }
    }
}

impl Parse for TimeText {
    type Value = i64;

    #[inline]
    fn parse(&self, text: &[u8]) -> Option<i64> {
        match &self.0 {
            TemporalFormat::Iso => iso_time(text),
            TemporalFormat::IsoKept => iso_time(text).filter(|_| keeps_fraction(text)),
            TemporalFormat::Any => iso_time(text).or_else(|| {
                ANY_TIMES
                    .iter()
                    .find_map(|pattern| Some(micros(broken_down(pattern, text)?.to_time().ok()?)))
            }),
            TemporalFormat::Pattern(pattern) => {
                Some(micros(broken_down(pattern, text)?.to_time().ok()?))
            }
        }
    }

    #[inline]
    fn parse_native(&self, text: &[u8], native: Native) -> Option<i64> {
        match native {
            Native::Moment => iso_time(text).or_else(|| self.parse(text)),
            Native::Text | Native::Number | Native::Boolean => self.parse(text),
        }
    }
}

impl Parse for DatetimeText {
    type Value = i64;

    #[inline]
    fn parse(&self, text: &[u8]) -> Option<i64> {
        match &self.0 {
            TemporalFormat::Iso => iso_datetime(text),
            TemporalFormat::IsoKept => iso_datetime(text).filter(|_| keeps_fraction(text)),
            TemporalFormat::Any => iso_datetime(text).or_else(|| any_datetime(text)),
            TemporalFormat::Pattern(pattern) => {
                let parts = broken_down(pattern, text)?;
                let local = match parts.timestamp() {
                    Some(instant) => return Some(instant.as_microsecond()),
                    None => parts.to_datetime().ok()?,
                };
                Some(instant(local, parts.offset()))
            }
        }
    }

    #[inline]
    fn parse_native(&self, text: &[u8], native: Native) -> Option<i64> {
        match native {
            // A workbook knows no difference between a day and its midnight.
            Native::Moment => iso_datetime(text)
                .or_else(|| Some(i64::from(iso_date(text)?) * MICROS_PER_DAY))
                .or_else(|| self.parse(text)),
            Native::Text | Native::Number | Native::Boolean => self.parse(text),
        }
    }
}

fn broken_down(pattern: &str, text: &[u8]) -> Option<BrokenDownTime> {
    let parts = BrokenDownTime::parse(pattern, text).ok()?;
    // `%Y` takes fewer than four digits: `29/02/24` would silently be a day of antiquity.
    let short_year = parts.year().is_some_and(|year| year < 1_000);
    (!short_year && reads_back(pattern, &parts, text)).then_some(parts)
}

/// Whether the parts are those of `text` where one could be taken for another: by `%H%M` the text `130`, which has lost
/// a zero, reads as 13:00, and a second 60 as the 59th.
fn reads_back(pattern: &str, parts: &BrokenDownTime, text: &[u8]) -> bool {
    has_all_digits(pattern, text) && !is_leap_second(pattern, parts, text)
}

/// Whether some `60` of the text stands for the second that was read as 59.
fn is_leap_second(pattern: &str, parts: &BrokenDownTime, text: &[u8]) -> bool {
    if parts.second() != Some(59) {
        return false;
    }
    let places = text.windows(2).enumerate().filter(|(_, two)| two == b"60");
    places.map(|(at, _)| at).any(|at| {
        let mut other = text.to_vec();
        other[at..at + 2].copy_from_slice(b"59");
        let other = BrokenDownTime::parse(pattern, &other);
        other.is_ok_and(|other| format!("{other:?}") == format!("{parts:?}"))
    })
}

/// Whether parts of digits that have nothing between them have all of their digits in `text`. Of patterns with parts that
/// may have any number of digits, or none, nothing is asked.
fn has_all_digits(pattern: &str, text: &[u8]) -> bool {
    let Some(runs) = digit_runs(pattern) else {
        return true;
    };
    if runs.iter().all(|run| run.parts < 2) {
        return true;
    }
    let mut found = text
        .split(|b| !b.is_ascii_digit())
        .filter(|run| !run.is_empty());
    let fit = runs.iter().all(|run| {
        let digits = found.next().map_or(0, <[u8]>::len);
        run.parts < 2 || digits == run.digits
    });
    fit && found.next().is_none()
}

/// Parts of a pattern with nothing between them.
#[derive(Debug, Clone, Copy, Default)]
struct DigitRun {
    parts: usize,
    digits: usize,
}

/// The runs of digits that a pattern makes; `None` when that cannot be told.
fn digit_runs(pattern: &str) -> Option<Vec<DigitRun>> {
    let mut runs = Vec::new();
    let mut run = DigitRun::default();
    let mut rest = pattern.bytes();
    while let Some(byte) = rest.next() {
        let digits = match (byte, byte == b'%') {
            (b'0'..=b'9', _) => return None,
            (_, false) => 0,
            (_, true) => match rest.next()? {
                b'Y' | b'G' => 4,
                b'j' => 3,
                b'C' | b'd' | b'g' | b'H' | b'I' | b'm' | b'M' | b'S' | b'U' | b'V' | b'W'
                | b'y' => 2,
                b'u' | b'w' => 1,
                b'a' | b'A' | b'b' | b'B' | b'h' | b'p' | b'P' | b'n' | b't' | b'%' => 0,
                _ => return None,
            },
        };
        if digits > 0 {
            run.parts += 1;
            run.digits += digits;
        } else if run.parts > 0 {
            runs.push(std::mem::take(&mut run));
        }
    }
    if run.parts > 0 {
        runs.push(run);
    }
    Some(runs)
}

fn days(date: Date) -> i32 {
    civil_days(
        i32::from(date.year()),
        i32::from(date.month()),
        i32::from(date.day()),
    )
}

fn micros(time: Time) -> i64 {
    let seconds =
        (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
    seconds * MICROS_PER_SECOND + i64::from(time.subsec_nanosecond()) / 1_000
}

fn instant(local: DateTime, offset: Option<Offset>) -> i64 {
    let shift = offset.map_or(0, |o| i64::from(o.seconds()) * MICROS_PER_SECOND);
    i64::from(days(local.date())) * MICROS_PER_DAY + micros(local.time()) - shift
}

/// Days since 1970-01-01 of a day of the Gregorian calendar, which the caller has checked.
fn civil_days(year: i32, month: i32, day: i32) -> i32 {
    // Counted from 1 March, so that the leap day is the last of its year; 400 years are one era.
    let year = year - i32::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[inline]
fn two_digits(text: &[u8]) -> Option<i32> {
    let [a, b] = text else { return None };
    (a.is_ascii_digit() && b.is_ascii_digit())
        .then(|| i32::from(a - b'0') * 10 + i32::from(b - b'0'))
}

/// `YYYY-MM-DD` and nothing else.
#[inline]
#[must_use]
pub fn iso_date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two_digits(&text[..2])? * 100 + two_digits(&text[2..4])?;
    let month = two_digits(&text[5..7])?;
    let day = two_digits(&text[8..])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    (1..=last)
        .contains(&day)
        .then(|| civil_days(year, month, day))
}

/// `hh:mm:ss`, with a fraction or without.
#[inline]
#[must_use]
pub fn iso_time(text: &[u8]) -> Option<i64> {
    if text.len() < 8 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        two_digits(&text[..2])?,
        two_digits(&text[3..5])?,
        two_digits(&text[6..8])?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match &text[8..] {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => fraction(digits)?,
        _ => return None,
    };
    Some(i64::from((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros)
}

/// Microseconds from the digits after the point; what is finer is cut.
fn fraction(digits: &[u8]) -> Option<i64> {
    digits.iter().all(u8::is_ascii_digit).then(|| {
        let kept = digits.iter().copied().chain(std::iter::repeat(b'0'));
        kept.take(6)
            .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    })
}

/// Whether nothing of a time's fraction is finer than microseconds.
#[must_use]
pub fn keeps_fraction(text: &[u8]) -> bool {
    let fraction = text.iter().skip_while(|b| **b != b'.').skip(1);
    let digits = fraction.take_while(|b| b.is_ascii_digit());
    digits.skip(6).all(|b| *b == b'0')
}

/// A day and a time, `T` or a blank between, with an offset or without.
#[inline]
#[must_use]
pub fn iso_datetime(text: &[u8]) -> Option<i64> {
    if text.len() < 19 || !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let day = i64::from(iso_date(&text[..10])?) * MICROS_PER_DAY;
    let (time, shift) = split_offset(&text[11..])?;
    Some(day + iso_time(time)? - shift)
}

/// The time and, in microseconds, the offset after it.
fn split_offset(text: &[u8]) -> Option<(&[u8], i64)> {
    let sign_at = text.iter().position(|b| matches!(b, b'+' | b'-'));
    if let [time @ .., b'Z' | b'z'] = text {
        return Some((time, 0));
    }
    let Some(at) = sign_at else {
        return Some((text, 0));
    };
    let (hours, minutes) = match &text[at + 1..] {
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => {
            (two_digits(&[*h1, *h2])?, two_digits(&[*m1, *m2])?)
        }
        [h1, h2] => (two_digits(&[*h1, *h2])?, 0),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let shift = i64::from(hours * 60 + minutes) * 60 * MICROS_PER_SECOND;
    Some((&text[..at], if text[at] == b'-' { -shift } else { shift }))
}

/// A day and a time in the notations of `any`, or a day alone (its midnight).
fn any_datetime(text: &[u8]) -> Option<i64> {
    let date = DateText(TemporalFormat::Any);
    let time = TimeText(TemporalFormat::Any);
    if let Some(day) = date.parse(text) {
        return Some(i64::from(day) * MICROS_PER_DAY);
    }
    let splits = text
        .iter()
        .enumerate()
        .filter(|(_, b)| matches!(b, b'T' | b' '))
        .map(|(at, _)| at);
    splits.take(8).find_map(|at| {
        let day = date.parse(&text[..at])?;
        let (clock, shift) = split_offset(&text[at + 1..])?;
        Some(i64::from(day) * MICROS_PER_DAY + time.parse(clock)? - shift)
    })
}

/// The longest pattern taken, in bytes.
const PATTERN_BYTES: usize = 128;

/// Whether `pattern` can be read back for a type: what is wrong otherwise.
pub(crate) fn check_pattern(
    pattern: &str,
    type_name: &str,
    reads: impl Fn(&BrokenDownTime) -> bool,
) -> Result<(), String> {
    if pattern.len() > PATTERN_BYTES {
        return Err(format!(
            "the pattern is longer than the {PATTERN_BYTES} bytes taken"
        ));
    }
    if !pattern.contains('%') {
        return Err(format!(
            "`default`, `any` or a strptime pattern such as `%d/%m/%Y` is taken for type {type_name}"
        ));
    }
    if pattern.contains("%Q") || pattern.contains("%:Q") {
        return Err("names of time zones (`%Q`) are not taken; use an offset (`%z`)".to_owned());
    }
    // Written and read again: a pattern that cannot do that never matches a cell.
    let sample = DateTime::constant(2024, 11, 22, 13, 14, 15, 0);
    let mut sample = BrokenDownTime::from(sample);
    sample.set_offset(Some(Offset::UTC));
    let parsed = sample
        .to_string(pattern)
        .and_then(|text| BrokenDownTime::parse(pattern, &text))
        .map_err(|cause| format!("the strptime pattern cannot be used: {cause}"))?;
    if reads(&parsed) {
        Ok(())
    } else {
        Err(format!(
            "the strptime pattern does not name all parts of a {type_name}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(days: i32) -> String {
        let epoch = jiff::civil::date(1970, 1, 1);
        epoch
            .checked_add(jiff::Span::new().days(days))
            .unwrap()
            .to_string()
    }

    #[test]
    fn days_are_counted_as_jiff_counts_them() {
        proptest::proptest!(|(year in 0i16..=9999, month in 1i8..=12, day in 1i8..=31)| {
            let text = format!("{year:04}-{month:02}-{day:02}");
            let expected = Date::new(year, month, day).ok();
            let days = iso_date(text.as_bytes());
            proptest::prop_assert_eq!(days.map(iso), expected.map(|d| d.to_string()));
        });
    }

    #[test]
    fn dates() {
        let date = |format: &str| {
            DateText(match format {
                "default" => TemporalFormat::Iso,
                "any" => TemporalFormat::Any,
                pattern => TemporalFormat::Pattern(pattern.to_owned()),
            })
        };
        for (format, text, day) in [
            ("default", "2024-02-29", Some("2024-02-29")),
            ("default", "2023-02-29", None),
            ("default", "1900-02-29", None),
            ("default", "2000-02-29", Some("2000-02-29")),
            ("default", "2024-04-31", None),
            ("default", "2024-13-01", None),
            ("default", "2024-00-10", None),
            ("default", "2024-1-1", None),
            ("default", "2024-01-01T00:00:00", None),
            ("default", "01/02/2024", None),
            ("default", "2024-01-0a", None),
            ("default", "", None),
            ("any", "2024-02-29", Some("2024-02-29")),
            ("any", "2024/02/29", Some("2024-02-29")),
            ("any", "29.02.2024", Some("2024-02-29")),
            ("any", "29 Feb 2024", Some("2024-02-29")),
            ("any", "February 29, 2024", Some("2024-02-29")),
            ("any", "20240229", Some("2024-02-29")),
            ("any", "2024111", None),
            ("%d%m%y", "010124", Some("2024-01-01")),
            ("%d%m%y", "10124", None),
            ("%d.%m.%Y", "1.2.2024", Some("2024-02-01")),
            ("%d%b%Y", "1Jan2024", Some("2024-01-01")),
            ("%Y%m%d", "20240101", Some("2024-01-01")),
            ("%Y%m%d", "2024111", None),
            ("any", "01/02/2024", None),
            ("any", "29.02.24", None),
            ("%d/%m/%Y", "29/02/24", None),
            ("%d/%m/%y", "29/02/24", Some("2024-02-29")),
            ("any", "yesterday", None),
            ("%d/%m/%Y", "29/02/2024", Some("2024-02-29")),
            ("%d/%m/%Y", "30/02/2024", None),
            ("%d/%m/%Y", "2024-02-29", None),
            ("%d/%m/%Y", "29/02/2024 ", None),
        ] {
            let days = date(format).parse(text.as_bytes());
            assert_eq!(days.map(iso).as_deref(), day, "{format}: {text}");
        }
    }

    #[test]
    fn days_of_a_workbook_have_no_notation() {
        let swapped = DateText(TemporalFormat::Pattern("%Y-%d-%m".to_owned()));
        let day = |native| swapped.parse_native(b"2024-02-01", native).map(iso);
        assert_eq!(day(Native::Text).as_deref(), Some("2024-01-02"));
        assert_eq!(day(Native::Moment).as_deref(), Some("2024-02-01"));
    }

    #[test]
    fn a_day_of_a_workbook_is_its_midnight_too() {
        let formats = [
            TemporalFormat::Iso,
            TemporalFormat::IsoKept,
            TemporalFormat::Pattern("%d/%m/%Y %H:%M".to_owned()),
        ];
        for format in formats {
            let moment = DatetimeText(format);
            assert_eq!(moment.parse(b"1970-01-02"), None);
            let native = |text| moment.parse_native(text, Native::Moment);
            assert_eq!(native(b"1970-01-02"), Some(MICROS_PER_DAY));
            assert_eq!(
                native(b"1970-01-02T00:00:01"),
                Some(MICROS_PER_DAY + MICROS_PER_SECOND)
            );
        }
    }

    #[test]
    fn times() {
        let second = MICROS_PER_SECOND;
        let pattern = |text: &str| TemporalFormat::Pattern(text.to_owned());
        for (format, text, micros) in [
            (TemporalFormat::Iso, "00:00:00", Some(0)),
            (TemporalFormat::Iso, "23:59:59", Some(86_399 * second)),
            (TemporalFormat::Iso, "00:00:01.5", Some(second + 500_000)),
            (TemporalFormat::Iso, "00:00:00.123456789", Some(123_456)),
            (TemporalFormat::Iso, "24:00:00", None),
            (TemporalFormat::Iso, "23:60:00", None),
            (TemporalFormat::Iso, "23:59:60", None),
            (TemporalFormat::Iso, "23:59", None),
            (TemporalFormat::Iso, "1:02:03", None),
            (TemporalFormat::Iso, "00:00:01.", None),
            (TemporalFormat::Any, "23:59", Some(86_340 * second)),
            (TemporalFormat::Any, "11:59 PM", Some(86_340 * second)),
            (pattern("%H.%M"), "01.30", Some(5_400 * second)),
            (pattern("%H.%M"), "1.30", Some(5_400 * second)),
            (pattern("%H%M"), "0130", Some(5_400 * second)),
            (pattern("%H%M"), "130", None),
            (pattern("%H:%M:%S"), "23:59:59", Some(86_399 * second)),
            (pattern("%H:%M:%S"), "23:59:60", None),
            (pattern("%I:%M%p"), "1:30PM", Some(48_600 * second)),
            (
                pattern("%H:%M:%S%.f"),
                "00:00:59.60",
                Some(59 * second + 600_000),
            ),
            (
                pattern("%H:%M:%S%.f"),
                "00:00:59.060",
                Some(59 * second + 60_000),
            ),
            (pattern("%H:%M:%S%.f"), "00:00:60.5", None),
            (TemporalFormat::IsoKept, "00:00:00.123456", Some(123_456)),
            (TemporalFormat::IsoKept, "00:00:00.123456000", Some(123_456)),
            (TemporalFormat::IsoKept, "00:00:00.1234567", None),
        ] {
            let time = TimeText(format);
            assert_eq!(time.parse(text.as_bytes()), micros, "{text}");
        }
    }

    #[test]
    fn instants() {
        let pattern = |p: &str| TemporalFormat::Pattern(p.to_owned());
        for (format, text, instant) in [
            (
                TemporalFormat::Iso,
                "2024-02-29T12:00:00Z",
                Some("2024-02-29T12:00:00Z"),
            ),
            (
                TemporalFormat::Iso,
                "2024-02-29 12:00:00",
                Some("2024-02-29T12:00:00Z"),
            ),
            (
                TemporalFormat::Iso,
                "2024-02-29T12:00:00.25+02:00",
                Some("2024-02-29T10:00:00.25Z"),
            ),
            (
                TemporalFormat::Iso,
                "2024-02-29T23:30:00-0130",
                Some("2024-03-01T01:00:00Z"),
            ),
            (
                TemporalFormat::Iso,
                "1969-12-31T23:59:59Z",
                Some("1969-12-31T23:59:59Z"),
            ),
            (TemporalFormat::Iso, "2023-02-29T12:00:00Z", None),
            (TemporalFormat::Iso, "2024-02-29", None),
            (TemporalFormat::Iso, "2024-02-29T12:00", None),
            (TemporalFormat::Iso, "2024-02-29T12:00:00+25:00", None),
            (TemporalFormat::Iso, "2024-02-29T12:00:00 Z", None),
            (
                TemporalFormat::Any,
                "2024-02-29",
                Some("2024-02-29T00:00:00Z"),
            ),
            (
                TemporalFormat::Any,
                "29 Feb 2024 11:30 AM",
                Some("2024-02-29T11:30:00Z"),
            ),
            (
                TemporalFormat::Any,
                "29.02.2024 12:00+01:00",
                Some("2024-02-29T11:00:00Z"),
            ),
            (
                pattern("%d/%m/%Y %H:%M"),
                "29/02/2024 12:00",
                Some("2024-02-29T12:00:00Z"),
            ),
            (
                pattern("%d/%m/%Y %H:%M %z"),
                "29/02/2024 12:00 +0100",
                Some("2024-02-29T11:00:00Z"),
            ),
            (
                pattern("%Y%m%d%H%M%S"),
                "19600229235959",
                Some("1960-02-29T23:59:59Z"),
            ),
            (
                pattern("%Y%m%d %H:%M"),
                "20240131 9:05",
                Some("2024-01-31T09:05:00Z"),
            ),
            (
                pattern("%d.%m.%Y %H%M"),
                "1.2.2024 0130",
                Some("2024-02-01T01:30:00Z"),
            ),
            (pattern("%d.%m.%Y %H%M"), "1.2.2024 130", None),
            (pattern("%Y%m%d%H%M%S"), "20240229235960", None),
            (pattern("%Y%m%d%H%M%S"), "2024022935959", None),
            (pattern("%s"), "0", Some("1970-01-01T00:00:00Z")),
            (pattern("%d/%m/%Y %H:%M"), "30/02/2024 12:00", None),
        ] {
            let micros = DatetimeText(format).parse(text.as_bytes());
            let shown = micros.map(|m| jiff::Timestamp::from_microsecond(m).unwrap().to_string());
            assert_eq!(shown.as_deref(), instant, "{text}");
        }
    }
}
