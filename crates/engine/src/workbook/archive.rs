//! Reads a workbook's zip directory and refuses everything that no program writes into a workbook.
//!
//! Nothing later trusts the archive again: an [`Archive`] is a list of entries whose bytes lie apart from
//! each other inside the file, whose names are plain, and whose declared sizes fit the limits. That those
//! sizes are true is checked where an entry is inflated ([`super::inflate`]): an entry that holds one byte
//! more or less than it declares is refused before anyone has taken the extra byte.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use filejobs_core::{Failure, FailureCode, Limits};

use super::read_at::ReadAt;
use crate::reader::ReadError;

/// The end record with a comment of the greatest length.
const END_RECORD_MAX: u64 = 22 + 65_535;
/// Directory bytes for one entry that are plenty: 46 and a name.
const DIRECTORY_BYTES_PER_ENTRY: u64 = 1_024;
/// Deflate turns one byte into at most 1,032.
const DEFLATE_RATIO: u64 = 1_032;
/// Entries are repacked without zip64 records, so everything lies within its reach.
const REPACKED_MAX: u64 = 0xf000_0000;

/// Flags of an entry that is encrypted: at all, strongly, or down to its directory.
const ENCRYPTED: u64 = 1 | 1 << 6 | 1 << 13;

/// How an entry's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// As they are.
    Stored,
    /// Deflate.
    Deflated,
}

/// One entry: where its packed bytes lie and what it says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name as it stands in the directory.
    pub(super) name: String,
    pub(super) method: Method,
    pub(super) crc: u32,
    /// Its bytes in the file.
    pub(super) packed: u64,
    /// What it declares to inflate to.
    pub(super) size: u64,
    /// Where its bytes begin.
    pub(super) data_start: u64,
    header_start: u64,
}

impl Entry {
    /// Its name without folders, in lower case.
    pub(super) fn base_name(&self) -> String {
        let last = self.name.rsplit(['/', '\\']).next().unwrap_or_default();
        last.to_ascii_lowercase()
    }
}

/// A directory that was found in order.
pub(super) struct Archive {
    pub(super) source: Arc<dyn ReadAt>,
    pub(super) entries: Vec<Entry>,
    /// What all its entries together may inflate to.
    pub(super) inflated_max: u64,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

/// What an end record says, in its order: its disk and that of the directory, the directory's entries on its
/// disk and in all, its size and its start.
type EndRecord = [u64; 6];

/// Bytes of the numbers of an end record: the plain one and that of zip64.
const PLAIN: [usize; 6] = [2, 2, 2, 2, 4, 4];
const WIDE: [usize; 6] = [4, 4, 8, 8, 8, 8];

/// Where the directory lies.
struct Directory {
    start: u64,
    size: u64,
    entries: u64,
}

impl Archive {
    /// Reads and checks the directory of `source`.
    pub(super) fn open(source: Arc<dyn ReadAt>, limits: &Limits) -> Result<Self, ReadError> {
        let size = source.size();
        let directory = find_directory(&*source, size)?;
        if directory.entries > u64::from(limits.workbook_entries) {
            return Err(limit(format!(
                "The workbook's archive has {} entries; at most {} are taken",
                directory.entries, limits.workbook_entries
            )));
        }
        let mut entries = read_directory(&*source, &directory)?;
        check_names(&entries)?;
        for entry in &mut entries {
            locate_data(&*source, entry, directory.start)?;
        }
        check_overlaps(&entries)?;
        check_sizes(&entries, limits)?;
        Ok(Self {
            source,
            entries,
            inflated_max: limits.workbook_inflated_bytes.min(REPACKED_MAX),
        })
    }

    /// Whether an entry has this name, whatever its case and slashes.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The entry with this name (in lower case), whatever its case and slashes.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|e| plain(&e.name) == name)
    }
}

/// A damaged or forged archive.
pub(super) fn unreadable(message: impl Into<String>) -> ReadError {
    Failure::new(FailureCode::UnreadableWorkbook, message).into()
}

/// An archive over a limit.
pub(super) fn limit(message: impl Into<String>) -> ReadError {
    Failure::new(FailureCode::LimitExceeded, message).into()
}

/// A workbook under a password.
pub(super) fn encrypted() -> ReadError {
    Failure::new(
        FailureCode::EncryptedWorkbook,
        "The workbook is protected by a password; save it without one and hand it in again",
    )
    .into()
}

fn truncated() -> ReadError {
    unreadable("The workbook is cut off or damaged: its archive has no readable directory")
}

/// A short read inside the archive is damage; anything else is ours.
fn read_at(source: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
    source.read_exact_at(buffer, offset).map_err(|e| {
        if e.kind() == io::ErrorKind::UnexpectedEof {
            truncated()
        } else {
            ReadError::Read(e)
        }
    })
}

/// Little-endian fields of a record, in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or_else(truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, ReadError> {
        let field = self.take(bytes)?;
        Ok(field.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn expect(&mut self, signature: [u8; 4]) -> Result<(), ReadError> {
        if self.take(4)? == signature {
            Ok(())
        } else {
            Err(truncated())
        }
    }
}

