//! Inflates one entry and holds it to the size and the checksum it declared.

use std::io;
use std::sync::Arc;

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

use super::archive::{Archive, Entry, Method, limit, unreadable};
use crate::reader::ReadError;

/// Packed bytes read at once.
const INPUT_BYTES: usize = 64 * 1024;

/// The bytes of one entry, in order. Hands out exactly as many as the entry declares, or fails.
#[derive(Debug)]
pub(super) struct EntryReader {
    archive: Arc<Archive>,
    index: usize,
    inflater: Option<Box<Decompress>>,
    input: Vec<u8>,
    input_at: usize,
    /// Packed bytes taken from the source.
    taken: u64,
    /// Bytes handed out.
    given: u64,
    checksum: Hasher,
    ended: bool,
}

impl EntryReader {
    pub(super) fn new(archive: &Arc<Archive>, index: usize) -> Self {
        let inflater = match archive.entries[index].method {
            Method::Stored => None,
            Method::Deflated => Some(Box::new(Decompress::new(false))),
        };
        Self {
            archive: Arc::clone(archive),
            index,
            inflater,
            input: Vec::new(),
            input_at: 0,
            taken: 0,
            given: 0,
            checksum: Hasher::new(),
            ended: false,
        }
    }

    fn entry(&self) -> &Entry {
        &self.archive.entries[self.index]
    }

    /// Bytes handed out so far.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Fills as much of `out` as there are bytes; 0 only at the end, which is then proven to be where the
    /// entry said it is.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, ReadError> {
        if out.is_empty() || self.ended {
            return Ok(0);
        }
        let left = self.entry().size - self.given;
        if left == 0 {
            return self.prove_end();
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let count = self.unpack(&mut out[..wanted])?;
        if count == 0 {
            return Err(unreadable(
                "An entry of the workbook's archive holds less than it declares",
            ));
        }
        self.given += count as u64;
        self.checksum.update(&out[..count]);
        Ok(count)
    }

    /// All declared bytes are given: the packed ones must end here, too.
    fn prove_end(&mut self) -> Result<usize, ReadError> {
        let mut extra = 0_u64;
        let mut drain = [0; 8192];
        loop {
            let count = self.unpack(&mut drain)? as u64;
            if count == 0 {
                break;
            }
            extra += count;
            if self.given + extra > self.archive.inflated_max {
                return Err(limit(format!(
                    "The workbook inflates to more than {} bytes, the most that is taken, and declares less",
                    self.archive.inflated_max
                )));
            }
        }
        if extra > 0 {
            return Err(unreadable(
                "An entry of the workbook's archive holds more than it declares, as zip bombs do",
            ));
        }
        if self.checksum.clone().finalize() != self.entry().crc {
            return Err(unreadable(
                "The workbook is damaged: an entry of its archive does not have the checksum it should",
            ));
        }
        self.ended = true;
        Ok(0)
    }

    /// The next bytes, whatever the entry declares; 0 at the end of what is packed.
    fn unpack(&mut self, out: &mut [u8]) -> Result<usize, ReadError> {
        loop {
            if self.input_at == self.input.len() {
                self.refill()?;
            }
            let input = &self.input[self.input_at..];
            let Some(inflater) = &mut self.inflater else {
                let count = input.len().min(out.len());
                out[..count].copy_from_slice(&input[..count]);
                self.input_at += count;
                return Ok(count);
            };
            let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
            let status = inflater.decompress(input, out, FlushDecompress::None);
            let used = (inflater.total_in() - before_in) as usize;
            let count = (inflater.total_out() - before_out) as usize;
            self.input_at += used;
            match status {
                Ok(_) if count > 0 => return Ok(count),
                Ok(Status::StreamEnd) => return Ok(0),
                Ok(_) if used > 0 => {}
                Ok(_) | Err(_) => {
                    return Err(unreadable(
                        "The workbook is damaged: an entry of its archive does not inflate",
                    ));
                }
            }
        }
    }

    fn refill(&mut self) -> Result<(), ReadError> {
        let entry = &self.archive.entries[self.index];
        let left = usize::try_from(entry.packed - self.taken).unwrap_or(usize::MAX);
        self.input.resize(left.min(INPUT_BYTES), 0);
        self.input_at = 0;
        let place = entry.data_start + self.taken;
        self.archive
            .source
            .read_exact_at(&mut self.input, place)
            .map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => unreadable("The workbook is cut off"),
                _ => ReadError::Read(e),
            })?;
        self.taken += self.input.len() as u64;
        Ok(())
    }
}

/// Inflates entry `index` for no other purpose than to hold it to its size.
pub(super) fn verify(archive: &Arc<Archive>, index: usize) -> Result<(), ReadError> {
    let mut reader = EntryReader::new(archive, index);
    let mut buffer = vec![0; 64 * 1024];
    while reader.read(&mut buffer)? > 0 {}
    Ok(())
}
