//! Whole numbers and floats.
//!
//! Accepted: an optional sign, digits with any number of leading zeros, for floats a fraction and an
//! exponent (`1`, `-7.50`, `.5`, `5.`, `1e-3`, `007`). Not accepted: `1_000`, hexadecimal, two signs,
//! and anything past 64 bits: an integer that does not fit, a whole number that no float is and a float that
//! would become infinite are no values rather than rounded ones. A float too small to be told from zero is 0; what
//! stands behind its 17th significant digit no float can hold.

use super::{Native, Parse};

/// How numbers are written in one column.
#[derive(Debug, Clone)]
pub struct NumberText {
    /// None for plain text, which can be parsed as it stands.
    notation: Option<Notation>,
    non_finite: bool,
    /// Text that its value does not keep is no number.
    only_kept: bool,
}

/// What stands in a number's text besides digits, sign and exponent.
#[derive(Debug, Clone)]
struct Notation {
    decimal: Box<[u8]>,
    group: Box<[u8]>,
    bare: bool,
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
        let plain = decimal == "." && group.is_empty() && bare;
        let notation = || Notation {
            decimal: decimal.as_bytes().into(),
            group: group.as_bytes().into(),
            bare,
        };
        Self {
            notation: (!plain).then(notation),
            non_finite,
            only_kept: false,
        }
    }

    /// Takes only text that its value keeps: no leading zero, no plus sign, no more digits than a float has. For a
    /// column that was taken for numbers by its first cells.
    #[must_use]
    pub fn only_kept(self) -> Self {
        Self {
            only_kept: true,
            ..self
        }
    }

    /// The same without anything around the number.
    #[must_use]
    pub fn bare(&self) -> Self {
        let mut bare = self.clone();
        if let Some(notation) = &mut bare.notation {
            notation.bare = true;
        }
        bare
    }

    /// Whether only text that its value keeps is taken.
    #[must_use]
    pub fn takes_only_kept(&self) -> bool {
        self.only_kept
    }

    /// Whether `NaN` and `INF` are numbers here.
    #[must_use]
    pub fn takes_non_finite(&self) -> bool {
        self.non_finite
    }

    /// Whether text is refused that could be read as a number.
    #[inline]
    fn refuses(&self, text: &[u8], survives: impl Fn(&[u8]) -> bool) -> bool {
        self.only_kept && (is_name(text) || !survives(text))
    }
}

impl Notation {
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
        let mut groups = Groups::default();
        while let Some(&first) = rest.first() {
            if !self.group.is_empty() && rest.starts_with(&self.group) {
                groups.next()?;
                rest = &rest[self.group.len()..];
            } else if rest.starts_with(&self.decimal) {
                groups.end()?;
                out.push(b'.');
                rest = &rest[self.decimal.len()..];
            } else if first == b'.' {
                return None;
            } else {
                if first.is_ascii_digit() {
                    groups.digits += 1;
                } else if !out.is_empty() {
                    // An exponent, or nothing that is a number.
                    groups.end()?;
                }
                out.push(first);
                rest = &rest[1..];
            }
        }
        groups.end()?;
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
        let end = text.iter().rposition(u8::is_ascii_digit);
        let end = end.map_or(text.len(), |last| last + 1);
        let (before, behind) = (&text[..start], &text[end..]);
        // `100,--` says that there are no cents.
        let behind = String::from_utf8_lossy(behind);
        let behind = match behind.strip_prefix(&*String::from_utf8_lossy(&self.decimal)) {
            Some(cents) => cents.trim_start_matches(SIGNS),
            None => &behind,
        };
        if is_negated(&String::from_utf8_lossy(before), behind) {
            return text;
        }
        &text[start..end]
    }
}

/// Whether what stands around a number makes a negative one of it, as in `-$5`, `5.00-`, `5.00 EUR-`, `\u{2212}5` and
/// `(5.00)`: without it the number would be another one.
fn is_negated(before: &str, behind: &str) -> bool {
    let mut letters = [' '].into_iter().chain(before.chars()).chain([' ']);
    let mut last = letters.next();
    let mut letters = letters.peekable();
    let mut signed = false;
    while let Some(c) = letters.next() {
        let within_a_word = last.is_some_and(char::is_alphabetic)
            && letters.peek().is_some_and(|c| c.is_alphabetic());
        signed |= SIGNS.contains(&c) && !within_a_word;
        last = Some(c);
    }
    let is_sign = |c: Option<char>| c.is_some_and(|c| SIGNS.contains(&c));
    let behind = behind.trim();
    signed |= is_sign(behind.chars().next()) || is_sign(behind.chars().next_back());
    let opened = before
        .rfind(['(', ')'])
        .is_some_and(|at| before[at..].starts_with('('));
    signed || opened && behind.contains(')')
}

/// Hyphens, dashes and minus signs.
const SIGNS: [char; 10] = [
    '-', '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}',
    '\u{fe63}', '\u{ff0d}',
];

