//! What is done with valid rows. One entry in [`REGISTRY`] makes a processor known everywhere.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use filejobs_core::{Failure, FailureCode, Limits};
use serde_json::Value;

use crate::task::{self, Part};

mod import;
mod parts;

/// A registered processor.
#[derive(Debug)]
pub struct Entry {
    /// The name that requests give.
    pub name: &'static str,
    /// Starts it for one run.
    open: fn(&Opening<'_>) -> Result<Box<dyn RowProcessor>, OpenError>,
    /// Puts together what the runs over the pieces of one file told, in the file's order.
    pub merge: fn(Vec<Value>) -> Value,
}

/// Every processor.
pub const REGISTRY: &[Entry] = &[import::ENTRY];

/// The processor of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.name == name)
}

/// What a processor starts with.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The folder for its files.
    pub out: &'a Path,
    /// The columns of the rows to come.
    pub schema: &'a SchemaRef,
    /// Its own parameters; null when there are none.
    pub parameters: &'a Value,
    /// How big anything may grow.
    pub limits: &'a Limits,
}

/// Why a processor does not start.
#[derive(Debug)]
pub enum OpenError {
    /// Its name is unknown or its parameters are wrong.
    Refused(Failure),
    /// Its files could not be made.
    Io(task::Error),
}

/// Takes the valid rows of one run, batch by batch in the file's order.
pub trait RowProcessor: Send + std::fmt::Debug {
    /// Takes the next rows, at least one.
    fn take(&mut self, rows: &ValidRows<'_>) -> Result<(), task::Error>;

    /// Ends: no more rows come.
    fn finish(self: Box<Self>) -> Result<Produced, task::Error>;
}

/// Valid rows with the numbers they have in the file.
#[derive(Debug, Clone, Copy)]
pub struct ValidRows<'a> {
    /// The rows.
    pub batch: &'a RecordBatch,
    /// Runs of consecutive rows: number of the first, and how many.
    pub runs: &'a [(u64, u64)],
}

/// What a processor leaves behind.
#[derive(Debug, Default)]
pub struct Produced {
    /// Parts of valid rows, in order.
    pub parts: Vec<Part>,
    /// What it has to tell; null for nothing.
    pub value: Value,
}

/// Starts the processor that a request names.
pub(crate) fn open(
    processor: &task::Processor,
    opening: &Opening<'_>,
) -> Result<Box<dyn RowProcessor>, OpenError> {
    let Some(entry) = find(&processor.name) else {
        let known: Vec<_> = REGISTRY.iter().map(|entry| entry.name).collect();
        return Err(OpenError::Refused(Failure::new(
            FailureCode::WrongOptions,
            format!(
                "There is no processor of that name; known are: {}.",
                known.join(", ")
            ),
        )));
    };
    (entry.open)(opening)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, entry) in REGISTRY.iter().enumerate() {
            assert!(REGISTRY[..i].iter().all(|other| other.name != entry.name));
            assert!(find(entry.name).is_some());
        }
        assert!(find("no such processor").is_none());
    }
}
