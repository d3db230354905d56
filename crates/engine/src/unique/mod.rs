//! `unique` and `primaryKey` in bounded memory.
//!
//! Small inputs are compared while they stream ([`RepeatSource::streaming`]). Larger ones are read once
//! before validation by a [`KeyPass`], which spills hashed keys to scratch files and writes, in the order of
//! the rows, which row repeats which earlier one; validation then streams that list
//! ([`RepeatSource::listed`]). Both give the same findings.
//!
//! Memory of a key pass: 16 MiB of buffers, and for the largest of 256 parts 40 bytes a distinct key: 10 MiB
//! for ten million rows with one key, 40 MiB for the most keys that 500 MB of text can hold. Keys are known
//! by 128 bits of a hash whose own key nobody knows.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::RawBatch;
use crate::validate::Validator;

mod keys;
mod list;
mod spill;

pub use keys::Keys;

use keys::KeyScratch;
use list::{ListReader, ListWriter};
use spill::{PARTS, Spill};

/// Inputs of at most this many bytes are compared while they stream; larger ones need a [`KeyPass`]. Two
/// million distinct cells, the most that fit, take about 64 MiB.
pub const STREAMING_BYTES: u64 = 8 * 1024 * 1024;

/// One row that repeats a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repeat {
    /// The later row, which gets the finding.
    pub row: u64,
    /// Which key, by its place in [`Keys`].
    pub key: u32,
    /// The first row with this key.
    pub first_row: u64,
}

/// The repeats within one batch, in the order of row and key. Reusable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repeats(Vec<Repeat>);

impl Repeats {
    /// These, in the order of row and key.
    #[cfg(test)]
    pub(crate) fn of(repeats: Vec<Repeat>) -> Self {
        Self(repeats)
    }

    /// Those of the given rows.
    pub(crate) fn within(&self, rows: std::ops::Range<u64>) -> &[Repeat] {
        let start = self.0.partition_point(|repeat| repeat.row < rows.start);
        let end = self.0.partition_point(|repeat| repeat.row < rows.end);
        &self.0[start..end]
    }
}

/// Where validation learns of repeats. Asked for every batch, in the file's order.
#[derive(Debug)]
pub struct RepeatSource(Source);

#[derive(Debug)]
enum Source {
    None,
    Streaming {
        keys: Arc<Keys>,
        scratch: KeyScratch,
        first_rows: FirstRows,
    },
    Listed(ListReader),
}

/// The first row of each key. The key is a hash already.
type FirstRows = HashMap<u128, u64, foldhash::fast::FixedState>;

impl RepeatSource {
    /// For a schema without keys.
    #[must_use]
    pub fn none() -> Self {
        Self(Source::None)
    }

    /// Remembers every key in memory: for inputs up to [`STREAMING_BYTES`].
    #[must_use]
    pub fn streaming(validator: &Validator) -> Self {
        Self(match validator.keys() {
            None => Source::None,
            Some(keys) => Source::Streaming {
                keys: keys.clone(),
                scratch: KeyScratch::default(),
                first_rows: FirstRows::default(),
            },
        })
    }

    /// Reads a list that [`KeyPass::finish`] wrote.
    pub fn listed(path: &Path) -> io::Result<Self> {
        Ok(Self(Source::Listed(ListReader::open(path)?)))
    }

    /// Puts the repeats of the rows of `raw` into `repeats`, whose earlier content is dropped.
    pub fn next(&mut self, raw: &RawBatch, repeats: &mut Repeats) -> io::Result<()> {
        repeats.0.clear();
        match &mut self.0 {
            Source::None => Ok(()),
            Source::Streaming {
                keys,
                scratch,
                first_rows,
            } => keys.visit(raw, scratch, |row, key, hash| {
                let first_row = *first_rows.entry(hash).or_insert(row);
                if first_row != row {
                    repeats.0.push(Repeat {
                        row,
                        key,
                        first_row,
                    });
                }
                Ok(())
            }),
            Source::Listed(list) => {
                let end = raw.first_row + raw.rows.len() as u64;
                while let Some(repeat) = list.next_before(end)? {
                    repeats.0.push(repeat);
                }
                Ok(())
            }
        }
    }
}

/// Rows are packed with their key into 64 bits.
const KEY_BITS: u32 = 20;

fn pack(row: u64, key: u32) -> u64 {
    row << KEY_BITS | u64::from(key)
}

