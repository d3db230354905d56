//! Writes findings as lines of JSON and failed rows as lines of CSV.
//!
//! This runs for every failed row of the largest files: no formatting machinery, no allocation.

use std::borrow::Cow;

use filejobs_core::export;
use filejobs_core::finding::RAW_VALUE_CHARS;
use filejobs_core::schema::Kind;
use filejobs_core::schema::value::number::IntegerText;
use filejobs_core::schema::value::temporal::iso_date;
use filejobs_core::schema::value::{Native, Parse};

use super::cells::trimmed;
use super::checked::Checked;
use super::column::Column;
use super::problem::{Problem, WHOLE_ROW, What};
use super::survey::FINDINGS_PER_ROW;
use super::{Places, Validator};
use crate::batch::{RawBatch, RowKind};

/// Reasons that a rejected row lists; the others are only counted.
const REASONS_PER_ROW: usize = 20;

/// What makes a day a moment.
const MIDNIGHT: &[u8] = b"T00:00:00";

/// Renders one batch for one validator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Render<'a> {
    pub(super) validator: &'a Validator,
    pub(super) raw: &'a RawBatch,
}

impl Render<'_> {
    /// Writes out all problems of `checked`, which are sorted.
    pub(super) fn all(self, checked: &mut Checked) {
        let problems = std::mem::take(&mut checked.scratch.problems);
        for of_row in problems.chunk_by(|a, b| a.row() == b.row()) {
            let told = of_row.len().min(FINDINGS_PER_ROW);
            for (seq, problem) in of_row[..told].iter().enumerate() {
                self.finding(&mut checked.findings, *problem, seq);
            }
            checked.findings_lines += told as u64;
            self.rejected(&mut checked.rejected, of_row);
        }
        checked.scratch.problems = problems;
    }

    fn finding(self, out: &mut Vec<u8>, problem: Problem, seq: usize) {
        let row = self.raw.rows[problem.row() as usize];
        let row_number = self.raw.first_row + u64::from(problem.row());
        let what = problem.what();
        let mut number = itoa::Buffer::new();
        let mut push_number = |out: &mut Vec<u8>, n: u64| {
            out.extend_from_slice(number.format(n).as_bytes());
        };
        out.extend_from_slice(b"{\"row_number\":");
        push_number(out, row_number);
        out.extend_from_slice(b",\"seq\":");
        push_number(out, seq as u64);
        out.extend_from_slice(b",\"line\":");
        push_number(out, row.line);
        out.extend_from_slice(b",\"byte_offset\":");
        match self.validator.places {
            Places::Text => push_number(out, row.byte_offset),
            Places::Transcoded | Places::Sheet { .. } => out.extend_from_slice(b"null"),
        }
        out.push(b',');
        let index = problem.column();
        let column = self.validator.columns.get(index as usize);
        match column {
            Some(column) => out.extend_from_slice(&column.json_place),
            None if index == WHOLE_ROW => {
                out.extend_from_slice(b"\"column_name\":null,\"column_number\":null,\"cell\":null");
            }
            None => {
                out.extend_from_slice(b"\"column_name\":null,\"column_number\":");
                push_number(out, u64::from(index) + 1);
                out.extend_from_slice(b",\"cell\":\"");
                letters(out, self.validator.sheet_column(index));
            }
        }
        if index != WHOLE_ROW {
            push_number(out, self.validator.sheet_row(row_number, row.line));
            out.push(b'"');
        }
        out.extend_from_slice(b",\"error_type\":\"");
        out.extend_from_slice(what.code().as_str().as_bytes());
        out.extend_from_slice(b"\",\"error_message\":\"");
        if let Some(message) = column.and_then(|column| column.message(what)) {
            out.extend_from_slice(&message.json);
        } else {
            push_json(out, self.sentence(what));
            if problem.first_row > 0 {
                push_number(out, problem.first_row);
            }
        }
        out.extend_from_slice(b"\",\"raw_value\":");
        match self.raw_value(problem, row.kind) {
            Some(raw) => {
                out.push(b'"');
                push_raw_value(out, raw);
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"}\n");
    }

    /// The text that a finding repeats.
    fn raw_value(&self, problem: Problem, kind: RowKind) -> Option<&[u8]> {
        let mut cells = self.raw.row_cells(problem.row() as usize);
        let cell = match kind {
            RowKind::Blank => return None,
            RowKind::UnclosedQuote | RowKind::TooLong => cells.next()?,
            RowKind::Cells if problem.column() == WHOLE_ROW => return None,
            RowKind::Cells => match cells.nth(problem.column() as usize) {
                Some(cell) => cell,
                None if problem.what() == What::MissingCell => return None,
                // In a sheet, cells that are not there are empty.
                None => return Some(b""),
            },
        };
        Some(self.raw.text(cell))
    }

    /// What is the same sentence for every column. Those about repeats end in a row number.
    fn sentence(&self, what: What) -> &str {
        match what {
            What::BlankRow => "the row is empty",
            What::UnclosedQuote => {
                "a quote opens in this row and never closes; reading went on at the next line"
            }
            What::LineTooLong => &self.validator.too_long,
            What::InvalidBytes => "the bytes are no text in the file's encoding",
            What::Nul => "the cell holds a NUL character",
            What::ExcelError => "the cell holds an error of the spreadsheet",
            What::MissingCell => "the row ends before this column",
            What::ExtraCell => "the row has more cells than the table has columns",
            What::Required => "a value is required",
            What::Unique => "the value must not repeat; it is that of row ",
            What::EmptyKey => "the primary key is empty",
            What::RepeatedKey => "the primary key must not repeat; it is that of row ",
            // Every column with such a rule has a sentence of its own.
            What::Type => "expected another type",
            What::MinLength
            | What::MaxLength
            | What::Minimum
            | What::Maximum
            | What::Pattern
            | What::Enum => "the value breaks a constraint",
        }
    }

    fn rejected(self, out: &mut Vec<u8>, problems: &[Problem]) {
        let Some(first) = problems.first() else {
            return;
        };
        let row = first.row() as usize;
        let width = self.validator.columns.len();
        let cells = self.raw.row_cells(row);
        let extra = cells.start.saturating_add(width).min(cells.end)..cells.end;
        for (index, column) in self.validator.columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let cell = cells.start + index;
            if cell < cells.end {
                let text = as_text(self.raw.text(cell));
                let risky = export::is_risky(&text) && !is_number_of(column, &text);
                export::push_as_is(out, &text, risky);
                // A day needs no quotes: its time can follow.
                if self.is_midnight(column, cell) {
                    out.extend_from_slice(MIDNIGHT);
                }
            }
        }
        out.push(b',');
        let mut number = itoa::Buffer::new();
        let row_number = self.raw.first_row + row as u64;
        out.extend_from_slice(number.format(row_number).as_bytes());
        out.push(b',');
        // A sentence holds names and patterns of the schema, so the field is always in quotes.
        out.push(b'"');
        for (i, problem) in problems.iter().take(REASONS_PER_ROW).enumerate() {
            if i > 0 {
                out.extend_from_slice(b"; ");
            }
            self.reason(out, *problem);
        }
        if problems.len() > REASONS_PER_ROW {
            out.extend_from_slice(b"; and ");
            let more = problems.len() - REASONS_PER_ROW;
            out.extend_from_slice(number.format(more).as_bytes());
            out.extend_from_slice(b" more");
        }
        out.extend_from_slice(b"\",");
        if !extra.is_empty() {
            self.extra_cells(out, extra);
        }
        out.push(b'\n');
    }

    /// Whether a cell is a day of a sheet where moments are wanted: corrected and handed in again as text, it would be
    /// none.
    fn is_midnight(&self, column: &Column, cell: usize) -> bool {
        let wants_moments = matches!(
            column.rules.as_ref().map(|rules| &rules.kind),
            Some(Kind::Datetime(_))
        );
        wants_moments
            && self.validator.places.native(self.raw, cell) == Native::Moment
            && iso_date(self.raw.text(cell)).is_some()
    }

    /// `type-error in value: expected …`.
    fn reason(self, out: &mut Vec<u8>, problem: Problem) {
        let what = problem.what();
        out.extend_from_slice(what.code().as_str().as_bytes());
        let column = self.validator.columns.get(problem.column() as usize);
        if let Some(column) = column {
            out.extend_from_slice(b" in ");
            push_doubled(out, column.name.as_bytes());
        }
        out.extend_from_slice(b": ");
        if let Some(message) = column.and_then(|column| column.message(what)) {
            push_doubled(out, message.text.as_bytes());
        } else {
            push_doubled(out, self.sentence(what).as_bytes());
            if problem.first_row > 0 {
                let mut number = itoa::Buffer::new();
                out.extend_from_slice(number.format(problem.first_row).as_bytes());
            }
        }
    }

    /// The cells beyond the last column, as a JSON list in one cell of CSV.
    fn extra_cells(self, out: &mut Vec<u8>, cells: std::ops::Range<usize>) {
        let mut json = vec![b'['];
        for cell in cells {
            if json.len() > 1 {
                json.push(b',');
            }
            json.push(b'"');
            push_json(&mut json, &String::from_utf8_lossy(self.raw.text(cell)));
            json.push(b'"');
        }
        json.push(b']');
        export::push_as_is(out, &json, false);
    }
}

