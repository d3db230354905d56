//! From labels to columns: names for the results, fields of the schema, what is wrong with the header.
//!
//! The same for text and for workbooks. Findings about the header have row number 0 and cost no rows.

use std::collections::{HashMap, HashSet};

use filejobs_core::report::{ColumnLayout, LABEL_CHARS, Layout};
use filejobs_core::{Failure, FailureCode, FileType, Finding, FindingCode, TableSchema};

use crate::batch::{RawBatch, RowKind};
use crate::reader::Table;
use crate::validate::Places;

/// Names of missing columns that a failure's sentence lists.
const NAMES_SHOWN: usize = 10;

/// What the header says.
#[derive(Debug)]
pub(crate) struct Header {
    /// The file's columns.
    pub(crate) layout: Layout,
    /// What is wrong with the labels, in order.
    pub(crate) findings: Vec<Finding>,
    /// Set when the file lacks columns of the schema.
    pub(crate) failure: Option<Failure>,
}

impl Header {
    /// Lays out `table`, whose first rows are `first`.
    pub(crate) fn new(
        table: &Table,
        first: &RawBatch,
        schema: Option<&TableSchema>,
        format: FileType,
    ) -> Self {
        let mut columns = Columns {
            table,
            schema,
            found: Vec::new(),
            findings: Vec::new(),
        };
        let dropped = if let Some(labels) = &table.labels {
            columns.labelled(labels, first)
        } else {
            columns.numbered(first);
            0
        };
        let failure = columns.missing();
        Self {
            layout: Layout {
                format,
                dialect: table.dialect.clone(),
                sheet: table.sheet.clone(),
                header: table.labels.is_some(),
                columns: columns.found,
                dropped_columns: dropped,
            },
            findings: columns.findings,
            failure,
        }
    }
}

/// Removes the empty cells of the columns that the layout dropped, so that they are not taken for cells
/// too many.
pub(crate) fn drop_empty_ends(layout: &Layout, batch: &mut RawBatch) {
    if layout.dropped_columns == 0 {
        return;
    }
    let kept = layout.columns.len();
    let mut start = 0;
    let mut written = 0;
    let mut errors = batch.error_cells.iter_mut().peekable();
    for row in &mut batch.rows {
        let end = row.cells_end as usize;
        let mut last = end;
        if matches!(row.kind, RowKind::Cells | RowKind::Blank)
            && end - start <= kept + layout.dropped_columns as usize
        {
            while last - start > kept && batch.cells[last - 1].start == batch.cells[last - 1].end {
                last -= 1;
            }
        }
        // A cell that is dropped is empty, so it is no error.
        while let Some(cell) = errors.next_if(|cell| (**cell as usize) < last) {
            *cell -= (start - written) as u32;
        }
        batch.cells.copy_within(start..last, written);
        written += last - start;
        row.cells_end = written as u32;
        start = end;
    }
    batch.cells.truncate(written);
}

/// The columns in the making.
struct Columns<'a> {
    table: &'a Table,
    schema: Option<&'a TableSchema>,
    found: Vec<ColumnLayout>,
    findings: Vec<Finding>,
}