fn find_directory(source: &dyn ReadAt, size: u64) -> Result<Directory, ReadError> {
    let tail_start = size.saturating_sub(END_RECORD_MAX);
    let mut tail = vec![0; (size - tail_start) as usize];
    read_at(source, &mut tail, tail_start)?;
    // The record must end with the file: bytes that follow it could hold a second one that another
    // program would believe.
    let at = memchr::memmem::rfind_iter(&tail, b"PK\x05\x06")
        .find(|at| {
            let comment = tail.get(at + 20..at + 22);
            comment.is_some_and(|c| {
                at + 22 + usize::from(u16::from_le_bytes([c[0], c[1]])) == tail.len()
            })
        })
        .ok_or_else(truncated)?;
    let end_record = tail_start + at as u64;
    let plain = read_end_record(&mut Fields(&tail[at + 4..at + 20]), PLAIN)?;
    let (record, end) = match find_wide_end_record(source, end_record)? {
        // Some programs read only one of the two: both have to say the same.
        Some((wide, place)) if agree(&plain, &wide) => (wide, place),
        Some(_) => return Err(truncated()),
        None => (plain, end_record),
    };
    let [disk, directory_disk, here, entries, size, start] = record;
    let on_one_disk = disk == 0 && directory_disk == 0 && here == entries;
    if !on_one_disk || start.checked_add(size) != Some(end) {
        return Err(truncated());
    }
    Ok(Directory {
        start,
        size,
        entries,
    })
}

fn read_end_record(fields: &mut Fields<'_>, widths: [usize; 6]) -> Result<EndRecord, ReadError> {
    let mut record = [0; 6];
    for (number, width) in record.iter_mut().zip(widths) {
        *number = fields.number(width)?;
    }
    Ok(record)
}

/// Whether each number of the plain end record is that of zip64, or all ones for "see there".
fn agree(plain: &EndRecord, wide: &EndRecord) -> bool {
    let mut numbers = plain.iter().zip(wide).zip(PLAIN);
    numbers.all(|((plain, wide), width)| plain == wide || *plain == (1_u64 << (8 * width)) - 1)
}

/// The zip64 end record and its place, when a locator stands right before the plain end record. Nothing lies
/// between the three.
fn find_wide_end_record(
    source: &dyn ReadAt,
    end_record: u64,
) -> Result<Option<(EndRecord, u64)>, ReadError> {
    let Some(at) = end_record.checked_sub(20) else {
        return Ok(None);
    };
    let mut locator = [0; 20];
    read_at(source, &mut locator, at)?;
    let mut fields = Fields(&locator);
    if fields.take(4)? != b"PK\x06\x07" {
        return Ok(None);
    }
    fields.number(4)?;
    let place = fields.number(8)?;
    let mut record = [0; 56];
    if place.checked_add(record.len() as u64) != Some(at) {
        return Err(truncated());
    }
    read_at(source, &mut record, place)?;
    let mut fields = Fields(&record);
    fields.expect(*b"PK\x06\x06")?;
    // Its own length and two versions.
    fields.take(12)?;
    Ok(Some((read_end_record(&mut fields, WIDE)?, place)))
}

fn read_directory(source: &dyn ReadAt, directory: &Directory) -> Result<Vec<Entry>, ReadError> {
    if directory.size > (directory.entries + 64) * DIRECTORY_BYTES_PER_ENTRY {
        return Err(unreadable(
            "The workbook's archive has a directory far larger than its entries need",
        ));
    }
    let mut bytes = vec![0; directory.size as usize];
    read_at(source, &mut bytes, directory.start)?;
    let mut fields = Fields(&bytes);
    let mut entries = Vec::new();
    while !fields.0.is_empty() {
        entries.push(read_entry(&mut fields)?);
    }
    if entries.len() as u64 == directory.entries {
        Ok(entries)
    } else {
        Err(unreadable(format!(
            "The workbook's archive says that it has {} entries and has {}",
            directory.entries,
            entries.len()
        )))
    }
}

fn read_entry(fields: &mut Fields<'_>) -> Result<Entry, ReadError> {
    fields.expect(*b"PK\x01\x02")?;
    fields.take(4)?;
    let (flags, method) = (fields.number(2)?, fields.number(2)?);
    fields.take(4)?;
    let crc = fields.number(4)? as u32;
    let (mut packed, mut size) = (fields.number(4)?, fields.number(4)?);
    let (name_len, extra_len) = (fields.number(2)?, fields.number(2)?);
    let comment_len = fields.number(2)?;
    fields.take(8)?;
    let mut header_start = fields.number(4)?;
    let name = fields.take(name_len as usize)?;
    let extra = fields.take(extra_len as usize)?;
    fields.take(comment_len as usize)?;
    // Sizes that do not fit stand in the zip64 extra field, in this order.
    let wide = [&mut size, &mut packed, &mut header_start];
    read_wide_sizes(extra, wide.into_iter().filter(|n| **n == 0xffff_ffff))?;
    if flags & ENCRYPTED != 0 || method == 99 {
        return Err(encrypted());
    }
    let method = match method {
        0 => Method::Stored,
        8 => Method::Deflated,
        _ => {
            return Err(unreadable(format!(
                "The workbook's archive is packed with method {method}, which no workbook uses"
            )));
        }
    };
    let name = std::str::from_utf8(name)
        .map_err(|_| unreadable("The workbook's archive has an entry whose name is not UTF-8"))?;
    Ok(Entry {
        name: name.to_owned(),
        method,
        crc,
        packed,
        size,
        data_start: 0,
        header_start,
    })
}

