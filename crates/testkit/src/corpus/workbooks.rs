//! Workbooks: sound, odd and damaged ones.

use std::fmt::Write as _;
use std::io::{self, Write};

use filejobs_core::FailureCode as Failure;
use filejobs_core::FindingCode as Found;
use rust_xlsxwriter::{Formula, Workbook, Worksheet, XlsxError};

use super::Expected::{Failed, Refused};
use super::zip::{Entry, archive};
use super::{Case, completed};

pub(super) const SHEET: &str = "xl/worksheets/sheet1.xml";
pub(super) const STRINGS: &str = "xl/sharedStrings.xml";
pub(super) const SHEET_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>";
pub(super) const SHEET_TAIL: &str = "</sheetData></worksheet>";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = sound();
    cases.extend(odd());
    cases.extend(damaged());
    cases.extend(old());
    cases
}

fn sound() -> Vec<Case> {
    vec![
        Case::new("table.xlsx", completed(3, 0, &[]), |out| {
            out.write_all(&table())
        }),
        Case::new("called-text.csv", Refused, |out| out.write_all(&table())),
        Case::new("called-old.xls", Refused, |out| out.write_all(&table())),
        Case::new("labels-only.xlsx", completed(0, 0, &[]), |out| {
            made(out, |sheet| sheet.write_row(0, 0, ["a", "b"]).map(|_| ()))
        }),
        Case::new("no-data.xlsx", Failed(Failure::UnknownSheet), |out| {
            made(out, |_| Ok(()))
        }),
        Case::new("no-bytes.xlsx", Failed(Failure::EmptyFile), |_| Ok(())),
        Case::new("unknown-sheet.xlsx", Failed(Failure::UnknownSheet), |out| {
            out.write_all(&table())
        })
        .with_options(r#"{"sheet": "Nowhere"}"#),
        Case::new("sheet-by-number.xlsx", completed(3, 0, &[]), |out| {
            out.write_all(&table())
        })
        .with_options(r#"{"sheet": 1}"#),
    ]
}

fn odd() -> Vec<Case> {
    vec![
        Case::new(
            "error-values.xlsx",
            completed(2, 1, &[(Found::ExcelErrorValue, 1)]),
            |out| {
                out.write_all(&with_sheet(&rows(&[
                    "<c r=\"A1\" t=\"inlineStr\"><is><t>a</t></is></c>",
                    "<c r=\"A2\" t=\"e\"><f>1/0</f><v>#DIV/0!</v></c>",
                    "<c r=\"A3\"><v>1</v></c>",
                ])))
            },
        ),
        Case::new(
            "formula-without-value.xlsx",
            completed(2, 1, &[(Found::ConstraintError, 1)]),
            |out| {
                out.write_all(&with_sheet(&rows(&[
                    "<c r=\"A1\" t=\"str\"><v>a</v></c><c r=\"B1\" t=\"str\"><v>b</v></c>",
                    "<c r=\"A2\"><f>B2*2</f></c><c r=\"B2\"><v>1</v></c>",
                    "<c r=\"A3\"><f>B3*2</f><v>4</v></c><c r=\"B3\"><v>2</v></c>",
                ])))
            },
        ),
        Case::new(
            "gap.xlsx",
            completed(4, 2, &[(Found::BlankRow, 2)]),
            |out| {
                made(out, |sheet| {
                    sheet.write_row(4, 2, ["a", "b"])?;
                    sheet.write_row(5, 2, [1, 2])?;
                    sheet.write_row(8, 2, [3, 4])?;
                    Ok(())
                })
            },
        ),
        Case::new("far-cell.xlsx", Failed(Failure::LimitExceeded), |out| {
            out.write_all(&with_sheet(
                "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>a</v></c></row>\
                     <row r=\"1048576\"><c r=\"XFD1048576\"><v>1</v></c></row>",
            ))
        }),
        Case::new(
            "merged.xlsx",
            completed(2, 1, &[(Found::ConstraintError, 1)]),
            |out| {
                made(out, |sheet| {
                    sheet.write_row(0, 0, ["a", "b"])?;
                    sheet.merge_range(1, 0, 2, 0, "both", &rust_xlsxwriter::Format::new())?;
                    sheet.write(1, 1, 1)?;
                    sheet.write(2, 1, 2)?;
                    Ok(())
                })
            },
        ),
        Case::new("left-of-labels.xlsx", Failed(Failure::NotATable), |out| {
            made(out, |sheet| {
                sheet.write(0, 1, "a")?;
                sheet.write(1, 1, 1)?;
                sheet.write(2, 0, 2)?;
                Ok(())
            })
        }),
        Case::new(
            "index-without-label.xlsx",
            completed(1, 0, &[(Found::BlankLabel, 1)]),
            |out| {
                made(out, |sheet| {
                    sheet.write(0, 1, "a")?;
                    sheet.write(1, 0, 0)?;
                    sheet.write(1, 1, 1)?;
                    Ok(())
                })
            },
        ),
        Case::new("formulas.xlsx", completed(1, 0, &[]), |out| {
            made(out, |sheet| {
                sheet.write_row(0, 0, ["a", "b"])?;
                sheet.write(1, 0, 1)?;
                sheet.write_formula(1, 1, Formula::new("=A2+1").set_result("2"))?;
                Ok(())
            })
        }),
    ]
}

fn damaged() -> Vec<Case> {
    vec![
        Case::new("cut-off.xlsx", Failed(Failure::UnreadableWorkbook), |out| {
            let table = table();
            out.write_all(&table[..table.len() / 2])
        }),
        Case::new(
            "cut-off-end.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let table = table();
                out.write_all(&table[..table.len() - 1])
            },
        ),
        Case::new("mutated.xlsx", Failed(Failure::UnreadableWorkbook), |out| {
            let mut sheet = one_cell();
            for byte in sheet.packed.iter_mut().skip(8).step_by(3) {
                *byte ^= 0x5a;
            }
            out.write_all(&archive(&parts(sheet, None), None))
        }),
        Case::new("cut-off.xls", Failed(Failure::UnreadableWorkbook), |out| {
            let bytes = include_bytes!("../../fixtures/kinds.xls");
            out.write_all(&bytes[..bytes.len() / 2])
        }),
        Case::new("mutated.xls", Failed(Failure::UnreadableWorkbook), |out| {
            let mut bytes = include_bytes!("../../fixtures/kinds.xls").to_vec();
            // The length of the second record of the workbook.
            bytes[512 + 22] = 0xff;
            bytes[512 + 23] = 0xff;
            out.write_all(&bytes)
        }),
    ]
}

fn old() -> Vec<Case> {
    vec![
        Case::new(
            "kinds.xls",
            completed(5, 3, &[(Found::BlankRow, 1), (Found::ConstraintError, 5)]),
            |out| out.write_all(include_bytes!("../../fixtures/kinds.xls")),
        ),
        Case::new("many.xls", completed(1_500, 0, &[]), |out| {
            out.write_all(include_bytes!("../../fixtures/many.xls"))
        }),
        Case::new(
            "far-corner.xls",
            completed(
                65_535,
                65_535,
                &[
                    (Found::BlankRow, 65_534),
                    (Found::ExtraCell, 1),
                    (Found::ConstraintError, 1),
                ],
            ),
            |out| out.write_all(include_bytes!("../../fixtures/far-corner.xls")),
        ),
        Case::new("old-called-new.xlsx", Failed(Failure::NotATable), |out| {
            out.write_all(include_bytes!("../../fixtures/many.xls"))
        }),
        Case::new(
            "not-a-workbook.xls",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                out.write_all(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")?;
                out.write_all(&[0; 8192])
            },
        ),
    ]
}

pub(super) const ONE_ROW: &str =
    "<row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>a</t></is></c></row>";

pub(super) fn one_cell() -> Entry {
    Entry::new(
        SHEET,
        format!("{SHEET_HEAD}{ONE_ROW}{SHEET_TAIL}").as_bytes(),
    )
}

fn rows(rows: &[&str]) -> String {
    let mut xml = String::new();
    for (row, number) in rows.iter().zip(1..) {
        // Writing into a string cannot fail.
        let _ = write!(xml, "<row r=\"{number}\">{row}</row>");
    }
    xml
}

pub(super) fn with_sheet(rows: &str) -> Vec<u8> {
    let sheet = format!("{SHEET_HEAD}{rows}{SHEET_TAIL}");
    archive(&parts(Entry::new(SHEET, sheet.as_bytes()), None), None)
}

/// The parts of a workbook with one sheet.
pub(super) fn parts(sheet: Entry, strings: Option<Entry>) -> Vec<Entry> {
    let relationships = |targets: &[(&str, &str)]| {
        let mut xml = String::from(
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">",
        );
        for ((kind, target), number) in targets.iter().zip(1..) {
            // Writing into a string cannot fail.
            let _ = write!(
                xml,
                "<Relationship Id=\"rId{number}\" Target=\"{target}\" Type=\
                 \"http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}\"/>"
            );
        }
        xml + "</Relationships>"
    };
    let workbook = "<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" \
        xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\">\
        <sheets><sheet name=\"Sheet1\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>";
    let package = relationships(&[("officeDocument", "xl/workbook.xml")]);
    let inner = relationships(&[
        ("worksheet", "worksheets/sheet1.xml"),
        ("sharedStrings", "sharedStrings.xml"),
    ]);
    let mut entries = vec![
        Entry::new("[Content_Types].xml", b"<Types/>"),
        Entry::new("_rels/.rels", package.as_bytes()),
        Entry::new("xl/workbook.xml", workbook.as_bytes()),
        Entry::new("xl/_rels/workbook.xml.rels", inner.as_bytes()),
    ];
    entries.extend(strings);
    entries.push(sheet);
    entries
}

/// A small sound table.
fn table() -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into a vector cannot fail, and the table is within every bound.
    let _ = made(&mut bytes, |sheet| {
        sheet.write_row(0, 0, ["id", "name", "value"])?;
        for row in 1..=3 {
            sheet.write(row, 0, row)?;
            sheet.write(row, 1, format!("name {row}"))?;
            sheet.write(row, 2, f64::from(row) / 4.0)?;
        }
        Ok(())
    });
    bytes
}

/// A workbook with one sheet.
fn made(
    out: &mut dyn Write,
    fill: impl FnOnce(&mut Worksheet) -> Result<(), XlsxError>,
) -> io::Result<()> {
    let mut workbook = Workbook::new();
    fill(workbook.add_worksheet()).map_err(io::Error::other)?;
    let bytes = workbook.save_to_buffer().map_err(io::Error::other)?;
    out.write_all(&bytes)
}
