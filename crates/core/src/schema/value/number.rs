//! Whole numbers and floats.
//!
//! Accepted: an optional sign, digits with any number of leading zeros, for floats a fraction and an
//! exponent (`1`, `-7.50`, `.5`, `5.`, `1e-3`, `007`). Not accepted: `1_000`, hexadecimal, two signs,
//! and anything past 64 bits: an integer that does not fit and a float that would become infinite are
//! no values rather than rounded ones. A float too small to be told from zero is 0.

use super::Parse;

/// How numbers are written in one column.
#[derive(Debug, Clone)]
pub struct NumberText {
    decimal: Box<[u8]>,
    group: Box<[u8]>,
    bare: bool,
    non_finite: bool,
    /// Nothing above differs from the default: the text can be parsed as it stands.
    plain: bool,
}

impl Default for NumberText {
    fn default() -> Self {
        Self::new(".", "", true, false)
    }
}

impl NumberText {
    /// `decimal` between whole and fraction, `group` (empty for none) between groups of digits,
    /// `bare` false when other text may stand around the number, `non_finite` true when `NaN`, `INF` and
    /// `-INF` are numbers.
    #[must_use]
    pub fn new(decimal: &str, group: &str, bare: bool, non_finite: bool) -> Self {
        Self {
            plain: decimal == "." && group.is_empty() && bare,
            decimal: decimal.as_bytes().into(),
            group: group.as_bytes().into(),
            bare,
            non_finite,
        }
    }

    /// Whether `NaN` and `INF` are numbers here.
    #[must_use]
    pub fn takes_non_finite(&self) -> bool {
        self.non_finite
    }

    /// `text` with `.` between whole and fraction, no groups and nothing around it; `None` when a group or
    /// decimal character stands where it cannot.
    #[cold]
    fn normalised(&self, text: &[u8]) -> Option<Vec<u8>> {
        let text = if self.bare {
            text
        } else {
            self.without_surroundings(text)
        };
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        let mut whole = true;
        while let Some(&first) = rest.first() {
            if !self.group.is_empty() && rest.starts_with(&self.group) {
                rest = &rest[self.group.len()..];
                // Between digits of the whole part only.
                let between = out.last().is_some_and(u8::is_ascii_digit)
                    && rest.first().is_some_and(u8::is_ascii_digit);
                if !(whole && between) {
                    return None;
                }
            } else if rest.starts_with(&self.decimal) {
                out.push(b'.');
                whole = false;
                rest = &rest[self.decimal.len()..];
            } else if first == b'.' {
                return None;
            } else {
                out.push(first);
                rest = &rest[1..];
            }
        }
        Some(out)
    }

    /// Cuts what stands before the first sign, digit or decimal character and after the last digit.
    fn without_surroundings<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let begins = |at: usize| {
            let rest = &text[at..];
            let digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_digit);
            let decimal = |rest: &[u8]| {
                rest.starts_with(&self.decimal) && digit(rest.get(self.decimal.len()))
            };
            digit(rest.first())
                || decimal(rest)
                || (matches!(rest[0], b'-' | b'+') && (digit(rest.get(1)) || decimal(&rest[1..])))
        };
        let Some(start) = (0..text.len()).find(|&at| begins(at)) else {
            return text;
        };
        if text[..start].contains(&b'-') {
            // `-$5`: without its sign the number would be another one.
            return text;
        }
        let end = text.iter().rposition(u8::is_ascii_digit);
        &text[start..end.map_or(text.len(), |last| last + 1)]
    }
}

/// Reads the text of whole numbers.
#[derive(Debug, Clone, Default)]
pub struct IntegerText(pub NumberText);

impl Parse for IntegerText {
    type Value = i64;

    #[inline]
    fn parse(&self, text: &[u8]) -> Option<i64> {
        if self.0.plain {
            integer(text)
        } else {
            integer(&self.0.normalised(text)?)
        }
    }
}

impl Parse for NumberText {
    type Value = f64;

    #[inline]
    fn parse(&self, text: &[u8]) -> Option<f64> {
        let value = if self.plain {
            float(text)
        } else {
            self.normalised(text).and_then(|text| float(&text))
        };
        match value {
            None if self.non_finite => non_finite(text),
            value => value,
        }
    }
}

/// A whole number in plain text.
#[inline]
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = match text {
        // A second sign after the plus would be taken for a minus.
        [b'+', rest @ ..] if rest.first().is_some_and(u8::is_ascii_digit) => rest,
        _ => text,
    };
    atoi_simd::parse::<i64, true, false>(digits).ok()
}

