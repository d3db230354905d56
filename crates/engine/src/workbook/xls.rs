//! XLS: the workbooks of Excel 5.0 to 2003.
//!
//! The spreadsheet library opens them by laying out every sheet as a rectangle, on the word of records that a
//! damaged file fills with anything, and aborts the process when memory runs out. So their records are read
//! here, one cell after the other; tests hold what comes out to what the library reads from sound files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use calamine::{ExcelDateTime, ExcelDateTimeType, SheetType, SheetVisible};
use filejobs_core::options::Sheet;
use filejobs_core::{Limits, Options};

use super::archive::{encrypted, limit};
use super::biff::{CodePage, Fields, Records, Strings, Texts, damaged};
use super::cell_text::{Value, error_text};
use super::compound::Compound;
use super::read_at::ReadAt;
use super::rows::{Rows, Stop};
use super::{feed, not_a_table, number_format, sheets};
use crate::reader::{ReadError, Table};
use crate::validate::Places;

/// Records of the workbook and of its sheets; [MS-XLS] 2.3.
mod kind {
    pub(super) const FORMULA: u16 = 0x0006;
    pub(super) const EOF: u16 = 0x000a;
    pub(super) const DATE_MODE: u16 = 0x0022;
    pub(super) const FILE_PASS: u16 = 0x002f;
    pub(super) const CONTINUE: u16 = 0x003c;
    pub(super) const CODE_PAGE: u16 = 0x0042;
    pub(super) const BOUND_SHEET: u16 = 0x0085;
    pub(super) const MUL_RK: u16 = 0x00bd;
    pub(super) const RICH_LABEL: u16 = 0x00d6;
    pub(super) const XF: u16 = 0x00e0;
    pub(super) const SST: u16 = 0x00fc;
    pub(super) const LABEL_SST: u16 = 0x00fd;
    pub(super) const NUMBER: u16 = 0x0203;
    pub(super) const LABEL: u16 = 0x0204;
    pub(super) const BOOL_ERR: u16 = 0x0205;
    pub(super) const STRING: u16 = 0x0207;
    pub(super) const ARRAY: u16 = 0x0221;
    pub(super) const TABLE: u16 = 0x0236;
    pub(super) const RK: u16 = 0x027e;
    pub(super) const FORMAT: u16 = 0x041e;
    pub(super) const SHARED_FORMULA: u16 = 0x04bc;
    pub(super) const BOF: u16 = 0x0809;

    /// Whether the record is a cell with a value: row and column stand first in it.
    pub(super) fn is_cell(kind: u16) -> bool {
        matches!(
            kind,
            FORMULA | MUL_RK | RICH_LABEL | LABEL_SST | NUMBER | LABEL | BOOL_ERR | RK
        )
    }
}

/// Sheets of a workbook; the format sets no bound.
const SHEETS_MAX: usize = 10_000;
/// Number formats and cell styles; Excel allows 4,000 styles.
const STYLES_MAX: usize = 65_536;

