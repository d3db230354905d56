//! How a job ends: decided here once, for every database.

use filejobs_core::Options;
use filejobs_core::failure::{Failure, FailureClass, FailureCode};
use filejobs_core::report::Tally;

/// Whether the rows counted so far fail the job. `ended` when every row of the file is in `tally`.
///
/// More failed rows than `max_errors` fail it at once; the share is only known at the end.
#[must_use]
pub fn too_many_errors(options: &Options, tally: &Tally, ended: bool) -> Option<Failure> {
    let failed = tally.rows_failed;
    if let Some(max) = options.max_errors
        && failed > max
    {
        let message = format!(
            "{failed} rows have errors and max_errors allows {max}; correct the rows or allow more"
        );
        return Some(Failure::new(FailureCode::TooManyErrors, message));
    }
    let rows = tally.rows_processed;
    if let Some(max) = options.max_error_ratio
        && ended
        && failed as f64 > max * rows as f64
    {
        let message = format!(
            "{failed} of {rows} rows have errors and max_error_ratio allows a share of {max}; \
             correct the rows or allow more"
        );
        return Some(Failure::new(FailureCode::TooManyErrors, message));
    }
    None
}

/// Whether another attempt, by an operator's hand, could end better: such tasks are listed and can be replayed.
#[must_use]
pub fn is_dead_letter(failure: &Failure) -> bool {
    match failure.class() {
        FailureClass::Processing | FailureClass::Infrastructure | FailureClass::Source => true,
        FailureClass::Validation | FailureClass::Limit | FailureClass::Deadline => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_fails_by_its_own_limits_only() {
        // (max_errors, max_error_ratio, rows, failed, fails before the end, fails at the end)
        let cases = [
            (None, None, 10, 10, false, false),
            (Some(0), None, 10, 0, false, false),
            (Some(0), None, 10, 1, true, true),
            (Some(3), None, 10, 3, false, false),
            (Some(3), None, 10, 4, true, true),
            (None, Some(0.5), 10, 5, false, false),
            (None, Some(0.5), 10, 6, false, true),
            (None, Some(0.0), 0, 0, false, false),
            (None, Some(0.0), 1, 1, false, true),
            (None, Some(1.0), 10, 10, false, false),
        ];
        for (max_errors, max_error_ratio, rows, failed, early, late) in cases {
            let options = Options {
                max_errors,
                max_error_ratio,
                ..Options::default()
            };
            let tally = Tally {
                rows_processed: rows,
                rows_valid: rows - failed,
                rows_failed: failed,
                ..Tally::default()
            };
            let fails = |ended| too_many_errors(&options, &tally, ended).is_some();
            assert_eq!((fails(false), fails(true)), (early, late), "{options:?}");
        }
    }
}
