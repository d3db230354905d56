use calamine::{Data, Reader};

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

#[test]
fn every_kind_of_cell_is_read_whatever_the_order_and_the_date_system() {
    let long = format!("8: ||{}||", "x".repeat(20_000));
    let expected = strings(&[
        "4: 1|2024-02-29|007|19.99|true",
        "5: 2|2024-02-29T13:30:05|\u{fc}, \"x\"\n日本|-1234567890123|false",
        "6: Blank ",
        "7: 1073741824|30:00:00||0.01|true",
        &long,
    ]);
    for name in ["kinds.xls", "kinds-1904.xls", "kinds-shuffled.xls"] {
        let read = read_as(
            FileType::Xls,
            fixture(name),
            &Options::default(),
            &Limits::default(),
        );
        let read = read.unwrap();
        assert_eq!(read.sheet, "T\u{e4}ble", "{name}");
        assert_eq!(read.first_column, 2, "{name}");
        assert_eq!(
            read.labels.unwrap(),
            ["id", "when", "text", "price", "ok"],
            "{name}"
        );
        assert_eq!(read.rows, expected, "{name}");
    }
}

#[test]
fn the_library_reads_the_same_from_a_sound_file() {
    let bytes = fixture("many.xls");
    let mut library: calamine::Xls<_> = Reader::new(std::io::Cursor::new(&bytes)).unwrap();
    let range = library.worksheet_range("Many").unwrap();
    let theirs = range.rows().skip(1).zip(2..).map(|(row, line)| {
        let cells: Vec<_> = row.iter().map(Data::to_string).collect();
        format!("{line}: {}", cells.join("|"))
    });
    let ours = read_as(
        FileType::Xls,
        bytes.clone(),
        &Options::default(),
        &Limits::default(),
    );
    assert_eq!(ours.unwrap().rows, theirs.collect::<Vec<_>>());
}

#[test]
fn a_damaged_file_is_refused_and_breaks_nothing() {
    let sound = fixture("kinds.xls");
    let read = |bytes| {
        read_as(
            FileType::Xls,
            bytes,
            &Options::default(),
            &Limits::default(),
        )
    };
    let whole = read(sound.clone()).unwrap();
    for length in (0..sound.len()).step_by(97) {
        // The last bytes of the file belong to nothing.
        match read(sound[..length].to_vec()) {
            Ok(cut) => assert_eq!(cut, whole, "{length}"),
            Err(ReadError::Failure(_)) => {}
            Err(other) => panic!("{length}: {other:?}"),
        }
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..3_000 {
        let mut bytes = sound.clone();
        for _ in 0..8 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = random as usize % bytes.len();
            bytes[at] = (random >> 40) as u8;
        }
        let read = read_as(
            FileType::Xls,
            bytes,
            &Options::default(),
            &Limits::default(),
        );
        assert!(!matches!(
            read,
            Err(ReadError::Read(_) | ReadError::Scratch(_))
        ));
    }
}

const NONE: u32 = u32::MAX;

/// An entry of a compound file's directory.
struct Entry {
    name: &'static str,
    kind: u8,
    /// The entries before and after it, and one in it.
    links: [u32; 3],
    content: Vec<u8>,
}

fn entry(name: &'static str, kind: u8, links: [u32; 3], content: Vec<u8>) -> Entry {
    Entry {
        name,
        kind,
        links,
        content,
    }
}

/// A compound file with up to eight entries, the first of them its root.
fn compound(entries: Vec<Entry>) -> Vec<u8> {
    // The table itself, then two sectors of directory.
    let mut table = vec![0xffff_fffd_u32, 2, 0xffff_fffe];
    let (mut directory, mut contents) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut content = entry.content;
        // From this size on it lies in sectors of its own.
        content.resize(content.len().next_multiple_of(4096), 0);
        let start = table.len() as u32;
        let sectors = content.len() as u32 / 512;
        table.extend((1..sectors).map(|n| start + n));
        table.extend((sectors > 0).then_some(0xffff_fffe));
        let mut bytes: Vec<u8> = entry
            .name
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        bytes.resize(66, 0);
        bytes.extend([entry.kind, 1]);
        bytes.extend(entry.links.into_iter().flat_map(u32::to_le_bytes));
        bytes.resize(116, 0);
        bytes.extend(start.to_le_bytes());
        bytes.extend((content.len() as u64).to_le_bytes());
        directory.extend(bytes);
        contents.extend(content);
    }
    directory.resize(1024, 0);
    table.resize(128, NONE);
    let mut file = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    file.resize(30, 0);
    file.extend([9, 0, 6, 0]);
    file.resize(48, 0);
    file.extend(1_u32.to_le_bytes());
    file.resize(60, 0);
    // Neither small streams nor a longer list of tables; the one table lies in sector 0.
    file.extend(
        [0xffff_fffe_u32, 0, 0xffff_fffe, 0, 0]
            .map(u32::to_le_bytes)
            .concat(),
    );
    file.resize(512, 0xff);
    file.extend(table.into_iter().flat_map(u32::to_le_bytes));
    file.extend(directory);
    file.extend(contents);
    file
}

fn record(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend((content.len() as u16).to_le_bytes());
    bytes.extend(content);
    bytes
}