/// A finite float in plain text.
#[inline]
#[must_use]
pub fn float(text: &[u8]) -> Option<f64> {
    // The parser takes `inf`, `infinity` and `nan`, too; all are infinite or not a number.
    let value = fast_float2::parse::<f64, _>(text).ok()?;
    value.is_finite().then_some(value)
}

fn non_finite(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"INF" => Some(f64::INFINITY),
        b"-INF" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("7", Some(7)),
            ("007", Some(7)),
            ("+7", Some(7)),
            ("-12345678", Some(-12_345_678)),
            ("1234567890123456", Some(1_234_567_890_123_456)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("00000000000000000000000000000000000000012", Some(12)),
            ("-00000000000000000000000000000000000000012", Some(-12)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999999", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("+-5", None),
            ("-+5", None),
            ("--5", None),
            ("++5", None),
            ("5-", None),
            ("1.0", None),
            ("1e3", None),
            ("1_000", None),
            ("1 000", None),
            ("0x10", None),
            ("12a", None),
            ("١٢", None),
            ("1234567:", None),
            ("1234567/", None),
        ] {
            assert_eq!(integer(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn whole_numbers_read_as_the_standard_library_reads_them() {
        let strategy = proptest::string::string_regex("[+-]?[0-9]{0,24}").unwrap();
        proptest::proptest!(|(text in strategy)| {
            proptest::prop_assert_eq!(integer(text.as_bytes()), text.parse::<i64>().ok());
        });
    }

    #[test]
    fn floats() {
        for (text, value) in [
            ("1", Some(1.0)),
            ("007", Some(7.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("-1.25", Some(-1.25)),
            ("+1.25", Some(1.25)),
            ("1e3", Some(1000.0)),
            ("1E-3", Some(0.001)),
            ("1e-400", Some(0.0)),
            ("1.7976931348623157e308", Some(f64::MAX)),
            ("1e400", None),
            ("-1e400", None),
            ("NaN", None),
            ("nan", None),
            ("inf", None),
            ("-infinity", None),
            ("INF", None),
            ("1_000", None),
            ("1,5", None),
            ("1.2.3", None),
            ("1e", None),
            ("e5", None),
            (".", None),
            ("", None),
            ("+-1", None),
            ("0x1p3", None),
        ] {
            assert_eq!(float(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn not_a_number_and_infinity_only_where_allowed() {
        let allowed = NumberText::new(".", "", true, true);
        assert!(allowed.parse(b"NaN").is_some_and(f64::is_nan));
        assert_eq!(allowed.parse(b"INF"), Some(f64::INFINITY));
        assert_eq!(allowed.parse(b"-INF"), Some(f64::NEG_INFINITY));
        assert_eq!(allowed.parse(b"inf"), None);
        assert_eq!(allowed.parse(b"1e400"), None);
        assert_eq!(NumberText::default().parse(b"NaN"), None);
    }

    #[test]
    fn groups_and_decimal_characters() {
        let german = NumberText::new(",", ".", true, false);
        let french = NumberText::new(",", "\u{a0}", true, false);
        let english = NumberText::new(".", ",", true, false);
        for (rules, text, value) in [
            (&german, "1.234.567,89", Some(1_234_567.89)),
            (&german, "-1,5", Some(-1.5)),
            (&german, "1,2,3", None),
            (&german, "1,234.5", None),
            (&german, ".5", None),
            (&german, "1..000", None),
            (&german, "1.", None),
            (&french, "12\u{a0}345,5", Some(12_345.5)),
            (&english, "1,00,000", Some(100_000.0)),
            (&english, ",5", None),
            (&english, "1,", None),
            (&english, "1.000,5", None),
        ] {
            assert_eq!(rules.parse(text.as_bytes()), value, "{text}");
        }
        assert_eq!(IntegerText(english).parse(b"1,000"), Some(1000));
    }

    #[test]
    fn text_around_a_number_where_it_may_stand() {
        let loose = NumberText::new(",", ".", false, false);
        for (text, value) in [
            ("95 %", Some(95.0)),
            ("€ -95,5", Some(-95.5)),
            ("EUR 1.000,50 netto", Some(1000.5)),
            ("-,5", Some(-0.5)),
            ("-$5", None),
            ("$-5", Some(-5.0)),
            ("none", None),
            ("5 of 6", None),
        ] {
            assert_eq!(loose.parse(text.as_bytes()), value, "{text}");
        }
    }
}