/// Whether a cell that looks like a formula is a number as its column writes them (`-1,5`), without anything around it:
/// `=HYPERLINK("…","5")` holds a number, too.
fn is_number_of(column: &Column, text: &[u8]) -> bool {
    match column.rules.as_ref().map(|rules| &rules.kind) {
        Some(Kind::Number(typed)) => {
            let number = typed.text.bare().parse(trimmed(text));
            number.is_some_and(f64::is_finite)
        }
        Some(Kind::Integer(typed)) => {
            let bare = IntegerText(typed.text.0.bare());
            bare.parse(trimmed(text)).is_some()
        }
        _ => false,
    }
}

/// Valid text: bytes that are none become U+FFFD.
fn as_text(bytes: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(_) => Cow::Borrowed(bytes),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The beginning of a cell, as [`RAW_VALUE_CHARS`] allows.
fn push_raw_value(out: &mut Vec<u8>, raw: &[u8]) {
    // No character takes more than four bytes; the rest of a huge cell need not be looked at.
    let raw = &raw[..raw.len().min(RAW_VALUE_CHARS * 4 + 4)];
    let text = String::from_utf8_lossy(raw);
    let end = match text.len() {
        0..=RAW_VALUE_CHARS => text.len(),
        _ => text
            .char_indices()
            .nth(RAW_VALUE_CHARS)
            .map_or(text.len(), |(at, _)| at),
    };
    push_json(out, &text[..end]);
}

/// Appends `text` as it stands inside a JSON string.
pub(super) fn push_json(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= b' ' && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        let short = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 0xf)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[written..]);
}

