//! Every case runs through both paths, with reads and batches of several sizes, whole and cut in two at
//! every record: all must tell the same rows.

use filejobs_core::Limits;
use proptest::prelude::*;

use super::records::{Format, Records, Span};
use crate::batch::{RawBatch, RowKind};

/// A row as its reader tells it: kind, line, byte offset, cells.
type Row = (RowKind, u64, u64, Vec<String>);

fn format(tweak: impl Fn(&mut Format)) -> Format {
    let mut format = Format::new(b',', b'"', &Limits::default());
    tweak(&mut format);
    format
}

/// Empty lines at the very end belong to no span: see [`crate::source::Text::end`].
fn content(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| !matches!(b, b'\r' | b'\n'));
    &text[..end.map_or(0, |last| last + 1)]
}

fn read_span(text: &[u8], span: Span, format: &Format) -> Vec<Row> {
    let part = &text[span.offset as usize..][..span.bytes as usize];
    let mut records = Records::new(part, format.clone(), span);
    let mut batch = RawBatch::default();
    let mut rows = Vec::new();
    while records.next_rows(&mut batch, format.batch_rows).unwrap() {
        assert_eq!(batch.first_row, span.row + rows.len() as u64);
        for (i, row) in batch.rows.iter().enumerate() {
            let cells = batch
                .row_cells(i)
                .map(|c| batch.text(c).escape_ascii().to_string());
            rows.push((row.kind, row.line, row.byte_offset, cells.collect()));
        }
    }
    assert_eq!(
        records.offset(),
        span.offset + span.bytes,
        "every byte belongs to a row"
    );
    rows
}

fn whole(text: &[u8]) -> Span {
    Span {
        offset: 0,
        bytes: content(text).len() as u64,
        line: 1,
        row: 1,
    }
}

#[track_caller]
fn read(text: &[u8], format: &Format) -> Vec<Row> {
    let rows = read_span(text, whole(text), format);
    for chunk in [1, 2, 3, 7, 64] {
        for (plain_path, batch_rows) in [(true, 1), (true, 3), (false, 2), (false, 10_000)] {
            let other = Format {
                batch_rows,
                chunk,
                plain_path,
                ..format.clone()
            };
            let again = read_span(text, whole(text), &other);
            assert_eq!(
                again, rows,
                "chunk {chunk}, plain path {plain_path}, {batch_rows} rows"
            );
        }
    }
    for (i, row) in rows.iter().enumerate() {
        let first = Span {
            bytes: row.2,
            ..whole(text)
        };
        let second = Span {
            offset: row.2,
            bytes: content(text).len() as u64 - row.2,
            line: row.1,
            row: 1 + i as u64,
        };
        let mut joined = read_span(text, first, format);
        joined.extend(read_span(text, second, format));
        assert_eq!(joined, rows, "cut before row {}", i + 1);
    }
    rows
}

fn row(kind: RowKind, line: u64, offset: u64, cells: &[&str]) -> Row {
    let cells = cells.iter().map(|c| (*c).to_owned()).collect();
    (kind, line, offset, cells)
}

#[test]
fn text_is_cut_into_rows_with_their_places() {
    use RowKind::{Blank, Cells};
    let cases: &[(&str, &[u8], &[Row])] = &[
        ("nothing", b"", &[]),
        ("only line ends", b"\n\r\n\r\n", &[]),
        (
            "no line end at the end",
            b"a,b",
            &[row(Cells, 1, 0, &["a", "b"])],
        ),
        (
            "empty lines at the end",
            b"a\n\n\r\n",
            &[row(Cells, 1, 0, &["a"])],
        ),
        (
            "mixed line ends",
            b"a\nb\r\nc\rd",
            &[
                row(Cells, 1, 0, &["a"]),
                row(Cells, 2, 2, &["b"]),
                row(Cells, 3, 5, &["c"]),
                row(Cells, 4, 7, &["d"]),
            ],
        ),
        (
            "blank rows, not at the end",
            b"\na\n\r\n\r,,\nb,\n",
            &[
                row(Blank, 1, 0, &[]),
                row(Cells, 2, 1, &["a"]),
                row(Blank, 3, 3, &[]),
                row(Blank, 4, 5, &[]),
                row(Blank, 5, 6, &["", "", ""]),
                row(Cells, 6, 9, &["b", ""]),
            ],
        ),
        (
            "delimiters at the very end",
            b"a\n,",
            &[row(Cells, 1, 0, &["a"]), row(Blank, 2, 2, &["", ""])],
        ),
    ];
    for (name, text, rows) in cases {
        assert_eq!(read(text, &format(|_| ())), *rows, "{name}");
    }
}

