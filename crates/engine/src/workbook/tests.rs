use std::sync::Arc;

use filejobs_core::options::Sheet;
use filejobs_core::{FailureCode, FileType, Limits, Options};
use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Workbook, Worksheet};

use super::archive::Archive;
use super::inflate::EntryReader;
use super::open_source;
use super::repack::{Repacker, Watch};
use crate::batch::{RawBatch, RowKind};
use crate::reader::ReadError;
use crate::validate::Places;

/// What reading a workbook gives: its labels, then `line: cells` for each row.
#[derive(Debug, Default, PartialEq)]
struct Read {
    sheet: String,
    first_column: u32,
    labels: Option<Vec<String>>,
    rows: Vec<String>,
    error_cells: usize,
}

fn read_with(bytes: Vec<u8>, options: &Options, limits: &Limits) -> Result<Read, ReadError> {
    read_as(FileType::Xlsx, bytes, options, limits)
}

fn read_as(
    file_type: FileType,
    bytes: Vec<u8>,
    options: &Options,
    limits: &Limits,
) -> Result<Read, ReadError> {
    let mut table = open_source(Arc::new(bytes), file_type, options, limits, 2)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut read = Read {
        sheet: table.sheet.clone().unwrap(),
        first_column: match table.places {
            Places::Sheet { first_column } => first_column,
            _ => u32::MAX,
        },
        labels: table
            .labels
            .as_ref()
            .map(|l| l.iter().map(|l| text(l)).collect()),
        ..Read::default()
    };
    let mut batch = RawBatch::default();
    let mut next_row = 1;
    while table.rows.next_batch(&mut batch)? {
        assert_eq!(batch.first_row, next_row);
        next_row += batch.rows.len() as u64;
        read.error_cells += batch.error_cells.len();
        for (index, row) in batch.rows.iter().enumerate() {
            let cells: Vec<_> = batch
                .row_cells(index)
                .map(|c| text(batch.text(c)))
                .collect();
            read.rows.push(match row.kind {
                RowKind::Cells => format!("{}: {}", row.line, cells.join("|")),
                kind => format!("{}: {kind:?} {}", row.line, cells.join("|")),
            });
        }
    }
    Ok(read)
}

fn read(bytes: Vec<u8>) -> Read {
    read_with(bytes, &Options::default(), &Limits::default()).unwrap()
}

fn failure(bytes: Vec<u8>, options: &Options) -> (FailureCode, String) {
    match read_with(bytes, options, &Limits::default()) {
        Err(ReadError::Failure(failure)) => (failure.code, failure.message),
        other => panic!("{other:?}"),
    }
}

fn workbook(fill: impl FnOnce(&mut Worksheet)) -> Vec<u8> {
    let mut workbook = Workbook::new();
    fill(workbook.add_worksheet());
    workbook.save_to_buffer().unwrap()
}

fn strings(rows: &[&str]) -> Vec<String> {
    rows.iter().map(|r| (*r).to_owned()).collect()
}

#[test]
fn cells_become_the_text_that_csv_would_hold() {
    let bytes = workbook(|sheet| {
        let date = Format::new().set_num_format("yyyy-mm-dd");
        let moment = Format::new().set_num_format("dd/mm/yyyy hh:mm");
        let clock = Format::new().set_num_format("hh:mm");
        sheet
            .write_row(0, 0, ["id", "when", "at", "time", "ok", "code", "price"])
            .unwrap();
        sheet.write(1, 0, 17).unwrap();
        let day = ExcelDateTime::from_ymd(2024, 2, 29).unwrap();
        sheet.write_with_format(1, 1, &day, &date).unwrap();
        let noon = ExcelDateTime::from_ymd(2024, 2, 29)
            .unwrap()
            .and_hms(12, 0, 0)
            .unwrap();
        sheet.write_with_format(1, 2, &noon, &moment).unwrap();
        let time = ExcelDateTime::from_hms(6, 30, 0).unwrap();
        sheet.write_with_format(1, 3, &time, &clock).unwrap();
        sheet.write(1, 4, true).unwrap();
        sheet.write(1, 5, "007").unwrap();
        sheet.write(1, 6, 19.99).unwrap();
        sheet.write(2, 0, "a, \"b\"\n<c> & \u{fc}").unwrap();
        sheet
            .write_formula(3, 0, Formula::new("=1/0").set_result("#DIV/0!"))
            .unwrap();
    });
    let read = read(bytes);
    assert_eq!(
        read.labels.unwrap(),
        ["id", "when", "at", "time", "ok", "code", "price"]
    );
    assert_eq!(
        read.rows[..2],
        strings(&[
            "2: 17|2024-02-29|2024-02-29T12:00:00|06:30:00|true|007|19.99",
            "3: a, \"b\"\n<c> & \u{fc}",
        ])
    );
}

