//! What can go wrong inside a unit of database work, before the step it belongs to is known.

use std::fmt::Display;
use std::str::FromStr;

use filejobs_core::{job, task};
use filejobs_store::Error;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

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

/// A stored value that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("table {table}, column {column}: the value in row {row} cannot be read")]
struct Corrupt {
    table: &'static str,
    column: &'static str,
    row: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A row being read: says where bad data is.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a (dyn Display + Sync),
}

impl Reading<'_> {
    /// A number that fits its type.
    pub(crate) fn number<T: TryFrom<i64>>(self, column: &'static str, value: i64) -> Result<T> {
        T::try_from(value).map_err(|_| self.corrupt(column, None))
    }

    /// A time.
    pub(crate) fn time(self, column: &'static str, value: i64) -> Result<Timestamp> {
        Timestamp::from_microsecond(value).map_err(|e| self.corrupt(column, Some(e.into())))
    }

    /// A word of a closed set, or an identifier.
    pub(crate) fn word<T: FromStr>(self, column: &'static str, value: &str) -> Result<T> {
        value.parse().map_err(|_| self.corrupt(column, None))
    }

    /// One of `all` by its name.
    pub(crate) fn one_of<T: Copy>(
        self,
        column: &'static str,
        value: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T> {
        let found = all.iter().copied().find(|item| name(*item) == value);
        found.ok_or_else(|| self.corrupt(column, None))
    }

    /// A JSON document.
    pub(crate) fn json<T: DeserializeOwned>(self, column: &'static str, value: &str) -> Result<T> {
        serde_json::from_str(value).map_err(|e| self.corrupt(column, Some(e.into())))
    }

    pub(crate) fn corrupt(
        self,
        column: &'static str,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Problem {
        Problem::Broken(Box::new(Corrupt {
            table: self.table,
            column,
            row: self.row.to_string(),
            source,
        }))
    }
}

/// A count as SQLite stores it. Nothing we count comes near the end of 63 bits.
pub(crate) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A time as SQLite stores it.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}