pub(super) fn open(
    source: Arc<dyn ReadAt>,
    options: &Options,
    limits: &Limits,
    threads: u32,
) -> Result<Table, ReadError> {
    let file_size = source.size();
    let file = Compound::open(source)?;
    let stream = match file.stream("Workbook")? {
        Some(stream) => Some(stream),
        None => file.stream("Book")?,
    };
    let Some(stream) = stream else {
        return Err(if file.has("EncryptedPackage") {
            encrypted()
        } else {
            not_a_table("The file is an OLE compound file without a workbook in it")
        });
    };
    let has_labels = options.header.unwrap_or(true);
    let limits = limits.clone();
    let place = Arc::new(AtomicU64::new(0));
    let (chosen, sheet) = channel();
    let job = Job {
        wish: options.sheet.clone(),
        chosen,
        place: Arc::clone(&place),
    };
    let bytes_read = move || place.load(Ordering::Relaxed).min(file_size);
    let (head, rows) = feed::start(threads, Box::new(bytes_read), move |feed| {
        job.run(Records::new(stream), Rows::new(feed, &limits, has_labels))
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

/// Whether an OLE file is a workbook of this format rather than one under a password.
pub(super) fn is_workbook(source: Arc<dyn ReadAt>) -> bool {
    Compound::open(source).is_ok_and(|file| file.has("Workbook") || file.has("Book"))
}

/// Reading one workbook, on its own thread.
struct Job {
    wish: Option<Sheet>,
    /// Tells the name of the sheet that is read.
    chosen: Sender<String>,
    /// Where in the stream reading is.
    place: Arc<AtomicU64>,
}

impl Job {
    fn run(self, records: Records, mut rows: Rows<'_>) -> Result<(), Stop> {
        let mut book = Book::read(records)?;
        rows.set_dates_1904(book.dates_1904);
        let candidates = sheets::candidates(&book.sheets, self.wish.as_ref())?;
        let mut found = None;
        for name in candidates {
            let index = book.sheets.iter().position(|s| s.name == name);
            let place = index.map_or(0, |i| book.places[i]);
            let order = book.order(place)?;
            if order.any || self.wish.is_some() {
                found = Some((name, place, order));
                break;
            }
        }
        let Some((name, place, order)) = found else {
            return Err(sheets::no_data(&book.sheets).into());
        };
        // Before the head is: nobody asks for the name earlier.
        let _ = self.chosen.send(name);
        let mut cell = |row, column, value: Value<'_>| rows.cell(row, column, value);
        if order.ascending {
            book.records.seek(place);
            let mut sheet = SheetWalk::default();
            while let Some(found) = sheet.next(&mut book.records)? {
                self.place.store(book.records.place(), Ordering::Relaxed);
                book.cell(found, &mut cell)?;
            }
        } else {
            for at in book.sorted(place)? {
                book.records.seek(at);
                if let Some(found) = book.records.next()? {
                    book.cell(found, &mut cell)?;
                }
            }
        }
        rows.finish()
    }
}

/// What the workbook says about all its sheets.
struct Book {
    records: Records,
    texts: Texts,
    strings: Strings,
    /// Which cell styles show moments or durations.
    styles: Vec<Option<ExcelDateTimeType>>,
    dates_1904: bool,
    sheets: Vec<calamine::Sheet>,
    /// Where the records of each sheet begin.
    places: Vec<u64>,
}

/// In which order the cells of a sheet stand in its records.
struct Order {
    any: bool,
    ascending: bool,
}

impl Book {
    fn read(records: Records) -> Result<Self, ReadError> {
        let mut book = Self {
            records,
            texts: Texts::Bytes(CodePage::new(CodePage::WESTERN)),
            strings: Strings::default(),
            styles: Vec::new(),
            dates_1904: false,
            sheets: Vec::new(),
            places: Vec::new(),
        };
        let mut formats = std::collections::HashMap::new();
        let mut style_formats = Vec::new();
        while let Some(found) = book.records.next()? {
            match found {
                kind::EOF => break,
                kind::FILE_PASS => return Err(encrypted()),
                kind::BOF if Fields(&book.records.data).short()? >= 0x0600 => {
                    book.texts = Texts::Unicode;
                }
                kind::CODE_PAGE => {
                    let number = Fields(&book.records.data).short()?;
                    if let Texts::Bytes(page) = &mut book.texts {
                        *page = CodePage::new(number);
                    }
                }
                kind::DATE_MODE => book.dates_1904 = Fields(&book.records.data).short()? == 1,
                kind::BOUND_SHEET => book.bound_sheet()?,
                kind::XF => {
                    let mut fields = Fields(&book.records.data);
                    fields.short()?;
                    style_formats.push(fields.short()?);
                }
                kind::FORMAT => {
                    let number = Fields(&book.records.data).short()?;
                    formats.insert(number, number_format::of_code(&book.format_code()?));
                }
                kind::SST => book.strings = Strings::read(&mut book.records)?,
                _ => {}
            }
            if book.sheets.len() > SHEETS_MAX || style_formats.len() > STYLES_MAX {
                return Err(limit(format!(
                    "The workbook has more than {SHEETS_MAX} sheets or {STYLES_MAX} cell styles"
                )));
            }
        }
        let shows = |number| match formats.get(&number) {
            Some(shown) => *shown,
            None => number_format::built_in(number),
        };
        book.styles = style_formats.into_iter().map(shows).collect();
        Ok(book)
    }

    fn bound_sheet(&mut self) -> Result<(), ReadError> {
        let mut fields = Fields(&self.records.data);
        let place = u64::from(fields.long()?);
        let visible = match fields.byte()? & 3 {
            0 => SheetVisible::Visible,
            1 => SheetVisible::Hidden,
            _ => SheetVisible::VeryHidden,
        };
        let typ = match fields.byte()? {
            0 => SheetType::WorkSheet,
            1 => SheetType::MacroSheet,
            2 => SheetType::ChartSheet,
            _ => SheetType::Vba,
        };
        let count = usize::from(fields.byte()?);
        let name = self.texts.read(count, &mut fields)?;
        self.sheets.push(calamine::Sheet { name, typ, visible });
        self.places.push(place);
        Ok(())
    }

    fn format_code(&mut self) -> Result<String, ReadError> {
        let texts = self.texts;
        match texts {
            Texts::Unicode => self.records.text(texts, 2),
            Texts::Bytes(page) => {
                let mut fields = Fields(&self.records.data);
                fields.short()?;
                let count = usize::from(fields.byte()?);
                let code = fields.take(count)?;
                // What tells dates is ASCII: the currency signs of a code page that is not known do no harm.
                let lossy = || String::from_utf8_lossy(code).into_owned();
                Ok(page.decode(code).unwrap_or_else(|_| lossy()))
            }
        }
    }

    /// Some programs write cells in the order in which they were filled.
    fn order(&mut self, place: u64) -> Result<Order, ReadError> {
        let mut order = Order {
            any: false,
            ascending: true,
        };
        let mut last = None;
        self.records.seek(place);
        let mut sheet = SheetWalk::default();
        while sheet.next(&mut self.records)?.is_some() {
            let position = position(&self.records.data)?;
            order.any = true;
            order.ascending &= last < Some(position);
            last = Some(position);
        }
        Ok(order)
    }

    /// Where the records of the cells begin, in the order of the sheet. The later of two for the same cell
    /// counts.
    fn sorted(&mut self, place: u64) -> Result<Vec<u64>, ReadError> {
        let mut cells = Vec::new();
        self.records.seek(place);
        let mut sheet = SheetWalk::default();
        loop {
            let at = self.records.place();
            match sheet.step(&mut self.records)? {
                Step::Cell(_) => cells.push((position(&self.records.data)?, at)),
                Step::Other => {}
                Step::End => break,
            }
        }
        cells.sort_unstable_by_key(|(position, at)| (*position, std::cmp::Reverse(*at)));
        cells.dedup_by_key(|(position, _)| *position);
        Ok(cells.into_iter().map(|(_, at)| at).collect())
    }

    /// Hands the values of the cell record that is loaded to `cell`.
    fn cell(
        &mut self,
        found: u16,
        cell: &mut dyn FnMut(u32, u32, Value<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut fields = Fields(&self.records.data);
        let (row, column) = (u32::from(fields.short()?), u32::from(fields.short()?));
        if found == kind::MUL_RK {
            for (column, packed) in (column..).zip(fields.0.chunks_exact(6)) {
                let mut fields = Fields(packed);
                let style = fields.short()?;
                let value = unpack(fields.long()?);
                cell(row, column, self.number(value, style))?;
            }
            return Ok(());
        }
        let style = fields.short()?;
        match found {
            kind::NUMBER => cell(row, column, self.number(fields.float()?, style)),
            kind::RK => cell(row, column, self.number(unpack(fields.long()?), style)),
            kind::LABEL_SST => {
                let index = fields.long()? as usize;
                let text = self.strings.get(index).ok_or_else(damaged)?;
                cell(row, column, Value::text(text))
            }
            kind::BOOL_ERR => {
                let (value, is_error) = (fields.byte()?, fields.byte()?);
                cell(row, column, bool_or_error(value, is_error != 0)?)
            }
            kind::LABEL | kind::RICH_LABEL => {
                let text = self.records.text(self.texts, 6)?;
                cell(row, column, Value::text(&text))
            }
            _ => self.formula(row, column, style, cell),
        }
    }

    /// The cached value of a formula; one that is a text follows in a record of its own.
    fn formula(
        &mut self,
        row: u32,
        column: u32,
        style: u16,
        cell: &mut dyn FnMut(u32, u32, Value<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut fields = Fields(self.records.data.get(6..).unwrap_or_default());
        let value = fields.take(8)?;
        if value[6..] != [0xff, 0xff] {
            let number = Fields(value).float()?;
            return cell(row, column, self.number(number, style));
        }
        match value[0] {
            0 => {
                let text = self.formula_text()?;
                cell(row, column, Value::text(&text))
            }
            1 => cell(row, column, bool_or_error(value[2], false)?),
            2 => cell(row, column, bool_or_error(value[2], true)?),
            _ => cell(row, column, Value::Empty),
        }
    }

    fn formula_text(&mut self) -> Result<String, ReadError> {
        loop {
            let at = self.records.place();
            match self.records.next()? {
                Some(kind::STRING) => return self.records.text(self.texts, 0),
                Some(kind::ARRAY | kind::TABLE | kind::SHARED_FORMULA | kind::CONTINUE) => {}
                _ => {
                    self.records.seek(at);
                    return Ok(String::new());
                }
            }
        }
    }

    fn number(&self, value: f64, style: u16) -> Value<'static> {
        match self.styles.get(usize::from(style)) {
            Some(Some(shown)) => Value::Moment(ExcelDateTime::new(value, *shown, self.dates_1904)),
            _ => Value::Number(value),
        }
    }
}

fn position(data: &[u8]) -> Result<(u16, u16), ReadError> {
    let mut fields = Fields(data);
    Ok((fields.short()?, fields.short()?))
}

/// A number in 30 bits, or the upper 30 of a float; either may be in hundredths.
fn unpack(packed: u32) -> f64 {
    let number = if packed & 2 != 0 {
        f64::from(packed.cast_signed() >> 2)
    } else {
        f64::from_bits(u64::from(packed & 0xffff_fffc) << 32)
    };
    if packed & 1 != 0 {
        number / 100.0
    } else {
        number
    }
}

fn bool_or_error(value: u8, is_error: bool) -> Result<Value<'static>, ReadError> {
    use calamine::CellErrorType as E;
    if !is_error {
        return Ok(Value::Boolean(value != 0));
    }
    let error = match value {
        0x00 => E::Null,
        0x07 => E::Div0,
        0x0f => E::Value,
        0x17 => E::Ref,
        0x1d => E::Name,
        0x24 => E::Num,
        0x2a => E::NA,
        0x2b => E::GettingData,
        _ => return Err(damaged()),
    };
    Ok(Value::Error(error_text(&error)))
}

/// Goes through the records of one sheet and stops at its cells; those of embedded charts are not its own.
#[derive(Default)]
struct SheetWalk {
    depth: u32,
}

enum Step {
    Cell(u16),
    Other,
    End,
}

impl SheetWalk {
    fn next(&mut self, records: &mut Records) -> Result<Option<u16>, ReadError> {
        loop {
            match self.step(records)? {
                Step::Cell(found) => return Ok(Some(found)),
                Step::Other => {}
                Step::End => return Ok(None),
            }
        }
    }

    fn step(&mut self, records: &mut Records) -> Result<Step, ReadError> {
        // A sheet that ends without its end record is cut off.
        let found = records.next()?.ok_or_else(damaged)?;
        if self.depth == 0 && found != kind::BOF {
            return Err(damaged());
        }
        match found {
            kind::BOF => self.depth += 1,
            kind::EOF => self.depth -= 1,
            _ if self.depth == 1 && kind::is_cell(found) => return Ok(Step::Cell(found)),
            _ => {}
        }
        Ok(if self.depth == 0 {
            Step::End
        } else {
            Step::Other
        })
    }
}