/// The stream of a workbook with one sheet. Before version 0x600 texts are bytes.
fn book(version: u16, globals: &[u8], cells: &[u8]) -> Vec<u8> {
    let version = version.to_le_bytes();
    let begin = record(0x0809, &[&version[..], &[5, 0]].concat());
    let name: &[u8] = if version[1] < 6 {
        b"\x01S"
    } else {
        b"\x01\x00S"
    };
    let place = begin.len() + globals.len() + 4 + 6 + name.len() + 4;
    let place = (place as u32).to_le_bytes();
    let sheet = record(0x0085, &[&place[..], &[0, 0], name].concat());
    let end = record(0x000a, &[]);
    let sheet_begin = record(0x0809, &[&version[..], &[0x10, 0]].concat());
    [&begin[..], globals, &sheet, &end, &sheet_begin, cells, &end].concat()
}

fn workbook_of(stream: Vec<u8>) -> Vec<u8> {
    compound(vec![
        entry("Root Entry", 5, [NONE, NONE, 1], Vec::new()),
        entry("Book", 2, [NONE; 3], stream),
    ])
}

/// A cell in the first column with a text in bytes.
fn label(row: u8, text: &[u8]) -> Vec<u8> {
    let head = [row, 0, 0, 0, 0, 0, text.len() as u8, 0];
    record(0x0204, &[&head[..], text].concat())
}

fn old_texts(code_page: u16, text: &[u8]) -> Result<Read, ReadError> {
    let cells = [label(0, b"name"), label(1, text)].concat();
    let globals = [
        record(0x0042, &code_page.to_le_bytes()),
        // A format code with a pound sign of code page 850.
        record(0x041e, b"\x05\x00\x08\"\x9c\"#,##0"),
    ];
    let bytes = workbook_of(book(0x0500, &globals.concat(), &cells));
    read_as(
        FileType::Xls,
        bytes,
        &Options::default(),
        &Limits::default(),
    )
}

#[test]
fn old_texts_are_read_in_their_code_page_or_refused() {
    let cases: &[(u16, &[u8], &str)] = &[
        (1252, b"\xfcber", "\u{fc}ber"),
        (0x8001, b"\xfcber", "\u{fc}ber"),
        (1251, b"\xcf\xf0", "\u{41f}\u{440}"),
        (866, b"\x8f\xe0", "\u{41f}\u{440}"),
        (10_007, b"\x8f\xf0", "\u{41f}\u{440}"),
        (10_000, b"\x9fber", "\u{fc}ber"),
        (932, b"\x93\xfa", "\u{65e5}"),
        (437, b"plain", "plain"),
        (850, b"plain", "plain"),
    ];
    for (page, text, expected) in cases {
        let read = old_texts(*page, text).unwrap();
        assert_eq!(read.rows, [format!("2: {expected}")], "{page}");
    }
    for page in [437, 850, 10_001] {
        let failure = match old_texts(page, b"\x81ber") {
            Err(ReadError::Failure(failure)) => failure,
            other => panic!("{page}: {other:?}"),
        };
        assert_eq!(failure.code, FailureCode::UnreadableWorkbook);
        let said = format!("in code page {page}, which is not read; save it as XLSX");
        assert!(failure.message.contains(&said), "{}", failure.message);
    }
}

#[test]
fn a_character_that_two_records_share_stays_whole() {
    let text: Vec<u8> = "a\u{1f600}b"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    // Split between the two units of the character; what follows the second split is written in bytes.
    let globals = [
        record(
            0x00fc,
            &[&[1, 0, 0, 0, 1, 0, 0, 0, 5, 0, 1][..], &text[..4]].concat(),
        ),
        record(0x003c, &[&[1][..], &text[4..]].concat()),
        record(0x003c, b"\x00\xfc"),
    ];
    let cells = [
        record(0x00fd, &[0; 10]),
        record(0x00fd, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let bytes = workbook_of(book(0x0600, &globals.concat(), &cells.concat()));
    let read = read_as(
        FileType::Xls,
        bytes,
        &Options::default(),
        &Limits::default(),
    );
    assert_eq!(read.unwrap().rows, ["2: a\u{1f600}b\u{fc}"]);
}

#[test]
fn a_workbook_inside_of_another_is_not_taken_for_it() {
    let stream = |text: &[u8]| book(0x0500, &[], &label(0, text));
    let read = |siblings: [u32; 2], own: &'static str| {
        let bytes = compound(vec![
            entry("Root Entry", 5, [NONE, NONE, 1], Vec::new()),
            entry("MBD0001", 1, [NONE, 3, 2], Vec::new()),
            entry("Workbook", 2, [NONE; 3], stream(b"embedded")),
            entry(own, 2, [siblings[0], siblings[1], NONE], stream(b"own")),
            // A folder is no workbook, whatever its name.
            entry("Workbook", 1, [NONE, NONE, 2], Vec::new()),
        ]);
        match read_as(
            FileType::Xls,
            bytes,
            &Options::default(),
            &Limits::default(),
        ) {
            Ok(read) => read.labels.unwrap()[0].clone(),
            Err(ReadError::Failure(failure)) => failure.code.as_str().to_owned(),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(read([NONE, NONE], "Workbook"), "own");
    assert_eq!(read([4, NONE], "Book"), "own");
    assert_eq!(read([NONE, NONE], "Contents"), "NOT_A_TABLE");
    // Links in a circle, and to an entry that is not there.
    assert_eq!(read([NONE, 1], "Workbook"), "UNREADABLE_WORKBOOK");
    assert_eq!(read([8, NONE], "Workbook"), "UNREADABLE_WORKBOOK");
}
