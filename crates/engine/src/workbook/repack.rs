//! The archive that the spreadsheet library sees in place of the one that was handed in.
//!
//! A zip of stored entries that exists only while it is read: headers are written here from what
//! [`super::archive`] has checked, contents are inflated (once) as the library asks for them. So every byte
//! that the library parses has passed the checks of this module, two zip parsers can not disagree about
//! what the archive holds, and sizes are proven while rows are read instead of in a pass of their own.
//!
//! Parts that make the library allocate more than they weigh are replaced: [`super::styles`].

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::archive::{Archive, limit};
use super::inflate::{self, EntryReader};
use super::xml_guard::Text;
use crate::reader::ReadError;

/// Zip readers look for the end record backwards in steps; this keeps them out of the contents.
const GAP: usize = 128 * 1024;
/// Any part but shared strings and sheets: relationships, the list of sheets.
const SMALL_PART_MAX: u64 = 8 * 1024 * 1024;
/// Bytes of a sheet without a cell, such as rows that are formatted and empty. It bounds what the XML
/// reader can be made to hold at once.
const BYTES_WITHOUT_CELL_MAX: u64 = 96 * 1024 * 1024;

/// What the reader of a sheet and the archive below the library tell each other past it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Why a read failed: the library would hand back its own error instead.
    trouble: Mutex<Option<ReadError>>,
    /// Whether cells are being read; before that, only small parts may be.
    reading_cells: AtomicBool,
    /// Bytes handed out since the last cell.
    since_cell: AtomicU64,
    /// How much of the current entry is read, in millionths.
    share_read: AtomicU64,
    /// Entries that were inflated to their end, by index.
    proven: Mutex<Vec<usize>>,
    /// The entry that is being read, or was read last.
    open: Mutex<Option<Open>>,
}

impl Watch {
    /// Takes the reason why a read failed, if one did.
    pub(super) fn trouble(&self) -> Option<ReadError> {
        locked(&self.trouble).take()
    }

    pub(super) fn cells_begin(&self) {
        self.reading_cells.store(true, Ordering::Relaxed);
        self.cell_seen();
    }

    #[inline]
    pub(super) fn cell_seen(&self) {
        self.since_cell.store(0, Ordering::Relaxed);
    }

    /// How much of the current entry is read, in millionths.
    pub(super) fn share_read(&self) -> u64 {
        self.share_read.load(Ordering::Relaxed)
    }

    /// Inflates every entry that nothing has read to its end, but the current one: what no one reads is
    /// held to its size, too.
    pub(super) fn prove_others(&self, archive: &Arc<Archive>) -> Result<(), ReadError> {
        let current = locked(&self.open).as_ref().map(|o| o.entry);
        let proven = locked(&self.proven).clone();
        for index in 0..archive.entries.len() {
            if Some(index) != current && !proven.contains(&index) {
                inflate::verify(archive, index)?;
            }
        }
        Ok(())
    }

