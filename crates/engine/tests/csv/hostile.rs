//! What people hand in and should not: exact counts and findings, or a failure with its code.

use crate::same_result::every_way;
use crate::support::{Job, Outcome};

/// A finding in short: row, line, byte offset, code, column.
type Found = (u64, u64, Option<u64>, &'static str, Option<u32>);

const ID_AND_NAME: &str = r#"{"fields": [{"name": "id", "type": "integer"}, {"name": "name"}]}"#;

fn found(outcome: &Outcome) -> Vec<Found> {
    let findings = outcome.findings().into_iter();
    findings
        .map(|f| {
            (
                f.row_number,
                f.line,
                f.byte_offset,
                f.code.as_str(),
                f.column_number,
            )
        })
        .collect()
}

fn counts(outcome: &Outcome) -> (u64, u64) {
    (outcome.tally.rows_valid, outcome.tally.rows_failed)
}

/// Valid rows, failed rows and every finding of `bytes` under the schema of id and name.
#[track_caller]
fn expect(name: &str, bytes: &[u8], valid: u64, failed: u64, findings: &[Found]) {
    let outcome = every_way(&Job::new(bytes).schema(ID_AND_NAME));
    assert_eq!(outcome.failure, None, "{name}");
    assert_eq!(found(&outcome), findings, "{name}");
    assert_eq!(counts(&outcome), (valid, failed), "{name}");
}

/// The failure's code of a file that fails.
#[track_caller]
fn failure(job: &Job) -> &'static str {
    every_way(job)
        .failure
        .expect("the file fails")
        .code
        .as_str()
}

#[test]
fn line_ends_and_empty_lines() {
    expect("header only", b"id,name\n", 0, 0, &[]);
    expect("header without line end", b"id,name", 0, 0, &[]);
    expect("header and empty lines", b"id,name\n\n\r\n", 0, 0, &[]);
    expect("mixed line ends", b"id,name\r\n1,a\n2,b\r3,c", 3, 0, &[]);
    expect(
        "a byte order mark",
        b"\xef\xbb\xbfid,name\n1,a\nx,b\n",
        1,
        1,
        &[(2, 3, Some(15), "type-error", Some(1))],
    );
    expect(
        "blank rows count, but not at the end",
        b"\n\nid,name\n\n1,a\n,\n2,b\n\n\n",
        2,
        2,
        &[
            (1, 4, Some(10), "blank-row", None),
            (3, 6, Some(15), "blank-row", None),
        ],
    );
}

#[test]
fn ragged_rows() {
    expect(
        "short and long",
        b"id,name\n1\n1,a,x,y\n2,b\n",
        1,
        2,
        &[
            (1, 2, Some(8), "missing-cell", Some(2)),
            (2, 3, Some(10), "extra-cell", Some(3)),
            (2, 3, Some(10), "extra-cell", Some(4)),
        ],
    );
    expect(
        "a delimiter at the end of every line",
        b"id,name,\n1,a,\n2,b\n",
        2,
        0,
        &[],
    );
}

#[test]
fn unclosed_quotes() {
    expect(
        "early",
        b"id,name\n1,\"a\n2,b\n3,c\n",
        2,
        1,
        &[(1, 2, Some(8), "unclosed-quote", None)],
    );
    expect(
        "late",
        b"id,name\n1,a\n2,b\n3,\"c",
        2,
        1,
        &[(3, 4, Some(16), "unclosed-quote", None)],
    );
    expect(
        "closed",
        b"id,name\n1,\"a\n\"\"b\"\"\"\nx,\"c\"\n",
        1,
        1,
        &[(2, 4, Some(20), "type-error", Some(1))],
    );
    expect(
        "one that another row's quote closes",
        b"id,name\n1,\"a\n2,b\n3,\"c\n4,d\n",
        2,
        2,
        &[
            (1, 2, Some(8), "unclosed-quote", None),
            (3, 4, Some(17), "unclosed-quote", None),
        ],
    );
    assert_eq!(failure(&Job::new("id,\"name\n1,a\n")), "BROKEN_HEADER");
}

