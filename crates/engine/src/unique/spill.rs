//! Records in scratch files, parted so that one part at a time fits into memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Parts of a [`Spill`].
pub(super) const PARTS: usize = 256;
/// Memory of one part before it goes to the file.
const PART_BYTES: usize = 32 * 1024;

/// Appends records to one of [`PARTS`] parts and reads them back part by part, in the order they came.
///
/// Memory: at most [`PARTS`] × [`PART_BYTES`] (8 MiB), and 16 bytes for each 32 KiB on disk. The file has
/// no name and goes with the process; small inputs never make one.
#[derive(Debug)]
pub(super) struct Spill<const RECORD: usize> {
    folder: std::path::PathBuf,
    file: Option<File>,
    written: u64,
    parts: Vec<SpilledPart>,
}

#[derive(Debug, Default)]
struct SpilledPart {
    waiting: Vec<u8>,
    /// Offset and length of what is in the file.
    segments: Vec<(u64, u32)>,
}

impl<const RECORD: usize> Spill<RECORD> {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            file: None,
            written: 0,
            parts: (0..PARTS).map(|_| SpilledPart::default()).collect(),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, part: usize, record: [u8; RECORD]) -> io::Result<()> {
        let waiting = &mut self.parts[part].waiting;
        waiting.extend_from_slice(&record);
        if waiting.len() + RECORD > PART_BYTES {
            self.flush(part)?;
        }
        Ok(())
    }

    #[cold]
    fn flush(&mut self, part: usize) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.folder)?),
        };
        let part = &mut self.parts[part];
        file.write_all(&part.waiting)?;
        part.segments
            .push((self.written, part.waiting.len() as u32));
        self.written += part.waiting.len() as u64;
        part.waiting.clear();
        Ok(())
    }

    /// Visits the records of one part in the order they came, and frees its memory.
    pub(super) fn read(
        &mut self,
        part: usize,
        mut visit: impl FnMut([u8; RECORD]) -> io::Result<()>,
    ) -> io::Result<()> {
        let part = std::mem::take(&mut self.parts[part]);
        let mut visit_all = |bytes: &[u8]| {
            let (records, _) = bytes.as_chunks::<RECORD>();
            records.iter().try_for_each(|record| visit(*record))
        };
        if let Some(file) = &mut self.file {
            let mut segment = Vec::with_capacity(PART_BYTES);
            for (offset, length) in part.segments {
                segment.resize(length as usize, 0);
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut segment)?;
                visit_all(&segment)?;
            }
        }
        visit_all(&part.waiting)
    }
}