impl Columns<'_> {
    /// Columns with labels. Returns how many empty ones at the end are left out.
    fn labelled(&mut self, labels: &[Vec<u8>], first: &RawBatch) -> u32 {
        let texts: Vec<String> = labels
            .iter()
            .map(|label| String::from_utf8_lossy(label).trim().to_owned())
            .collect();
        let wide = texts.len() - empty_ends(&texts, first);
        let dropped = (texts.len() - wide) as u32;
        let texts = &texts[..wide];
        let fields: HashMap<&str, u32> = self.schema.iter().flat_map(|s| &s.fields).zip(0..).fold(
            HashMap::new(),
            |mut fields, (field, i)| {
                fields.entry(field.name.as_str()).or_insert(i);
                fields
            },
        );
        let mut names = Names::new(texts);
        for (i, text) in texts.iter().enumerate() {
            let number = i as u32 + 1;
            let label: String = text.chars().take(LABEL_CHARS).collect();
            let repeats = !label.is_empty() && names.is_taken(&label);
            let name = names.take(&label, number);
            // Fields are matched by the whole label; a repeated label's name may still fit another. The name that we
            // give to a blank or long label is that of its field in the schema which we have inferred.
            let whole = (!repeats).then(|| fields.get(text.as_str())).flatten();
            let field = whole.or_else(|| fields.get(name.as_str())).copied();
            if text.is_empty() {
                let message =
                    format!("Column {number} has no label; its values are kept as `{name}`.");
                self.blame(FindingCode::BlankLabel, number, &label, message);
            }
            if repeats {
                let message = format!(
                    "The label `{label}` stands above another column, too; this one is kept as `{name}`."
                );
                self.blame(FindingCode::DuplicateLabel, number, &label, message);
            }
            if labels[i].contains(&0) || std::str::from_utf8(&labels[i]).is_err() {
                let message =
                    "The label holds bytes that its encoding does not allow, or a NUL.".to_owned();
                self.blame(FindingCode::EncodingError, number, &label, message);
            }
            if self.schema.is_some() && field.is_none() {
                let message =
                    format!("The schema has no field `{name}`; the column is not checked.");
                self.blame(FindingCode::ExtraLabel, number, &label, message);
            }
            self.found.push(ColumnLayout { label, name, field });
        }
        dropped
    }

    /// Columns without labels: those of the schema in its order, or as many as the first row has.
    fn numbered(&mut self, first: &RawBatch) {
        let column = |name, field| ColumnLayout {
            label: String::new(),
            name,
            field,
        };
        if let Some(schema) = self.schema {
            let fields = schema.fields.iter().zip(0..);
            let columns = fields.map(|(field, i)| column(field.name.clone(), Some(i)));
            self.found.extend(columns);
            return;
        }
        let row = first.rows.iter().position(|r| r.kind == RowKind::Cells);
        let wide = row.map_or(1, |row| first.row_cells(row).len());
        let columns = (1..=wide).map(|number| column(format!("column_{number}"), None));
        self.found.extend(columns);
    }

    /// Finds the fields of the schema that no column has.
    fn missing(&mut self) -> Option<Failure> {
        let schema = self.schema?;
        let mut found = vec![false; schema.fields.len()];
        for field in self.found.iter().filter_map(|column| column.field) {
            found[field as usize] = true;
        }
        let absent = schema
            .fields
            .iter()
            .zip(&found)
            .filter(|(_, found)| !**found);
        let names: Vec<&str> = absent.map(|(field, _)| field.name.as_str()).collect();
        if names.is_empty() {
            return None;
        }
        for name in &names {
            let message = format!("The schema has a field `{name}`, but no column has this label.");
            self.findings.push(Finding {
                column_name: Some((*name).to_owned()),
                ..self.finding(FindingCode::MissingLabel, message)
            });
        }
        let shown: Vec<String> = names
            .iter()
            .take(NAMES_SHOWN)
            .map(|n| format!("`{n}`"))
            .collect();
        let more = match names.len().saturating_sub(NAMES_SHOWN) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(Failure::new(
            FailureCode::MissingColumn,
            format!(
                "The file lacks {} of the schema: {}{more}; add what is missing, or change the schema.",
                if names.len() == 1 {
                    "a column"
                } else {
                    "columns"
                },
                shown.join(", "),
            ),
        ))
    }

    fn blame(&mut self, code: FindingCode, number: u32, label: &str, message: String) {
        let (first_column, row) = match self.table.places {
            Places::Sheet { first_column } => (first_column, self.table.header_line),
            Places::Text | Places::Transcoded => (0, 1),
        };
        let finding = Finding {
            column_name: Some(label.to_owned()).filter(|label| !label.is_empty()),
            column_number: Some(number),
            cell: Some(format!("{}{row}", letters(first_column + number))),
            raw_value: Some(label.to_owned()),
            ..self.finding(code, message)
        };
        self.findings.push(finding);
    }

    fn finding(&self, code: FindingCode, message: String) -> Finding {
        Finding {
            row_number: 0,
            seq: self.findings.len() as u32,
            line: self.table.header_line,
            byte_offset: self.table.header_offset,
            column_name: None,
            column_number: None,
            cell: None,
            code,
            message,
            raw_value: None,
        }
    }
}

/// How many columns at the end have neither label nor a value in the first rows. One always stays.
fn empty_ends(labels: &[String], first: &RawBatch) -> usize {
    let labelled = labels.iter().rposition(|label| !label.is_empty());
    let mut wide = labelled.map_or(1, |last| last + 1);
    for row in 0..first.rows.len() {
        if !matches!(first.rows[row].kind, RowKind::Cells) {
            continue;
        }
        let cells = first.row_cells(row);
        let known = cells.start..cells.end.min(cells.start + labels.len());
        let last = known.rev().find(|cell| !first.text(*cell).is_empty());
        wide = wide.max(last.map_or(0, |cell| cell - cells.start + 1));
    }
    labels.len().saturating_sub(wide)
}

