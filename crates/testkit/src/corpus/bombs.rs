//! Workbooks that are made to do harm: bombs of every kind, forged directories, forged XML.

use filejobs_core::FailureCode as Failure;

use super::Case;
use super::Expected::Failed;
use super::workbooks::{
    ONE_ROW, SHEET, SHEET_HEAD, SHEET_TAIL, STRINGS, one_cell, parts, with_sheet,
};
use super::zip::{Entry, archive};

const MIB: usize = 1024 * 1024;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = archives();
    cases.extend(heavy_parts());
    cases.extend(forged_names());
    cases.extend(forged_entries());
    cases.extend(forged_parts());
    cases
}

/// Archives that inflate to what nobody can hold.
fn archives() -> Vec<Case> {
    vec![
        Case::new("bomb-ratio.xlsx", Failed(Failure::LimitExceeded), |out| {
            let sheet = Entry::repeated(
                SHEET,
                SHEET_HEAD.as_bytes(),
                (&[b' '; MIB], 300),
                SHEET_TAIL.as_bytes(),
            );
            out.write_all(&archive(&parts(sheet, None), None))
        }),
        Case::new("bomb-sum.xlsx", Failed(Failure::LimitExceeded), |out| {
            let mut entries = parts(one_cell(), None);
            for number in 0..12 {
                let name = format!("xl/media/image{number}.png");
                entries.push(Entry::repeated(&name, b"", (&[0; MIB], 200), b""));
            }
            out.write_all(&archive(&entries, None))
        }),
        Case::new(
            "bomb-lying-part.xlsx",
            Failed(Failure::LimitExceeded),
            |out| {
                let mut entries = parts(one_cell(), None);
                let bomb = Entry::repeated("xl/media/image.png", b"", (&[0; MIB], 2_200), b"");
                entries.push(Entry {
                    size: 1_000,
                    ..bomb
                });
                out.write_all(&archive(&entries, None))
            },
        ),
        Case::new(
            "bomb-lying-sheet.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let head = format!("{SHEET_HEAD}{ONE_ROW}");
                let sheet = Entry::repeated(
                    SHEET,
                    head.as_bytes(),
                    (&[b' '; MIB], 64),
                    SHEET_TAIL.as_bytes(),
                );
                let size = head.len() as u64;
                out.write_all(&archive(&parts(Entry { size, ..sheet }, None), None))
            },
        ),
        Case::new("bomb-nested.xlsx", Failed(Failure::NotATable), |out| {
            let inner = archive(
                &[Entry::repeated("bomb", b"", (&[0; MIB], 1_000), b"")],
                None,
            );
            let entries: Vec<_> = (0..16)
                .map(|n| Entry::new(&format!("{n}.zip"), &inner))
                .collect();
            out.write_all(&archive(&entries, None))
        }),
        Case::new(
            "bomb-many-entries.xlsx",
            Failed(Failure::LimitExceeded),
            |out| {
                let mut entries = parts(one_cell(), None);
                entries.extend((0..65_000).map(|n| Entry::stored(&format!("xl/{n}"), b"")));
                out.write_all(&archive(&entries, None))
            },
        ),
        Case::new(
            "bomb-overlap.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                // Each entry's bytes hold the headers and bytes of all that follow.
                let mut entries = parts(one_cell(), None);
                let kernel = archive(
                    &[Entry::repeated("xl/media/b", b"", (&[0; MIB], 100), b"")],
                    None,
                );
                let place = archive(&entries, None).len() as u32;
                let before = directory_start(&archive(&entries, None));
                entries.push(Entry::stored("xl/media/a", &kernel));
                // Points at the header that lies inside of the entry before.
                let inside = before + 30 + "xl/media/a".len() as u32;
                let bomb = Entry::repeated("xl/media/b", b"", (&[0; MIB], 100), b"");
                entries.push(Entry {
                    borrowed_header: Some(inside.min(place)),
                    ..bomb
                });
                out.write_all(&archive(&entries, None))
            },
        ),
    ]
}