fn unpack(packed: u64) -> (u64, u32) {
    (packed >> KEY_BITS, packed as u32 & ((1 << KEY_BITS) - 1))
}

/// Reads every row once and finds the repeated keys of the whole file.
#[derive(Debug)]
pub struct KeyPass {
    keys: Option<Arc<Keys>>,
    scratch_folder: PathBuf,
    scratch: KeyScratch,
    /// Hash, row and key, by the hash.
    seen: Spill<24>,
    last_row: u64,
}

impl KeyPass {
    /// Begins; `scratch` is a folder for files that have no name and vanish with the process.
    pub fn new(validator: &Validator, scratch: &Path) -> io::Result<Self> {
        Ok(Self {
            keys: validator.keys().cloned(),
            scratch_folder: scratch.to_owned(),
            scratch: KeyScratch::default(),
            seen: Spill::new(scratch),
            last_row: 0,
        })
    }

    /// Takes the next batch of the file.
    pub fn push(&mut self, raw: &RawBatch) -> io::Result<()> {
        let Some(keys) = &self.keys else {
            return Ok(());
        };
        self.last_row = raw.first_row + raw.rows.len() as u64;
        let seen = &mut self.seen;
        keys.visit(raw, &mut self.scratch, |row, key, hash| {
            let mut record = [0; 24];
            record[..16].copy_from_slice(&hash.to_le_bytes());
            record[16..].copy_from_slice(&pack(row, key).to_le_bytes());
            // The hash's first byte picks the part.
            seen.push((hash >> 120) as usize, record)
        })
    }

    /// Writes one list of repeats into `out` for each piece, which begins at its number of `first_rows`
    /// (ascending, from 1), and returns the lists' names. A file read whole is one piece: `&[1]`.
    pub fn finish(mut self, out: &Path, first_rows: &[u64]) -> io::Result<Vec<String>> {
        // Repeats are found hash by hash and needed row by row: they are parted again, by their row.
        let rows_per_part = self.last_row / PARTS as u64 + 1;
        let mut repeats = Spill::<16>::new(&self.scratch_folder);
        let mut seen = FirstRows::default();
        for part in 0..PARTS {
            seen.clear();
            self.seen.read(part, |record| {
                let (hash, packed) = record.split_at(16);
                let hash = u128::from_le_bytes(fixed(hash));
                let packed = u64::from_le_bytes(fixed(packed));
                let (row, _) = unpack(packed);
                let first_row = *seen.entry(hash).or_insert(row);
                if first_row == row {
                    return Ok(());
                }
                let mut record = [0; 16];
                record[..8].copy_from_slice(&packed.to_le_bytes());
                record[8..].copy_from_slice(&first_row.to_le_bytes());
                repeats.push((row / rows_per_part) as usize, record)
            })?;
        }
        drop(seen);
        let name = |piece: usize| format!("repeats-{:05}.bin", piece + 1);
        let mut names = Vec::with_capacity(first_rows.len());
        let mut writer: Option<ListWriter> = None;
        let open_until = |names: &mut Vec<String>, writer: &mut Option<ListWriter>, row| {
            while first_rows
                .get(names.len())
                .is_some_and(|first| *first <= row)
            {
                if let Some(done) = writer.take() {
                    done.finish()?;
                }
                let name = name(names.len());
                *writer = Some(ListWriter::create(&out.join(&name))?);
                names.push(name);
            }
            Ok::<(), io::Error>(())
        };
        let mut of_part: Vec<(u64, u64)> = Vec::new();
        for part in 0..PARTS {
            of_part.clear();
            repeats.read(part, |record| {
                let (packed, first_row) = record.split_at(8);
                of_part.push((
                    u64::from_le_bytes(fixed(packed)),
                    u64::from_le_bytes(fixed(first_row)),
                ));
                Ok(())
            })?;
            of_part.sort_unstable();
            for (packed, first_row) in &of_part {
                let (row, key) = unpack(*packed);
                open_until(&mut names, &mut writer, row)?;
                if let Some(writer) = &mut writer {
                    writer.push(Repeat {
                        row,
                        key,
                        first_row: *first_row,
                    })?;
                }
            }
        }
        open_until(&mut names, &mut writer, u64::MAX)?;
        writer.map_or(Ok(()), ListWriter::finish)?;
        Ok(names)
    }
}

/// The bytes of a number in a record.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut fixed = [0; N];
    fixed.copy_from_slice(bytes);
    fixed
}

#[cfg(test)]
mod tests;
