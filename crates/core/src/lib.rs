//! The rules of Filejobs as plain values: no I/O, no clock of its own, no randomness of its own.
//!
//! Everything here can be tested by calling it. What a state may become lives in [`job`] and [`task`];
//! what a table must look like in [`schema`]; what can be wrong with a row in [`finding`] and with a
//! whole file in [`failure`]; how big anything may grow in [`limits`], how much may run at a time in [`quotas`];
//! why a job waits in [`waiting`]; what stands behind an error in [`causes`].

pub mod causes;
pub mod export;
pub mod failure;
pub mod file;
pub mod finding;
pub mod ids;
pub mod inspect;
pub mod job;
pub mod key;
pub mod limits;
pub mod options;
pub mod quotas;
pub mod report;
pub mod retry;
pub mod row_runs;
pub mod schema;
pub mod sources;
pub mod task;
pub mod verdict;
pub mod waiting;
pub mod webhook;

pub use failure::{Failure, FailureClass, FailureCode};
pub use file::{Content, FileName, FileType};
pub use finding::{Finding, FindingCode};
pub use ids::{JobId, Namespace, SchedulerId, TaskId, WorkerId};
pub use job::{JobEvent, JobState, Outcome};
pub use key::{ApiKey, Grant, KeyHash, KeyName, KeyPrefix, Scope};
pub use limits::Limits;
pub use options::Options;
pub use quotas::Quotas;
pub use report::Report;
pub use schema::TableSchema;
pub use sources::Sources;
pub use task::{TaskEvent, TaskState};
pub use webhook::WebhookUrl;

/// What a caller should do about an error; drives retries, HTTP status and metrics.
///
/// Every `Error` of our crates answers `class()` with one of these and `reason()` with a short
/// constant name that is safe as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The input is wrong; the same call can never work.
    Invalid,
    /// The state of the thing does not allow the call; another state may.
    Conflict,
    /// A back end was out of reach or busy; the same call may work later.
    Transient,
    /// Something of ours is broken; neither waiting nor another input helps.
    Permanent,
}
