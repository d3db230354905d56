//! The same table as CSV and as XLSX comes to the same verdicts: counters and findings.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::Path;

use filejobs_core::schema::FieldType;
use filejobs_core::{FileType, Finding, Limits, Options, TableSchema};
use filejobs_engine::task::{
    self, Control, Processor, Progress, Request, RunResult, Step, outputs,
};
use proptest::prelude::*;
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};

const SCHEMA: &str = r#"{"fields": [
    {"name": "id", "type": "integer", "constraints": {"required": true, "unique": true}},
    {"name": "name", "type": "string", "constraints": {"minLength": 2}},
    {"name": "value", "type": "number", "constraints": {"maximum": 1000}},
    {"name": "day", "type": "date"},
    {"name": "ok", "type": "boolean"}]}"#;
const LABELS: [&str; 5] = ["id", "name", "value", "day", "ok"];

#[derive(Debug, Clone)]
enum Cell {
    Empty,
    Integer(i64),
    Number(f64),
    Text(String),
    /// Days from 1900-01-01 on, as a spreadsheet counts them.
    Day(u32),
    Boolean(bool),
}

impl Cell {
    /// What stands in the CSV twin, before it is quoted.
    fn text(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Integer(n) => n.to_string(),
            Self::Number(n) => n.to_string(),
            Self::Text(text) => text.clone(),
            Self::Day(day) => {
                let first = jiff::civil::date(1899, 12, 30);
                let day = first.checked_add(jiff::Span::new().days(i64::from(*day)));
                day.unwrap().to_string()
            }
            Self::Boolean(b) => b.to_string(),
        }
    }
}

fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        2 => Just(Cell::Empty),
        2 => (-1000..1000_i64).prop_map(Cell::Integer),
        1 => (-9_007_199_254_740_992..9_007_199_254_740_992_i64).prop_map(Cell::Integer),
        2 => (-100_000..100_000_i32).prop_map(|n| Cell::Number(f64::from(n) / 64.0)),
        // Quotes, line ends and delimiters inside; no blanks at the ends, which spreadsheets drop.
        3 => "[a-zA-Z0-9ü日\"',;][a-z0-9 ü日\"',;\n]{0,6}[a-z0-9ü\"',]".prop_map(Cell::Text),
        1 => "(007|true|FALSE|2024-02-29|1e5|n/a|-)".prop_map(Cell::Text),
        2 => (61..60_000_u32).prop_map(Cell::Day),
        1 => any::<bool>().prop_map(Cell::Boolean),
    ]
}

fn table() -> impl Strategy<Value = Vec<Vec<Cell>>> {
    let row = prop_oneof![
        8 => proptest::collection::vec(cell(), LABELS.len()),
        1 => Just(vec![Cell::Empty; LABELS.len()]),
        // Spreadsheets write no cells behind the last one with a value.
        1 => cell().prop_map(|first| [vec![first], vec![Cell::Empty; LABELS.len() - 1]].concat()),
    ];
    proptest::collection::vec(row, 0..30)
}

fn write_csv(path: &Path, table: &[Vec<Cell>]) {
    let mut csv = LABELS.join(",") + "\n";
    for row in table {
        let cells: Vec<_> = row
            .iter()
            .map(|cell| match cell {
                Cell::Empty => String::new(),
                cell => format!("\"{}\"", cell.text().replace('"', "\"\"")),
            })
            .collect();
        csv += &(cells.join(",") + "\n");
    }
    std::fs::write(path, csv).unwrap();
}

fn write_xlsx(path: &Path, table: &[Vec<Cell>]) {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    let date = Format::new().set_num_format("dd.mm.yyyy");
    sheet.write_row(0, 0, LABELS).unwrap();
    for (cells, row) in table.iter().zip(1..) {
        for (cell, column) in cells.iter().zip(0..) {
            let written = match cell {
                Cell::Empty => continue,
                Cell::Integer(n) => sheet.write(row, column, *n as f64),
                Cell::Number(n) => sheet.write(row, column, *n),
                Cell::Text(text) => sheet.write(row, column, text),
                Cell::Boolean(b) => sheet.write(row, column, *b),
                Cell::Day(day) => {
                    let day = ExcelDateTime::from_serial_datetime(f64::from(*day)).unwrap();
                    sheet.write_with_format(row, column, &day, &date)
                }
            };
            written.unwrap();
        }
    }
    workbook.save(path).unwrap();
}

struct Unwatched;