#[test]
fn quotes_are_removed_and_unclosed_ones_cost_their_line() {
    use RowKind::{Cells, UnclosedQuote};
    let cases: &[(&str, &[u8], &[Row])] = &[
        (
            "quotes",
            b"\"a,\"\"b\"\"\",\"\"\n\"x\" ,z\"w\"",
            &[
                row(Cells, 1, 0, &["a,\\\"b\\\"", ""]),
                row(Cells, 2, 13, &["x ", "z\\\"w\\\""]),
            ],
        ),
        (
            "text behind a closing quote",
            b"a,\"5\" pipe\",b\n\"x\"y\nc",
            &[
                row(UnclosedQuote, 1, 0, &["a,\\\"5\\\" pipe\\\",b"]),
                row(UnclosedQuote, 2, 14, &["\\\"x\\\"y"]),
                row(Cells, 3, 19, &["c"]),
            ],
        ),
        (
            "two stray quotes do not swallow what is between them",
            b"1,\"a,x\n2,b,y\n3,\"c,z\n4,d,\"w\"\n",
            &[
                row(UnclosedQuote, 1, 0, &["1,\\\"a,x"]),
                row(Cells, 2, 7, &["2", "b", "y"]),
                row(UnclosedQuote, 3, 13, &["3,\\\"c,z"]),
                row(Cells, 4, 20, &["4", "d", "w"]),
            ],
        ),
        (
            "line ends between quotes",
            b"\"a\nb\",\"c\r\nd\re\"\nf,\"\n\"\ng",
            &[
                row(Cells, 1, 0, &["a\\nb", "c\\r\\nd\\re"]),
                row(Cells, 5, 15, &["f", "\\n"]),
                row(Cells, 7, 21, &["g"]),
            ],
        ),
        (
            "an unclosed quote costs its line",
            b"a,\"b\nc,d\ne",
            &[
                row(UnclosedQuote, 1, 0, &["a,\\\"b"]),
                row(Cells, 2, 5, &["c", "d"]),
                row(Cells, 3, 9, &["e"]),
            ],
        ),
        (
            "an unclosed quote in the last line",
            b"a\n\"b\"\"",
            &[
                row(Cells, 1, 0, &["a"]),
                row(UnclosedQuote, 2, 2, &["\\\"b\\\"\\\""]),
            ],
        ),
        (
            "an unclosed quote behind a closed one of several lines",
            b"\"a\nb\",\"c\r\nd\n\n",
            &[
                row(UnclosedQuote, 1, 0, &["\\\"a\\nb\\\",\\\"c"]),
                row(Cells, 3, 10, &["d"]),
            ],
        ),
        (
            "a byte order mark is text where a row begins",
            b"a\n\xef\xbb\xbfb\n\"\"\n\xef\xbb\xbf\"c\"",
            &[
                row(Cells, 1, 0, &["a"]),
                row(Cells, 2, 2, &["\\xef\\xbb\\xbfb"]),
                row(Cells, 3, 7, &[""]),
                row(Cells, 4, 10, &["\\xef\\xbb\\xbf\\\"c\\\""]),
            ],
        ),
        (
            "bytes that are no text",
            b"a\0b,\xff\n",
            &[row(Cells, 1, 0, &["a\\x00b", "\\xff"])],
        ),
    ];
    for (name, text, rows) in cases {
        assert_eq!(read(text, &format(|_| ())), *rows, "{name}");
    }
}

#[test]
fn records_over_the_cap_cost_their_line() {
    use RowKind::{Cells, TooLong, UnclosedQuote};
    let cases: &[(&str, &[u8], &[Row])] = &[
        (
            "as long as the cap",
            b"12345678\r\na",
            &[row(Cells, 1, 0, &["12345678"]), row(Cells, 2, 10, &["a"])],
        ),
        (
            "one over the cap",
            b"123456789\r\na",
            &[
                row(TooLong, 1, 0, &["123456789"]),
                row(Cells, 2, 11, &["a"]),
            ],
        ),
        (
            "far over the cap, ended by a lone return",
            b"1,3456789012345678901234567890\ra",
            &[
                row(TooLong, 1, 0, &["1,3456789"]),
                row(Cells, 2, 31, &["a"]),
            ],
        ),
        (
            "over the cap at the end",
            b"a\n12345678901234",
            &[row(Cells, 1, 0, &["a"]), row(TooLong, 2, 2, &["123456789"])],
        ),
        (
            "a quoted cell over the cap on one line",
            b"\"2345678901\",b\nc",
            &[
                row(TooLong, 1, 0, &["\\\"23456789"]),
                row(Cells, 2, 15, &["c"]),
            ],
        ),
        (
            "a quoted cell over the cap on several lines",
            b"a,\"b\ncdefgh\"\ni\n",
            &[
                row(UnclosedQuote, 1, 0, &["a,\\\"b"]),
                row(Cells, 2, 5, &["cdefgh\\\""]),
                row(Cells, 3, 13, &["i"]),
            ],
        ),
        (
            "over the cap behind a quoted line end",
            b"\"a\nb\",cdefgh\ni\n",
            &[
                row(TooLong, 1, 0, &["\\\"a\\nb\\\",cde"]),
                row(Cells, 3, 13, &["i"]),
            ],
        ),
        (
            "exactly the cap between quotes",
            b"\"23456\",\ni",
            &[row(Cells, 1, 0, &["23456", ""]), row(Cells, 2, 9, &["i"])],
        ),
    ];
    for (name, text, rows) in cases {
        assert_eq!(read(text, &format(|f| f.record_bytes = 8)), *rows, "{name}");
    }
}

