//! What can go wrong inside a unit of database work, before the step it belongs to is known.

use filejobs_core::{job, task};
use filejobs_store::Error;
use filejobs_store::rows::Corrupt;
use jiff::Timestamp;

/// Inside a unit `?` is all that is needed; [`Problem::during`] names the step where the unit ends.
#[derive(Debug)]
pub(crate) enum Problem {
    /// An answer for the caller.
    Answer(Error),
    /// The database did not do it.
    Sql(sqlx::Error),
    /// Stored data cannot be read back, or the code and the SQL disagree: a defect of ours.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

pub(crate) type Result<T> = std::result::Result<T, Problem>;

impl From<Error> for Problem {
    fn from(answer: Error) -> Self {
        Self::Answer(answer)
    }
}

impl From<job::IllegalTransition> for Problem {
    fn from(illegal: job::IllegalTransition) -> Self {
        Self::Answer(illegal.into())
    }
}

impl From<task::IllegalTransition> for Problem {
    fn from(illegal: task::IllegalTransition) -> Self {
        Self::Broken(illegal.into())
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Corrupt> for Problem {
    fn from(corrupt: Corrupt) -> Self {
        Self::Broken(corrupt.into())
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken(error.into())
    }
}

/// `SQLITE_BUSY`, `SQLITE_LOCKED`, `SQLITE_FULL` and `SQLITE_CANTOPEN`, the low byte of every extended code.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const FULL: i32 = 13;
const CANNOT_OPEN: i32 = 14;

impl Problem {
    /// What the caller gets.
    pub(crate) fn during(self, step: &'static str) -> Error {
        let source = match self {
            Self::Answer(answer) => return answer,
            Self::Broken(source) => return Error::Backend { step, source },
            Self::Sql(source) => source,
        };
        let code = match &source {
            sqlx::Error::Database(e) => e.code().and_then(|c| c.parse::<i32>().ok()),
            _ => None,
        };
        let source_is_away = matches!(
            source,
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed
        );
        match code.map(|c| c & 0xff) {
            Some(FULL) => Error::Full(source.into()),
            Some(BUSY | LOCKED | CANNOT_OPEN) => Error::Unavailable {
                step,
                source: source.into(),
            },
            _ if source_is_away => Error::Unavailable {
                step,
                source: source.into(),
            },
            _ => Error::Backend {
                step,
                source: source.into(),
            },
        }
    }
}

/// A time as SQLite stores it.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}
