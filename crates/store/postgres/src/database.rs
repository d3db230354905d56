//! Units of work: what runs in one transaction, to its end or not at all.
//!
//! Every unit runs in a task of its own: when a caller's future is dropped (a client hangs up), the unit still runs to
//! its end. A unit that lost a race (deadlock, serialization) or its connection before it was to be committed has
//! changed nothing and is done again, a bounded number of times. One whose connection was lost while it was being
//! committed asks the server afterwards: it is done again when the server knows that nothing has changed. Otherwise the
//! caller learns that the database was out of reach, and looks or asks again.
//!
//! **Order of locks.** A unit that changes a job or ends tasks first locks the job's row, then its tasks, then what
//! hangs on them; of several jobs, the one with the lower id first. What changes tasks without their job (publishing,
//! heartbeats) leaves out rows that others hold and waits for none. So no two units wait for each other; should an
//! upgrade of the schema ever break this order, the retry above still gets both through.
//!
//! **Time** is the database's: it comes with the statement that begins a transaction, is the time of everything in the
//! unit, and the clocks of the machines around may differ from it and from each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use filejobs_core::{JobId, Sources};
use filejobs_store::counting::Count;
use filejobs_store::{Change, ChangeKind, Error};
use futures::future::BoxFuture;
use jiff::Timestamp;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use crate::connections::{Lent, SHORT, UNIT};
use crate::feed::Feed;
use crate::problem::{Problem, Result, Trouble};
use crate::{Clock, Settings, sweep};

/// Tries of a unit that others stood in the way of.
const CONTENTION_TRIES: u32 = 6;
/// Tries of a unit whose connection was lost before it was to be committed.
const LOST_TRIES: u32 = 3;
/// The pause before the first of them; each further one may be twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// How long a unit whose commit was cut off asks what became of it: a server that crashed is back within this time.
const SETTLE: Duration = Duration::from_secs(10);

/// Units of a process that write, between two times that what they changed is added to the counts of jobs. Whoever asks
/// for a count reads the changes one by one, so there may never be many.
const ADD_UP_EVERY: u32 = 256;

const BEGIN: &str = "BEGIN; SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint, \
     pg_current_xact_id()::text";
const BEGIN_LATER: &str = "BEGIN; SET LOCAL synchronous_commit TO off; \
     SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint, NULL::text";
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
     SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint, NULL::text";

/// What a unit does to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Writes, and is on disk before the answer.
    Write,
    /// Writes, and is on disk soon after: a crash of the server may undo it. For what is done again anyway (heartbeats,
    /// publishing, findings that nobody sees yet), never for what an attempt number or a promise hangs on. A unit that
    /// builds on such a one makes sure that it is still there.
    WriteLater,
    /// Reads one state of the database with several statements.
    Read,
}

/// The database, as the statements of this crate use it.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: PgPool,
    sources: Sources,
    clock: Clock,
    feed: Arc<Feed>,
    /// Units that wrote.
    written: Arc<AtomicU32>,
}

/// A transaction.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) connection: Lent,
    pub(crate) sources: Sources,
    /// The time of everything in this unit, to the microsecond that is stored.
    pub(crate) now: Timestamp,
    /// What the caller's clock showed then.
    callers_now: Timestamp,
    /// Names the transaction, when what becomes of it must be known.
    name: Option<String>,
    news: News,
}

/// What a unit tells once it is committed.
#[derive(Debug, Default)]
struct News {
    changes: Vec<Change>,
    counts: Vec<Count>,
}

impl Unit {
    /// Tells listeners of a change, once the unit is committed.
    pub(crate) fn changed(&mut self, job: JobId, kind: ChangeKind) {
        self.news.changes.push(Change { job, kind });
    }

    /// Counts something, once the unit is committed.
    pub(crate) fn count(&mut self, count: Count) {
        self.news.counts.push(count);
    }

    /// A time of the caller's clock on the database's.
    pub(crate) fn on_our_clock(&self, time: Timestamp) -> Timestamp {
        shifted(time, self.callers_now, self.now)
    }

    /// A time of the database's clock on the caller's.
    pub(crate) fn on_callers_clock(&self, time: Timestamp) -> Timestamp {
        shifted(time, self.now, self.callers_now)
    }

    pub(crate) fn after(&self, pause: Duration) -> Timestamp {
        self.now.checked_add(pause).unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn before(&self, age: Duration) -> Timestamp {
        self.now.checked_sub(age).unwrap_or(Timestamp::MIN)
    }
}

/// `time` by a clock that shows `to` when the one it was read from shows `from`.
fn shifted(time: Timestamp, from: Timestamp, to: Timestamp) -> Timestamp {
    let ahead = to.duration_since(from);
    time.checked_add(ahead).unwrap_or(time)
}

impl Database {
    pub(crate) fn new(pool: PgPool, sources: Sources, settings: &Settings, feed: Feed) -> Self {
        Self {
            pool,
            sources,
            clock: settings.clock,
            feed: Arc::new(feed),
            written: Arc::default(),
        }
    }