#[test]
fn absent_rows_are_blank_and_absent_cells_are_empty() {
    let bytes = workbook(|sheet| {
        sheet.write_row(2, 2, ["a", "b", "c"]).unwrap();
        sheet.write(4, 3, 1).unwrap();
        sheet.write(4, 4, 2).unwrap();
        sheet.write(7, 2, 3).unwrap();
        sheet.write_blank(9, 2, &Format::new().set_bold()).unwrap();
    });
    assert_eq!(
        read(bytes),
        Read {
            sheet: "Sheet1".to_owned(),
            first_column: 2,
            labels: Some(strings(&["a", "b", "c"])),
            rows: strings(&["4: Blank ", "5: |1|2", "6: Blank ", "7: Blank ", "8: 3||"]),
            error_cells: 0,
        }
    );
}

#[test]
fn empty_rows_before_a_far_cell_are_counted_up_to_the_limit() {
    let far = |row| {
        let bytes = workbook(|sheet| {
            sheet.write(0, 0, "a").unwrap();
            sheet.write(row, 16_383, 1).unwrap();
        });
        read_with(bytes, &Options::default(), &Limits::default())
    };
    let most = Limits::default().workbook_empty_rows;
    let read = far(most + 1).unwrap();
    assert_eq!(read.rows.len(), 100_001);
    assert_eq!(read.rows[99_999], "100001: Blank ");
    assert_eq!(read.rows[100_000].len(), "100002: ".len() + 16_383 + 1);
    for row in [most + 2, 1_048_575] {
        let found = far(row).map(|read| read.rows.len());
        assert!(
            matches!(&found, Err(ReadError::Failure(f)) if f.code == FailureCode::LimitExceeded),
            "{found:?}"
        );
    }
}

#[test]
fn without_labels_the_table_begins_at_its_leftmost_cell() {
    let bytes = workbook(|sheet| {
        sheet.write(1, 2, 1).unwrap();
        sheet.write(2, 1, 2).unwrap();
        sheet.write(3, 3, 3).unwrap();
    });
    let options = Options {
        header: Some(false),
        ..Options::default()
    };
    let read = read_with(bytes, &options, &Limits::default()).unwrap();
    assert_eq!((read.first_column, read.labels), (1, None));
    assert_eq!(read.rows, strings(&["2: |1|", "3: 2", "4: ||3"]));
}

#[test]
fn a_first_row_that_begins_left_of_the_labels_widens_them() {
    let bytes = workbook(|sheet| {
        sheet.write_row(1, 2, ["name", "age"]).unwrap();
        sheet.write_row(3, 1, ["0", "x", "7"]).unwrap();
        sheet.write_row(4, 1, ["1", "y", "8"]).unwrap();
    });
    assert_eq!(
        read(bytes.clone()),
        Read {
            sheet: "Sheet1".to_owned(),
            first_column: 1,
            labels: Some(strings(&["", "name", "age"])),
            rows: strings(&["3: Blank ", "4: 0|x|7", "5: 1|y|8"]),
            error_cells: 0,
        }
    );
    let limits = Limits {
        columns: 2,
        ..Limits::default()
    };
    let found = read_with(bytes, &Options::default(), &limits);
    assert!(
        matches!(&found, Err(ReadError::Failure(f)) if f.code == FailureCode::LimitExceeded),
        "{found:?}"
    );
}

#[test]
fn a_later_value_left_of_the_table_is_told_and_not_lost() {
    let bytes = workbook(|sheet| {
        sheet.write(0, 2, "a").unwrap();
        sheet.write(1, 1, 1).unwrap();
        sheet.write(5, 0, 2).unwrap();
    });
    let (code, message) = failure(bytes, &Options::default());
    assert_eq!(code, FailureCode::NotATable);
    assert!(
        message.starts_with("Cell A6 holds a value left of the table, which begins in column B"),
        "{message}"
    );
}

