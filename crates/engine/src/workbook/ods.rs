//! ODS: OpenDocument spreadsheets.
//!
//! A cell or row says how often it repeats, so a few bytes can stand for a whole sheet; the spreadsheet
//! library lays that out in memory. Here a row is held once and handed on as often as it says, while the
//! limits of the table last.

use std::collections::HashSet;
use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use calamine::{SheetType, SheetVisible};
use filejobs_core::options::Sheet;
use filejobs_core::{Limits, Options};
use memchr::memmem;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::archive::{Archive, encrypted, limit, unreadable};
use super::cell_text::Value;
use super::inflate::{self, EntryReader};
use super::read_at::ReadAt;
use super::rows::{Rows, Stop};
use super::xml_guard::{Witness, XmlPart};
use super::{feed, not_a_table, sheets};
use crate::reader::{ReadError, Table};
use crate::validate::Places;

/// What one row's cells may take in memory.
const ROW_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The rows and columns that a sheet can have.
const ROWS: u64 = 1_048_576;
const COLUMNS: u64 = 16_384;
const SHEETS_MAX: usize = 10_000;
const MANIFEST_MAX: u64 = 16 * 1024 * 1024;

pub(super) fn open(
    source: Arc<dyn ReadAt>,
    options: &Options,
    limits: &Limits,
    threads: u32,
) -> Result<Table, ReadError> {
    let file_size = source.size();
    let archive = Arc::new(Archive::open(source, limits)?);
    check_encryption(&archive)?;
    let content = archive.find("content.xml").ok_or_else(|| {
        not_a_table("The file is a zip archive without an OpenDocument spreadsheet in it")
    })?;
    for index in (0..archive.entries.len()).filter(|i| *i != content) {
        inflate::verify(&archive, index)?;
    }
    let has_labels = options.header.unwrap_or(true);
    let limits = limits.clone();
    let place = Arc::new(AtomicU64::new(0));
    let (chosen, sheet) = channel();
    let size = archive.entries[content].size.max(1);
    let job = Job {
        archive,
        content,
        text_max: limits.record_bytes,
        wish: options.sheet.clone(),
        chosen,
        place: Arc::clone(&place),
    };
    let bytes_read = move || {
        let share = u128::from(file_size) * u128::from(place.load(Ordering::Relaxed));
        u64::try_from(share / u128::from(size)).map_or(file_size, |b| b.min(file_size))
    };
    let (head, rows) = feed::start(threads, Box::new(bytes_read), move |feed| {
        job.run(Rows::new(feed, &limits, has_labels))
    })?;
    Ok(Table {
        labels: head.labels,
        header_line: head.line,
        header_offset: None,
        dialect: None,
        sheet: sheet.try_recv().ok(),
        places: Places::Sheet {
            first_column: head.first_column,
        },
        rows: Box::new(rows),
    })
}

/// The manifest says which parts are encrypted.
fn check_encryption(archive: &Arc<Archive>) -> Result<(), ReadError> {
    let Some(index) = archive.find("meta-inf/manifest.xml") else {
        return Ok(());
    };
    let size = archive.entries[index].size;
    if size > MANIFEST_MAX {
        return Err(limit(format!(
            "The workbook's manifest is larger than {MANIFEST_MAX} bytes"
        )));
    }
    let mut manifest = vec![0; size as usize];
    let mut reader = EntryReader::new(archive, index);
    let mut read = 0;
    while read < manifest.len() {
        match reader.read(&mut manifest[read..])? {
            0 => break,
            count => read += count,
        }
    }
    if memmem::find(&manifest, b"encryption-data").is_some() {
        return Err(encrypted());
    }
    Ok(())
}

/// Reading one workbook, on its own thread.
struct Job {
    archive: Arc<Archive>,
    content: usize,
    text_max: u64,
    wish: Option<Sheet>,
    /// Tells the name of the sheet that is read.
    chosen: Sender<String>,
    /// Bytes of the content that are read.
    place: Arc<AtomicU64>,
}

