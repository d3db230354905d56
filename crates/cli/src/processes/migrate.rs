//! `filejobs migrate`: brings the database's tables up to date.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use filejobs_core::Sources;
use filejobs_store::Error;
use filejobs_store_postgres::{PostgresStore, Settings};
use tokio_util::sync::CancellationToken;

use super::block_on;
use crate::config::{Connections, DatabaseArgs, DatabaseUrl, Problems};
use crate::exit::Outcome;
use crate::services::stop;
use crate::services::waiting::{Patience, until_done, until_up};
use crate::terminal;

/// Bring the database's tables up to date, before processes of a new version start
///
/// Forward only. Any number may run at a time: one migrates, the others wait and find nothing to do. Processes of the
/// version before go on working meanwhile and after.
#[derive(Debug, Clone, Args)]
pub(crate) struct Migrate {
    /// How long the database is waited for
    #[arg(
        long,
        env = "FILEJOBS_START_TIMEOUT",
        default_value = "60s",
        value_name = "TIME"
    )]
    start_timeout: String,

    #[command(flatten)]
    database: DatabaseArgs,
}

impl Migrate {
    pub(crate) fn run(&self) -> Outcome {
        let mut problems = Problems::default();
        let database = self.database.read(Connections::FEW, &mut problems);
        let start = problems.time(
            "FILEJOBS_START_TIMEOUT (--start-timeout)",
            &self.start_timeout,
            Duration::ZERO,
        );
        problems.finish()?;
        let Some(DatabaseUrl::Postgres { url, .. }) = database else {
            return Ok(crate::exit::Exit::Usage);
        };
        block_on(async move {
            let stop = CancellationToken::new();
            stop::on_signals(&stop)?;
            match migrate(&url, &Patience::new(start, stop)).await? {
                // Whoever waits for the new tables must not take it for done.
                None => bail!("stopped before the database was up to date"),
                Some(0) => terminal::line("The database is up to date.")?,
                Some(n) => {
                    let migrations = terminal::counted(n as u64, "migration");
                    terminal::line(format!("The database is up to date after {migrations}."))?;
                }
            }
            Ok(())
        })
    }
}

/// Waits for the server and then migrates, which may take longer than a server is waited for; `None` when the process
/// shall stop.
async fn migrate(url: &str, patience: &Patience) -> anyhow::Result<Option<usize>> {
    const WHAT: &str = "the database";
    let up = until_up(WHAT, patience, || reach(url)).await?;
    if up.is_none() {
        return Ok(None);
    }
    until_done(WHAT, patience, || PostgresStore::migrate(url)).await
}

/// Asks the server for its tables; older ones are an answer, too.
async fn reach(url: &str) -> Result<(), Error> {
    let settings = Settings {
        connections: 1,
        kept: 0,
        ..Settings::default()
    };
    match PostgresStore::open(url, Sources::system(), settings).await {
        Ok(_) | Err(Error::Outdated { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
