//! Delimited text, and what calls itself so.

use std::io::{self, Write};

use filejobs_core::FailureCode as Failure;
use filejobs_core::FindingCode as Found;

use super::Expected::{Failed, Refused};
use super::{Case, completed};

const NUMBERS: &str = r#"{"fields": [
    {"name": "id", "type": "integer"}, {"name": "x", "type": "number"}, {"name": "day", "type": "date"}]}"#;

/// A case whose bytes stand right here.
macro_rules! bytes {
    ($name:literal, $expected:expr, $content:expr) => {
        Case::new($name, $expected, |out| out.write_all($content))
    };
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = refused();
    cases.extend(encodings());
    cases.extend(shapes());
    cases.extend(large());
    cases.extend(numbers());
    cases
}

/// Names and contents that are no table.
fn refused() -> Vec<Case> {
    vec![
        bytes!("no-extension", Refused, b"id,name\n1,a\n"),
        bytes!("wrong-extension.txt", Refused, b"id,name\n1,a\n"),
        bytes!("image.csv", Refused, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        bytes!(
            "program.csv",
            Refused,
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"
        ),
        bytes!(
            "page.csv",
            Refused,
            b"<!DOCTYPE html>\n<html><body>id,name</body></html>\n"
        ),
        bytes!(
            "drawing.csv",
            Refused,
            b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n"
        ),
        bytes!(
            "document.csv",
            Refused,
            b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"
        ),
        bytes!("text-called-workbook.xlsx", Refused, b"id,name\n1,a\n"),
        bytes!("text-called-workbook.xls", Refused, b"id,name\n1,a\n"),
    ]
}

fn encodings() -> Vec<Case> {
    vec![
        bytes!("byte-order-mark.csv", completed(1, 0, &[]), b"\xef\xbb\xbfid,name\n1,a\n"),
        Case::new("utf16-le-mark.csv", completed(2, 0, &[]), |out| utf16(out, true, true)),
        Case::new("utf16-be-mark.csv", completed(2, 0, &[]), |out| utf16(out, false, true)),
        Case::new("utf16-le.csv", completed(2, 0, &[]), |out| utf16(out, true, false)),
        Case::new("utf16-be.csv", completed(2, 0, &[]), |out| utf16(out, false, false)),
        bytes!(
            "latin-1.csv",
            completed(3, 0, &[]),
            b"name,city\nJos\xe9 Mu\xf1oz,M\xe1laga\nFran\xe7ois Lef\xe8vre,Orl\xe9ans\nJ\xfcrgen Gr\xf6\xdfer,M\xfcnchen\n"
        ),
        Case::new(
            "one-bad-byte.csv",
            completed(3, 1, &[(Found::EncodingError, 1)]),
            |out| {
                out.write_all("name,city\nJos\u{e9} Mu\u{f1}oz,M\u{e1}laga\n".as_bytes())?;
                out.write_all(b"Fran\xe7ois,Orl")?;
                out.write_all("\u{e9}ans\nJ\u{fc}rgen Gr\u{f6}\u{df}er,M\u{fc}nchen\n".as_bytes())
            }
        ),
        bytes!(
            "nul.csv",
            completed(3, 1, &[(Found::EncodingError, 1)]),
            b"id,name\n1,a\0b\n2,c\n3,d\n"
        ),
    ]
}

fn utf16(out: &mut dyn Write, little: bool, mark: bool) -> io::Result<()> {
    let text = "id,name\r\n1,Ada Lovelace\r\n2,J\u{fc}rgen \u{1f642}\r\n";
    let mark = mark.then_some(0xfeff);
    for unit in mark.into_iter().chain(text.encode_utf16()) {
        let bytes = if little {
            unit.to_le_bytes()
        } else {
            unit.to_be_bytes()
        };
        out.write_all(&bytes)?;
    }
    Ok(())
}

fn shapes() -> Vec<Case> {
    vec![
        bytes!("empty.csv", Failed(Failure::EmptyFile), b""),
        bytes!(
            "only-line-ends.csv",
            Failed(Failure::EmptyFile),
            b"\n\r\n\n"
        ),
        bytes!("header-only.csv", completed(0, 0, &[]), b"id,name\n"),
        bytes!(
            "mixed-line-ends.csv",
            completed(4, 0, &[]),
            b"id,name\n1,a\r\n2,b\n3,c\r\n4,d"
        ),
        bytes!(
            "ragged.csv",
            completed(4, 3, &[(Found::MissingCell, 3), (Found::ExtraCell, 2)]),
            b"a,b,c\n1,2\n1\n1,2,3,4,5\n1,2,3\n"
        ),
        bytes!(
            "blank-rows.csv",
            completed(4, 2, &[(Found::BlankRow, 2)]),
            b"\n\na,b\n1,2\n\n,\n3,4\n\n\n"
        ),
        bytes!(
            "labels.csv",
            completed(1, 0, &[(Found::DuplicateLabel, 1), (Found::BlankLabel, 1)]),
            b"a,a,,b\n1,2,3,4\n"
        ),
        bytes!(
            "unclosed-quote-early.csv",
            completed(3, 1, &[(Found::UnclosedQuote, 1)]),
            b"a,b\n\"1,2\n3,4\n5,6\n"
        ),
        Case::new(
            "unclosed-quote-late.csv",
            completed(50_001, 1, &[(Found::UnclosedQuote, 1)]),
            |out| {
                out.write_all(b"a,b\n")?;
                for row in 0..50_000 {
                    writeln!(out, "{row},\"x\"")?;
                }
                out.write_all(b"7,\"y\n")
            },
        ),
        bytes!(
            "unclosed-quote-header.csv",
            Failed(Failure::BrokenHeader),
            b"a,\"b\n1,2\n3,4\n"
        ),
        bytes!(
            "separator-line.csv",
            completed(2, 0, &[]),
            b"sep=;\na;b\n1;2\n3;4\n"
        ),
        bytes!("tabs.csv", completed(2, 0, &[]), b"a\tb\n1\tx,y\n3\tz\n"),
        bytes!(
            "prose.csv",
            completed(1, 0, &[]),
            b"This is no table\nbut a text all the same\n"
        ),
    ]
}

fn large() -> Vec<Case> {
    vec![
        // One record of 200 MB between two others.
        Case::new(
            "long-line.csv",
            completed(3, 1, &[(Found::LineTooLong, 1)]),
            |out| {
                out.write_all(b"a,b\n1,2\n")?;
                repeat(out, &[b'x'; 65_536], 200_000_000)?;
                out.write_all(b"\n3,4\n")
            },
        ),
        Case::new("commas.csv", Failed(Failure::LimitExceeded), |out| {
            repeat(out, &[b','; 65_536], 64 * 1024 * 1024)
        }),
        Case::new(
            "commas-below-labels.csv",
            completed(2, 1, &[(Found::LineTooLong, 1)]),
            |out| {
                out.write_all(b"a,b\n")?;
                repeat(out, &[b','; 65_536], 64 * 1024 * 1024)?;
                out.write_all(b"\n3,4\n")
            },
        ),
        Case::new("wide.csv", Failed(Failure::LimitExceeded), |out| {
            for column in 0..20_000 {
                write!(out, "c{column},")?;
            }
            out.write_all(b"last\n")?;
            repeat(out, b"1,", 40_000)?;
            out.write_all(b"1\n")
        }),
    ]
}

fn repeat(out: &mut dyn Write, piece: &[u8], bytes: usize) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let count = left.min(piece.len());
        out.write_all(&piece[..count])?;
        left -= count;
    }
    Ok(())
}