#[test]
fn whole_numbers_that_may_have_been_rounded_are_no_integers() {
    let bytes = workbook(|sheet| {
        sheet.write(0, 0, "card").unwrap();
        sheet.write(1, 0, 9_007_199_254_740_991.0).unwrap();
        sheet.write(2, 0, 12_345_678_901_234_568.0).unwrap();
    });
    assert_eq!(
        read(bytes).rows,
        strings(&["2: 9007199254740991", "3: 1.2345678901234568e16"])
    );
}

#[test]
fn dates_stay_dates_whatever_conditional_formats_say() {
    let bytes = workbook(|sheet| {
        let date = Format::new().set_num_format_index(14);
        sheet.write(0, 0, "day").unwrap();
        sheet.write_with_format(1, 0, 45_351, &date).unwrap();
    });
    let formats = "<dxfs count=\"1\"><dxf><numFmt numFmtId=\"14\" formatCode=\"0.00%\"/></dxf></dxfs></styleSheet>";
    let bytes = rewritten(&bytes, |name, content| {
        if name == "xl/styles.xml" {
            let text = String::from_utf8(content.clone()).unwrap();
            *content = text.replace("</styleSheet>", formats).into_bytes();
        }
    });
    assert_eq!(read(bytes).rows, ["2: 2024-02-29"]);
}

/// `bytes` with a zip64 end record and its locator before the plain end record, `between` bytes further on.
fn with_wide_end_record(bytes: &[u8], entries: u64, between: usize) -> Vec<u8> {
    let (body, end) = bytes.split_at(bytes.len() - 22);
    let (size, start) = (&end[12..16], &end[16..20]);
    let mut made = body.to_vec();
    made.extend(b"PK\x06\x06");
    made.extend(44_u64.to_le_bytes());
    // Versions and disks.
    made.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    made.extend(entries.to_le_bytes());
    made.extend(entries.to_le_bytes());
    for number in [size, start] {
        made.extend(number);
        made.extend([0; 4]);
    }
    made.resize(made.len() + between, 0);
    made.extend(b"PK\x06\x07\0\0\0\0");
    made.extend((body.len() as u64).to_le_bytes());
    made.extend(1_u32.to_le_bytes());
    made.extend(end);
    made
}

#[test]
fn two_end_records_have_to_say_the_same() {
    let plain = workbook(|sheet| {
        sheet.write(0, 0, "a").unwrap();
        sheet.write(1, 0, 1).unwrap();
    });
    let entries = u64::from(plain[plain.len() - 12]);
    let expected = read(plain.clone());
    let real = with_wide_end_record(&plain, entries, 0);
    assert_eq!(read(real.clone()), expected);
    let mut ones = real;
    let end = ones.len() - 22;
    ones[end + 4..end + 20].fill(0xff);
    assert_eq!(read(ones), expected);
    for (entries, between) in [(entries + 1, 0), (entries, 4)] {
        let bytes = with_wide_end_record(&plain, entries, between);
        let (code, _) = failure(bytes, &Options::default());
        assert_eq!(code, FailureCode::UnreadableWorkbook);
    }
}

#[test]
fn a_row_over_the_limit_is_one_row_with_its_beginning() {
    let bytes = workbook(|sheet| {
        sheet.write_row(0, 0, ["a", "b"]).unwrap();
        sheet
            .write_row(1, 0, ["x".repeat(600), "\u{fc}".repeat(600)])
            .unwrap();
        sheet.write_row(2, 0, ["1", "2"]).unwrap();
    });
    let limits = Limits {
        record_bytes: 1_500,
        ..Limits::default()
    };
    let read = read_with(bytes, &Options::default(), &limits).unwrap();
    let shown = format!("2: TooLong {} {}", "x".repeat(600), "\u{fc}".repeat(211));
    assert_eq!(read.rows, [shown, "3: 1|2".to_owned()]);
}

