use arrow_array::RecordBatch;
use filejobs_core::report::{ColumnLayout, Layout};
use filejobs_core::{FileType, Finding, FindingCode};

use super::*;

/// A layout whose columns are those of the schema, then `extra` unknown ones.
pub(crate) fn layout(schema: &TableSchema, extra: &[&str]) -> Layout {
    let known = (0u32..).zip(&schema.fields);
    let known = known.map(|(index, field)| ColumnLayout {
        label: field.name.clone(),
        name: field.name.clone(),
        field: Some(index),
    });
    let unknown = extra.iter().map(|name| ColumnLayout {
        label: (*name).to_owned(),
        name: (*name).to_owned(),
        field: None,
    });
    Layout {
        format: FileType::Csv,
        dialect: None,
        sheet: None,
        header: true,
        columns: known.chain(unknown).collect(),
        dropped_columns: 0,
    }
}

pub(crate) fn schema(json: &str) -> TableSchema {
    TableSchema::from_json(json, &Limits::default()).unwrap()
}

fn validator(json: &str) -> Validator {
    let schema = schema(json);
    Validator::new(
        &schema,
        &layout(&schema, &[]),
        Places::Text,
        &Limits::default(),
    )
    .unwrap()
}

/// A batch of rows; a row without cells is blank.
pub(crate) fn batch<C: AsRef<[u8]>>(rows: &[&[C]]) -> RawBatch {
    let mut raw = RawBatch {
        first_row: 1,
        ..RawBatch::default()
    };
    for (index, row) in (0u64..).zip(rows) {
        for cell in *row {
            raw.push_cell(cell.as_ref());
        }
        let kind = if row.is_empty() {
            RowKind::Blank
        } else {
            RowKind::Cells
        };
        raw.push_row(index + 2, index * 10, kind);
    }
    raw
}

fn check(validator: &Validator, raw: &RawBatch) -> Checked {
    check_with(validator, raw, &Repeats::default())
}

fn check_with(validator: &Validator, raw: &RawBatch, repeats: &Repeats) -> Checked {
    let mut checked = Checked::new();
    assert_eq!(
        validator.check(raw, 0, repeats, &mut checked),
        raw.rows.len()
    );
    assert_eq!(
        u64::from(checked.valid) + checked.failed,
        u64::from(checked.rows)
    );
    checked
}

fn findings(checked: &Checked) -> Vec<Finding> {
    let text = std::str::from_utf8(&checked.findings).unwrap();
    let parse = |line: &str| {
        let finding: Finding = serde_json::from_str(line).unwrap();
        // Written by hand, and yet what serde would write.
        assert_eq!(serde_json::to_string(&finding).unwrap(), line);
        finding
    };
    let findings: Vec<_> = text.lines().map(parse).collect();
    assert_eq!(findings.len() as u64, checked.findings_lines);
    findings
}

fn valid(validator: &Validator, checked: &Checked) -> RecordBatch {
    RecordBatch::try_new(validator.arrow_schema().clone(), checked.columns.clone()).unwrap()
}

