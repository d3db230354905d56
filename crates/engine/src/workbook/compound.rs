//! OLE compound files: the little file system that `.xls` workbooks, and XLSX ones under a password, lie in.
//!
//! Sectors are linked by tables of numbers that a damaged or forged file fills with anything. Every number is
//! held against the size of the file before it is used, every chain against the count of sectors.

use std::sync::Arc;

use super::archive::unreadable;
use super::read_at::ReadAt;
use crate::reader::ReadError;

const HEADER_BYTES: u64 = 512;
const MINI_SECTOR: u64 = 64;
/// Streams below this size lie in the mini stream.
const MINI_MAX: u64 = 4096;
/// Numbers of sectors and of directory entries from here on are marks: the last one of a chain, a free one, none.
const FIRST_MARK: u32 = 0xffff_fffa;
/// The type of a directory entry that is a stream.
const STREAM: u8 = 2;
/// Directory entries that are plenty for a workbook with its charts and macros.
const DIRECTORY_ENTRIES: u64 = 65_536;

/// An opened compound file.
pub(super) struct Compound {
    source: Arc<dyn ReadAt>,
    sector: u64,
    sectors: u64,
    /// The sector that follows each sector.
    next: Vec<u32>,
    mini_next: Vec<u32>,
    mini_stream: Vec<u32>,
    /// The streams at the top. Those of embedded files lie deeper and may have the same names.
    streams: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    name: String,
    kind: u8,
    /// The entries beside it, before and after.
    siblings: [u32; 2],
    /// One of the entries in it.
    child: u32,
    start: u32,
    size: u64,
}

/// One stream, readable at any place.
pub(super) struct Stream {
    source: Arc<dyn ReadAt>,
    sector: u64,
    /// Where each sector of the stream begins in the file.
    places: Vec<u64>,
    size: u64,
}

fn damaged() -> ReadError {
    unreadable("The workbook is cut off or damaged: the parts it is made of cannot be found")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks_exact(4).map(|b| u32_at(b, 0))
}

impl Compound {
    pub(super) fn open(source: Arc<dyn ReadAt>) -> Result<Self, ReadError> {
        let mut header = vec![0; HEADER_BYTES as usize];
        read(&*source, &mut header, 0)?;
        let sector = match u16_at(&header, 30) {
            9 => 512,
            12 => 4096,
            _ => return Err(damaged()),
        };
        // The header takes the place of a sector; the last sector may be cut short.
        let sectors = source.size().div_ceil(sector).saturating_sub(1);
        let mut file = Self {
            source,
            sector,
            sectors,
            next: Vec::new(),
            mini_next: Vec::new(),
            mini_stream: Vec::new(),
            streams: Vec::new(),
        };
        file.read_table(&header)?;
        let entries = file.read_directory(u32_at(&header, 48))?;
        let root = entries.first().ok_or_else(damaged)?;
        if root.size > 0 {
            file.mini_stream = file.chain(root.start)?;
            let table = file.chain(u32_at(&header, 60))?;
            file.mini_next = file.read_numbers(&table)?;
        }
        file.streams = top_streams(root, &entries)?;
        Ok(file)
    }

    /// The table of following sectors: its own sectors are listed in the header, then in a chain.
    fn read_table(&mut self, header: &[u8]) -> Result<(), ReadError> {
        let mut list: Vec<u32> = numbers(&header[76..]).collect();
        let mut more = u32_at(header, 68);
        let mut left = self.sectors;
        while more < FIRST_MARK {
            left = left.checked_sub(1).ok_or_else(damaged)?;
            let mut numbers = self.read_numbers(&[more])?;
            more = numbers.pop().ok_or_else(damaged)?;
            list.extend(numbers);
        }
        list.retain(|sector| *sector < FIRST_MARK);
        // More table than sectors would be a list that names sectors twice.
        let needed = self.sectors.div_ceil(self.sector / 4) as usize;
        list.truncate(needed);
        self.next = self.read_numbers(&list)?;
        Ok(())
    }

    fn read_directory(&self, start: u32) -> Result<Vec<Entry>, ReadError> {
        let chain = self.chain(start)?;
        if chain.len() as u64 * self.sector > DIRECTORY_ENTRIES * 128 {
            return Err(damaged());
        }
        let mut entries = Vec::new();
        let mut bytes = vec![0; self.sector as usize];
        for sector in chain {
            read(&*self.source, &mut bytes, self.place(sector)?)?;
            for entry in bytes.chunks_exact(128) {
                let letters = entry[..64].chunks_exact(2).map(|c| u16_at(c, 0));
                let letters: Vec<u16> = letters.take_while(|c| *c != 0).collect();
                // Old writers leave rubbish in the upper half of small files' sizes.
                let high = if self.sector == 512 {
                    0
                } else {
                    u32_at(entry, 124)
                };
                entries.push(Entry {
                    name: String::from_utf16_lossy(&letters),
                    kind: entry[66],
                    siblings: [u32_at(entry, 68), u32_at(entry, 72)],
                    child: u32_at(entry, 76),
                    start: u32_at(entry, 116),
                    size: u64::from(u32_at(entry, 120)) | u64::from(high) << 32,
                });
            }
        }
        Ok(entries)
    }