/// Parts that weigh more in memory than in the file.
fn heavy_parts() -> Vec<Case> {
    vec![
        Case::new("huge-string.xlsx", Failed(Failure::LimitExceeded), |out| {
            let strings = Entry::repeated(
                STRINGS,
                b"<sst uniqueCount=\"1\"><si><t>",
                (&[b'x'; MIB], 100),
                b"</t></si></sst>",
            );
            out.write_all(&archive(&parts(one_cell(), Some(strings)), None))
        }),
        Case::new("many-strings.xlsx", Failed(Failure::LimitExceeded), |out| {
            let piece = "<si/>".repeat(100_000);
            let strings = Entry::repeated(STRINGS, b"<sst>", (piece.as_bytes(), 100), b"</sst>");
            out.write_all(&archive(&parts(one_cell(), Some(strings)), None))
        }),
        Case::new(
            "announced-strings.xlsx",
            Failed(Failure::LimitExceeded),
            |out| {
                let strings = "<sst count=\"1\" uniqueCount=\"4294967295\"><si><t>a</t></si></sst>";
                let strings = Entry::new(STRINGS, strings.as_bytes());
                out.write_all(&archive(&parts(one_cell(), Some(strings)), None))
            },
        ),
        Case::new("many-styles.xlsx", Failed(Failure::LimitExceeded), |out| {
            let piece = "<xf numFmtId=\"0\"/>".repeat(10_000);
            let styles = Entry::repeated(
                "xl/styles.xml",
                b"<styleSheet><cellXfs>",
                (piece.as_bytes(), 100),
                b"</cellXfs></styleSheet>",
            );
            let mut entries = parts(one_cell(), None);
            entries.push(styles);
            out.write_all(&archive(&entries, None))
        }),
        Case::new("long-cell.xlsx", Failed(Failure::LimitExceeded), |out| {
            let head = format!("{SHEET_HEAD}<row r=\"1\"><c r=\"A1\" t=\"str\"><v>");
            let tail = format!("</v></c></row>{SHEET_TAIL}");
            let sheet =
                Entry::repeated(SHEET, head.as_bytes(), (&[b'x'; MIB], 200), tail.as_bytes());
            out.write_all(&archive(&parts(sheet, None), None))
        }),
    ]
}

/// Archives under a password, and names that no workbook has.
fn forged_names() -> Vec<Case> {
    vec![
        Case::new(
            "encrypted.xlsx",
            Failed(Failure::EncryptedWorkbook),
            |out| {
                out.write_all(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")?;
                out.write_all(&[0; 8192])
            },
        ),
        Case::new(
            "encrypted-entry.xlsx",
            Failed(Failure::EncryptedWorkbook),
            |out| {
                let sheet = Entry {
                    flags: 1,
                    ..one_cell()
                };
                out.write_all(&archive(&parts(sheet, None), None))
            },
        ),
        Case::new("twice.xlsx", Failed(Failure::UnreadableWorkbook), |out| {
            let mut entries = parts(one_cell(), None);
            entries.push(one_cell());
            out.write_all(&archive(&entries, None))
        }),
        Case::new(
            "twice-but-for-case.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let mut entries = parts(one_cell(), None);
                entries.push(Entry::new("XL\\Worksheets\\Sheet1.xml", b"<worksheet/>"));
                out.write_all(&archive(&entries, None))
            },
        ),
        Case::new("outside.xlsx", Failed(Failure::UnreadableWorkbook), |out| {
            let mut entries = parts(one_cell(), None);
            entries.push(Entry::new("xl/../../../etc/passwd", b"root"));
            out.write_all(&archive(&entries, None))
        }),
        Case::new(
            "absolute.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let mut entries = parts(one_cell(), None);
                entries.push(Entry::new("/etc/passwd", b"root"));
                out.write_all(&archive(&entries, None))
            },
        ),
    ]
}

