//! Connections, and the units of work that run on them.
//!
//! One connection writes, a few read. Every unit runs in a task of its own: when a caller's future is dropped (a client
//! hangs up), the unit still runs to its end, so that it is either done in full or rolled back, and no connection is
//! ever left inside a transaction.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use filejobs_core::{JobId, Sources};
use filejobs_store::counting::Count;
use filejobs_store::{Change, ChangeKind, Connections, Error};
use futures::future::BoxFuture;
use jiff::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Mutex, broadcast};
use tracing::Instrument;

use crate::problem::{Problem, Result};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Waits for a lock that another process holds, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read at the same time.
const READERS: u32 = 4;
/// Changes that a slow listener may lag behind before it misses some.
const CHANGES: usize = 1024;

/// Whether what a unit writes must survive a loss of power once it has been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Synced before the answer.
    Yes,
    /// Synced with the next unit that is. After a loss of power it is as if it had not happened, which is what leases,
    /// publishing and the like are built for.
    Later,
}

/// The database file.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    writer: Arc<Mutex<Option<Writer>>>,
    readers: SqlitePool,
    options: SqliteConnectOptions,
    sources: Sources,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug)]
struct Writer {
    connection: SqliteConnection,
    durable: Durable,
}

/// A transaction that writes.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) connection: SqliteConnection,
    pub(crate) sources: Sources,
    /// The time of everything in this unit, to the microsecond that is stored.
    pub(crate) now: Timestamp,
    changes: Vec<Change>,
    counts: Vec<Count>,
}

impl Unit {
    /// Tells listeners of a change, once the unit is committed.
    pub(crate) fn changed(&mut self, job: JobId, kind: ChangeKind) {
        self.changes.push(Change { job, kind });
    }

    /// Counts something, once the unit is committed.
    pub(crate) fn count(&mut self, count: Count) {
        self.counts.push(count);
    }
}

impl Database {
    /// Opens the file, creates it when absent, and brings its tables up to date.
    pub(crate) async fn open(path: &Path, sources: Sources) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(256)
            .pragma("temp_store", "MEMORY")
            .pragma("journal_size_limit", "67108864");
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .acquire_timeout(BUSY_TIMEOUT)
            .idle_timeout(Duration::from_mins(5))
            .after_release(|connection, _| {
                Box::pin(async move {
                    // Belt and braces: units end their own transactions.
                    if connection.is_in_transaction() {
                        sqlx::query("ROLLBACK").execute(&mut *connection).await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.clone().pragma("query_only", "ON"));
        let database = Self {
            writer: Arc::new(Mutex::new(None)),
            readers,
            options,
            sources,
            changes: broadcast::channel(CHANGES).0,
        };
        let mut writer = database.connect().await?;
        let migrated = MIGRATIONS.run(&mut writer.connection).await;
        migrated.map_err(|e| Problem::Broken(e.into()))?;
        *database.writer.lock().await = Some(writer);
        Ok(database)
    }

    /// A new listener.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Its connections: the one that writes, and the readers.
    pub(crate) fn connections(&self) -> Connections {
        let idle = u32::try_from(self.readers.num_idle()).unwrap_or(u32::MAX);
        let writing = u32::from(self.writer.try_lock().is_err());
        Connections {
            used: self.readers.size().saturating_sub(idle) + writing,
            idle: idle + (1 - writing),
            most: READERS + 1,
        }
    }

    /// The time now, to the microsecond that is stored.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.sources.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    async fn connect(&self) -> Result<Writer> {
        Ok(Writer {
            connection: self.options.connect().await?,
            durable: Durable::Yes,
        })
    }

    /// Runs `work` in one transaction that writes, and tells listeners when it is committed.
    pub(crate) async fn write<T, W>(
        &self,
        step: &'static str,
        durable: Durable,
        work: W,
    ) -> std::result::Result<T, Error>
    where
        T: Send + 'static,
        W: for<'u> FnOnce(&'u mut Unit) -> BoxFuture<'u, Result<T>> + Send + 'static,
    {
        let database = self.clone();
        alone(step, async move { database.unit(durable, work).await }).await
    }

    async fn unit<T, W>(&self, durable: Durable, work: W) -> Result<T>
    where
        W: for<'u> FnOnce(&'u mut Unit) -> BoxFuture<'u, Result<T>>,
    {
        // The connection is out of its slot while it is in a transaction: should this task end in between, the
        // connection is closed, which rolls back, and the next unit opens another.
        let mut slot = self.writer.lock().await;
        let mut writer = match slot.take() {
            Some(writer) => writer,
            None => self.connect().await?,
        };
        writer.set(durable).await?;
        let durable = writer.durable;
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut writer.connection)
            .await?;
        let mut unit = Unit {
            connection: writer.connection,
            sources: self.sources.clone(),
            now: self.now(),
            changes: Vec::new(),
            counts: Vec::new(),
        };
        let outcome = work(&mut unit).await;
        let end = if outcome.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        let Unit {
            mut connection,
            changes,
            counts,
            ..
        } = unit;
        let ended = sqlx::query(end).execute(&mut connection).await;
        if ended.is_ok() {
            *slot = Some(Writer {
                connection,
                durable,
            });
        }
        drop(slot);
        let value = outcome?;
        ended?;
        for change in changes {
            // No listener is fine.
            let _ = self.changes.send(change);
        }
        counts.into_iter().for_each(Count::record);
        Ok(value)
    }

    /// Runs `work`, which is one statement, beside any writer.
    pub(crate) async fn look<T, W>(
        &self,
        step: &'static str,
        work: W,
    ) -> std::result::Result<T, Error>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let readers = self.readers.clone();
        alone(step, async move {
            let mut connection = readers.acquire().await?;
            work(&mut connection).await
        })
        .await
    }

    /// Runs `work`, whose statements all see one state of the database, beside any writer.
    pub(crate) async fn read<T, W>(
        &self,
        step: &'static str,
        work: W,
    ) -> std::result::Result<T, Error>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let readers = self.readers.clone();
        alone(step, async move {
            let mut transaction = readers.begin().await?;
            let outcome = work(&mut transaction).await;
            transaction.rollback().await?;
            outcome
        })
        .await
    }
}

impl Writer {
    async fn set(&mut self, durable: Durable) -> Result<()> {
        if self.durable != durable {
            let pragma = match durable {
                Durable::Yes => "PRAGMA synchronous = FULL",
                Durable::Later => "PRAGMA synchronous = NORMAL",
            };
            sqlx::query(pragma).execute(&mut self.connection).await?;
            self.durable = durable;
        }
        Ok(())
    }
}

/// Runs a unit to its end, whether its caller waits or not.
async fn alone<T: Send + 'static>(
    step: &'static str,
    unit: impl Future<Output = Result<T>> + Send + 'static,
) -> std::result::Result<T, Error> {
    match tokio::spawn(unit.in_current_span()).await {
        Ok(outcome) => outcome.map_err(|problem| problem.during(step)),
        Err(lost) => Err(Problem::Broken(lost.into()).during(step)),
    }
}