#[test]
fn bytes_that_are_no_text() {
    expect(
        "NUL",
        b"id,name\n1,a\0b\n2,b\n",
        1,
        1,
        &[(1, 2, Some(8), "encoding-error", Some(2))],
    );
    expect(
        "one bad byte in UTF-8",
        b"id,name\n1,\xc3\xa9\n2,\xff\n3,\xc3\xa9\n",
        2,
        1,
        &[(2, 3, Some(13), "encoding-error", Some(2))],
    );
    let latin = Job::new(&b"id,name\n1,Jos\xe9\n2,Zo\xeb\n"[..]).schema(ID_AND_NAME);
    let outcome = every_way(&latin);
    assert_eq!(counts(&outcome), (2, 0));
    assert!(outcome.valid[0].contains("José"), "{:?}", outcome.valid);
}

#[test]
fn utf_16_with_and_without_a_mark() {
    let text = "id;name\r\n1;Zoë\r\nx;b\r\n";
    let units = |big: bool| -> Vec<u8> {
        let swap = |u: u16| {
            if big {
                u.to_be_bytes()
            } else {
                u.to_le_bytes()
            }
        };
        text.encode_utf16().flat_map(swap).collect()
    };
    let marked = |mark: &[u8], bytes: Vec<u8>| [mark, &bytes].concat();
    for bytes in [
        units(true),
        units(false),
        marked(b"\xfe\xff", units(true)),
        marked(b"\xff\xfe", units(false)),
    ] {
        let outcome = every_way(&Job::new(bytes).schema(ID_AND_NAME));
        assert_eq!(counts(&outcome), (1, 1));
        assert_eq!(found(&outcome), [(2, 3, None, "type-error", Some(1))]);
    }
}

#[test]
fn files_without_a_table() {
    for bytes in ["", "\n", "\r\n\r\n\n", "\u{feff}", "\u{feff}\n", "sep=;\n"] {
        let job = Job::new(bytes);
        assert_eq!(failure(&job), "EMPTY_FILE", "{bytes:?}");
    }
}