    /// A new listener.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.feed.subscribe()
    }

    /// Runs `work` in one transaction that writes, and tells listeners when it is committed.
    pub(crate) async fn write<T, W>(
        &self,
        step: &'static str,
        mode: Mode,
        work: W,
    ) -> std::result::Result<T, Error>
    where
        T: Send + 'static,
        W: for<'u> Fn(&'u mut Unit) -> BoxFuture<'u, Result<T>> + Send + Sync + 'static,
    {
        let database = self.clone();
        alone(step, async move { database.tries(mode, work).await }).await
    }

    /// Runs `work`, whose statements all see one state of the database.
    pub(crate) async fn read<T, W>(
        &self,
        step: &'static str,
        work: W,
    ) -> std::result::Result<T, Error>
    where
        T: Send + 'static,
        W: for<'u> Fn(&'u mut Unit) -> BoxFuture<'u, Result<T>> + Send + Sync + 'static,
    {
        self.write(step, Mode::Read, work).await
    }

    /// Runs `work`, which is one statement that reads and needs no time.
    pub(crate) async fn look<T, W>(
        &self,
        step: &'static str,
        work: W,
    ) -> std::result::Result<T, Error>
    where
        T: Send + 'static,
        W: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        let database = self.clone();
        alone(step, async move { database.each_connection(work).await }).await
    }

    /// Does `work`, which may be done again, on a connection that turns out to live.
    ///
    /// All that lie in the pool may have died with the server, so there is a try for each of them.
    async fn each_connection<T, W>(&self, work: W) -> Result<T>
    where
        W: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T>>,
    {
        let mut spare = self.pool.options().get_max_connections();
        loop {
            let mut lent = Lent::from(&self.pool).await?;
            let done = timeout(UNIT, work(&mut lent)).await;
            let done = done.unwrap_or(Err(Problem::Slow));
            match done {
                Err(problem) if problem.trouble() == Some(Trouble::Lost) && spare > 0 => spare -= 1,
                done => {
                    if is_fit(&done) {
                        lent.give_back();
                    }
                    return done;
                }
            }
        }
    }

    async fn tries<T, W>(&self, mode: Mode, work: W) -> Result<T>
    where
        W: for<'u> Fn(&'u mut Unit) -> BoxFuture<'u, Result<T>>,
    {
        let begun = Instant::now();
        let mut tried = 0;
        loop {
            let problem = match self.unit(mode, &work).await {
                Ok(value) => return Ok(value),
                Err(problem) => problem,
            };
            tried += 1;
            let most = match problem.trouble() {
                Some(Trouble::Contention) => CONTENTION_TRIES,
                Some(Trouble::Lost) => LOST_TRIES,
                Some(Trouble::Away | Trouble::Full | Trouble::Defect) | None => 1,
            };
            if tried >= most || begun.elapsed() > UNIT {
                return Err(problem);
            }
            let jitter = self.sources.randomness.unit().clamp(0.1, 1.0);
            sleep(FIRST_PAUSE.mul_f64(jitter) * 2_u32.pow(tried)).await;
        }
    }

    async fn unit<T, W>(&self, mode: Mode, work: &W) -> Result<T>
    where
        W: for<'u> Fn(&'u mut Unit) -> BoxFuture<'u, Result<T>>,
    {
        let mut unit = self.begin(mode).await?;
        match timeout(UNIT, work(&mut unit)).await {
            Ok(Ok(value)) => {
                let News { changes, counts } = self.commit(unit).await?;
                for change in changes {
                    self.feed.tell(change);
                }
                counts.into_iter().for_each(Count::record);
                if mode == Mode::Write {
                    self.add_up_now_and_then();
                }
                Ok(value)
            }
            Ok(Err(problem)) => {
                roll_back(unit.connection, &problem).await;
                Err(problem)
            }
            Err(_) => Err(Problem::Slow),
        }
    }

    /// Adds changes to the counts of jobs beside the work, every so often. The sweep does it as well, but too seldom for
    /// a time in which many files come.
    fn add_up_now_and_then(&self) {
        let before = self.written.fetch_add(1, Ordering::Relaxed);
        if before % ADD_UP_EVERY != ADD_UP_EVERY - 1 {
            return;
        }
        let database = self.clone();
        tokio::spawn(async move {
            let added = database.write("adding up", Mode::WriteLater, |unit| {
                Box::pin(sweep::add_up_counts(unit))
            });
            if let Err(error) = added.await {
                tracing::debug!(%error, "counts are left to the sweep");
            }
        });
    }

    async fn begin(&self, mode: Mode) -> Result<Unit> {
        let statement = match mode {
            Mode::Write => BEGIN,
            Mode::WriteLater => BEGIN_LATER,
            Mode::Read => BEGIN_READING,
        };
        let mut spare = self.pool.options().get_max_connections();
        let (connection, row) = loop {
            let mut lent = Lent::from(&self.pool).await?;
            let begun = timeout(SHORT, sqlx::raw_sql(statement).fetch_one(&mut *lent)).await;
            match begun.map_err(|_| Problem::Slow)? {
                Ok(row) => break (lent, row),
                // Nothing was done yet, and the next one may live.
                Err(error) if Trouble::of(&error) == Trouble::Lost && spare > 0 => spare -= 1,
                Err(error) => return Err(error.into()),
            }
        };
        let callers_now = self.sources.now();
        Ok(Unit {
            connection,
            now: self.time(&row, callers_now)?,
            callers_now,
            name: row.try_get(1)?,
            sources: self.sources.clone(),
            news: News::default(),
        })
    }

    fn time(&self, row: &PgRow, callers_now: Timestamp) -> Result<Timestamp> {
        let micros = match self.clock {
            Clock::Database => row.try_get(0)?,
            Clock::Callers => callers_now.as_microsecond(),
        };
        Timestamp::from_microsecond(micros).map_err(|e| Problem::Broken(e.into()))
    }

    /// Commits, and finds out whether nothing came of it when the connection is lost meanwhile.
    async fn commit(&self, unit: Unit) -> Result<News> {
        let Unit {
            mut connection,
            name,
            news,
            ..
        } = unit;
        let committed = timeout(UNIT, sqlx::raw_sql("COMMIT").execute(&mut *connection)).await;
        let lost = match committed {
            Ok(Ok(_)) => {
                connection.give_back();
                return Ok(news);
            }
            Ok(Err(error)) if Trouble::of(&error) != Trouble::Lost => return Err(error.into()),
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        drop(connection);
        let Some(name) = name else {
            return Err(Problem::Unsettled(lost));
        };
        if self.is_undone(&name).await {
            // It can be done again.
            return Err(lost.into());
        }
        Err(Problem::Unsettled(lost))
    }

    /// Whether a transaction is known to have changed nothing.
    ///
    /// That it was committed is never believed: a server that crashed forgets the number of a transaction of which nothing
    /// had reached its disk, and may give it to the next one, which is committed by the time we ask. The other way
    /// round nothing is wrong with it: who was committed keeps its number.
    async fn is_undone(&self, name: &str) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < SETTLE {
            match self.status(name.into()).await {
                Ok(Some(status)) if status == "aborted" => return true,
                Ok(Some(status)) if status == "committed" => return false,
                // Still in progress: its server process has not noticed yet. Or nobody answers.
                Ok(_) | Err(_) => sleep(FIRST_PAUSE * 10).await,
            }
        }
        false
    }

    async fn status(&self, name: Arc<str>) -> Result<Option<String>> {
        self.each_connection(move |connection| {
            let name = name.clone();
            Box::pin(async move {
                let status = sqlx::query_scalar!("SELECT pg_xact_status($1::text::xid8)", &*name);
                Ok(status.fetch_one(connection).await?)
            })
        })
        .await
    }
}

