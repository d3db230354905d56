//! Puts the results of a plan and its pieces together into those of the whole file.

use filejobs_core::report::{Facts, Tally};
use filejobs_core::{Failure, FailureCode, Options};

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
    let failure = failed
        .or_else(|| too_many(&tally, options))
        .or_else(|| too_large_a_share(&tally, options))
        .or_else(|| tally.check().err())
        .or_else(|| missing_rows(plan, &tally));
    Merged {
        facts: plan.facts.clone(),
        tally,
        failure,
    }
}

fn missing_rows(plan: &Plan, tally: &Tally) -> Option<Failure> {
    (tally.rows_processed != plan.rows_total).then(|| {
        Failure::new(
            FailureCode::InvariantBroken,
            format!(
                "The file has {} rows but its pieces have {}; please report this as a defect.",
                plan.rows_total, tally.rows_processed
            ),
        )
    })
}

/// The failure of a run with more failed rows than [`Options::max_errors`] allows.
#[must_use]
pub fn too_many(tally: &Tally, options: &Options) -> Option<Failure> {
    let max = options.max_errors?;
    (tally.rows_failed > max).then(|| {
        Failure::new(
            FailureCode::TooManyErrors,
            format!(
                "More than {max} rows failed, which is all that `max_errors` allows; mend the rows that the findings name."
            ),
        )
    })
}

/// The failure of a finished run of which a larger share failed than [`Options::max_error_ratio`] allows.
#[must_use]
pub fn too_large_a_share(tally: &Tally, options: &Options) -> Option<Failure> {
    let max = options.max_error_ratio?;
    let ratio = tally.rows_failed as f64 / tally.rows_processed.max(1) as f64;
    (ratio > max).then(|| {
        Failure::new(
            FailureCode::TooManyErrors,
            format!(
                "{} of {} rows failed, a larger share than the {max} that `max_error_ratio` allows; mend the rows that the findings name.",
                tally.rows_failed, tally.rows_processed
            ),
        )
    })
}
