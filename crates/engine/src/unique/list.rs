//! The list of repeats of one piece: a file of varints, in the order of row and key.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use super::Repeat;

/// Writes one list. Each entry: rows since the entry before, key, first row.
pub(super) struct ListWriter {
    out: BufWriter<File>,
    row: u64,
}

impl ListWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            out: BufWriter::new(File::create(path)?),
            row: 0,
        })
    }

    pub(super) fn push(&mut self, repeat: Repeat) -> io::Result<()> {
        self.varint(repeat.row - self.row)?;
        self.row = repeat.row;
        self.varint(u64::from(repeat.key))?;
        self.varint(repeat.first_row)
    }

    fn varint(&mut self, mut value: u64) -> io::Result<()> {
        while value >= 0x80 {
            self.out.write_all(&[value as u8 | 0x80])?;
            value >>= 7;
        }
        self.out.write_all(&[value as u8])
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads one list.
#[derive(Debug)]
pub(super) struct ListReader {
    input: BufReader<File>,
    next: Option<Repeat>,
}

impl ListReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut reader = Self {
            input: BufReader::with_capacity(64 * 1024, File::open(path)?),
            next: None,
        };
        reader.next = reader.read(0)?;
        Ok(reader)
    }

    /// The next repeat when its row comes before `end`.
    pub(super) fn next_before(&mut self, end: u64) -> io::Result<Option<Repeat>> {
        let Some(repeat) = self.next.filter(|repeat| repeat.row < end) else {
            return Ok(None);
        };
        self.next = self.read(repeat.row)?;
        Ok(Some(repeat))
    }

    fn read(&mut self, before: u64) -> io::Result<Option<Repeat>> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let row = before.checked_add(self.varint()?).ok_or_else(damaged)?;
        let key = u32::try_from(self.varint()?).map_err(|_| damaged())?;
        let first_row = self.varint()?;
        Ok(Some(Repeat {
            row,
            key,
            first_row,
        }))
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.input.fill_buf()?.first().ok_or_else(damaged)?;
            self.input.consume(1);
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the list of repeated keys is damaged",
    )
}
