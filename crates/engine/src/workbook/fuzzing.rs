//! Entrances for fuzz targets.

use std::io::{self, Read};
use std::sync::Arc;

use filejobs_core::{FileType, Limits, Options};

use super::archive::Archive;
use super::read_at::ReadAt;
use super::repack::Watch;
use super::{open_source, open_xml};
use crate::batch::RawBatch;
use crate::reader::ReadError;

/// Small enough that inputs of a few kilobytes pass each of them.
fn limits() -> Limits {
    Limits {
        workbook_inflated_bytes: 1024 * 1024,
        workbook_ratio_bytes: 64 * 1024,
        workbook_entries: 64,
        workbook_cells: 100_000,
        record_bytes: 4 * 1024,
        batch_rows: 100,
        ..Limits::default()
    }
}

/// Checks `bytes` as the archive of a workbook, up to where the spreadsheet library would take over, and
/// reads all that the library could. It never gets more than the limits and the directory allow.
///
/// # Panics
/// When it does, or when a failure of the input is told as one of ours.
pub(crate) fn archive(bytes: &[u8]) {
    match read_archive(bytes) {
        Ok(()) | Err(ReadError::Failure(_)) => {}
        Err(other) => unreachable!("{other:?}"),
    }
}

fn read_archive(bytes: &[u8]) -> Result<(), ReadError> {
    let limits = limits();
    let source: Arc<dyn ReadAt> = Arc::new(bytes.to_vec());
    let archive = Arc::new(Archive::open(source, &limits)?);
    let watch = Arc::new(Watch::default());
    let mut repacked = open_xml::repack(&archive, &limits, &watch)?;
    let read = io::copy(&mut repacked.by_ref(), &mut io::sink());
    if let Some(trouble) = watch.trouble() {
        return Err(trouble);
    }
    let read = read.map_err(ReadError::Read)?;
    let declared: u64 = archive.entries.iter().map(|e| e.size).sum();
    assert!(declared <= limits.workbook_inflated_bytes);
    // Headers, names and the gap before the directory are ours.
    let ours = 256 * 1024 + archive.entries.len() as u64 * 2 * (64 * 1024 + 64);
    assert!(read <= declared + ours, "{read} > {declared} + {ours}");
    watch.prove_others(&archive)
}

/// Reads `bytes` as an `.xls` workbook to its end. Its rows follow each other and their cells lie inside of
/// their batch.
///
/// # Panics
/// When they do not, or when a failure of the input is told as one of ours.
pub(crate) fn old_workbook(bytes: &[u8]) {
    match read_old_workbook(bytes) {
        Ok(()) | Err(ReadError::Failure(_)) => {}
        Err(other) => unreachable!("{other:?}"),
    }
}

fn read_old_workbook(bytes: &[u8]) -> Result<(), ReadError> {
    let source: Arc<dyn ReadAt> = Arc::new(bytes.to_vec());
    let mut table = open_source(source, FileType::Xls, &Options::default(), &limits(), 1)?;
    let mut batch = RawBatch::default();
    let (mut next_row, mut line) = (1, table.header_line);
    while table.rows.next_batch(&mut batch)? {
        assert_eq!(batch.first_row, next_row);
        next_row += batch.rows.len() as u64;
        for (index, row) in batch.rows.iter().enumerate() {
            line += 1;
            assert_eq!(row.line, line);
            for cell in batch.row_cells(index) {
                assert!(std::str::from_utf8(batch.text(cell)).is_ok());
            }
        }
    }
    Ok(())
}
