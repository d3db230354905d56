//! `filejobs migrate`: brings the database's tables up to date.

use std::time::Duration;

use clap::Args;
use filejobs_store_postgres::PostgresStore;
use tokio_util::sync::CancellationToken;

use super::block_on;
use crate::config::{Connections, DatabaseArgs, DatabaseUrl, Problems};
use crate::exit::Outcome;
use crate::services::stop;
use crate::services::waiting::{Patience, until_up};
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
            let patience = Patience::new(start, stop);
            let migrated =
                until_up("the database", &patience, || PostgresStore::migrate(&url)).await?;
            match migrated {
                None => {}
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