/// Directories that contradict what they list.
fn forged_entries() -> Vec<Case> {
    vec![
        Case::new(
            "two-names.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let local_name = Some("xl/worksheets/sheet2.xml".to_owned());
                let sheet = Entry {
                    local_name,
                    ..one_cell()
                };
                out.write_all(&archive(&parts(sheet, None), None))
            },
        ),
        Case::new(
            "claims-less.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let sheet = Entry {
                    size: 20,
                    ..one_cell()
                };
                out.write_all(&archive(&parts(sheet, None), None))
            },
        ),
        Case::new(
            "claims-more.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let sheet = one_cell();
                let size = sheet.size + 1_000;
                out.write_all(&archive(&parts(Entry { size, ..sheet }, None), None))
            },
        ),
        Case::new(
            "wrong-checksum.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let sheet = Entry {
                    crc: 1,
                    ..one_cell()
                };
                out.write_all(&archive(&parts(sheet, None), None))
            },
        ),
        Case::new(
            "wrong-count.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| out.write_all(&archive(&parts(one_cell(), None), Some(2))),
        ),
        Case::new(
            "unknown-method.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let sheet = Entry {
                    method: 14,
                    ..one_cell()
                };
                out.write_all(&archive(&parts(sheet, None), None))
            },
        ),
        Case::new("no-workbook.xlsx", Failed(Failure::NotATable), |out| {
            out.write_all(&archive(&[Entry::new("hello.txt", b"hello")], None))
        }),
    ]
}

/// XML that is more than a table.
fn forged_parts() -> Vec<Case> {
    vec![
        Case::new(
            "xml-bomb.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let strings = "<?xml version=\"1.0\"?><!DOCTYPE sst [<!ENTITY a \"aaaaaaaaaa\">\
                <!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]>\
                <sst><si><t>&c;</t></si></sst>";
                let strings = Entry::new(STRINGS, strings.as_bytes());
                out.write_all(&archive(&parts(one_cell(), Some(strings)), None))
            },
        ),
        Case::new(
            "xml-external.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let sheet = format!(
                    "<?xml version=\"1.0\"?><!DOCTYPE worksheet [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>{}",
                    SHEET_HEAD.split_once('\n').map_or("", |(_, rest)| rest)
                );
                let sheet = format!(
                    "{sheet}<row r=\"1\"><c r=\"A1\" t=\"str\"><v>&x;</v></c></row>{SHEET_TAIL}"
                );
                out.write_all(&archive(
                    &parts(Entry::new(SHEET, sheet.as_bytes()), None),
                    None,
                ))
            },
        ),
        Case::new(
            "rows-out-of-order.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                out.write_all(&with_sheet(
                "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>a</v></c></row>\
                 <row r=\"3\"><c r=\"A3\"><v>3</v></c></row><row r=\"2\"><c r=\"A2\"><v>2</v></c></row>",
            ))
            },
        ),
        Case::new(
            "cell-twice.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                out.write_all(&with_sheet(
                    "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>a</v></c></row>\
                 <row r=\"2\"><c r=\"A2\"><v>1</v></c><c r=\"A2\"><v>2</v></c></row>",
                ))
            },
        ),
        Case::new(
            "cell-outside.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                out.write_all(&with_sheet(
                    "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>a</v></c></row>\
                 <row r=\"2000000\"><c r=\"A2000000\"><v>1</v></c></row>",
                ))
            },
        ),
        Case::new(
            "unknown-string.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                out.write_all(&with_sheet(
                    "<row r=\"1\"><c r=\"A1\" t=\"s\"><v>7</v></c></row>",
                ))
            },
        ),
        Case::new(
            "cut-off-part.xlsx",
            Failed(Failure::UnreadableWorkbook),
            |out| {
                let sheet = format!("{SHEET_HEAD}{ONE_ROW}<row r=\"2\"><c r=\"A2\"><v>1</v>");
                out.write_all(&archive(
                    &parts(Entry::new(SHEET, sheet.as_bytes()), None),
                    None,
                ))
            },
        ),
    ]
}

/// Where the directory of an archive begins.
fn directory_start(archive: &[u8]) -> u32 {
    let at = archive.len() - 6;
    archive[at..at + 4]
        .iter()
        .rev()
        .fold(0, |n, b| n << 8 | u32::from(*b))
}
