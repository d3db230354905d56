//! XLSX and XLSB: zip archives read through the library's cell readers.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use calamine::{Reader, Xlsb, XlsbError, Xlsx, XlsxError};
use filejobs_core::options::Sheet;
use filejobs_core::{FileType, Limits, Options};

use super::archive::{Archive, encrypted, unreadable};
use super::cell_text::Value;
use super::feed;
use super::read_at::ReadAt;
use super::repack::{Repacked, Repacker, Watch};
use super::rows::{Rows, Stop};
use super::{not_a_table, sheets, strings, styles};
use crate::reader::{ReadError, Table};
use crate::validate::Places;

/// Characters of the library's own words that a sentence repeats.
const DETAIL_CHARS: usize = 200;

pub(super) fn open(
    source: Arc<dyn ReadAt>,
    file_type: FileType,
    options: &Options,
    limits: &Limits,
    threads: u32,
) -> Result<Table, ReadError> {
    let file_size = source.size();
    let archive = Arc::new(Archive::open(source, limits)?);
    check_kind(&archive, file_type)?;
    let watch = Arc::new(Watch::default());
    let repacked = repack(&archive, limits, &watch)?;
    let has_labels = options.header.unwrap_or(true);
    let limits = limits.clone();
    let shares = Arc::clone(&watch);
    let bytes_read = move || {
        u64::try_from(u128::from(file_size) * u128::from(shares.share_read()) / 1_000_000)
            .unwrap_or(file_size)
    };
    let (chosen, sheet) = channel();
    let job = Job {
        archive,
        watch,
        wish: options.sheet.clone(),
        chosen,
    };
    let (head, rows) = feed::start(threads, Box::new(bytes_read), move |feed| {
        let rows = Rows::new(feed, &limits, has_labels);
        match file_type {
            FileType::Xlsb => job.run::<Xlsb<Repacked>>(repacked, rows),
            _ => job.run::<Xlsx<Repacked>>(repacked, rows),
        }
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

/// The name said which of the two it is; the archive must agree.
fn check_kind(archive: &Archive, file_type: FileType) -> Result<(), ReadError> {
    let found = if archive.has("xl/workbook.bin") {
        FileType::Xlsb
    } else if archive.has("_rels/.rels") {
        FileType::Xlsx
    } else if archive.has("content.xml") {
        FileType::Ods
    } else {
        return Err(not_a_table(
            "The file is a zip archive without a workbook in it; hand in the workbook itself",
        ));
    };
    if found == file_type {
        return Ok(());
    }
    Err(not_a_table(format!(
        "The file is a workbook of the type {}, not {}; hand it in under its own name",
        found.as_str(),
        file_type.as_str()
    )))
}

/// The archive as the library is to see it, once what it loads whole was found to fit.
pub(super) fn repack(
    archive: &Arc<Archive>,
    limits: &Limits,
    watch: &Arc<Watch>,
) -> Result<Repacked, ReadError> {
    let mut repacker = Repacker::new(archive, limits.record_bytes);
    for (index, entry) in archive.entries.iter().enumerate() {
        match entry.base_name().as_str() {
            "sharedstrings.xml" => {
                strings::weigh(archive, index)?;
                repacker.keep(index, true);
            }
            "sharedstrings.bin" => {
                strings::weigh_binary(archive, index)?;
                repacker.keep(index, true);
            }
            "styles.xml" => repacker.make(&entry.name, styles::reduced(archive, index)?),
            // Colours are of no interest.
            "theme1.xml" => {}
            _ => repacker.keep(index, false),
        }
    }
    Ok(repacker.finish(watch))
}

/// Reading one workbook, on its own thread.
struct Job {
    archive: Arc<Archive>,
    watch: Arc<Watch>,
    wish: Option<Sheet>,
    /// Tells the name of the sheet that is read.
    chosen: Sender<String>,
}

impl Job {
    fn run<B: Book>(self, repacked: Repacked, mut rows: Rows<'_>) -> Result<(), Stop> {
        let mut book = B::open(repacked).map_err(|e| self.told(B::refused(&e)))?;
        rows.set_dates_1904(book.dates_1904());
        let name = self.choose(&mut book)?;
        // Before the head is: nobody asks for the name earlier.
        let _ = self.chosen.send(name.clone());
        let begin = || Ok(self.watch.prove_others(&self.archive)?);
        self.read(&mut book, &name, begin, |row, column, value| {
            rows.cell(row, column, value).map(|()| true)
        })?;
        self.watch.prove_rest()?;
        rows.finish()
    }

    fn choose<B: Book>(&self, book: &mut B) -> Result<String, Stop> {
        let all = book.sheets();
        if all.is_empty() {
            return Err(
                not_a_table("The file holds no sheet; hand in a workbook with a table").into(),
            );
        }
        let candidates = sheets::candidates(&all, self.wish.as_ref())?;
        if let ([wished], true) = (candidates.as_slice(), self.wish.is_some()) {
            return Ok(wished.clone());
        }
        for name in candidates {
            let mut has_data = false;
            self.read(
                book,
                &name,
                || Ok(()),
                |_, _, value| {
                    has_data = !matches!(value, Value::Empty);
                    Ok(!has_data)
                },
            )?;
            if has_data {
                return Ok(name);
            }
        }
        Err(sheets::no_data(&all).into())
    }

    /// Hands every cell of a sheet to `cell` until that says false; `begin` runs once the sheet is open.
    fn read<B: Book>(
        &self,
        book: &mut B,
        name: &str,
        begin: impl FnOnce() -> Result<(), Stop>,
        mut cell: impl FnMut(u32, u32, Value<'_>) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        self.watch.cells_begin();
        let read = book.cells(name, begin, |row, column, value| {
            self.watch.cell_seen();
            cell(row, column, value)
        });
        read.map_err(|failed| match failed {
            Broken::Stopped(stop) => stop,
            Broken::Book(error) => self.told(B::refused(&error)),
        })
    }

    /// What went wrong below the library explains what the library says.
    fn told(&self, error: ReadError) -> Stop {
        Stop::Error(self.watch.trouble().unwrap_or(error))
    }
}

/// Why reading cells ended early.
enum Broken<E> {
    Stopped(Stop),
    Book(E),
}

/// What both formats of the library offer.
trait Book: Sized {
    type Error;

    fn open(repacked: Repacked) -> Result<Self, Self::Error>;
    fn sheets(&self) -> Vec<calamine::Sheet>;
    fn dates_1904(&self) -> bool;
    /// See [`Job::read`].
    fn cells(
        &mut self,
        name: &str,
        begin: impl FnOnce() -> Result<(), Stop>,
        cell: impl FnMut(u32, u32, Value<'_>) -> Result<bool, Stop>,
    ) -> Result<(), Broken<Self::Error>>;
    /// The sentence for an error of the library.
    fn refused(error: &Self::Error) -> ReadError;
}

macro_rules! book {
    ($book:ident, $error:ident, $refused:expr) => {
        impl Book for $book<Repacked> {
            type Error = $error;

            fn open(repacked: Repacked) -> Result<Self, $error> {
                Self::new(repacked)
            }

            fn sheets(&self) -> Vec<calamine::Sheet> {
                self.sheets_metadata().to_vec()
            }

            fn dates_1904(&self) -> bool {
                self.has_1904_epoch()
            }

            fn cells(
                &mut self,
                name: &str,
                begin: impl FnOnce() -> Result<(), Stop>,
                mut cell: impl FnMut(u32, u32, Value<'_>) -> Result<bool, Stop>,
            ) -> Result<(), Broken<$error>> {
                let mut reader = self.worksheet_cells_reader(name).map_err(Broken::Book)?;
                begin().map_err(Broken::Stopped)?;
                while let Some(found) = reader.next_cell().map_err(Broken::Book)? {
                    let (row, column) = found.get_position();
                    let value = Value::of_ref(found.get_value());
                    if !cell(row, column, value).map_err(Broken::Stopped)? {
                        break;
                    }
                }
                Ok(())
            }

            fn refused(error: &$error) -> ReadError {
                $refused(error)
            }
        }
    };
}

book!(Xlsx, XlsxError, |error: &XlsxError| match error {
    XlsxError::Password => encrypted(),
    XlsxError::CellError(text) => unreadable(format!(
        "A cell of the sheet holds the error value {text:?}, which is not known; replace it and hand the workbook in again"
    )),
    other => damaged(other),
});
book!(Xlsb, XlsbError, |error: &XlsbError| match error {
    XlsbError::Password => encrypted(),
    other => damaged(other),
});

fn damaged(error: &dyn std::error::Error) -> ReadError {
    let detail: String = error
        .to_string()
        .chars()
        .filter(|c| !c.is_control())
        .take(DETAIL_CHARS)
        .collect();
    unreadable(format!("The workbook is damaged: {detail}"))
}
