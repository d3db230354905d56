//! A database with a past: many jobs that have ended, made within seconds from one that really did.

use anyhow::Context as _;

use crate::postgres::PostgresServer;

const MAKE: &str = include_str!("history.sql");

/// How much there was.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// Jobs that have ended, each with a task, an event, and what else some of them leave.
    pub jobs: u32,
    /// Findings of one of them; a tenth of the others has one each.
    pub findings: u32,
}

impl History {
    /// Puts it into a database that nobody writes to meanwhile, in the shape of the job `model`: a `COMPLETED` one of one
    /// task, with valid rows and a finding that is at a column. Gives the id of the job with the many findings.
    pub fn make(
        &self,
        server: &PostgresServer,
        database: &str,
        model: &str,
    ) -> anyhow::Result<String> {
        let Self { jobs, findings } = self;
        let settings = format!(
            "SET history.jobs = '{jobs}'; SET history.findings = '{findings}'; SET history.model = '{model}';\n"
        );
        let made = server.run(database, &(settings + MAKE));
        made.context("no history could be made")?;
        // As it is where autovacuum has come by.
        server.run(database, "VACUUM (ANALYZE)")?;
        server.run(
            database,
            "SELECT job FROM finding_batches WHERE linked ORDER BY findings DESC LIMIT 1",
        )
    }
}
