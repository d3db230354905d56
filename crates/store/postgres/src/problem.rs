//! What can go wrong inside a unit of database work, before the step it belongs to is known.

use filejobs_core::{job, task};
use filejobs_store::Error;
use filejobs_store::rows::Corrupt;

/// Inside a unit `?` is all that is needed; [`Problem::during`] names the step where the unit ends.
#[derive(Debug)]
pub(crate) enum Problem {
    /// An answer for the caller.
    Answer(Error),
    /// The database did not do it.
    Sql(sqlx::Error),
    /// The database did not answer in time.
    Slow,
    /// The connection was lost while the unit was being committed, and whether it was could not be learned.
    Unsettled(sqlx::Error),
    /// Stored data cannot be read back, or the code and the SQL disagree: a defect of ours.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

pub(crate) type Result<T> = std::result::Result<T, Problem>;

/// What a database's refusal means for the unit it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Two units stood in each other's way: done again, this one gets through.
    Contention,
    /// The connection is gone, or will be.
    Lost,
    /// The database is out of reach or overloaded, or another unit took too long.
    Away,
    /// No space is left.
    Full,
    /// Anything else: a defect of ours, or a database that is set up wrongly.
    Defect,
}

/// The database did not answer within the time that a unit has.
#[derive(Debug, thiserror::Error)]
#[error("no answer in time")]
struct NoAnswer;

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

impl From<Corrupt> for Problem {
    fn from(corrupt: Corrupt) -> Self {
        Self::Broken(corrupt.into())
    }
}

impl Trouble {
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(refusal) => refusal
                .code()
                .map_or(Self::Defect, |code| Self::named(&code)),
            // A server that has no room for another process, or is about to start or to end, says so in the middle of
            // the agreement on TLS, where sqlx expects other words.
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                Self::Lost
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::Away,
            _ => Self::Defect,
        }
    }

    /// By the names in the appendix "PostgreSQL Error Codes" of its manual.
    fn named(code: &str) -> Self {
        match code {
            // serialization_failure, deadlock_detected
            "40001" | "40P01" => Self::Contention,
            // admin_shutdown, crash_shutdown, database_dropped, idle_in_transaction_session_timeout, idle_session_timeout
            "57P01" | "57P02" | "57P04" | "25P03" | "57P05" => Self::Lost,
            // cannot_connect_now, too_many_connections, out_of_memory, insufficient resources at large; query_canceled
            // and lock_not_available by our own timeouts; a server that is a stand-by at the moment
            "57P03" | "53300" | "53200" | "53000" | "57014" | "55P03" | "25006" => Self::Away,
            "53100" => Self::Full,
            // connection exceptions, system errors
            _ if code.starts_with("08") => Self::Lost,
            _ if code.starts_with("58") => Self::Away,
            _ => Self::Defect,
        }
    }
}

impl Problem {
    /// What the trouble with the database is, when it is one.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Sql(error) => Some(Trouble::of(error)),
            Self::Slow | Self::Unsettled(_) => Some(Trouble::Away),
            Self::Answer(_) | Self::Broken(_) => None,
        }
    }

    /// What the caller gets.
    pub(crate) fn during(self, step: &'static str) -> Error {
        let trouble = self.trouble();
        let source = match self {
            Self::Answer(answer) => return answer,
            Self::Broken(source) => source,
            Self::Slow => NoAnswer.into(),
            Self::Sql(error) => error.into(),
            Self::Unsettled(error) => {
                let source = error.into();
                return Error::Unsettled { step, source };
            }
        };
        match trouble {
            Some(Trouble::Contention | Trouble::Lost | Trouble::Away) => {
                Error::Unavailable { step, source }
            }
            Some(Trouble::Full) => Error::Full(source),
            Some(Trouble::Defect) | None => Error::Backend { step, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use filejobs_core::ErrorClass;
    use sqlx::{Connection as _, PgConnection};

    use super::*;

    /// Answers a request for TLS as a server does that cannot take a connection now.
    fn server_without_room() -> std::net::SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 8]).unwrap();
            stream
                .write_all(b"Ecould not fork new process\n\0")
                .unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_server_that_cannot_take_a_connection_is_away_and_no_defect() {
        let url = format!("postgres://me@{}/jobs", server_without_room());
        let refused = PgConnection::connect(&url).await.unwrap_err();
        assert!(matches!(refused, sqlx::Error::Protocol(_)), "{refused:?}");
        let told = Problem::from(refused).during("connecting");
        assert_eq!(told.class(), ErrorClass::Transient, "{told:?}");
    }
}