#[test]
fn too_many_columns_fail_the_file() {
    for text in ["a\n,,,\n", "a\n\"\",,,\n", "a\n,,,"] {
        let format = format(|f| f.columns = 3);
        let mut records = Records::new(text.as_bytes(), format, whole(text.as_bytes()));
        let error = records.next_rows(&mut RawBatch::default(), 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Line 2 has more than 3 columns, the most that are taken; split the table or check its delimiter."
        );
    }
}

#[test]
fn a_batch_ends_where_a_limit_says() {
    let text = b"aa,b\ncc,d\nee,f\n\"g\",h\n";
    let sizes = |tweak: &dyn Fn(&mut Format)| {
        let format = format(tweak);
        let mut records = Records::new(&text[..], format.clone(), whole(text));
        let mut batch = RawBatch::default();
        let mut sizes = Vec::new();
        while records.next_rows(&mut batch, format.batch_rows).unwrap() {
            sizes.push(batch.rows.len());
        }
        sizes
    };
    assert_eq!(sizes(&|_| ()), [4]);
    assert_eq!(sizes(&|f| f.batch_rows = 3), [3, 1]);
    assert_eq!(sizes(&|f| f.batch_bytes = 6), [2, 2]);
    assert_eq!(sizes(&|f| f.batch_cells = 1), [1, 1, 1, 1]);
}

#[test]
fn a_line_of_many_megabytes_and_a_plain_of_commas_take_little_memory() {
    use std::io::Read;
    const LONG: u64 = 20 << 20;
    for filler in [b'x', b',', b'"'] {
        let text = b"a\n"
            .chain(std::io::repeat(filler).take(LONG))
            .chain(&b"\nb\n"[..]);
        let span = Span {
            bytes: LONG + 5,
            ..whole(b"")
        };
        let mut records = Records::new(text, format(|_| ()), span);
        let mut batch = RawBatch::default();
        let mut kinds = Vec::new();
        while records.next_rows(&mut batch, 10_000).unwrap() {
            kinds.extend(batch.rows.iter().map(|row| (row.kind, row.line)));
            assert!(kinds.len() < 10, "{kinds:?}");
            assert!(batch.bytes.capacity() < 8 << 20 && batch.cells.capacity() < 4 << 20);
        }
        let expected = [
            (RowKind::Cells, 1),
            (RowKind::TooLong, 2),
            (RowKind::Cells, 3),
        ];
        assert_eq!(kinds, expected, "{}", char::from(filler));
    }
}

#[test]
fn empty_lines_before_the_first_record_are_skipped() {
    for (text, found, line, offset) in [
        (&b"\n\r\n\ra"[..], true, 4, 4),
        (b"a", true, 1, 0),
        (b"\r\r\n", false, 3, 3),
        (b"", false, 1, 0),
    ] {
        for chunk in [1, 2, 64] {
            let span = Span {
                bytes: text.len() as u64,
                ..whole(b"")
            };
            let mut records = Records::new(text, format(|f| f.chunk = chunk), span);
            assert_eq!(records.skip_empty_lines().unwrap(), found);
            assert_eq!((records.line(), records.offset()), (line, offset));
        }
    }
}

/// Text in which everything that matters is frequent.
fn hostile_text() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"a",
        b"bc",
        b",",
        b",",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"\"",
        b"\"\"",
        b",\"",
        b"\",",
        b";",
        b"\xef\xbb\xbf",
        b"\0",
        b"\xff",
        b"\"\n",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn both_paths_and_every_cut_give_the_same_rows(text in hostile_text(), cap in 1_usize..24) {
        read(&text, &format(|f| f.record_bytes = cap));
    }

    #[test]
    fn well_formed_text_reads_as_the_csv_crate_reads_it(
        rows in prop::collection::vec(prop::collection::vec("[a-c,;\"\r\n é]{0,4}", 2..5), 0..12),
        crlf in any::<bool>(),
    ) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().flexible(true).terminator(terminator).from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let text = writer.into_inner().unwrap();
        let ours: Vec<Vec<String>> = read(&text, &format(|_| ())).into_iter().map(|row| row.3).collect();
        let theirs: Vec<Vec<String>> = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(&text[..])
            .byte_records()
            .map(|record| record.unwrap().iter().map(|c| c.escape_ascii().to_string()).collect())
            .collect();
        prop_assert_eq!(ours, theirs);
    }
}