#[test]
fn the_first_visible_sheet_with_data_is_read_unless_one_is_named() {
    let mut workbook = Workbook::new();
    workbook.add_worksheet().set_name("Empty").unwrap();
    let hidden = workbook.add_worksheet();
    hidden.set_name("Hidden").unwrap().set_hidden(true);
    hidden.write(0, 0, "hidden").unwrap();
    for name in ["Data", "More"] {
        let sheet = workbook.add_worksheet().set_name(name).unwrap();
        sheet.write(0, 0, name.to_lowercase()).unwrap();
    }
    let bytes = workbook.save_to_buffer().unwrap();
    let label = |sheet| {
        let options = Options {
            sheet,
            ..Options::default()
        };
        let read = read_with(bytes.clone(), &options, &Limits::default());
        match read {
            Ok(read) => read.labels.unwrap()[0].clone(),
            Err(ReadError::Failure(failure)) => failure.code.as_str().to_owned(),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(label(None), "data");
    assert_eq!(label(Some(Sheet::Number(2))), "hidden");
    assert_eq!(label(Some(Sheet::Name("More".to_owned()))), "more");
    assert_eq!(label(Some(Sheet::Name("more".to_owned()))), "UNKNOWN_SHEET");
    assert_eq!(label(Some(Sheet::Number(5))), "UNKNOWN_SHEET");
    assert_eq!(label(Some(Sheet::Number(1))), "EMPTY_FILE");
}

#[test]
fn many_rows_come_in_batches() {
    let bytes = workbook(|sheet| {
        sheet.write_row(0, 0, ["id", "name"]).unwrap();
        for row in 1..=25_000 {
            sheet.write(row, 0, row).unwrap();
            sheet.write(row, 1, format!("name {row}")).unwrap();
        }
    });
    let read = read(bytes);
    assert_eq!(read.rows.len(), 25_000);
    assert_eq!(read.rows[24_999], "25001: 25000|name 25000");
}

/// The bytes of a workbook with the same parts, one of them changed by `change`.
fn rewritten(bytes: &[u8], mut change: impl FnMut(&str, &mut Vec<u8>)) -> Vec<u8> {
    let archive = Arc::new(Archive::open(Arc::new(bytes.to_vec()), &Limits::default()).unwrap());
    let mut repacker = Repacker::new(&archive, u64::MAX);
    for (index, entry) in archive.entries.iter().enumerate() {
        let mut content = vec![0; entry.size as usize];
        let read = EntryReader::new(&archive, index)
            .read(&mut content)
            .unwrap();
        assert_eq!(read, content.len());
        change(&entry.name, &mut content);
        repacker.make(&entry.name, content);
    }
    let mut bytes = Vec::new();
    let mut whole = repacker.finish(&Arc::new(Watch::default()));
    std::io::copy(&mut whole, &mut bytes).unwrap();
    bytes
}

/// An archive of these parts.
fn archive_of(parts: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let any = workbook(|_| ());
    let archive = Arc::new(Archive::open(Arc::new(any), &Limits::default()).unwrap());
    let mut repacker = Repacker::new(&archive, u64::MAX);
    for (name, content) in parts {
        repacker.make(name, content.clone());
    }
    let mut bytes = Vec::new();
    let mut whole = repacker.finish(&Arc::new(Watch::default()));
    std::io::copy(&mut whole, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_workbook_with_damaged_parts_is_refused_or_read_and_breaks_nothing() {
    let sound = workbook(|sheet| {
        sheet.write_row(0, 0, ["id", "name"]).unwrap();
        for row in 1..20 {
            sheet.write(row, 0, row).unwrap();
            sheet.write(row, 1, format!("name {row}")).unwrap();
        }
    });
    assert_eq!(read(rewritten(&sound, |_, _| {})), read(sound.clone()));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dice = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % bound
    };
    for _ in 0..1_500 {
        let part = dice(12);
        let mut at = 0;
        let bytes = rewritten(&sound, |_, content| {
            if at == part {
                for _ in 0..=dice(4) {
                    let place = dice(content.len());
                    // Digits, markup and rubbish, in place, added or taken away.
                    let byte = [b'9', b'<', b'>', b'"', b'/', b'&', 0xff, b'A'][dice(8)];
                    match dice(3) {
                        0 => content[place] = byte,
                        1 => content.insert(place, byte),
                        _ => {
                            content.remove(place);
                        }
                    }
                }
            }
            at += 1;
        });
        let read = read_with(bytes, &Options::default(), &Limits::default());
        assert!(!matches!(
            read,
            Err(ReadError::Read(_) | ReadError::Scratch(_))
        ));
    }
}

mod xls;

mod ods {
    use super::*;

    /// An OpenDocument spreadsheet with this content between the tags of its body.
    fn spreadsheet(styles: &str, tables: &str) -> Vec<u8> {
        let mime = "application/vnd.oasis.opendocument.spreadsheet";
        let content = format!(
            "<?xml version=\"1.0\"?><office:document-content xmlns:office=\"o\" xmlns:table=\"t\" xmlns:text=\"x\">\
             <office:automatic-styles>{styles}</office:automatic-styles>\
             <office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
        );
        archive_of(&[
            ("mimetype", mime.as_bytes().to_vec()),
            ("content.xml", content.into_bytes()),
        ])
    }

    fn read(bytes: Vec<u8>, options: &Options) -> Result<Read, ReadError> {
        read_as(FileType::Ods, bytes, options, &Limits::default())
    }

    const LABELS: &str = "<table:table-row><table:table-cell office:value-type=\"string\"><text:p>a</text:p>\
        </table:table-cell><table:table-cell><text:p>b</text:p></table:table-cell></table:table-row>";

    #[test]
    fn every_kind_of_cell_is_read() {
        let row = "<table:table-row>\
            <table:table-cell office:value-type=\"float\" office:value=\"1.50\"><text:p>1,5</text:p></table:table-cell>\
            <table:table-cell office:value-type=\"date\" office:date-value=\"2024-02-29T00:00:00\"/></table:table-row>\
            <table:table-row>\
            <table:table-cell office:value-type=\"boolean\" office:boolean-value=\"true\"/>\
            <table:table-cell office:value-type=\"time\" office:time-value=\"PT06H30M00S\"/></table:table-row>\
            <table:table-row><table:table-cell office:value-type=\"string\">\
            <office:annotation><text:p>a note</text:p></office:annotation>\
            <text:p>x &amp;<text:s text:c=\"2\"/><text:span>y</text:span></text:p><text:p>z</text:p></table:table-cell>\
            <table:table-cell office:value-type=\"string\" calcext:value-type=\"error\"><text:p>#DIV/0!</text:p>\
            </table:table-cell></table:table-row>";
        let table = format!("<table:table table:name=\"T\">{LABELS}{row}</table:table>");
        let found = read(spreadsheet("", &table), &Options::default()).unwrap();
        assert_eq!(found.labels.unwrap(), ["a", "b"]);
        assert_eq!(
            found.rows,
            strings(&[
                "2: 1.5|2024-02-29",
                "3: true|06:30:00",
                "4: x &  y\nz|#DIV/0!"
            ])
        );
        assert_eq!(found.error_cells, 1);
    }

    #[test]
    fn repeated_cells_and_rows_count_as_often_as_they_say() {
        let rows = "<table:table-row table:number-rows-repeated=\"2\"><table:table-cell \
            table:number-columns-repeated=\"2\" office:value-type=\"float\" office:value=\"7\"/></table:table-row>\
            <table:table-row table:number-rows-repeated=\"3\"><table:table-cell/></table:table-row>\
            <table:table-row><table:table-cell office:value-type=\"float\" office:value=\"8\"/></table:table-row>\
            <table:table-row table:number-rows-repeated=\"1048000\"><table:table-cell \
            table:number-columns-repeated=\"16384\"/></table:table-row>";
        let table = format!("<table:table table:name=\"T\">{LABELS}{rows}</table:table>");
        let found = read(spreadsheet("", &table), &Options::default()).unwrap();
        assert_eq!(
            found.rows,
            strings(&[
                "2: 7|7",
                "3: 7|7",
                "4: Blank ",
                "5: Blank ",
                "6: Blank ",
                "7: 8|"
            ])
        );
    }

    #[test]
    fn a_sheet_that_repeats_more_than_a_table_may_hold_is_refused() {
        let rows = "<table:table-row table:number-rows-repeated=\"1048000\"><table:table-cell \
            table:number-columns-repeated=\"16384\" office:value-type=\"float\" office:value=\"7\"/></table:table-row>";
        let table = format!("<table:table table:name=\"T\">{LABELS}{rows}</table:table>");
        let limits = Limits {
            workbook_cells: 100_000,
            ..Limits::default()
        };
        let bytes = spreadsheet("", &table);
        let found = read_as(FileType::Ods, bytes, &Options::default(), &limits);
        assert!(
            matches!(&found, Err(ReadError::Failure(f)) if f.code == FailureCode::LimitExceeded),
            "{found:?}"
        );
    }

    #[test]
    fn hidden_sheets_are_read_only_when_asked_for() {
        let style = "<style:style style:name=\"h\" style:family=\"table\">\
            <style:table-properties table:display=\"false\"/></style:style>";
        let table = |name: &str, style: &str, label: &str| {
            format!(
                "<table:table table:name=\"{name}\" table:style-name=\"{style}\"><table:table-row>\
                 <table:table-cell><text:p>{label}</text:p></table:table-cell></table:table-row></table:table>"
            )
        };
        let tables = table("One", "h", "hidden") + &table("Two", "v", "seen");
        let bytes = spreadsheet(style, &tables);
        let seen = read(bytes.clone(), &Options::default()).unwrap();
        assert_eq!(
            (seen.sheet.as_str(), seen.labels),
            ("Two", Some(strings(&["seen"])))
        );
        let options = Options {
            sheet: Some(Sheet::Number(1)),
            ..Options::default()
        };
        assert_eq!(
            read(bytes, &options).unwrap().labels,
            Some(strings(&["hidden"]))
        );
    }
}

mod xlsb {
    use super::*;

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        // Lengths of seven bits; kinds from 128 on take a second byte.
        let mut bytes = vec![kind];
        if kind >= 0x80 {
            bytes.push(1);
        }
        bytes.push(content.len() as u8);
        bytes.extend(content);
        bytes
    }

    fn wide(text: &str) -> Vec<u8> {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut bytes = (units.len() as u32).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|u| u.to_le_bytes()));
        bytes
    }

    fn cell(kind: u8, column: u32, value: &[u8]) -> Vec<u8> {
        let mut content = column.to_le_bytes().to_vec();
        content.extend([0; 4]);
        content.extend(value);
        record(kind, &content)
    }

    fn row(number: u32) -> Vec<u8> {
        record(0, &[&number.to_le_bytes()[..], &[0; 13]].concat())
    }

    fn parts(strings: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
        let relations = "<Relationships><Relationship Id=\"rId1\" Target=\"worksheets/sheet1.bin\"/></Relationships>";
        let sheet = [&[0; 8][..], &wide("rId1"), &wide("Data")].concat();
        let book = [record(0x9c, &sheet), record(0x90, &[]), record(0x9d, &[])].concat();
        let cells = [
            record(0x94, &[0; 16]),
            record(0x91, &[]),
            row(0),
            cell(6, 0, &wide("id")),
            cell(7, 1, &0_u32.to_le_bytes()),
            row(2),
            cell(5, 0, &1.5_f64.to_le_bytes()),
            cell(4, 1, &[1]),
            row(3),
            cell(3, 0, &[0x07]),
            cell(2, 1, &(17_u32 << 2 | 2).to_le_bytes()),
            record(0x92, &[]),
        ];
        vec![
            ("xl/workbook.bin", book),
            ("xl/_rels/workbook.bin.rels", relations.as_bytes().to_vec()),
            ("xl/worksheets/sheet1.bin", cells.concat()),
            ("xl/sharedStrings.bin", strings),
        ]
    }

    fn strings_part(announced: u32, texts: &[&str]) -> Vec<u8> {
        let counts = [announced.to_le_bytes(), announced.to_le_bytes()].concat();
        let mut part = record(0x9f, &counts);
        for text in texts {
            part.extend(record(0x13, &[&[0][..], &wide(text)].concat()));
        }
        part
    }

    fn read(parts: &[(&str, Vec<u8>)]) -> Result<Read, ReadError> {
        read_as(
            FileType::Xlsb,
            archive_of(parts),
            &Options::default(),
            &Limits::default(),
        )
    }

    #[test]
    fn every_kind_of_cell_is_read() {
        let found = read(&parts(strings_part(1, &["n\u{e4}me"]))).unwrap();
        assert_eq!(found.sheet, "Data");
        assert_eq!(found.labels.unwrap(), ["id", "n\u{e4}me"]);
        assert_eq!(
            found.rows,
            super::strings(&["2: Blank ", "3: 1.5|true", "4: #DIV/0!|17"])
        );
        assert_eq!(found.error_cells, 1);
    }

    #[test]
    fn what_the_library_panics_at_is_a_damaged_workbook() {
        let refused = |parts: &[(&str, Vec<u8>)]| match read(parts) {
            Err(ReadError::Failure(failure)) => failure.code,
            other => panic!("{other:?}"),
        };
        // A cell refers to a string that is not there; a list announces more than it has.
        assert_eq!(
            refused(&parts(strings_part(0, &[]))),
            FailureCode::UnreadableWorkbook
        );
        assert_eq!(
            refused(&parts(strings_part(u32::MAX, &["a"]))),
            FailureCode::UnreadableWorkbook
        );
    }
}
