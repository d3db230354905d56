//! Findings in the binary form of `COPY`: what a table is filled with fastest.
//!
//! The form is described in the manual under `COPY`, "Binary Format".

use filejobs_core::Finding;
use filejobs_store::rows::int;

use crate::finding_index::number;
use crate::numbers::small;

/// What takes the encoded findings. [`Encoder::push`] writes the columns in this order.
pub(crate) const STATEMENT: &str = "COPY findings (batch, ordinal, row_number, seq, label, line, byte_offset, \
     column_number, code, cell, message, raw_value) FROM STDIN (FORMAT binary)";

const COLUMNS: i16 = 12;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// A typical finding, encoded.
const TYPICAL: usize = 160;

/// Findings of one batch, encoded one after the other.
#[derive(Debug)]
pub(crate) struct Encoder {
    batch: i64,
    next: i64,
    bytes: Vec<u8>,
}

impl Encoder {
    /// Begins with the finding that has the ordinal `next`.
    pub(crate) fn new(batch: i64, next: i64) -> Self {
        let mut bytes = Vec::with_capacity(1024 * TYPICAL);
        bytes.extend_from_slice(SIGNATURE);
        // No flags, and no more header.
        bytes.extend_from_slice(&[0; 8]);
        Self { batch, next, bytes }
    }

    /// Adds a finding whose column has the number `label` within the batch.
    pub(crate) fn push(&mut self, finding: &Finding, label: Option<i32>) {
        let ordinal = i32::try_from(self.next).unwrap_or(i32::MAX);
        self.next += 1;
        self.bytes.extend_from_slice(&COLUMNS.to_be_bytes());
        self.field(&self.batch.to_be_bytes());
        self.field(&ordinal.to_be_bytes());
        self.field(&int(finding.row_number).to_be_bytes());
        self.field(&small(finding.seq).to_be_bytes());
        self.optional(label.map(i32::to_be_bytes));
        self.field(&int(finding.line).to_be_bytes());
        self.optional(finding.byte_offset.map(|at| int(at).to_be_bytes()));
        self.optional(finding.column_number.map(|at| small(at).to_be_bytes()));
        self.field(&number(finding.code).to_be_bytes());
        self.optional(finding.cell.as_deref());
        self.field(finding.message.as_bytes());
        self.optional(finding.raw_value.as_deref());
    }

    fn field(&mut self, value: &[u8]) {
        // Labels, messages and values are cut at a few hundred characters.
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    fn optional(&mut self, value: Option<impl AsRef<[u8]>>) {
        match value {
            Some(value) => self.field(value.as_ref()),
            None => self.bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }

    /// All of them.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes
    }
}