/// Gives every column a name of its own: `name`, `name_2`, and `column_3` for a blank third.
struct Names {
    /// Labels of the file, which keep their names.
    labels: HashSet<String>,
    taken: HashSet<String>,
    /// The number that is tried next for a repeated label.
    next: HashMap<String, u32>,
}

impl Names {
    fn new(labels: &[String]) -> Self {
        Self {
            labels: labels
                .iter()
                .map(|label| label.chars().take(LABEL_CHARS).collect())
                .collect(),
            taken: HashSet::new(),
            next: HashMap::new(),
        }
    }

    fn is_taken(&self, label: &str) -> bool {
        self.taken.contains(label)
    }

    fn take(&mut self, label: &str, number: u32) -> String {
        let base = if label.is_empty() {
            format!("column_{number}")
        } else {
            label.to_owned()
        };
        let own = !label.is_empty() || !self.labels.contains(&base);
        if own && self.taken.insert(base.clone()) {
            return base;
        }
        let next = self.next.entry(base.clone()).or_insert(2);
        loop {
            let name = format!("{base}_{next}");
            *next += 1;
            if !self.labels.contains(&name) && self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// A column's letters in a spreadsheet, by its number from 1.
fn letters(mut number: u32) -> String {
    let mut letters = Vec::new();
    while number > 0 {
        number -= 1;
        letters.push(b'A' + (number % 26) as u8);
        number /= 26;
    }
    letters.iter().rev().map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use filejobs_core::Limits;

    use super::*;
    use crate::reader::{ReadError, RowReader};

    struct NoRows;

    impl RowReader for NoRows {
        fn next_batch(&mut self, _: &mut RawBatch) -> Result<bool, ReadError> {
            Ok(false)
        }

        fn bytes_read(&self) -> u64 {
            0
        }
    }

    type Data<'a> = &'a [&'a [&'a str]];

    fn table(labels: Option<&[&str]>) -> Table {
        let labels = labels.map(|l| l.iter().map(|l| l.as_bytes().to_vec()).collect());
        Table {
            labels,
            header_line: 2,
            header_offset: Some(6),
            dialect: None,
            sheet: None,
            places: Places::Text,
            rows: Box::new(NoRows),
        }
    }

    fn rows(rows: Data<'_>) -> RawBatch {
        let mut batch = RawBatch::default();
        for row in rows {
            for cell in *row {
                batch.push_cell(cell.as_bytes());
            }
            batch.push_row(3, 9, RowKind::Cells);
        }
        batch
    }

    fn schema(names: &[&str]) -> TableSchema {
        let fields: Vec<String> = names
            .iter()
            .map(|n| format!("{{\"name\": \"{n}\"}}"))
            .collect();
        let text = format!("{{\"fields\": [{}]}}", fields.join(","));
        TableSchema::from_json(&text, &Limits::default()).unwrap()
    }

    fn header(labels: Option<&[&str]>, first: &RawBatch, schema: Option<&TableSchema>) -> Header {
        Header::new(&table(labels), first, schema, FileType::Csv)
    }

    fn names(header: &Header) -> Vec<&str> {
        header
            .layout
            .columns
            .iter()
            .map(|c| c.name.as_str())
            .collect()
    }

    fn codes(header: &Header) -> Vec<(&'static str, Option<u32>)> {
        let found = header.findings.iter();
        found.map(|f| (f.code.as_str(), f.column_number)).collect()
    }

    #[test]
    fn every_column_gets_a_name_of_its_own() {
        let first = rows(&[&["1"; 9]]);
        let cases: &[(&[&str], &[&str])] = &[
            (&["id", "name"], &["id", "name"]),
            (&["name", "name", "name"], &["name", "name_2", "name_3"]),
            (&["name", "name", "name_2"], &["name", "name_3", "name_2"]),
            (&["a", "b", "", "c"], &["a", "b", "column_3", "c"]),
            (&["column_2", ""], &["column_2", "column_2_2"]),
            (&[" a ", "\t"], &["a", "column_2"]),
            (&["Name", "name"], &["Name", "name"]),
        ];
        for (labels, expected) in cases {
            assert_eq!(
                names(&header(Some(labels), &first, None)),
                *expected,
                "{labels:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_labels_is_told_with_its_place() {
        let first = rows(&[&["1"; 4]]);
        let header = header(Some(&["a", "", "a", "x\0"]), &first, None);
        let expected = [
            ("blank-label", Some(2)),
            ("duplicate-label", Some(3)),
            ("encoding-error", Some(4)),
        ];
        assert_eq!(codes(&header), expected);
        let finding = &header.findings[1];
        assert_eq!((finding.row_number, finding.seq, finding.line), (0, 1, 2));
        assert_eq!(finding.byte_offset, Some(6));
        assert_eq!(finding.cell.as_deref(), Some("C1"));
        assert_eq!(finding.column_name.as_deref(), Some("a"));
        assert!(header.failure.is_none());
    }

    #[test]
    fn columns_meet_the_schema_by_name_in_any_order() {
        let first = rows(&[&["1"; 3]]);
        let fields = schema(&["a", "b"]);
        let header = header(Some(&["b", "x", "a"]), &first, Some(&fields));
        let found: Vec<_> = header.layout.columns.iter().map(|c| c.field).collect();
        assert_eq!(found, [Some(1), None, Some(0)]);
        assert_eq!(codes(&header), [("extra-label", Some(2))]);
        assert!(header.failure.is_none());
    }

    #[test]
    fn columns_that_the_file_lacks_fail_it_and_are_named() {
        let fields = schema(&["a", "b", "c"]);
        let header = header(Some(&["b"]), &rows(&[&["1"]]), Some(&fields));
        assert_eq!(
            codes(&header),
            [("missing-label", None), ("missing-label", None)]
        );
        assert_eq!(header.findings[1].column_name.as_deref(), Some("c"));
        let failure = header.failure.unwrap();
        assert_eq!(failure.code, FailureCode::MissingColumn);
        assert!(failure.message.contains("`a`, `c`"), "{}", failure.message);
    }

    #[test]
    fn last_columns_without_label_and_value_are_dropped() {
        let cases: &[(&[&str], Data, usize)] = &[
            (&["a", "b", ""], &[&["1", "2", ""], &["1"]], 2),
            (&["a", "", ""], &[&["1", "", ""]], 1),
            (&["a", "", ""], &[&["1", "x", ""]], 2),
            (&["a", ""], &[&["1", "", "x"]], 1),
            (&["a", ""], &[], 1),
            (&["", ""], &[], 1),
            (&["a", "", "b"], &[&["1", "", "2"]], 3),
        ];
        for (labels, data, wide) in cases {
            let header = header(Some(labels), &rows(data), None);
            assert_eq!(header.layout.columns.len(), *wide, "{labels:?} {data:?}");
            assert_eq!(header.layout.dropped_columns as usize, labels.len() - wide);
        }
    }

    #[test]
    fn empty_cells_of_dropped_columns_go_and_values_stay() {
        let mut batch = rows(&[
            &["1", "", ""],
            &["1"],
            &["1", "", "x"],
            &["1", "", "", ""],
            &["1", "2"],
        ]);
        let layout = header(Some(&["a", "", ""]), &rows(&[&["1"]]), None).layout;
        drop_empty_ends(&layout, &mut batch);
        let left: Vec<Vec<&[u8]>> = (0..batch.rows.len())
            .map(|row| batch.row_cells(row).map(|cell| batch.text(cell)).collect())
            .collect();
        let expected: [&[&[u8]]; 5] = [
            &[b"1"],
            &[b"1"],
            &[b"1", b"", b"x"],
            &[b"1", b"", b"", b""],
            &[b"1", b"2"],
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn without_labels_columns_are_numbered_or_those_of_the_schema() {
        let first = rows(&[&["1", "2", "3"]]);
        let numbered = header(None, &first, None);
        assert_eq!(names(&numbered), ["column_1", "column_2", "column_3"]);
        assert!(!numbered.layout.header);
        let fields = schema(&["a", "b"]);
        let named = header(None, &first, Some(&fields));
        assert_eq!(names(&named), ["a", "b"]);
        assert!(named.findings.is_empty());
    }

    #[test]
    fn labels_are_cut_and_thousands_of_equal_ones_are_named_quickly() {
        let long = "x".repeat(1000);
        let labels = vec![long.as_str(); 16_384];
        let header = header(Some(&labels), &rows(&[]), None);
        assert_eq!(header.layout.columns[0].label.len(), LABEL_CHARS);
        assert!(names(&header)[16_383].ends_with("_16384"));
    }

    #[test]
    fn columns_have_the_letters_of_spreadsheets() {
        let cases = [
            (1, "A"),
            (26, "Z"),
            (27, "AA"),
            (702, "ZZ"),
            (703, "AAA"),
            (16_384, "XFD"),
        ];
        for (number, expected) in cases {
            assert_eq!(letters(number), expected);
        }
    }
}
