//! Cells on their way into a CSV file that people open in a spreadsheet.

use std::borrow::Cow;

use crate::schema::value::number::nearest;

/// `cell` as it may stand in an exported CSV file: text that a spreadsheet would run as a formula gets a
/// leading `'`. A number keeps its sign.
#[must_use]
pub fn neutralise(cell: &str) -> Cow<'_, str> {
    if is_risky(cell.as_bytes()) {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

/// Whether a spreadsheet could run `cell` as a formula: it begins with `=`, `+`, `-`, `@`, a tab or a
/// carriage return and is no number.
#[inline]
#[must_use]
pub fn is_risky(cell: &[u8]) -> bool {
    matches!(
        cell.first(),
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r')
    ) && !is_number(cell)
}

fn is_number(cell: &[u8]) -> bool {
    // However many digits it has.
    nearest(cell.trim_ascii()).is_some()
}

/// Appends `cell` to a line of CSV: neutralised, and in quotes where it needs them. Delimiters and line ends
/// are the caller's.
pub fn push_cell(line: &mut Vec<u8>, cell: &[u8]) {
    push_as_is(line, cell, is_risky(cell));
}

/// Like [`push_cell`] for a caller that has judged the risk itself.
pub fn push_as_is(line: &mut Vec<u8>, cell: &[u8], risky: bool) {
    let quoted = cell
        .iter()
        .any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r'))
        || matches!(cell.first(), Some(b' ' | b'\t'))
        || matches!(cell.last(), Some(b' ' | b'\t'));
    if quoted {
        line.push(b'"');
    }
    if risky {
        line.push(b'\'');
    }
    if quoted {
        for part in cell.split_inclusive(|b| *b == b'"') {
            line.extend_from_slice(part);
            if part.last() == Some(&b'"') {
                line.push(b'"');
            }
        }
        line.push(b'"');
    } else {
        line.extend_from_slice(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_made_text_and_numbers_stay() {
        for (cell, safe) in [
            ("=1+1", "'=1+1"),
            ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2+3", "'-2+3"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("-INF", "'-INF"),
            ("-", "'-"),
            ("-5", "-5"),
            ("+3.25", "+3.25"),
            ("-1e-7", "-1e-7"),
            ("-99999999999999999999", "-99999999999999999999"),
            (" =1", " =1"),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(neutralise(cell), safe);
        }
    }

    #[test]
    fn cells_are_quoted_where_they_need_it() {
        for (cell, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            (" blank", "\" blank\""),
            ("=A1,\"", "\"'=A1,\"\"\""),
        ] {
            let mut line = Vec::new();
            push_cell(&mut line, cell.as_bytes());
            assert_eq!(String::from_utf8(line).unwrap(), written);
        }
    }
}
