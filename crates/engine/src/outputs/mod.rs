//! What a run writes: findings, rejected rows, and what its processor makes of the valid rows.

use std::path::Path;

use filejobs_core::report::Tally;
use filejobs_core::{Failure, Finding, Limits};

use crate::task::{self, Part, Processor};
use crate::validate::{Checked, Validator};

/// The open outputs of one run. Takes checked batches in the file's order.
#[derive(Debug)]
pub struct Outputs {
    tally: Tally,
}

/// What a run leaves behind once its outputs are closed.
#[derive(Debug)]
pub struct Finished {
    /// All counters.
    pub tally: Tally,
    /// Parts of valid rows, in order.
    pub parts: Vec<Part>,
    /// What the processor has to tell.
    pub processor: serde_json::Value,
}

/// Why outputs could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The processor is unknown or refuses its parameters.
    #[error("the processor cannot be started: {}", .0.message)]
    Refused(Failure),
    /// A file could not be created.
    #[error("the outputs cannot be opened")]
    Io(#[source] task::Error),
}

impl Outputs {
    /// Creates the files in `out` and starts the processor.
    pub fn create(
        out: &Path,
        validator: &Validator,
        processor: &Processor,
        limits: &Limits,
    ) -> Result<Self, CreateError> {
        let _ = (out, validator, processor, limits);
        unimplemented!("the outputs")
    }

    /// Writes and counts what is wrong with the header; before any batch.
    pub fn header(&mut self, findings: &[Finding]) -> Result<(), task::Error> {
        let _ = findings;
        unimplemented!("the outputs")
    }

    /// Writes one batch.
    pub fn write(&mut self, checked: &Checked) -> Result<(), task::Error> {
        let _ = checked;
        unimplemented!("the outputs")
    }

    /// The counters so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Closes every file.
    pub fn finish(self) -> Result<Finished, task::Error> {
        unimplemented!("the outputs")
    }
}

/// Writes the findings of a run that failed before its layout was known, and no rows. Returns their tally.
pub fn without_rows(
    out: &Path,
    findings: &[Finding],
    limits: &Limits,
) -> Result<Tally, task::Error> {
    let _ = (out, findings, limits);
    unimplemented!("the outputs")
}
