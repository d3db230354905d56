//! What the end of a task means: for its job, and for an operator.

use filejobs_core::failure::{Failure, FailureClass};
use filejobs_core::report::Tally;
use filejobs_core::verdict::{at_the_end, too_many};
use filejobs_core::{JobEvent, Options};

/// Whether another attempt, by an operator's hand, could end better: such tasks are listed and can be replayed.
#[must_use]
pub fn is_dead_letter(failure: &Failure) -> bool {
    match failure.class() {
        FailureClass::Processing | FailureClass::Infrastructure | FailureClass::Source => true,
        FailureClass::Validation | FailureClass::Limit | FailureClass::Deadline => false,
    }
}

/// What becomes of a job whose tasks have left `tally` until now; `rows_total` as its plan found them, `last` when
/// nothing of it is open. `None` while it goes on.
#[must_use]
pub fn of_job(
    tally: &Tally,
    options: &Options,
    rows_total: Option<u64>,
    last: bool,
) -> Option<(JobEvent, Option<Failure>)> {
    let failure = if last {
        at_the_end(tally, options, rows_total)
    } else {
        too_many(tally, options)
    };
    match failure {
        Some(failure) => Some((JobEvent::Fail, Some(failure))),
        None if last => Some((JobEvent::Complete, None)),
        None => None,
    }
}