    /// Inflates what is left of the current entry: cells end before their part does.
    pub(super) fn prove_rest(&self) -> Result<(), ReadError> {
        let mut buffer = vec![0; 64 * 1024];
        if let Some(open) = &mut *locked(&self.open) {
            while open.reader.read(&mut buffer)? > 0 {}
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a part of the repacked archive holds.
#[derive(Debug)]
enum Content {
    /// Entry of the original archive, by index.
    Entry(usize),
    /// Bytes made here.
    Made(Vec<u8>),
}

#[derive(Debug)]
struct Part {
    header: Vec<u8>,
    header_start: u64,
    size: u64,
    content: Content,
    is_xml: bool,
    /// How much of it the library may read before cells are read.
    open_max: u64,
}

impl Part {
    fn data_start(&self) -> u64 {
        self.header_start + self.header.len() as u64
    }

    fn end(&self) -> u64 {
        self.data_start() + self.size
    }
}

/// An entry that is being read.
#[derive(Debug)]
struct Open {
    entry: usize,
    reader: EntryReader,
    text: Text,
}

/// Collects the parts.
#[derive(Debug)]
pub(super) struct Repacker {
    archive: Arc<Archive>,
    parts: Vec<Part>,
    directory: Vec<u8>,
    at: u64,
    text_max: u64,
}

impl Repacker {
    /// `text_max` is the longest run of text between two tags.
    pub(super) fn new(archive: &Arc<Archive>, text_max: u64) -> Self {
        Self {
            archive: Arc::clone(archive),
            parts: Vec::new(),
            directory: Vec::new(),
            at: 0,
            text_max,
        }
    }

    /// Adds an entry as it is. `bounded` says that its weight in memory was found to fit.
    pub(super) fn keep(&mut self, index: usize, bounded: bool) {
        let archive = Arc::clone(&self.archive);
        let entry = &archive.entries[index];
        let is_xml = [".xml", ".rels"]
            .iter()
            .any(|end| entry.base_name().ends_with(end));
        let open_max = if bounded { u64::MAX } else { SMALL_PART_MAX };
        self.add(&entry.name, entry.crc, entry.size, Content::Entry(index));
        if let Some(part) = self.parts.last_mut() {
            part.is_xml = is_xml;
            part.open_max = open_max;
        }
    }

    /// Adds a part made here in place of the entry with this name.
    pub(super) fn make(&mut self, name: &str, bytes: Vec<u8>) {
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        self.add(name, crc.sum(), bytes.len() as u64, Content::Made(bytes));
    }

    fn add(&mut self, name: &str, crc: u32, size: u64, content: Content) {
        // Version 2.0, UTF-8 names, stored, 1 January 1980.
        let mut fields = vec![20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0];
        fields.extend(crc.to_le_bytes());
        // Sizes fit: `Archive` takes no more than zip without its 64-bit records can tell.
        fields.extend((size as u32).to_le_bytes());
        fields.extend((size as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        self.directory.extend(b"PK\x01\x02\x14\x00");
        self.directory.extend(&fields);
        // No comment, disk 0, no attributes.
        self.directory.extend([0; 10]);
        self.directory.extend((self.at as u32).to_le_bytes());
        self.directory.extend(name.as_bytes());
        let mut header = b"PK\x03\x04".to_vec();
        header.extend(fields);
        header.extend(name.as_bytes());
        let part = Part {
            header,
            header_start: self.at,
            size,
            content,
            is_xml: false,
            open_max: u64::MAX,
        };
        self.at = part.end();
        self.parts.push(part);
    }

    /// The whole archive, ready to be read.
    pub(super) fn finish(self, watch: &Arc<Watch>) -> Repacked {
        let mut tail = vec![0; GAP];
        let directory_start = self.at + GAP as u64;
        tail.extend(&self.directory);
        let count = (self.parts.len() as u16).to_le_bytes();
        tail.extend(b"PK\x05\x06\0\0\0\0");
        tail.extend(count);
        tail.extend(count);
        tail.extend((self.directory.len() as u32).to_le_bytes());
        tail.extend((directory_start as u32).to_le_bytes());
        tail.extend([0, 0]);
        Repacked {
            archive: self.archive,
            parts: self.parts,
            tail_start: self.at,
            tail,
            at: 0,
            watch: Arc::clone(watch),
            text_max: self.text_max,
        }
    }
}

/// See the module.
pub(super) struct Repacked {
    archive: Arc<Archive>,
    parts: Vec<Part>,
    tail_start: u64,
    tail: Vec<u8>,
    at: u64,
    watch: Arc<Watch>,
    text_max: u64,
}

impl Repacked {
    fn read_checked(&self, out: &mut [u8]) -> Result<usize, ReadError> {
        if self.at >= self.tail_start {
            let from = usize::try_from(self.at - self.tail_start).unwrap_or(usize::MAX);
            return Ok(copy(self.tail.get(from..).unwrap_or_default(), out));
        }
        let index = self.parts.partition_point(|p| p.end() <= self.at);
        let part = &self.parts[index];
        let into = self.at - part.header_start;
        if let Some(rest) = part.header.get(into as usize..)
            && !rest.is_empty()
        {
            return Ok(copy(rest, out));
        }
        let offset = self.at - part.data_start();
        match &part.content {
            Content::Made(bytes) => Ok(copy(&bytes[offset as usize..], out)),
            Content::Entry(entry) => self.read_entry(part, *entry, offset, out),
        }
    }

    fn read_entry(
        &self,
        part: &Part,
        entry: usize,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, ReadError> {
        let mut slot = locked(&self.watch.open);
        let at = slot.as_ref().filter(|o| o.entry == entry);
        if at.is_none_or(|o| o.reader.given() > offset) {
            *slot = None;
        }
        let open = slot.get_or_insert_with(|| Open {
            entry,
            reader: EntryReader::new(&self.archive, entry),
            text: Text::new(part.is_xml, self.text_max),
        });
        let mut skipped = [0; 4096];
        while open.reader.given() < offset {
            let left = usize::try_from(offset - open.reader.given()).unwrap_or(usize::MAX);
            let wanted = left.min(skipped.len());
            let count = open.reader.read(&mut skipped[..wanted])?;
            open.text.check(&skipped[..count])?;
        }
        let count = open.reader.read(out)?;
        open.text.check(&out[..count])?;
        if open.reader.given() == part.size {
            // The library stops at the size the header tells; the end has to be proven all the same.
            open.reader.read(&mut skipped)?;
            locked(&self.watch.proven).push(entry);
        }
        self.limit(part, &open.reader, count as u64)?;
        Ok(count)
    }

    /// Notes that `count` more bytes of a part were read, and stops what reads too many.
    fn limit(&self, part: &Part, reader: &EntryReader, count: u64) -> Result<(), ReadError> {
        let watch = &self.watch;
        let share = reader.given() * 1_000_000 / part.size.max(1);
        watch.share_read.store(share, Ordering::Relaxed);
        if watch.reading_cells.load(Ordering::Relaxed) {
            let since = watch.since_cell.fetch_add(count, Ordering::Relaxed);
            if since > BYTES_WITHOUT_CELL_MAX {
                return Err(limit(format!(
                    "The sheet has more than {BYTES_WITHOUT_CELL_MAX} bytes without a cell"
                )));
            }
        } else if reader.given() > part.open_max {
            return Err(limit(format!(
                "A part of the workbook that describes it is larger than {} bytes",
                part.open_max
            )));
        }
        Ok(())
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}

impl Read for Repacked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.read_checked(out) {
            Ok(count) => {
                self.at += count as u64;
                Ok(count)
            }
            Err(error) => {
                *locked(&self.watch.trouble) = Some(error);
                Err(io::Error::other("the workbook was refused"))
            }
        }
    }
}

impl Seek for Repacked {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = self.tail_start + self.tail.len() as u64;
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
