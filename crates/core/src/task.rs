//! The states of a task, one piece of a job.
//!
//! ```text
//!   PENDING ──publish──▶ PUBLISHED ──claim──▶ RUNNING ──finish──▶ DONE
//!    ▲  ▲  ▲                │ ▲ │              │  │ └────fail───▶ FAILED ──replay──▶ PENDING
//!    │  │  └────withdraw────┘ └─┘ publish      │  │
//!    │  └─────── release (no attempt spent) ───┘  │
//!    └────────── retry (an attempt is spent) ─────┘          cancel: from every open state
//! ```
//! `attempt` counts claims that were not released; it is the fence of every effect.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::TaskId;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskState {
    /// Waits for admission, or for the pause before its next attempt.
    Pending,
    /// On its way through the queue.
    Published,
    /// A worker holds its lease.
    Running,
    /// Its effects are committed.
    Done,
    /// Its attempts are used up, or its failure is not worth another.
    Failed,
    /// Its job was cancelled or has failed.
    Cancelled,
}

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskEvent {
    /// The scheduler hands it to the queue, for the first time or again.
    Publish,
    /// The scheduler takes it back before a worker had it: its job was suspended.
    Withdraw,
    /// A worker takes the lease.
    Claim,
    /// The worker commits its effects.
    Finish,
    /// This attempt failed and another will follow.
    Retry,
    /// The worker gives it back unfinished (drain, suspend): no attempt is spent.
    Release,
    /// This attempt failed and none will follow.
    Fail,
    /// The job ended without it.
    Cancel,
    /// An operator, or a retry of its job, wants it done after all.
    Replay,
}

/// An event that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {from} does not take {event:?}")]
pub struct IllegalTransition {
    /// The state the task is in.
    pub from: TaskState,
    /// What was asked of it.
    pub event: TaskEvent,
}

impl TaskState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Published,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state after `event`.
    pub fn after(self, event: TaskEvent) -> Result<Self, IllegalTransition> {
        use TaskEvent::{Cancel, Claim, Fail, Finish, Publish, Release, Replay, Retry, Withdraw};
        use TaskState::{Cancelled, Done, Failed, Pending, Published, Running};
        match (self, event) {
            (Pending | Published, Publish) => Ok(Published),
            (Published, Withdraw) | (Running, Retry | Release) | (Failed | Cancelled, Replay) => {
                Ok(Pending)
            }
            (Published, Claim) => Ok(Running),
            (Running, Finish) => Ok(Done),
            (Running | Pending | Published, Fail) => Ok(Failed),
            (Pending | Published | Running | Cancelled, Cancel) => Ok(Cancelled),
            (Running | Done | Failed | Cancelled, Publish)
            | (Pending | Running | Done | Failed | Cancelled, Withdraw | Claim)
            | (Pending | Published | Done | Failed | Cancelled, Finish | Retry | Release)
            | (Done | Failed | Cancelled, Fail)
            | (Done | Failed, Cancel)
            | (Pending | Published | Running | Done, Replay) => {
                Err(IllegalTransition { from: self, event })
            }
        }
    }

    /// Whether the task still has something to do.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Pending | Self::Published | Self::Running => true,
            Self::Done | Self::Failed | Self::Cancelled => false,
        }
    }

    /// The name as it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Published => "PUBLISHED",
            Self::Running => "RUNNING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl TaskEvent {
    /// Every event.
    pub const ALL: [Self; 9] = [
        Self::Publish,
        Self::Withdraw,
        Self::Claim,
        Self::Finish,
        Self::Retry,
        Self::Release,
        Self::Fail,
        Self::Cancel,
        Self::Replay,
    ];
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What travels through the queue: enough to claim, nothing to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The task.
    pub task: TaskId,
    /// Attempts begun before this one: the claim's guard.
    pub attempt: u32,
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown task state")]
pub struct UnknownState;

impl FromStr for TaskState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or(UnknownState)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn every_state_meets_every_event() {
        let mut table = String::new();
        for state in TaskState::ALL {
            for event in TaskEvent::ALL {
                let next = state.after(event).map_or("-", TaskState::as_str);
                writeln!(
                    table,
                    "{:<10} {:<9} {next}",
                    state.as_str(),
                    format!("{event:?}")
                )
                .unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }
}