/// The digits of a whole part in groups: three behind the last group character, two or three in all groups before,
/// the first of which may be shorter (`1,234,567`, `12,34,567`). Any other place is that of a decimal character as others
/// write it: `1,5` is not 15.
#[derive(Debug, Default)]
struct Groups {
    /// Since the last group character, or the beginning.
    digits: usize,
    /// Group characters so far.
    count: usize,
    /// Digits of each group between the first and the last.
    middle: Option<usize>,
    /// The whole part is over.
    ended: bool,
}

impl Groups {
    /// A group character.
    fn next(&mut self) -> Option<()> {
        let fits = match (self.count, self.middle) {
            (0, _) => (1..=3).contains(&self.digits),
            (_, None) => (2..=3).contains(&self.digits),
            (_, Some(digits)) => digits == self.digits,
        };
        if self.count > 0 {
            self.middle = Some(self.digits);
        }
        self.count += 1;
        self.digits = 0;
        (fits && !self.ended).then_some(())
    }

    /// The end of the whole part.
    fn end(&mut self) -> Option<()> {
        let fits = self.ended || self.count == 0 || self.digits == 3;
        self.ended = true;
        fits.then_some(())
    }
}

/// Reads the text of whole numbers.
#[derive(Debug, Clone, Default)]
pub struct IntegerText(pub NumberText);

impl Parse for IntegerText {
    type Value = i64;

    #[inline]
    fn parse(&self, text: &[u8]) -> Option<i64> {
        if self.0.refuses(text, |_| true) {
            return None;
        }
        match &self.0.notation {
            None => integer(text),
            Some(notation) => integer(&notation.normalised(text)?),
        }
    }

    #[inline]
    fn parse_native(&self, text: &[u8], native: Native) -> Option<i64> {
        match native {
            Native::Number => integer(text),
            Native::Text | Native::Boolean | Native::Moment => self.parse(text),
        }
    }
}

impl Parse for NumberText {
    type Value = f64;

    #[inline]
    fn parse(&self, text: &[u8]) -> Option<f64> {
        let value = match &self.notation {
            _ if self.refuses(text, survives) => None,
            None => float(text),
            Some(notation) => notation.normalised(text).and_then(|text| float(&text)),
        };
        match value {
            None if self.non_finite => non_finite(text),
            value => value,
        }
    }

