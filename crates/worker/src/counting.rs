//! What a worker counts of its attempts.

use filejobs_core::FailureCode;
use filejobs_core::report::Tally;
use filejobs_metrics::table;
use filejobs_store::{Claimed, TaskKind};

use crate::attempt::Attempt;
use crate::blocks::PlannedPiece;

/// How an attempt ended, as far as the store knows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// Committed.
    Done,
    /// The task failed for good.
    Failed(FailureCode),
    /// Another attempt follows.
    Retried(FailureCode),
    /// Given back: the worker stops.
    Released,
    /// The task was cancelled, suspended or given to another worker.
    TakenAway,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Retried(_) => "retried",
            Self::Released => "released",
            Self::TakenAway => "taken_away",
        }
    }
}

/// A task was claimed. The first claim of a job's first task ends its waiting.
pub(crate) fn claimed(claimed: &Claimed) {
    let first = claimed.attempt == 1 && claimed.kind != TaskKind::Piece;
    let Some(started_at) = claimed.job.started_at.filter(|_| first) else {
        return;
    };
    // Both by the database's clock.
    if let Ok(waited) = started_at.duration_since(claimed.job.queued_at).try_into() {
        let waited: std::time::Duration = waited;
        table::JOB_WAIT.observe([], waited);
    }
}

impl Attempt<'_> {
    /// The attempt has ended.
    pub(crate) fn count(&self, end: End) {
        let kind = self.claimed.kind.as_str();
        table::ATTEMPTS.one([kind, end.as_str()]);
        table::ATTEMPT_DURATION.observe([kind], self.since.elapsed());
        match end {
            End::Failed(code) | End::Retried(code) => table::ATTEMPT_FAILURES.one([code.as_str()]),
            End::Done | End::Released | End::TakenAway => {}
        }
    }

    /// Rows of a task were committed.
    pub(crate) fn count_rows(&self, tally: &Tally) {
        table::ROWS.add(["valid"], tally.rows_valid);
        table::ROWS.add(["failed"], tally.rows_failed);
        for (code, found) in tally.errors_by_code.iter() {
            table::ROW_ERRORS.add([code.as_str()], found);
        }
        let bytes = match self.piece() {
            Ok(Some(PlannedPiece { piece, .. })) => piece.end.saturating_sub(piece.start),
            Ok(None) | Err(_) => self.claimed.job.file_size,
        };
        table::READ.add([], bytes);
    }
}