impl Control for Unwatched {
    fn progress(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Checks a file; what comes of it goes to `out`.
fn run(path: &Path, schema: Option<&str>, out: &Path) -> RunResult {
    let limits = Limits::default();
    let request = Request {
        file_type: FileType::from_name(path.to_str().unwrap()).unwrap(),
        options: Options::default(),
        schema: schema.map(|text| TableSchema::from_json(text, &limits).unwrap()),
        step: Step::Whole,
        processor: Processor::default(),
        limits,
        threads: 1,
    };
    let input = File::open(path).unwrap();
    task::run(&request, input, out, &Unwatched).unwrap()
}

/// The result and the findings, but for the places that only one of the two has.
fn read(path: &Path, schema: Option<&str>) -> (RunResult, Vec<Finding>) {
    let out = tempfile::tempdir().unwrap();
    let result = run(path, schema, out.path());
    let findings = std::fs::read_to_string(out.path().join(outputs::FINDINGS)).unwrap();
    let findings = findings.lines().map(|line| {
        let finding: Finding = serde_json::from_str(line).unwrap();
        Finding {
            line: 0,
            byte_offset: None,
            ..finding
        }
    });
    (result, findings.collect())
}

fn check(table: &[Vec<Cell>], schema: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let (csv, xlsx) = (folder.path().join("t.csv"), folder.path().join("t.xlsx"));
    write_csv(&csv, table);
    write_xlsx(&xlsx, table);
    let (text, text_findings) = read(&csv, schema);
    let (sheet, sheet_findings) = read(&xlsx, schema);
    assert_eq!(text.failure, None);
    assert_eq!(sheet.failure, None);
    assert_eq!(sheet.facts.schema, text.facts.schema);
    assert_eq!(sheet.tally, text.tally);
    assert_eq!(sheet_findings, text_findings);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_table_and_its_twin_get_the_same_verdicts(mut table in table()) {
        // Blank rows at the very end are no rows, in either; a gap before them is.
        while table.last().is_some_and(|row| row.iter().all(|c| matches!(c, Cell::Empty))) {
            table.pop();
        }
        check(&table, Some(SCHEMA));
        check(&table, None);
    }
}

/// The notations of a schema are those of text; what a spreadsheet holds as a number or a day has none.
#[test]
fn values_of_a_spreadsheet_are_not_read_by_the_notations_of_text() {
    let folder = tempfile::tempdir().unwrap();
    let xlsx = folder.path().join("t.xlsx");
    let row = |value: Cell| {
        vec![
            Cell::Integer(1),
            Cell::Empty,
            value,
            Cell::Day(45_323),
            Cell::Boolean(true),
        ]
    };
    let table = [
        row(Cell::Number(1.234)),
        row(Cell::Text("1.234".to_owned())),
        row(Cell::Number(12.5)),
    ];
    write_xlsx(&xlsx, &table);
    let schema = r#"{"fields": [{"name": "id"}, {"name": "name"},
        {"name": "value", "type": "number", "decimalChar": ",", "groupChar": ".", "constraints": {"maximum": 100}},
        {"name": "day", "type": "date", "format": "%Y-%d-%m", "constraints": {"minimum": "2024-02-01"}},
        {"name": "ok", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]}]}"#;
    let (result, findings) = read(&xlsx, Some(schema));
    assert_eq!(result.failure, None);
    let found = findings
        .iter()
        .map(|f| (f.row_number, f.column_name.as_deref()));
    // The text means a thousand, and more than is allowed.
    assert_eq!(found.collect::<Vec<_>>(), [(2, Some("value"))]);
}

/// A spreadsheet knows no difference between a day and its midnight; what is handed in again as text does.
#[test]
fn a_day_of_a_spreadsheet_is_its_midnight_where_moments_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let xlsx = folder.path().join("t.xlsx");
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    let moment = Format::new().set_num_format("yyyy-mm-dd hh:mm");
    sheet.write_row(0, 0, ["id", "at"]).unwrap();
    for (row, at) in (1..).zip([45_351.0, 45_351.5, 45_352.0]) {
        sheet.write(row, 0, row).unwrap();
        let at = ExcelDateTime::from_serial_datetime(at).unwrap();
        sheet.write_with_format(row, 1, &at, &moment).unwrap();
    }
    workbook.save(&xlsx).unwrap();

    let (inferred, findings) = read(&xlsx, None);
    assert_eq!(findings, []);
    let schema = inferred.facts.schema.unwrap();
    assert_eq!(schema.fields[1].kind, FieldType::Datetime);

    let schema = r#"{"fields": [{"name": "id", "type": "integer", "constraints": {"maximum": 2}},
        {"name": "at", "type": "datetime", "constraints": {"unique": true, "maximum": "2024-03-01T00:00:00Z"}}]}"#;
    let out = tempfile::tempdir().unwrap();
    let result = run(&xlsx, Some(schema), out.path());
    assert_eq!(
        (result.tally.rows_processed, result.tally.rows_failed),
        (3, 1)
    );
    let rejected = std::fs::read_to_string(out.path().join(outputs::REJECTED)).unwrap();
    assert!(rejected.contains("3,2024-03-01T00:00:00,3,"), "{rejected}");
}