    #[inline]
    fn parse_native(&self, text: &[u8], native: Native) -> Option<f64> {
        match native {
            Native::Number => float(text),
            Native::Text | Native::Boolean | Native::Moment => self.parse(text),
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

/// A finite float in plain text; of a whole number only the very same.
#[inline]
#[must_use]
pub fn float(text: &[u8]) -> Option<f64> {
    nearest(text).filter(|value| text.len() <= EXACT_DIGITS || !is_rounded_whole(text, *value))
}

/// The finite float that is nearest to a number in plain text.
#[inline]
#[must_use]
pub fn nearest(text: &[u8]) -> Option<f64> {
    // The parser takes `inf`, `infinity` and `nan`, too; all are infinite or not a number.
    let value = fast_float2::parse::<f64, _>(text).ok()?;
    value.is_finite().then_some(value)
}

/// Every whole number of so many digits is a float.
const EXACT_DIGITS: usize = 15;

/// Whether `text` is a whole number, digits and a sign, and another one than its float. A float past 2^53 is written in
/// full or, as most programs do, with zeros for the digits that it does not need to be told from its neighbours.
#[cold]
fn is_rounded_whole(text: &[u8], value: f64) -> bool {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+"));
    let digits = digits.unwrap_or(text);
    // `.0` makes it no other number.
    let fraction = digits.iter().position(|b| *b == b'.');
    let (digits, fraction) = digits.split_at(fraction.unwrap_or(digits.len()));
    let is_whole = fraction.iter().skip(1).all(|b| *b == b'0');
    if !is_whole || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digits = digits
        .iter()
        .position(|b| *b != b'0')
        .map(|at| &digits[at..]);
    let Some(digits) = digits else { return false };
    let value = value.abs();
    format!("{value:.0}").as_bytes() != digits && value.to_string().as_bytes() != digits
}

/// Whether a number in this text names something: `007` and `+49 30` are not the numbers that they are written with.
#[inline]
#[must_use]
pub fn is_name(text: &[u8]) -> bool {
    matches!(
        text,
        [b'+', ..] | [b'0', b'0'..=b'9', ..] | [b'-', b'0', b'0'..=b'9', ..]
    )
}

/// Whether a float keeps all digits of this text. One with an exponent was a float before it was text.
#[inline]
#[must_use]
pub fn survives(text: &[u8]) -> bool {
    text.len() <= EXACT_DIGITS || keeps_digits(text)
}

#[cold]
fn keeps_digits(text: &[u8]) -> bool {
    if text.iter().any(|b| matches!(b, b'e' | b'E')) {
        return true;
    }
    let Some(value) = float(text) else {
        return false;
    };
    let significant = |text: &[u8]| {
        let digits = text.iter().copied().filter(u8::is_ascii_digit);
        let mut digits: Vec<u8> = digits.skip_while(|b| *b == b'0').collect();
        let kept = digits.iter().rposition(|b| *b != b'0');
        digits.truncate(kept.map_or(0, |last| last + 1));
        digits
    };
    let written = format!("{value:e}");
    let (written, _exponent) = written.split_once('e').unwrap_or((&written, ""));
    significant(text) == significant(written.as_bytes())
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
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("-0009007199254740992", Some(-9_007_199_254_740_992.0)),
            ("9007199254740993", None),
            ("+9007199254740993", None),
            ("12345678901234567890", None),
            (
                "1180591620717411303424",
                Some(1_180_591_620_717_411_303_424.0),
            ),
            ("1180591620717411303425", None),
            ("12345678901234567000", Some(12_345_678_901_234_567_168.0)),
            ("0000000000000000000", Some(0.0)),
            ("1.234567890123456789", Some(1.234_567_890_123_456_7)),
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
    fn numbers_of_a_workbook_have_no_notation() {
        let german = NumberText::new(",", ".", true, false);
        assert_eq!(german.parse(b"1.234"), Some(1234.0));
        assert_eq!(german.parse_native(b"1.234", Native::Text), Some(1234.0));
        assert_eq!(german.parse_native(b"1.234", Native::Number), Some(1.234));
        assert_eq!(german.parse_native(b"12.5", Native::Number), Some(12.5));
        assert_eq!(
            IntegerText(german).parse_native(b"1.234", Native::Number),
            None
        );
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
            (&german, "12.34", None),
            (&german, "1.2345", None),
            (&german, "1234.567", None),
            (&german, "-12.345e1", Some(-123_450.0)),
            (&english, "1,00,000", Some(100_000.0)),
            (&english, "12,34,56,789", Some(123_456_789.0)),
            (&english, "1,5", None),
            (&english, "1,234,56,789", None),
            (&english, "1,000,00", None),
            (&english, "1,000.5,0", None),
            (&english, "-1,000.25", Some(-1000.25)),
            (&english, ",5", None),
            (&english, "1,", None),
            (&english, "1.000,5", None),
        ] {
            assert_eq!(rules.parse(text.as_bytes()), value, "{text}");
        }
        assert_eq!(IntegerText(english).parse(b"1,000"), Some(1000));
    }

    #[test]
    fn a_column_of_numbers_by_its_first_cells_takes_no_names() {
        let number = NumberText::default().only_kept();
        let integer = IntegerText(number.clone());
        for text in ["007", "-01", "+49", "00"] {
            assert_eq!(integer.parse(text.as_bytes()), None, "{text}");
            assert_eq!(number.parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(number.parse(b"1.234567890123456789"), None);
        assert_eq!(number.parse(b"-0.5"), Some(-0.5));
        assert_eq!(integer.parse(b"-10"), Some(-10));
        assert_eq!(integer.parse(b"0"), Some(0));
    }

    #[test]
    fn what_a_float_keeps_and_what_it_loses() {
        for (text, kept) in [
            ("0.1", true),
            ("123456789012.345", true),
            ("0.000000000000000000001", true),
            ("1.500000000000000000", true),
            ("-1.000000000000000056e-01", true),
            ("0.30000000000000004", true),
            ("0", true),
            ("-100000000000000000000", true),
            ("1.234567890123456789", false),
            ("0.100000000000000006", false),
            ("9007199254740993", false),
        ] {
            assert_eq!(survives(text.as_bytes()), kept, "{text}");
        }
    }

    #[test]
    fn text_around_a_number_where_it_may_stand() {
        let loose = NumberText::new(",", ".", false, false);
        for (text, value) in [
            ("95 %", Some(95.0)),
            ("€ -95,5", Some(-95.5)),
            ("EUR 1.000,50 netto", Some(1000.5)),
            ("-,5", Some(-0.5)),
            ("100,- €", Some(100.0)),
            ("CHF 100,–", Some(100.0)),
            ("100,-- €", Some(100.0)),
            ("5 EUR - netto", Some(5.0)),
            ("100,00 EUR-", None),
            ("5 (non-taxable)", Some(5.0)),
            ("5 (net)", Some(5.0)),
            ("(net) 5", Some(5.0)),
            ("-$5", None),
            ("100,00-", None),
            ("100,00 -", None),
            ("(1.234,50)", None),
            ("EUR (5)", None),
            ("\u{2212}5", None),
            ("\u{2013} 5", None),
            ("$-5", Some(-5.0)),
            ("none", None),
            ("5 of 6", None),
        ] {
            assert_eq!(loose.parse(text.as_bytes()), value, "{text}");
        }
    }
}
