//! Types and checks a whole batch, column by column, and renders what is wrong with its rows.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use filejobs_core::report::Layout;
use filejobs_core::{Failure, Limits, TableSchema};

use crate::batch::RawBatch;
use crate::unique::{Keys, Repeats};

mod checked;

pub use checked::Checked;

/// What the places in a [`RawBatch`] mean for the sender of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// Text whose byte offsets are those of the upload.
    Text,
    /// Text that was transcoded: no byte offsets.
    Transcoded,
    /// A sheet: no byte offsets, cells by the sheet's own rows ([`crate::batch::RawRow::line`]) and
    /// columns; absent cells of a short row are empty.
    Sheet {
        /// The sheet's column (from 0) in which the table's first column stands.
        first_column: u32,
    },
}

/// A schema laid over a file's columns, ready to check batches.
///
/// Shared by every thread of a run: [`Validator::check`] is pure and batches may be checked in any order.
#[derive(Debug)]
pub struct Validator {
    arrow: SchemaRef,
    keys: Option<Arc<Keys>>,
}

impl Validator {
    /// Compiles `schema` for the columns of `layout`.
    ///
    /// Fails with `MISSING_COLUMN` when the layout lacks a field, with `WRONG_OPTIONS` when the schema was
    /// not checked by [`TableSchema::from_json`] and cannot be applied.
    pub fn new(
        schema: &TableSchema,
        layout: &Layout,
        places: Places,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let _ = (schema, layout, places, limits);
        unimplemented!("the validator")
    }

    /// Checks every row of `raw` and puts valid rows, findings, rejected rows and counters into `checked`,
    /// whose earlier content is dropped and whose buffers are used again.
    ///
    /// `repeats` are the repeated keys of this batch's rows: see [`crate::unique::RepeatSource::next`].
    pub fn check(&self, raw: &RawBatch, repeats: &Repeats, checked: &mut Checked) {
        let _ = (raw, repeats, checked);
        unimplemented!("the validator")
    }

    /// The keys that must not repeat; `None` when the schema has neither `unique` nor `primaryKey`.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<Keys>> {
        self.keys.as_ref()
    }

    /// The columns of the valid rows: those the schema knows, in the file's order.
    #[must_use]
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }
}
