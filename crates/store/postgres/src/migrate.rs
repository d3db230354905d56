//! The schema: brought up to date by one process, asked for by all others.

use std::time::Duration;

use filejobs_store::Error;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::connections::{self, SHORT};
use crate::problem::{Problem, Result};

/// Where sqlx keeps what was run.
const TABLE: &str = "_sqlx_migrations";
/// The advisory lock of whoever migrates: "filejobs" in hexadecimal digits of its letters, cut to 63 bits.
const LOCK: i64 = 0x6669_6c65_6a6f_6273;
/// How long another's migration is waited for.
const OTHERS: Duration = Duration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long the server is waited for: it may be starting, too.
const START: Duration = Duration::from_secs(30);

/// Migrations may take long, but none waits long for a lock that work in progress holds: everybody else would wait
/// behind it.
const SERVER_SETTINGS: [(&str, &str); 3] = [
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("lock_timeout", "10s"),
];

/// What this program knows. A database that knows more belongs to a later version, whose schema works for this one, too.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    // Its own lock waits without an end.
    migrator.set_locking(false);
    migrator
}

/// Brings the schema up to date; returns how many migrations that took. Several may try at a time: one migrates, the
/// others wait for it and find nothing left to do.
pub(crate) async fn migrate(url: &str) -> std::result::Result<usize, Error> {
    let options = connections::options(url)
        .map_err(|e| Problem::Sql(e).during("reading the database's address"))?;
    let run = async {
        // A migration may take its time: its name and how long it took are told, not its text as a slow statement.
        let options = options.options(SERVER_SETTINGS).disable_statement_logging();
        let mut connection = connect(&options).await?;
        lock(&mut connection).await?;
        let migrations = run_absent(&mut connection).await?;
        // Closing gives the lock back.
        connection.close().await?;
        Ok(migrations)
    };
    run.await
        .map_err(|problem: Problem| problem.during("migrating the database"))
}

/// Runs what the database does not have yet, one after another; returns how many that were.
async fn run_absent(connection: &mut PgConnection) -> Result<usize> {
    let migrator = migrator();
    let before = applied(connection).await?;
    let absent = migrator.iter().filter(|m| !before.contains(&m.version));
    let mut done = 0;
    for migration in absent {
        let (version, name) = (migration.version, &*migration.description);
        tracing::info!(
            migration.version = version,
            migration.name = name,
            "migration begins"
        );
        let begun = Instant::now();
        let run = migrator.run_to(version, &mut *connection).await;
        run.map_err(|e| Problem::Broken(e.into()))?;
        let duration_ms = begun.elapsed().as_millis();
        tracing::info!(
            migration.version = version,
            migration.name = name,
            duration_ms,
            "migration done"
        );
        done += 1;
    }
    // With nothing absent, too: that what was run before is what this program knows.
    let checked = migrator.run(connection).await;
    checked.map_err(|e| Problem::Broken(e.into()))?;
    Ok(done)
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    let begun = Instant::now();
    loop {
        match timeout(START, options.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) if begun.elapsed() < START && is_starting(&error) => {
                sleep(LOOK_EVERY).await;
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(Problem::Slow),
        }
    }
}

fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(refusal) => refusal.is_transient_in_connect_phase(),
        _ => false,
    }
}

async fn lock(connection: &mut PgConnection) -> Result<()> {
    let begun = Instant::now();
    loop {
        let locked = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "locked!""#, LOCK);
        if locked.fetch_one(&mut *connection).await? {
            return Ok(());
        }
        if begun.elapsed() > OTHERS {
            return Err(Problem::Slow);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Numbers of the migrations that were run; none in an empty database.
async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>> {
    let there = sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "there!""#, TABLE);
    if !there.fetch_one(&mut *connection).await? {
        return Ok(Vec::new());
    }
    let applied = connection.list_applied_migrations(TABLE).await;
    let applied = applied.map_err(|e| Problem::Broken(e.into()))?;
    Ok(applied.iter().map(|migration| migration.version).collect())
}

/// Refuses a database whose schema is older than this program needs.
pub(crate) async fn check(options: &PgConnectOptions) -> std::result::Result<(), Error> {
    const STEP: &str = "opening the database";
    let look = async {
        let mut connection = options.connect().await?;
        let applied = applied(&mut connection).await?;
        connection.close().await?;
        Ok(applied)
    };
    let looked = timeout(SHORT, look).await.unwrap_or(Err(Problem::Slow));
    let applied = looked.map_err(|problem| problem.during(STEP))?;
    let absent = migrator()
        .iter()
        .filter(|m| !applied.contains(&m.version))
        .count();
    if absent > 0 {
        return Err(Error::Outdated { absent });
    }
    Ok(())
}
