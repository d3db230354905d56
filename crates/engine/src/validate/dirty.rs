//! Cells that are not typed: bytes that are no text, and errors of a spreadsheet.

use memchr::memmem;

use super::Places;
use super::problem::What;
use crate::batch::RawBatch;

/// U+FFFD, what a decoder writes for bytes that it cannot decode.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// The cells of a batch that are not typed, each with its reason. Reusable.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Indexes into [`RawBatch::cells`], ascending.
    cells: Vec<(u32, What)>,
}

impl Dirty {
    /// Looks at all cells of `raw`: at the bytes of the whole batch at once, and cell by cell only when
    /// something is wrong with them.
    pub(crate) fn find(&mut self, raw: &RawBatch, places: Places) {
        self.cells.clear();
        let errors = raw.error_cells.iter();
        self.cells
            .extend(errors.map(|cell| (*cell, What::ExcelError)));
        let transcoded = places == Places::Transcoded;
        if is_clean(raw, transcoded) {
            return;
        }
        for cell in 0..raw.cells.len() {
            let text = raw.text(cell);
            let what = if std::str::from_utf8(text).is_err()
                || transcoded && memmem::find(text, REPLACEMENT).is_some()
            {
                What::InvalidBytes
            } else if memchr::memchr(0, text).is_some() {
                What::Nul
            } else {
                continue;
            };
            self.cells.push((cell as u32, what));
        }
        self.cells.sort_unstable();
        self.cells.dedup_by_key(|(cell, _)| *cell);
    }

    /// Whether the cell is not to be typed.
    #[inline]
    pub(crate) fn contains(&self, cell: u32) -> bool {
        !self.cells.is_empty()
            && self
                .cells
                .binary_search_by_key(&cell, |(at, _)| *at)
                .is_ok()
    }

    /// The cells from index `from` on.
    pub(crate) fn since(&self, from: u32) -> &[(u32, What)] {
        &self.cells[self.cells.partition_point(|(at, _)| *at < from)..]
    }
}

/// Whether all cells are valid text without a NUL.
fn is_clean(raw: &RawBatch, transcoded: bool) -> bool {
    if simdutf8::basic::from_utf8(&raw.bytes).is_err()
        || memchr::memchr(0, &raw.bytes).is_some()
        || transcoded && memmem::find(&raw.bytes, REPLACEMENT).is_some()
    {
        return false;
    }
    // Halves of a character in two cells would be whole in the batch.
    let boundary = |at: u32| raw.bytes.get(at as usize).is_none_or(|b| b & 0xc0 != 0x80);
    raw.bytes.is_ascii()
        || raw
            .cells
            .iter()
            .all(|cell| boundary(cell.start) && boundary(cell.end))
}