impl Job {
    fn run(self, mut rows: Rows<'_>) -> Result<(), Stop> {
        let (all, with_data) = self.survey()?;
        let candidates = sheets::candidates(&all, self.wish.as_ref())?;
        let wished = self.wish.is_some();
        let name = candidates
            .into_iter()
            .find(|name| wished || with_data.contains(name))
            .ok_or_else(|| sheets::no_data(&all))?;
        // Before the head is: nobody asks for the name earlier.
        let _ = self.chosen.send(name.clone());
        let mut content = self.content();
        let mut wanted = false;
        let mut row = 0;
        loop {
            match content.next()? {
                Item::Table { name: found, .. } => wanted = found == name,
                Item::Row { repeats } => {
                    if wanted {
                        hand_over(&content.cells, row, repeats, &mut rows)?;
                        row += repeats;
                        self.place.store(content.place(), Ordering::Relaxed);
                    }
                }
                Item::TableEnd if wanted => break,
                Item::TableEnd | Item::Hidden(_) => {}
                Item::End => break,
            }
        }
        // What follows the sheet is held to be sound, too.
        while !matches!(content.next()?, Item::End) {}
        rows.finish()
    }

    /// The sheets, and which of them hold a value.
    fn survey(&self) -> Result<(Vec<calamine::Sheet>, HashSet<String>), ReadError> {
        let mut content = self.content();
        let mut hidden = HashSet::new();
        let mut all: Vec<calamine::Sheet> = Vec::new();
        let mut with_data = HashSet::new();
        loop {
            match content.next()? {
                Item::Hidden(style) => {
                    hidden.insert(style);
                }
                Item::Table { name, style } => {
                    let visible = if hidden.contains(&style) {
                        SheetVisible::Hidden
                    } else {
                        SheetVisible::Visible
                    };
                    let typ = SheetType::WorkSheet;
                    all.push(calamine::Sheet { name, typ, visible });
                }
                Item::Row { .. } => {
                    if let Some(sheet) = all.last().filter(|_| !content.cells.is_empty()) {
                        with_data.insert(sheet.name.clone());
                    }
                }
                Item::TableEnd => {}
                Item::End => return Ok((all, with_data)),
            }
            if all.len() > SHEETS_MAX || hidden.len() > SHEETS_MAX {
                return Err(limit(format!(
                    "The workbook has more than {SHEETS_MAX} sheets"
                )));
            }
        }
    }

    fn content(&self) -> Content {
        let (part, witness) = XmlPart::new(&self.archive, self.content, self.text_max);
        let mut reader = Reader::from_reader(BufReader::with_capacity(64 * 1024, part));
        reader.config_mut().check_end_names = false;
        Content {
            reader,
            witness,
            buffer: Vec::new(),
            cells: Vec::new(),
            style: String::new(),
        }
    }
}

/// Hands the cells of a row on as often as it repeats; rows without a value only take their number.
fn hand_over(
    cells: &[Filled],
    first_row: u64,
    repeats: u64,
    rows: &mut Rows<'_>,
) -> Result<(), Stop> {
    if cells.is_empty() {
        return Ok(());
    }
    for row in first_row..first_row + repeats {
        // `Rows` refuses what no sheet can hold.
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        for cell in cells {
            for column in cell.column..cell.column + cell.repeats {
                let column = u32::try_from(column).unwrap_or(u32::MAX);
                rows.cell(row, column, cell.content.value())?;
            }
        }
    }
    Ok(())
}

/// A cell with a value.
struct Filled {
    column: u64,
    repeats: u64,
    content: Kind,
}

enum Kind {
    Text(String),
    Number(f64),
    Boolean(bool),
    Date(String),
    Time(String),
    Error(String),
}

impl Kind {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::text(text),
            Self::Number(n) => Value::Number(*n),
            Self::Boolean(b) => Value::Boolean(*b),
            Self::Date(text) => Value::Iso(text),
            Self::Time(text) => Value::IsoDuration(text),
            Self::Error(text) => Value::Error(text),
        }
    }
}

/// The next thing of interest in a spreadsheet's content.
enum Item {
    /// A style with which sheets are hidden.
    Hidden(String),
    Table {
        name: String,
        style: String,
    },
    /// A row; its values are in [`Content::cells`].
    Row {
        repeats: u64,
    },
    TableEnd,
    End,
}