    /// The sectors from `start` to the end of their chain.
    fn chain(&self, start: u32) -> Result<Vec<u32>, ReadError> {
        follow(start, &self.next, self.sectors)
    }

    fn place(&self, sector: u32) -> Result<u64, ReadError> {
        let sector = u64::from(sector);
        if sector < self.sectors {
            Ok((sector + 1) * self.sector)
        } else {
            Err(damaged())
        }
    }

    fn read_numbers(&self, sectors: &[u32]) -> Result<Vec<u32>, ReadError> {
        let mut found = Vec::with_capacity(sectors.len() * self.sector as usize / 4);
        let mut bytes = vec![0; self.sector as usize];
        for sector in sectors {
            read(&*self.source, &mut bytes, self.place(*sector)?)?;
            found.extend(numbers(&bytes));
        }
        Ok(found)
    }

    /// Whether there is a stream with this name at the top.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&Entry> {
        let mut streams = self.streams.iter();
        streams.find(|e| e.name.eq_ignore_ascii_case(name))
    }

    /// Opens the stream with this name at the top, if there is one.
    pub(super) fn stream(&self, name: &str) -> Result<Option<Stream>, ReadError> {
        let Some(entry) = self.find(name) else {
            return Ok(None);
        };
        let in_mini = entry.size < MINI_MAX;
        let (sector, places) = if in_mini {
            let chain = follow(entry.start, &self.mini_next, self.mini_next.len() as u64)?;
            let places = chain.iter().map(|s| self.mini_place(*s));
            (MINI_SECTOR, places.collect::<Result<Vec<_>, _>>()?)
        } else {
            let chain = self.chain(entry.start)?;
            let places = chain.iter().map(|s| self.place(*s));
            (self.sector, places.collect::<Result<Vec<_>, _>>()?)
        };
        Ok(Some(Stream {
            source: Arc::clone(&self.source),
            sector,
            size: entry.size.min(places.len() as u64 * sector),
            places,
        }))
    }

    fn mini_place(&self, sector: u32) -> Result<u64, ReadError> {
        let at = u64::from(sector) * MINI_SECTOR;
        let big = self.mini_stream.get((at / self.sector) as usize);
        Ok(self.place(*big.ok_or_else(damaged)?)? + at % self.sector)
    }
}

/// The streams among the entries that lie right in `root`: a tree, whose links run in a circle when it has more
/// entries than there are.
fn top_streams(root: &Entry, entries: &[Entry]) -> Result<Vec<Entry>, ReadError> {
    let mut streams = Vec::new();
    let mut pending = vec![root.child];
    let mut left = entries.len();
    while let Some(number) = pending.pop() {
        if number >= FIRST_MARK {
            continue;
        }
        left = left.checked_sub(1).ok_or_else(damaged)?;
        let entry = entries.get(number as usize).ok_or_else(damaged)?;
        if entry.kind == STREAM {
            streams.push(entry.clone());
        }
        pending.extend(entry.siblings);
    }
    Ok(streams)
}

/// The numbers from `start` on, as `next` links them; a chain longer than `count` runs in a circle.
fn follow(start: u32, next: &[u32], count: u64) -> Result<Vec<u32>, ReadError> {
    let mut chain = Vec::new();
    let mut at = start;
    while at < FIRST_MARK {
        chain.push(at);
        if chain.len() as u64 > count {
            return Err(damaged());
        }
        at = *next.get(at as usize).ok_or_else(damaged)?;
    }
    Ok(chain)
}

/// Reads a sector; the last one of a file may be shorter, its rest is zeros.
fn read(source: &dyn ReadAt, bytes: &mut [u8], place: u64) -> Result<(), ReadError> {
    let there = source.size().saturating_sub(place).min(bytes.len() as u64) as usize;
    let (found, rest) = bytes.split_at_mut(there);
    source
        .read_exact_at(found, place)
        .map_err(ReadError::Read)?;
    rest.fill(0);
    if there == 0 { Err(damaged()) } else { Ok(()) }
}

impl Stream {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills as much of `out` as lies in one sector at `at`; 0 at the end.
    pub(super) fn read(&self, out: &mut [u8], at: u64) -> Result<usize, ReadError> {
        let Some(left) = self.size.checked_sub(at).filter(|left| *left > 0) else {
            return Ok(0);
        };
        let index = (at / self.sector) as usize;
        // Sectors that lie next to each other are read at once.
        let mut run = self.sector - at % self.sector;
        let mut last = index;
        while run < out.len() as u64
            && self.places.get(last + 1) == Some(&(self.places[last] + self.sector))
        {
            last += 1;
            run += self.sector;
        }
        let wanted = run.min(left).min(out.len() as u64) as usize;
        let place = self.places[index] + at % self.sector;
        let read = self.source.read_exact_at(&mut out[..wanted], place);
        read.map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(),
            _ => ReadError::Read(e),
        })?;
        Ok(wanted)
    }
}
