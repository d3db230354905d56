//! Infers a schema from the first batch of a file.

use filejobs_core::TableSchema;

use crate::batch::RawBatch;

/// The schema of a file that came without one: every column required, its type the narrowest that at least
/// 95 % of its non-empty cells in `raw` have. `names` are the columns' names in the results.
#[must_use]
pub fn infer(raw: &RawBatch, names: &[String]) -> TableSchema {
    let _ = (raw, names);
    unimplemented!("inference")
}
