//! Which database.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use filejobs_store_postgres::PostgresStore;

use super::{Problems, Secret, given};

/// The database of services that are many processes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
#[expect(
    clippy::struct_field_names,
    reason = "the flags are named after the fields"
)]
pub(crate) struct DatabaseArgs {
    /// The Postgres database: `postgres://USER:PASSWORD@HOST/NAME`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<Secret>,

    /// Connections that this process opens at most, beside the one on which a service listens; all processes together
    /// must stay below the server's `max_connections` [default: 60 for `api`, 10 for others]
    #[arg(long, env = "FILEJOBS_DATABASE_CONNECTIONS", value_name = "N")]
    database_connections: Option<String>,

    /// Of these, those that are kept open without work [default: 20 for `api`, 2 for others]
    #[arg(long, env = "FILEJOBS_DATABASE_KEPT", value_name = "N")]
    database_kept: Option<String>,
}

/// Connections of a process unless told otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connections {
    /// At most.
    pub(crate) most: u32,
    /// Kept without work.
    pub(crate) kept: u32,
}

impl Connections {
    /// Of a process that answers many callers.
    pub(crate) const MANY: Self = Self { most: 60, kept: 20 };
    /// Of any other.
    pub(crate) const FEW: Self = Self { most: 10, kept: 2 };
}

/// Where a database is.
#[derive(Clone)]
pub(crate) enum DatabaseUrl {
    /// On a server.
    Postgres {
        /// Its address, password included.
        url: String,
        /// How many connections.
        connections: Connections,
    },
    /// In a file: that of `filejobs dev`.
    Sqlite(PathBuf),
}

/// Never shows the address: it holds a password.
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres { .. } => f.write_str("Postgres(…)"),
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
        }
    }
}

const URL: &str = "DATABASE_URL (--database-url)";

impl DatabaseArgs {
    /// The server, which must be named.
    pub(crate) fn read(&self, usual: Connections, problems: &mut Problems) -> Option<DatabaseUrl> {
        let url = self.server(usual, problems);
        let todo = "such as postgres://USER:PASSWORD@HOST/NAME";
        // A wrong one is told already.
        if given(self.database_url.as_ref().map(Secret::reveal)).is_none() {
            return problems.required(URL, None, todo);
        }
        url
    }

    /// The server, when one is named.
    pub(crate) fn server(
        &self,
        usual: Connections,
        problems: &mut Problems,
    ) -> Option<DatabaseUrl> {
        let mut number = |name: &str, text: Option<&str>, least: u64, usual: u32| {
            let number = given(text).map(|text| problems.whole(name, text, least..=10_000) as u32);
            number.unwrap_or(usual)
        };
        let most = number(
            "FILEJOBS_DATABASE_CONNECTIONS (--database-connections)",
            self.database_connections.as_deref(),
            2,
            usual.most,
        );
        let kept = number(
            "FILEJOBS_DATABASE_KEPT (--database-kept)",
            self.database_kept.as_deref(),
            0,
            usual.kept,
        );
        let url = given(self.database_url.as_ref().map(Secret::reveal))?;
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            problems.add(URL, "postgres://USER:PASSWORD@HOST/NAME is taken");
            return None;
        }
        if let Err(problem) = PostgresStore::check_url(url) {
            let problem = anyhow::Error::new(problem);
            problems.add(URL, format_args!("{problem:#}"));
            return None;
        }
        Some(DatabaseUrl::Postgres {
            url: url.to_owned(),
            connections: Connections {
                most,
                kept: kept.min(most),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(url: &str) -> Vec<String> {
        let given = DatabaseArgs {
            database_url: Some(url.parse().unwrap()),
            database_connections: None,
            database_kept: None,
        };
        let mut problems = Problems::default();
        let read = given.read(Connections::FEW, &mut problems);
        assert_eq!(read.is_some(), problems.told().is_empty());
        problems.told().to_vec()
    }

    #[test]
    fn an_address_that_cannot_be_read_is_told_at_once_without_its_password() {
        assert_eq!(
            told("postgres://me:hush@db:5432/jobs?sslmode=require"),
            [""; 0]
        );
        for url in [
            "mysql://me:hush@db/jobs",
            "postgres://me:hush@db:port/jobs",
            "postgres://me:hush@db/jobs?sslmode=hardly",
            "postgres://me:hush@[db/jobs",
        ] {
            let [told] = &told(url)[..] else {
                unreachable!("one problem is told of {url}")
            };
            assert!(
                told.starts_with("DATABASE_URL") && !told.contains("hush"),
                "{told}"
            );
        }
    }
}