struct Content {
    reader: Reader<BufReader<XmlPart>>,
    witness: Witness,
    buffer: Vec<u8>,
    cells: Vec<Filled>,
    /// The style that is being described.
    style: String,
}

impl Content {
    /// Bytes read so far.
    fn place(&self) -> u64 {
        self.reader.buffer_position()
    }

    fn next(&mut self) -> Result<Item, ReadError> {
        loop {
            self.buffer.clear();
            let found = self.reader.read_event_into(&mut self.buffer);
            self.witness.event();
            match found.map_err(|_| self.witness.trouble())? {
                Event::Start(tag) => match tag.local_name().as_ref() {
                    "style" => self.style = attribute(&tag, "name")?.unwrap_or_default(),
                    "table-properties" if is_hidden(&tag)? => {
                        return Ok(Item::Hidden(self.style.clone()));
                    }
                    "table" => return table(&tag),
                    "table-row" => {
                        let repeats = repeats(&tag, "number-rows-repeated", ROWS)?;
                        self.row()?;
                        return Ok(Item::Row { repeats });
                    }
                    _ => {}
                },
                Event::Empty(tag) => match tag.local_name().as_ref() {
                    "table-properties" if is_hidden(&tag)? => {
                        return Ok(Item::Hidden(self.style.clone()));
                    }
                    "table-row" => {
                        self.cells.clear();
                        let repeats = repeats(&tag, "number-rows-repeated", ROWS)?;
                        return Ok(Item::Row { repeats });
                    }
                    _ => {}
                },
                Event::End(tag) if tag.local_name().as_ref() == "table" => {
                    return Ok(Item::TableEnd);
                }
                Event::Eof => return Ok(Item::End),
                _ => {}
            }
        }
    }

    /// Reads the cells up to the end of the row.
    fn row(&mut self) -> Result<(), ReadError> {
        self.cells.clear();
        let mut column = 0;
        let mut held = 0;
        loop {
            self.buffer.clear();
            let found = self.reader.read_event_into(&mut self.buffer);
            self.witness.event();
            let (tag, has_content) = match found.map_err(|_| self.witness.trouble())? {
                Event::Start(tag) => (tag.into_owned(), true),
                Event::Empty(tag) => (tag.into_owned(), false),
                Event::End(tag) if tag.local_name().as_ref() == "table-row" => return Ok(()),
                Event::Eof => return Err(cut_off()),
                _ => continue,
            };
            if !matches!(
                tag.local_name().as_ref(),
                "table-cell" | "covered-table-cell"
            ) {
                continue;
            }
            let repeats = repeats(&tag, "number-columns-repeated", COLUMNS)?;
            let text = if has_content {
                self.text()?
            } else {
                String::new()
            };
            let content = kind(&tag, text)?;
            if !matches!(content.value(), Value::Empty) {
                held += size_of::<Filled>();
                if let Kind::Text(text) | Kind::Date(text) | Kind::Time(text) | Kind::Error(text) =
                    &content
                {
                    held += text.len();
                }
                if held > ROW_BYTES_MAX {
                    return Err(limit(format!(
                        "The sheet has a row of more than {ROW_BYTES_MAX} bytes"
                    )));
                }
                self.cells.push(Filled {
                    column,
                    repeats,
                    content,
                });
            }
            column += repeats;
        }
    }