/// Whether a connection can be used after this.
fn is_fit<T>(done: &Result<T>) -> bool {
    match done {
        Ok(_) | Err(Problem::Answer(_) | Problem::Broken(_)) => true,
        Err(Problem::Slow | Problem::Unsettled(_)) => false,
        Err(Problem::Sql(error)) => {
            matches!(error, sqlx::Error::Database(_)) && Trouble::of(error) != Trouble::Lost
        }
    }
}

/// Ends a transaction without a trace. A connection that does not confirm that is closed.
async fn roll_back(mut connection: Lent, problem: &Problem) {
    let fit = match problem {
        Problem::Sql(error) => matches!(error, sqlx::Error::Database(_)),
        Problem::Answer(_) | Problem::Broken(_) => true,
        Problem::Slow | Problem::Unsettled(_) => false,
    };
    if !fit {
        return;
    }
    let rolled_back = timeout(SHORT, sqlx::raw_sql("ROLLBACK").execute(&mut *connection)).await;
    if matches!(rolled_back, Ok(Ok(_))) {
        connection.give_back();
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

/// Answers when the server takes writes.
pub(crate) async fn can_write(connection: &mut PgConnection) -> Result<()> {
    let reads_only = sqlx::query_scalar!(r#"SELECT pg_is_in_recovery() AS "reads_only!""#);
    if reads_only.fetch_one(connection).await? {
        return Err(Error::Unavailable {
            step: "answering",
            source: "the server is a stand-by and only reads".into(),
        }
        .into());
    }
    Ok(())
}