fn numbers() -> Vec<Case> {
    vec![
        bytes!(
            "integers.csv",
            completed(6, 3, &[(Found::TypeError, 3)]),
            b"id,x,day\n9223372036854775807,1,2024-02-29\n9223372036854775808,1,2024-02-29\n\
              -9223372036854775808,1,2024-02-29\n007,1,2024-02-29\n1_000,1,2024-02-29\n\"1,000\",1,2024-02-29\n"
        )
        .with_schema(NUMBERS),
        bytes!(
            "floats.csv",
            completed(7, 4, &[(Found::TypeError, 4)]),
            b"id,x,day\n1,1e400,2024-02-29\n2,NaN,2024-02-29\n3,INF,2024-02-29\n4,1e-400,2024-02-29\n\
              5,.5,2024-02-29\n6,1e5,2024-02-29\n7,\"1,5\",2024-02-29\n"
        )
        .with_schema(NUMBERS),
        bytes!(
            "dates.csv",
            completed(4, 3, &[(Found::TypeError, 3)]),
            b"id,x,day\n1,1,2023-02-29\n2,1,29.02.2024\n3,1,2024-13-01\n4,1,2024-02-29\n"
        )
        .with_schema(NUMBERS),
        bytes!(
            "no-column-of-schema.csv",
            Failed(Failure::MissingColumn),
            b"id,y\n1,2\n"
        )
        .with_schema(NUMBERS),
        // Without a schema, leading zeros make a column of text.
        bytes!("leading-zeros.csv", completed(3, 0, &[]), b"zip\n01067\n80331\n10115\n"),
        bytes!(
            "too-many-errors.csv",
            Failed(Failure::TooManyErrors),
            b"id,x,day\na,1,2024-02-29\nb,1,2024-02-29\nc,1,2024-02-29\n"
        )
        .with_schema(NUMBERS)
        .with_options(r#"{"max_errors": 1}"#),
    ]
}