    /// The paragraphs of a cell, up to its end; its notes are no part of it.
    fn text(&mut self) -> Result<String, ReadError> {
        let mut text = String::new();
        let mut paragraphs = 0;
        let mut in_paragraph = 0;
        let mut in_note = 0;
        loop {
            self.buffer.clear();
            let found = self.reader.read_event_into(&mut self.buffer);
            self.witness.event();
            match found.map_err(|_| self.witness.trouble())? {
                Event::Start(tag) => match tag.local_name().as_ref() {
                    "annotation" => in_note += 1,
                    "p" if in_note == 0 => {
                        if paragraphs > 0 {
                            text.push('\n');
                        }
                        paragraphs += 1;
                        in_paragraph += 1;
                    }
                    _ => {}
                },
                Event::Empty(tag) if in_note == 0 => match tag.local_name().as_ref() {
                    "p" => {
                        if paragraphs > 0 {
                            text.push('\n');
                        }
                        paragraphs += 1;
                    }
                    "s" => {
                        let spaces = repeats(&tag, "c", 32_767)? as usize;
                        text.extend(std::iter::repeat_n(' ', spaces));
                    }
                    "tab" => text.push('\t'),
                    "line-break" => text.push('\n'),
                    _ => {}
                },
                Event::End(tag) => match tag.local_name().as_ref() {
                    "annotation" => in_note -= 1,
                    "p" if in_note == 0 => in_paragraph -= 1,
                    "table-cell" | "covered-table-cell" => return Ok(text),
                    _ => {}
                },
                Event::Text(part) if in_paragraph > 0 && in_note == 0 => {
                    text.push_str(&part.xml10_content());
                }
                Event::CData(part) if in_paragraph > 0 && in_note == 0 => {
                    text.push_str(&part.xml10_content());
                }
                Event::GeneralRef(name) if in_paragraph > 0 && in_note == 0 => {
                    let reference = format!("&{};", name.as_ref());
                    let character = quick_xml::escape::unescape(&reference);
                    text.push_str(&character.map_err(|_| damaged())?);
                }
                Event::Eof => return Err(cut_off()),
                _ => {}
            }
            if text.len() > ROW_BYTES_MAX {
                return Err(limit(format!(
                    "The sheet has a cell of more than {ROW_BYTES_MAX} bytes"
                )));
            }
        }
    }
}

fn is_hidden(tag: &BytesStart<'_>) -> Result<bool, ReadError> {
    Ok(attribute(tag, "display")?.as_deref() == Some("false"))
}

fn table(tag: &BytesStart<'_>) -> Result<Item, ReadError> {
    Ok(Item::Table {
        name: attribute(tag, "name")?.unwrap_or_default(),
        style: attribute(tag, "style-name")?.unwrap_or_default(),
    })
}

/// What a cell holds, by its attributes; its text where it has no value of its own.
fn kind(tag: &BytesStart<'_>, text: String) -> Result<Kind, ReadError> {
    let mut types = Vec::new();
    let mut value = None;
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| damaged())?;
        let content = || -> Result<String, ReadError> {
            let text = quick_xml::escape::unescape(&attribute.value).map_err(|_| damaged())?;
            Ok(text.into_owned())
        };
        match attribute.key.local_name().as_ref() {
            "value-type" => types.push(content()?),
            "value" | "date-value" | "time-value" | "boolean-value" | "string-value" => {
                value = Some(content()?);
            }
            _ => {}
        }
    }
    if types.iter().any(|t| t == "error") {
        return Ok(Kind::Error(text));
    }
    let Some(first) = types.first() else {
        return Ok(Kind::Text(text));
    };
    let value = value.filter(|v| !v.is_empty());
    Ok(match (first.as_str(), value) {
        ("float" | "percentage" | "currency", Some(value)) => match fast_float2::parse(&value) {
            Ok(number) => Kind::Number(number),
            Err(_) => Kind::Text(value),
        },
        ("boolean", Some(value)) => match value.as_str() {
            "true" => Kind::Boolean(true),
            "false" => Kind::Boolean(false),
            _ => Kind::Text(value),
        },
        ("date", Some(value)) => Kind::Date(value),
        ("time", Some(value)) => Kind::Time(value),
        ("string", Some(value)) => Kind::Text(value),
        _ => Kind::Text(text),
    })
}

fn repeats(tag: &BytesStart<'_>, name: &str, max: u64) -> Result<u64, ReadError> {
    let Some(text) = attribute(tag, name)? else {
        return Ok(1);
    };
    let count: u64 = text.trim().parse().map_err(|_| damaged())?;
    Ok(count.min(max))
}

/// The attribute with this name, whatever its prefix.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, ReadError> {
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| damaged())?;
        if attribute.key.local_name().as_ref() == name {
            let text = quick_xml::escape::unescape(&attribute.value).map_err(|_| damaged())?;
            return Ok(Some(text.into_owned()));
        }
    }
    Ok(None)
}

fn damaged() -> ReadError {
    unreadable("The workbook is damaged: its content is not built as its format asks for")
}

fn cut_off() -> ReadError {
    unreadable("The workbook is damaged: its content ends too early")
}
