//! The states of a job.
//!
//! ```text
//!              start                complete
//!   QUEUED ───────────▶ PROCESSING ──────────▶ COMPLETED
//!   │ ▲  ▲                │  │  │      fail
//!   │ │  └──── resume ──┐ │  │  └─────────────▶ FAILED ────┐
//!   │ │                 │ │  │                             │ retry
//!   │ └─────────────── SUSPENDED  cancel                   ▼
//!   └── suspend ─────▶  ▲ │  └───────────────▶ CANCELLED ──▶ QUEUED (generation + 1)
//!                       └─┘ suspend
//! ```
//! Cancel is allowed from every state that is not `COMPLETED` or `FAILED`, and fail from every state
//! that is not terminal (a deadline can pass while a job waits).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Waits for a worker.
    Queued,
    /// At least one of its tasks has been claimed.
    Processing,
    /// Held back by its owner; finished tasks are kept.
    Suspended,
    /// Every row was read; bad rows may have been found.
    Completed,
    /// The file could not be processed; `failure_class` and `error_message` say why.
    Failed,
    /// Ended by its owner.
    Cancelled,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEvent {
    /// A worker claimed the first task.
    Start,
    /// The last task is done.
    Complete,
    /// A task failed for good, a limit of the job was passed, or a deadline ran out.
    Fail,
    /// The owner cancels.
    Cancel,
    /// The owner holds the job back.
    Suspend,
    /// The owner lets a suspended job go on.
    Resume,
    /// The owner wants a failed or cancelled job done again.
    Retry,
}

/// An event that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot {event}")]
pub struct IllegalTransition {
    /// The state the job is in.
    pub from: JobState,
    /// What was asked of it.
    pub event: JobEvent,
}

impl JobState {
    /// Every state, in the order of the life of a job.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Processing,
        Self::Suspended,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state after `event`. Asking for the state a job already has is fine where asking twice
    /// means the same as once: start, cancel, suspend and resume.
    pub fn after(self, event: JobEvent) -> Result<Self, IllegalTransition> {
        use JobEvent::{Cancel, Complete, Fail, Resume, Retry, Start, Suspend};
        use JobState::{Cancelled, Completed, Failed, Processing, Queued, Suspended};
        match (self, event) {
            (Queued | Processing, Start) | (Processing, Resume) => Ok(Processing),
            (Processing, Complete) => Ok(Completed),
            (Queued | Processing | Suspended, Fail) => Ok(Failed),
            (Queued | Processing | Suspended | Cancelled, Cancel) => Ok(Cancelled),
            (Queued | Processing | Suspended, Suspend) => Ok(Suspended),
            (Suspended | Queued, Resume) | (Failed | Cancelled, Retry) => Ok(Queued),
            (Suspended | Completed | Failed | Cancelled, Start)
            | (Queued | Suspended | Completed | Failed | Cancelled, Complete)
            | (Completed | Failed | Cancelled, Fail | Suspend | Resume)
            | (Completed | Failed, Cancel)
            | (Queued | Processing | Suspended | Completed, Retry) => {
                Err(IllegalTransition { from: self, event })
            }
        }
    }

    /// Whether the job has ended; only a retry takes it further.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Queued | Self::Processing | Self::Suspended => false,
        }
    }

    /// The name as it stands in the contract and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Processing => "PROCESSING",
            Self::Suspended => "SUSPENDED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl JobEvent {
    /// Every event.
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Complete,
        Self::Fail,
        Self::Cancel,
        Self::Suspend,
        Self::Resume,
        Self::Retry,
    ];
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for JobEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "be started",
            Self::Complete => "be completed",
            Self::Fail => "fail",
            Self::Cancel => "be cancelled",
            Self::Suspend => "be suspended",
            Self::Resume => "be resumed",
            Self::Retry => "be retried",
        })
    }
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown state; one of QUEUED, PROCESSING, SUSPENDED, COMPLETED, FAILED, CANCELLED is expected"
)]
pub struct UnknownState;

impl FromStr for JobState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or(UnknownState)
    }
}

/// How a job ended, in one word; absent while it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every row is valid and the header is clean.
    Completed,
    /// Read to the end; at least one finding.
    CompletedWithErrors,
    /// See the job's `failure_class`.
    Failed,
    /// Ended by its owner.
    Cancelled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [
        Self::Completed,
        Self::CompletedWithErrors,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name as it stands in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::CompletedWithErrors => "completed_with_errors",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The outcome of a job in `state` with `findings` findings; `None` while it has not ended.
    #[must_use]
    pub fn of(state: JobState, findings: u64) -> Option<Self> {
        match state {
            JobState::Completed if findings == 0 => Some(Self::Completed),
            JobState::Completed => Some(Self::CompletedWithErrors),
            JobState::Failed => Some(Self::Failed),
            JobState::Cancelled => Some(Self::Cancelled),
            JobState::Queued | JobState::Processing | JobState::Suspended => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn every_state_meets_every_event() {
        let mut table = String::new();
        for state in JobState::ALL {
            for event in JobEvent::ALL {
                let next = state.after(event).map_or("-", JobState::as_str);
                writeln!(
                    table,
                    "{:<11} {:<9} {next}",
                    state.as_str(),
                    format!("{event:?}")
                )
                .unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn nothing_but_a_retry_leaves_a_terminal_state() {
        for state in JobState::ALL.into_iter().filter(|s| s.is_terminal()) {
            for event in JobEvent::ALL.into_iter().filter(|e| *e != JobEvent::Retry) {
                assert!(state.after(event).is_err() || state.after(event) == Ok(state));
            }
        }
    }
}
