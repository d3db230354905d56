//! Puts the results of a plan and its pieces together into those of the whole file.

use filejobs_core::report::{Facts, Tally};
use filejobs_core::verdict::at_the_end;
pub use filejobs_core::verdict::{too_large_a_share, too_many};
use filejobs_core::{Failure, Options};

use crate::task::{Plan, RunResult};

/// What a planned file comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Layout and schema.
    pub facts: Facts,
    /// Counters of the header and of every row.
    pub tally: Tally,
    /// Why the file failed: the first failure in the file's order, too many bad rows, or rows that are
    /// missing from the pieces.
    pub failure: Option<Failure>,
}

/// Merges what the plan step counted (`header`) with the results of its pieces, in the file's order.
///
/// The outcome is that of one run over the whole file. With [`Options::max_errors`] a whole run stops at
/// once, while pieces may have read on: then only the failure is the same.
#[must_use]
pub fn merge(plan: &Plan, header: &Tally, pieces: &[RunResult], options: &Options) -> Merged {
    let mut tally = header.clone();
    for piece in pieces {
        tally.merge(&piece.tally);
    }
    let failed = pieces.iter().find_map(|piece| piece.failure.clone());
    let failure = failed.or_else(|| at_the_end(&tally, options, Some(plan.rows_total)));
    Merged {
        facts: plan.facts.clone(),
        tally,
        failure,
    }
}