fn read_wide_sizes<'n>(
    extra: &[u8],
    mut wanted: impl Iterator<Item = &'n mut u64>,
) -> Result<(), ReadError> {
    let Some(first) = wanted.next() else {
        return Ok(());
    };
    let mut fields = Fields(extra);
    while fields.0.len() >= 4 {
        let (id, length) = (fields.number(2)?, fields.number(2)?);
        let mut field = Fields(fields.take(length as usize)?);
        if id == 1 {
            *first = field.number(8)?;
            for number in wanted {
                *number = field.number(8)?;
            }
            return Ok(());
        }
    }
    Err(truncated())
}

/// A name as it is looked up: lower case, forward slashes.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace('\\', "/")
}

fn check_names(entries: &[Entry]) -> Result<(), ReadError> {
    let mut seen = HashSet::with_capacity(entries.len());
    for entry in entries {
        let name = plain(&entry.name);
        let drive = name.as_bytes().get(1) == Some(&b':');
        if name.starts_with('/')
            || drive
            || name.contains('\0')
            || name.split('/').any(|p| p == "..")
        {
            return Err(unreadable(
                "The workbook's archive has an entry whose name points outside of it",
            ));
        }
        if !seen.insert(name) {
            return Err(unreadable(
                "The workbook's archive has two entries with the same name",
            ));
        }
    }
    Ok(())
}

/// Finds where an entry's bytes begin: its local header has its own, unsigned lengths.
fn locate_data(
    source: &dyn ReadAt,
    entry: &mut Entry,
    directory_start: u64,
) -> Result<(), ReadError> {
    let mut header = [0; 30];
    if entry.header_start > directory_start.saturating_sub(30) {
        return Err(truncated());
    }
    read_at(source, &mut header, entry.header_start)?;
    let mut fields = Fields(&header);
    fields.expect(*b"PK\x03\x04")?;
    fields.take(4)?;
    let method = fields.number(2)?;
    fields.take(16)?;
    let (name_len, extra_len) = (fields.number(2)?, fields.number(2)?);
    let mut name = vec![0; name_len as usize];
    read_at(source, &mut name, entry.header_start + 30)?;
    let same_method = method == if entry.method == Method::Stored { 0 } else { 8 };
    if name != entry.name.as_bytes() || !same_method {
        return Err(unreadable(
            "The workbook's archive names an entry in two different ways",
        ));
    }
    entry.data_start = entry.header_start + 30 + name_len + extra_len;
    match entry.data_start.checked_add(entry.packed) {
        Some(end) if end <= directory_start => Ok(()),
        _ => Err(truncated()),
    }
}

fn check_overlaps(entries: &[Entry]) -> Result<(), ReadError> {
    let mut spans: Vec<_> = entries
        .iter()
        .map(|e| (e.header_start, e.data_start + e.packed))
        .collect();
    spans.sort_unstable();
    if spans.windows(2).all(|pair| pair[0].1 <= pair[1].0) {
        Ok(())
    } else {
        Err(unreadable(
            "The workbook's archive has entries that lie over each other, as zip bombs do",
        ))
    }
}

fn check_sizes(entries: &[Entry], limits: &Limits) -> Result<(), ReadError> {
    let total = entries
        .iter()
        .try_fold(0_u64, |sum, e| sum.checked_add(e.size));
    let allowed = limits.workbook_inflated_bytes.min(REPACKED_MAX);
    if total.is_none_or(|t| t > allowed) {
        return Err(limit(format!(
            "The workbook inflates to more than {allowed} bytes, the most that is taken"
        )));
    }
    for entry in entries {
        let ratio = u64::from(limits.workbook_ratio);
        if entry.size > limits.workbook_ratio_bytes && entry.size / ratio > entry.packed {
            return Err(limit(format!(
                "An entry of the workbook's archive inflates to more than {ratio} times its size, as zip bombs do"
            )));
        }
        let possible = match entry.method {
            Method::Stored => entry.size == entry.packed,
            Method::Deflated => entry.size / DEFLATE_RATIO <= entry.packed,
        };
        if !possible {
            return Err(unreadable(
                "An entry of the workbook's archive declares a size that its bytes cannot have",
            ));
        }
    }
    Ok(())
}