#[test]
fn headers() {
    let outcome = every_way(&Job::new("id,name,,name\n1,a,x,b\n"));
    assert_eq!(
        found(&outcome),
        [
            (0, 1, Some(0), "blank-label", Some(3)),
            (0, 1, Some(0), "duplicate-label", Some(4))
        ]
    );
    assert_eq!(counts(&outcome), (1, 0));
    for name in ["\"column_3\"", "\"name_2\""] {
        assert!(outcome.report.contains(name), "{}", outcome.report);
    }

    let outcome = every_way(&Job::new("name,x,id\na,,1\n").schema(ID_AND_NAME));
    assert_eq!(found(&outcome), [(0, 1, Some(0), "extra-label", Some(2))]);
    assert_eq!(counts(&outcome), (1, 0));

    let job = Job::new("id\n1\n").schema(ID_AND_NAME);
    assert_eq!(failure(&job), "MISSING_COLUMN");
    assert_eq!(
        found(&job.whole(1)),
        [(0, 1, Some(0), "missing-label", None)]
    );

    let job = Job::new("1,a\n2,b\n")
        .schema(ID_AND_NAME)
        .options(r#"{"header": false}"#);
    assert_eq!(counts(&every_way(&job)), (2, 0));
}

#[test]
fn sizes() {
    let wide = vec!["c"; 20_000].join(",");
    assert_eq!(
        failure(&Job::new(format!("{wide}\n{wide}\n"))),
        "LIMIT_EXCEEDED"
    );
    let job = Job::new(format!("id,name\n1,a\n{wide}\n")).schema(ID_AND_NAME);
    assert_eq!(failure(&job), "LIMIT_EXCEEDED");
    assert_eq!(failure(&Job::new("x".repeat(2 << 20))), "LIMIT_EXCEEDED");
    assert_eq!(failure(&Job::new(",".repeat(64 << 20))), "LIMIT_EXCEEDED");
}

#[test]
fn a_line_of_200_mb() {
    let mut bytes = b"id,name\n1,a\n2,".to_vec();
    bytes.resize(200 << 20, b'x');
    bytes.extend(b"\n3,c\n");
    let job = Job::new(bytes).schema(ID_AND_NAME);
    let outcome = job.whole(1);
    assert_eq!(counts(&outcome), (2, 1));
    assert_eq!(found(&outcome), [(2, 3, Some(12), "line-too-long", None)]);
    assert!(outcome.rejected.len() < 4096);
}

#[test]
fn numbers() {
    let schema =
        r#"{"fields": [{"name": "n", "type": "integer"}, {"name": "x", "type": "number"}]}"#;
    let job = Job::new(
        "n,x\n9223372036854775807,1e308\n9223372036854775808,1\n1,1e400\n1,NaN\n007,.5\n\"1,000\",1\n 1 , 2 \n",
    );
    let outcome = every_way(&job.schema(schema));
    let rows: Vec<_> = found(&outcome)
        .into_iter()
        .map(|f| (f.0, f.3, f.4))
        .collect();
    assert_eq!(
        rows,
        [
            (2, "type-error", Some(1)),
            (3, "type-error", Some(2)),
            (4, "type-error", Some(2)),
            (6, "type-error", Some(1))
        ]
    );
    assert_eq!(counts(&outcome), (3, 4));
}

#[test]
fn too_many_errors() {
    let text = "id,name\n1,a\nx,b\ny,c\n4,d\n";
    let job = |options: &str| Job::new(text).schema(ID_AND_NAME).options(options);
    assert_eq!(failure(&job(r#"{"max_errors": 1}"#)), "TOO_MANY_ERRORS");
    assert_eq!(
        failure(&job(r#"{"max_error_ratio": 0.4}"#)),
        "TOO_MANY_ERRORS"
    );
    for options in [r#"{"max_errors": 2}"#, r#"{"max_error_ratio": 0.5}"#] {
        let outcome = every_way(&job(options));
        assert_eq!((outcome.failure.clone(), counts(&outcome)), (None, (2, 2)));
    }
}

#[test]
fn text_that_calls_itself_csv() {
    for text in [
        "{\"a\": [1, 2]}\n{\"b\": 3}\n",
        "<rows><row/></rows>\n",
        "Dear all,\nhello, you.\n",
    ] {
        let outcome = every_way(&Job::new(text));
        assert_eq!(outcome.failure, None);
        assert_eq!(
            outcome.tally.rows_processed,
            text.lines().count() as u64 - 1
        );
    }
}

/// A type that the first rows gave a column takes nothing that would be changed further down.
#[test]
fn a_name_below_inferred_numbers_is_told() {
    let mut job =
        Job::new("zip,price\n90210,1\n12345,1.5\n02134,2\n+4930,1.234567890123456789\n501,2\n");
    job.limits.batch_rows = 2;
    let outcome = every_way(&job);
    assert_eq!(
        found(&outcome),
        [
            (3, 4, Some(28), "type-error", Some(1)),
            (4, 5, Some(36), "type-error", Some(1)),
            (4, 5, Some(36), "type-error", Some(2)),
        ]
    );
    assert_eq!(counts(&outcome), (3, 2));
}

#[test]
fn columns_that_the_schema_does_not_know_cost_no_rows() {
    expect(
        "a NUL beside the known columns",
        b"id,name,note\n1,a,x\0y\n2,b\0,z\n",
        1,
        1,
        &[
            (0, 1, Some(0), "extra-label", Some(3)),
            (2, 3, Some(21), "encoding-error", Some(2)),
        ],
    );
}

#[test]
fn an_inferred_schema_fits_its_own_file() {
    let job = Job::new("id,,value\n1,x,2\n");
    let schema = r#"{"fields": [{"name": "id"}, {"name": "column_2"}, {"name": "value"}]}"#;
    for job in [job.clone(), job.schema(schema)] {
        let outcome = every_way(&job);
        assert_eq!(outcome.failure, None);
        assert_eq!(found(&outcome), [(0, 1, Some(0), "blank-label", Some(2))]);
    }
}

#[test]
fn the_quote_that_was_asked_for_is_no_delimiter() {
    let job = Job::new("|id|,|name|\n|1|,|ann|\n|2|,|bob|\n").schema(ID_AND_NAME);
    let outcome = every_way(&job.options(r#"{"quote": "|"}"#));
    assert_eq!(outcome.failure, None);
    assert_eq!(counts(&outcome), (2, 0));
}
