//! `unique` and `primaryKey` in bounded memory.
//!
//! Small inputs are compared while they stream ([`RepeatSource::streaming`]). Larger ones are read once
//! before validation by a [`KeyPass`], which spills hashed keys to scratch files and writes, in the order of
//! the rows, which row repeats which earlier one; validation then streams that list
//! ([`RepeatSource::listed`]). Both give the same findings.

use std::io;
use std::path::Path;

use crate::batch::RawBatch;
use crate::validate::Validator;

/// Inputs of at most this many bytes are compared while they stream; larger ones need a [`KeyPass`].
pub const STREAMING_BYTES: u64 = 8 * 1024 * 1024;

/// The columns whose values must not repeat, and how their cells become comparable.
#[derive(Debug)]
pub struct Keys {}

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
pub struct Repeats(pub(crate) Vec<Repeat>);

/// Where validation learns of repeats. Asked for every batch, in the file's order.
#[derive(Debug)]
pub struct RepeatSource {}

impl RepeatSource {
    /// For a schema without keys.
    #[must_use]
    pub fn none() -> Self {
        Self {}
    }

    /// Remembers every key in memory: for inputs up to [`STREAMING_BYTES`].
    #[must_use]
    pub fn streaming(validator: &Validator) -> Self {
        let _ = validator;
        unimplemented!("keys")
    }

    /// Reads a list that [`KeyPass::finish`] wrote.
    pub fn listed(path: &Path) -> io::Result<Self> {
        let _ = path;
        unimplemented!("keys")
    }

    /// Puts the repeats of the rows of `raw` into `repeats`, whose earlier content is dropped.
    pub fn next(&mut self, raw: &RawBatch, repeats: &mut Repeats) -> io::Result<()> {
        let _ = raw;
        repeats.0.clear();
        Ok(())
    }
}

/// Reads every row once and finds the repeated keys of the whole file.
#[derive(Debug)]
pub struct KeyPass {}

impl KeyPass {
    /// Begins; `scratch` is a folder for files that have no name and vanish with the process.
    pub fn new(validator: &Validator, scratch: &Path) -> io::Result<Self> {
        let _ = (validator, scratch);
        unimplemented!("keys")
    }

    /// Takes the next batch of the file.
    pub fn push(&mut self, raw: &RawBatch) -> io::Result<()> {
        let _ = raw;
        unimplemented!("keys")
    }

    /// Writes one list of repeats into `out` for each piece, which begins at its number of `first_rows`
    /// (ascending, from 1), and returns the lists' names. A file read whole is one piece: `&[1]`.
    pub fn finish(self, out: &Path, first_rows: &[u64]) -> io::Result<Vec<String>> {
        let _ = (out, first_rows);
        unimplemented!("keys")
    }
}