/// Appends `text` as it stands inside a quoted cell of CSV.
fn push_doubled(out: &mut Vec<u8>, text: &[u8]) {
    for part in text.split_inclusive(|b| *b == b'"') {
        out.extend_from_slice(part);
        if part.last() == Some(&b'"') {
            out.push(b'"');
        }
    }
}

/// Appends the letters of a spreadsheet's column (from 0): `A` … `Z`, `AA` ….
pub(super) fn letters(out: &mut Vec<u8>, column: u32) {
    let start = out.len();
    let mut rest = u64::from(column) + 1;
    while rest > 0 {
        rest -= 1;
        out.push(b'A' + (rest % 26) as u8);
        rest /= 26;
    }
    out[start..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_spreadsheets_name_them() {
        for (column, name) in [
            (0, "A"),
            (25, "Z"),
            (26, "AA"),
            (701, "ZZ"),
            (702, "AAA"),
            (16_383, "XFD"),
        ] {
            let mut out = Vec::new();
            letters(&mut out, column);
            assert_eq!(String::from_utf8(out).unwrap(), name);
        }
    }

    proptest::proptest! {
        #[test]
        fn json_text_is_what_serde_writes(text in proptest::string::string_regex("(?s:.{0,40})").unwrap()) {
            let mut out = vec![b'"'];
            push_json(&mut out, &text);
            out.push(b'"');
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn raw_values_are_cut_between_characters(text in "(a|ü|€|😀){0,600}") {
            let mut out = Vec::new();
            push_raw_value(&mut out, text.as_bytes());
            let expected: String = text.chars().take(RAW_VALUE_CHARS).collect();
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
