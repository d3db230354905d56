//! Workbooks: XLSX, XLS, XLSB and ODS.
//!
//! ```text
//! zip ─▶ archive (directory checked) ─▶ repack (inflated, sizes proven) ─▶ calamine ─▶ rows ─▶ batches
//! ```
//! A workbook is the most hostile thing we read: kilobytes that ask for gigabytes, lists that announce more
//! than they hold, records that point outside of themselves. What would make the spreadsheet library
//! allocate without measure is found and refused before the library sees it; what makes it panic ends as
//! `UNREADABLE_WORKBOOK`; cells are read one by one and never laid out as a rectangle.

use std::sync::Arc;

use filejobs_core::file::{Content, SNIFF_BYTES};
use filejobs_core::{Failure, FailureCode, FileType, Limits, Options};

use crate::reader::{ReadError, Table};
use crate::source::Source;

mod archive;
mod biff;
mod cell_text;
mod compound;
mod feed;
pub(crate) mod fuzzing;
mod inflate;
mod number_format;
mod ods;
mod open_xml;
mod read_at;
mod repack;
mod rows;
mod sheets;
mod strings;
mod styles;
mod xls;
mod xml_guard;

use read_at::ReadAt;

/// Opens the wanted sheet of a workbook and reads its labels.
///
/// `threads` is how many threads the run may keep busy: from two on, the workbook is read in one of its own.
pub(crate) fn open(
    source: &Source,
    file_type: FileType,
    options: &Options,
    limits: &Limits,
    threads: u32,
) -> Result<Table, ReadError> {
    open_source(
        Arc::new(source.clone()),
        file_type,
        options,
        limits,
        threads,
    )
}

fn open_source(
    source: Arc<dyn ReadAt>,
    file_type: FileType,
    options: &Options,
    limits: &Limits,
    threads: u32,
) -> Result<Table, ReadError> {
    check_content(&source, file_type)?;
    match file_type {
        FileType::Xlsx | FileType::Xlsb => {
            open_xml::open(source, file_type, options, limits, threads)
        }
        FileType::Xls => xls::open(source, options, limits, threads),
        FileType::Ods => ods::open(source, options, limits, threads),
        FileType::Csv => Err(not_a_table(format!(
            "A file of the type {} is not read as a workbook",
            file_type.as_str()
        ))),
    }
}

fn not_a_table(message: impl Into<String>) -> ReadError {
    Failure::new(FailureCode::NotATable, message).into()
}

/// The name said which kind of workbook; the first bytes must agree.
fn check_content(source: &Arc<dyn ReadAt>, file_type: FileType) -> Result<(), ReadError> {
    let size = source.size();
    let mut head = vec![0; usize::try_from(size).map_or(SNIFF_BYTES, |s| s.min(SNIFF_BYTES))];
    source
        .read_exact_at(&mut head, 0)
        .map_err(ReadError::Read)?;
    match Content::sniff(&head) {
        Content::Empty => {
            let message = "The file is empty; hand in one with a row of labels";
            Err(Failure::new(FailureCode::EmptyFile, message).into())
        }
        Content::Ole if matches!(file_type, FileType::Xlsx | FileType::Xlsb) => {
            if xls::is_workbook(Arc::clone(source)) {
                return Err(not_a_table(
                    "The file is an Excel 97-2003 workbook; hand it in with the ending .xls",
                ));
            }
            Err(archive::encrypted())
        }
        content if file_type.fits(content) => Ok(()),
        content => Err(not_a_table(format!(
            "The file is {content}, not a workbook of the type {}; hand it in under its own name",
            file_type.as_str()
        ))),
    }
}

#[cfg(test)]
mod tests;