/// Findings of one cell in a column with these keys, and the value it has in the results.
fn cell(keys: &str, text: &str) -> (Vec<FindingCode>, Option<String>) {
    let validator = validator(&format!(r#"{{"fields": [{{"name": "a", {keys}}}]}}"#));
    // A second cell in no column keeps a blank one from being a blank row.
    let checked = check(&validator, &batch(&[&[text]]));
    let codes = findings(&checked).iter().map(|f| f.code).collect();
    let column = &checked.columns[0];
    let value = (checked.valid == 1).then(|| shown(column.as_ref(), 0));
    (codes, value)
}

fn shown(array: &dyn arrow_array::Array, row: usize) -> String {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{
        Date32Type, Float64Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
    };
    use arrow_schema::{DataType, TimeUnit};
    if array.is_null(row) {
        return "null".to_owned();
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Time64(TimeUnit::Microsecond) => array
            .as_primitive::<Time64MicrosecondType>()
            .value(row)
            .to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => array
            .as_primitive::<TimestampMicrosecondType>()
            .value(row)
            .to_string(),
        other => panic!("no column has the type {other}"),
    }
}

#[track_caller]
fn assert_cells(keys: &str, cases: &[(&str, Result<&str, &[FindingCode]>)]) {
    for (text, expected) in cases {
        let (codes, value) = cell(keys, text);
        match expected {
            Ok(expected) => {
                assert_eq!(
                    value.as_deref(),
                    Some(*expected),
                    "{keys}: {text:?} {codes:?}"
                );
            }
            Err(expected) => assert_eq!(codes, *expected, "{keys}: {text:?}"),
        }
    }
}

const TYPE: &[FindingCode] = &[FindingCode::TypeError];
const CONSTRAINT: &[FindingCode] = &[FindingCode::ConstraintError];

#[test]
fn integer_columns() {
    assert_cells(
        r#""type": "integer", "constraints": {"minimum": -5, "maximum": 1000, "enum": [-6, 7, 8]}"#,
        &[
            ("7", Ok("7")),
            (" 007 ", Ok("7")),
            ("+8", Ok("8")),
            ("", Ok("null")),
            ("  ", Ok("null")),
            ("9", Err(CONSTRAINT)),
            ("-6", Err(CONSTRAINT)),
            (
                "-7",
                Err(&[FindingCode::ConstraintError, FindingCode::ConstraintError]),
            ),
            ("7.0", Err(TYPE)),
            ("1_000", Err(TYPE)),
            ("9223372036854775808", Err(TYPE)),
            ("7 8", Err(TYPE)),
        ],
    );
    assert_cells(
        r#""type": "integer", "groupChar": ",", "constraints": {"required": true}"#,
        &[
            ("1,000", Ok("1000")),
            ("1,", Err(TYPE)),
            ("", Err(CONSTRAINT)),
        ],
    );
}

#[test]
fn number_columns() {
    assert_cells(
        r#""type": "number", "constraints": {"minimum": "0", "maximum": 1e3}"#,
        &[
            ("1.5", Ok("1.5")),
            (".5", Ok("0.5")),
            ("\t1e-400", Ok("0")),
            ("-0.1", Err(CONSTRAINT)),
            ("1000.01", Err(CONSTRAINT)),
            ("1e400", Err(TYPE)),
            ("NaN", Err(TYPE)),
            ("INF", Err(TYPE)),
            ("1,5", Err(TYPE)),
            ("1_000", Err(TYPE)),
        ],
    );
    assert_cells(
        r#""type": "number", "allowNonFinite": true"#,
        &[("NaN", Ok("NaN")), ("-INF", Ok("-inf")), ("nan", Err(TYPE))],
    );
    assert_cells(
        r#""type": "number", "decimalChar": ",", "groupChar": ".", "bareNumber": false"#,
        &[("1.234,5 EUR", Ok("1234.5")), ("EUR", Err(TYPE))],
    );
}

#[test]
fn string_columns() {
    assert_cells(
        r#""constraints": {"minLength": 2, "maxLength": 3, "pattern": "[a-zü]+", "enum": ["aü", "abc", "B"]}"#,
        &[
            ("aü", Ok("aü")),
            ("abc", Ok("abc")),
            ("", Ok("null")),
            ("ab", Err(CONSTRAINT)),
            (" ab", Err(&[FindingCode::ConstraintError; 2])),
            ("B", Err(&[FindingCode::ConstraintError; 2])),
            ("ABCD", Err(&[FindingCode::ConstraintError; 3])),
        ],
    );
    assert_cells(
        r#""format": "email""#,
        &[("a@b.example", Ok("a@b.example")), ("a", Err(TYPE))],
    );
    assert_cells(r#""type": "any""#, &[(" 5 ", Ok(" 5 "))]);
}

#[test]
fn boolean_columns() {
    assert_cells(
        r#""type": "boolean", "constraints": {"enum": [true]}"#,
        &[
            ("TRUE", Ok("true")),
            (" 1 ", Ok("true")),
            ("0", Err(CONSTRAINT)),
            ("yes", Err(TYPE)),
        ],
    );
    assert_cells(
        r#""type": "boolean", "trueValues": ["x"], "falseValues": ["-", ""]"#,
        &[("x", Ok("true")), ("-", Ok("false")), ("", Ok("null"))],
    );
}

#[test]
fn date_time_and_datetime_columns() {
    assert_cells(
        r#""type": "date", "constraints": {"minimum": "1970-01-02"}"#,
        &[
            (" 1970-01-11 ", Ok("10")),
            ("1970-01-01", Err(CONSTRAINT)),
            ("2023-02-29", Err(TYPE)),
        ],
    );
    assert_cells(
        r#""type": "time", "format": "%H:%M""#,
        &[("00:01", Ok("60000000")), ("00:01:00", Err(TYPE))],
    );
    assert_cells(
        r#""type": "datetime""#,
        &[
            ("1970-01-01T00:00:01Z", Ok("1000000")),
            ("1970-01-01T01:00:01+01:00", Ok("1000000")),
            ("1970-01-01", Err(TYPE)),
        ],
    );
}

#[test]
fn missing_values_are_null_whatever_else_they_could_be() {
    let validator = validator(
        r#"{"fields": [{"name": "a", "type": "integer"}, {"name": "b"}], "missingValues": ["-99", "NA"]}"#,
    );
    let raw = batch(&[&["-99", "NA"], &[" NA ", " NA "], &["", ""]]);
    let checked = check(&validator, &raw);
    let valid = valid(&validator, &checked);
    assert_eq!(valid.num_rows(), 2);
    assert_eq!(shown(valid.column(0).as_ref(), 0), "null");
    assert_eq!(shown(valid.column(1).as_ref(), 0), "null");
    assert_eq!(shown(valid.column(0).as_ref(), 1), "null");
    assert_eq!(shown(valid.column(1).as_ref(), 1), " NA ");
    // The empty text is not among them: it is no integer.
    assert_eq!(findings(&checked)[0].code, FindingCode::TypeError);
    assert_eq!((checked.tallies[0].empty, checked.tallies[1].empty), (2, 1));
}

const ORDERS: &str = r#"{
    "fields": [
        {"name": "id", "type": "integer", "constraints": {"required": true, "minimum": 1}},
        {"name": "na\"me", "constraints": {"required": true, "maxLength": 5, "pattern": "[a-z]*"}},
        {"name": "value", "type": "number", "decimalChar": ","}
    ],
    "primaryKey": ["id", "na\"me"]
}"#;

/// Every kind of finding once, and rows between that are valid.
fn everything_wrong() -> RawBatch {
    let mut raw = batch::<&[u8]>(&[
        &[b"1", b"ann", b"1,5"],
        &[b"0", b"BERTHA", b"x"],
        &[b"2", b"bob"],
        &[],
        &[b"3", b"cid", b"-2,5", b"=more", b"a,\"b"],
        &[b"4", b"d\xff\xfe", b"y"],
        &[b"5", b"e\0", b""],
        &[b"", b"", b"-1,5"],
        &[b"x", b"#DIV/0!", b"=1+1"],
        &[b"-", b"two\nlines", b" "],
        &[b"6", b"fred", b""],
        &[b"1", b"ann", b"3"],
    ]);
    raw.error_cells
        .push(u32::try_from(raw.row_cells(8).start + 1).unwrap());
    raw.push_cell(b"7,\"open,5");
    raw.push_row(15, 130, RowKind::UnclosedQuote);
    raw.push_cell(b"8,long");
    raw.push_row(16, 140, RowKind::TooLong);
    raw
}

fn repeat() -> Repeats {
    Repeats::of(vec![crate::unique::Repeat {
        row: 12,
        key: 0,
        first_row: 1,
    }])
}

#[test]
fn every_kind_of_finding_is_told_in_order() {
    let validator = validator(ORDERS);
    let checked = check_with(&validator, &everything_wrong(), &repeat());
    findings(&checked);
    assert_eq!((checked.rows, checked.valid), (14, 2));
    insta::assert_snapshot!("findings", std::str::from_utf8(&checked.findings).unwrap());
    let rejected = std::str::from_utf8(&checked.rejected).unwrap();
    insta::assert_snapshot!("rejected", rejected.replace('\0', "␀"));
    let valid = valid(&validator, &checked);
    let column = |c: usize| -> Vec<_> {
        (0..valid.num_rows())
            .map(|row| shown(valid.column(c).as_ref(), row))
            .collect()
    };
    assert_eq!(column(0), ["1", "6"]);
    assert_eq!(column(1), ["ann", "fred"]);
    assert_eq!(column(2), ["1.5", "null"]);
    let errors: Vec<_> = checked.tallies.iter().map(|t| t.errors).collect();
    let placed = findings(&checked)
        .iter()
        .filter(|f| f.column_number.is_some_and(|n| n <= 3))
        .count();
    assert_eq!(errors.iter().sum::<u64>(), placed as u64);
    assert_eq!(checked.counts.total(), checked.findings_lines);
}

#[test]
fn rows_checked_in_pieces_give_the_same() {
    let validator = validator(ORDERS);
    let raw = everything_wrong();
    let whole = check_with(&validator, &raw, &repeat());
    for middle in 0..=raw.rows.len() {
        let mut checked = Checked::new();
        let mut findings = Vec::new();
        let mut rejected = Vec::new();
        let mut valid = 0;
        let mut first = RawBatch {
            first_row: 1,
            bytes: raw.bytes.clone(),
            cells: raw.cells.clone(),
            rows: raw.rows[..middle].to_vec(),
            error_cells: raw.error_cells.clone(),
        };
        let _ = validator.check(&first, 0, &repeat(), &mut checked);
        findings.extend_from_slice(&checked.findings);
        rejected.extend_from_slice(&checked.rejected);
        valid += checked.valid;
        first.rows.clone_from(&raw.rows);
        let _ = validator.check(&first, middle, &repeat(), &mut checked);
        findings.extend_from_slice(&checked.findings);
        rejected.extend_from_slice(&checked.rejected);
        valid += checked.valid;
        assert_eq!(findings, whole.findings, "cut before row {middle}");
        assert_eq!(rejected, whole.rejected, "cut before row {middle}");
        assert_eq!(valid, whole.valid);
    }
}

#[test]
fn a_batch_of_nothing_but_errors_comes_in_pieces_of_bounded_size() {
    let json = r#"{"fields": [{"name": "a", "type": "integer"}, {"name": "b", "type": "date"}]}"#;
    let validator = validator(json);
    let rows: Vec<&[&str]> = vec![&["x", "y"]; 40_000];
    let raw = batch(&rows);
    let mut checked = Checked::new();
    let (mut from, mut lines, mut pieces) = (0, 0, 0);
    while from < raw.rows.len() {
        from = validator.check(&raw, from, &Repeats::default(), &mut checked);
        lines += checked.findings_lines;
        pieces += 1;
        assert!(checked.findings.len() < 16 << 20);
    }
    assert_eq!(lines, 80_000);
    assert!(pieces > 1);
}

#[test]
fn short_rows_of_a_wide_table_cost_little() {
    let fields: Vec<_> = (0..10_000)
        .map(|i| format!(r#"{{"name": "c{i}"}}"#))
        .collect();
    let validator = validator(&format!(r#"{{"fields": [{}]}}"#, fields.join(",")));
    let rows: Vec<&[&str]> = vec![&["x"]; 500];
    let raw = batch(&rows);
    let mut checked = Checked::new();
    let (mut from, mut counted, mut errors) = (0, 0, 0);
    while from < raw.rows.len() {
        from = validator.check(&raw, from, &Repeats::default(), &mut checked);
        counted += checked.counts.get(FindingCode::MissingCell);
        errors += checked.tallies[9_999].errors;
        assert_eq!(checked.tallies[0].errors, 0);
        assert!(checked.findings.len() + checked.rejected.len() < 16 << 20);
        assert_eq!(checked.findings_lines, u64::from(checked.rows) * 1_000);
    }
    assert_eq!(counted, 500 * 9_999);
    assert_eq!(errors, 500);
}

#[test]
fn places_in_sheets_are_the_sheets_own() {
    let schema = schema(
        r#"{"fields": [{"name": "a", "type": "integer"}, {"name": "b", "constraints": {"required": true}}, {"name": "c"}]}"#,
    );
    let places = Places::Sheet { first_column: 2 };
    let validator =
        Validator::new(&schema, &layout(&schema, &[]), places, &Limits::default()).unwrap();
    let mut raw = batch(&[&["x", "b", "c"][..], &["1"], &["2", "b"]]);
    for row in &mut raw.rows {
        row.line += 40;
    }
    let checked = check(&validator, &raw);
    let findings = findings(&checked);
    let told: Vec<_> = findings
        .iter()
        .map(|f| (f.cell.as_deref().unwrap(), f.code, f.byte_offset))
        .collect();
    // Absent cells of a sheet are empty ones.
    assert_eq!(
        told,
        [
            ("C42", FindingCode::TypeError, None),
            ("D43", FindingCode::ConstraintError, None),
        ]
    );
    let valid = valid(&validator, &checked);
    assert_eq!(shown(valid.column(2).as_ref(), 0), "null");
}

#[test]
fn halves_of_a_character_in_two_cells_are_no_text() {
    let validator = validator(r#"{"fields": [{"name": "a"}, {"name": "b"}]}"#);
    let raw = batch::<&[u8]>(&[&["ü".as_bytes(), b"b"], &[b"x\xc3", b"\xbcy"]]);
    let checked = check(&validator, &raw);
    let codes: Vec<_> = findings(&checked)
        .iter()
        .map(|f| (f.row_number, f.code))
        .collect();
    assert_eq!(codes, [(2, FindingCode::EncodingError); 2]);
}

#[test]
fn transcoded_text_tells_of_what_could_not_be_decoded() {
    let schema = schema(r#"{"fields": [{"name": "a"}]}"#);
    for (places, failed) in [(Places::Text, 0), (Places::Transcoded, 1)] {
        let validator =
            Validator::new(&schema, &layout(&schema, &[]), places, &Limits::default()).unwrap();
        let checked = check(&validator, &batch(&[&["a\u{fffd}b"], &["fine"]]));
        assert_eq!(checked.failed, failed);
    }
}

#[test]
fn columns_that_the_schema_does_not_know_stay_out_of_the_results() {
    let schema = schema(r#"{"fields": [{"name": "a", "type": "integer"}]}"#);
    let layout = layout(&schema, &["note"]);
    let validator = Validator::new(&schema, &layout, Places::Text, &Limits::default()).unwrap();
    let checked = check(&validator, &batch(&[&["1", "x"], &["y", "=1"], &["2", ""]]));
    let valid = valid(&validator, &checked);
    assert_eq!((valid.num_columns(), valid.num_rows()), (1, 2));
    let rejected = std::str::from_utf8(&checked.rejected).unwrap();
    assert!(rejected.starts_with("y,'=1,2,"), "{rejected}");
    assert_eq!(checked.tallies[1].empty, 1);
}

#[test]
fn a_schema_that_does_not_fit_the_file_is_a_failure() {
    let limits = Limits::default();
    let schema = schema(r#"{"fields": [{"name": "a"}, {"name": "b"}]}"#);
    let mut short = layout(&schema, &[]);
    short.columns.pop();
    let failure = Validator::new(&schema, &short, Places::Text, &limits).unwrap_err();
    assert_eq!(failure.code, FailureCode::MissingColumn);
    let mut broken = schema.clone();
    broken.fields[0].constraints.pattern = Some("(".to_owned());
    let failure =
        Validator::new(&broken, &layout(&broken, &[]), Places::Text, &limits).unwrap_err();
    assert_eq!(failure.code, FailureCode::WrongOptions);
}

#[test]
fn a_key_of_several_columns_is_empty_when_all_of_them_are() {
    let json = r#"{"fields": [{"name": "a", "type": "integer"}, {"name": "b"}], "primaryKey": ["a", "b"]}"#;
    let validator = validator(json);
    let raw = batch(&[&["", ""][..], &["1", ""], &["x", ""], &[""]]);
    let checked = check(&validator, &raw);
    let codes: Vec<_> = findings(&checked)
        .iter()
        .map(|f| (f.row_number, f.code, f.column_number))
        .collect();
    assert_eq!(
        codes,
        [
            (1, FindingCode::PrimaryKey, None),
            (3, FindingCode::TypeError, Some(1)),
            (4, FindingCode::MissingCell, Some(2)),
        ]
    );
}

#[test]
fn a_formula_around_a_number_is_made_text_in_what_is_rejected() {
    let validator = validator(
        r#"{"fields": [{"name": "a", "type": "number", "bareNumber": false, "constraints": {"maximum": 1}}]}"#,
    );
    let raw = batch(&[&["=cmd|'/C calc'!A5"], &["-5 EUR"], &["+5"]]);
    let checked = check(&validator, &raw);
    let rejected = String::from_utf8_lossy(&checked.rejected).into_owned();
    let cells: Vec<_> = rejected
        .lines()
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(cells, ["'=cmd|'/C calc'!A5", "+5"]);
}
