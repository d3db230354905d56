//! Whether the rows of a file, as counted, let its job complete: decided here once, for one run over the whole file,
//! for pieces put together, and for the database that closes the job.

use crate::failure::{Failure, FailureCode};
use crate::options::Options;
use crate::report::Tally;

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

/// The failure of a planned file whose pieces, put together, have other rows than the plan found.
#[must_use]
pub fn missing_rows(tally: &Tally, rows_total: u64) -> Option<Failure> {
    (tally.rows_processed != rows_total).then(|| {
        Failure::new(
            FailureCode::InvariantBroken,
            format!(
                "The file has {rows_total} rows but its pieces have {}; please report this as a defect.",
                tally.rows_processed
            ),
        )
    })
}

/// Why a file fails once every row of it is in `tally`; `rows_total` as its plan found it.
#[must_use]
pub fn at_the_end(tally: &Tally, options: &Options, rows_total: Option<u64>) -> Option<Failure> {
    too_many(tally, options)
        .or_else(|| too_large_a_share(tally, options))
        .or_else(|| tally.check().err())
        .or_else(|| missing_rows(tally, rows_total?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_fails_by_its_own_limits_only() {
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
            let fails = (
                too_many(&tally, &options).is_some(),
                at_the_end(&tally, &options, Some(rows)).is_some(),
            );
            assert_eq!(fails, (early, late), "{options:?}");
            let other = at_the_end(&tally, &Options::default(), Some(rows + 1));
            assert_eq!(other.map(|f| f.code), Some(FailureCode::InvariantBroken));
        }
    }
}
