//! Findings: written with the commit when they are few, ahead of it when they are many, and linked by it.

use std::path::PathBuf;
use std::sync::Arc;

use filejobs_core::{Finding, JobId, TaskId};
use filejobs_store::rows::int;
use filejobs_store::{Error, findings_file};
use sqlx::PgConnection;
use tokio::sync::mpsc;

use crate::copy::Encoder;
use crate::database::{Database, Mode, Unit};
use crate::few;
use crate::finding_index::Index;
use crate::numbers::small;
use crate::problem::Result;
use crate::time::Time;

/// Findings that go into the transaction of the commit itself: fewer are not worth transactions of their own.
const FEW: usize = 1_000;
/// Findings in one transaction of those that are written ahead.
const CHUNK: usize = 8_000;

/// What a commit has to make visible.
#[derive(Debug, Clone)]
pub(crate) enum Loaded {
    /// Not written yet.
    Few(Arc<Vec<Finding>>),
    /// Written, for nobody to see yet.
    Ahead(Batch),
}

/// A batch of findings that nobody sees yet.
///
/// The transactions that write it do not wait for the disk, so a crash of the server may undo the last of them while the
/// worker goes on. What a crash undoes is always the end of what was done: so each of them makes sure that the one before
/// it is still there, by what the batch's row says, and the commit that the last one is. The number may be given to
/// another batch after such a crash, so it is never asked for alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    id: i64,
    task: TaskId,
    attempt: u32,
    findings: i64,
    last: (i64, i32),
}

/// Reads a task's findings, and writes them ahead when they are many. `None` when the file holds none.
/// [`Error::Stale`] when the lease is lost.
pub(crate) async fn load(
    database: &Database,
    task: TaskId,
    attempt: u32,
    path: PathBuf,
) -> std::result::Result<Option<Loaded>, Error> {
    let (send, mut chunks) = mpsc::channel(1);
    let reader = tokio::task::spawn_blocking(move || {
        // The first chunk tells whether they are few: a second one follows, or none.
        findings_file::read(&path, FEW, &send);
    });
    let loaded = take(database, task, attempt, &mut chunks).await?;
    drop(chunks);
    // Its end was told through the channel; what is left is a panic, which would have cut the file short.
    reader
        .await
        .map_err(|lost| Error::Findings(std::io::Error::other(lost)))?;
    Ok(loaded)
}

type Chunks = mpsc::Receiver<std::io::Result<Vec<Finding>>>;

async fn take(
    database: &Database,
    task: TaskId,
    attempt: u32,
    chunks: &mut Chunks,
) -> std::result::Result<Option<Loaded>, Error> {
    let mut next = async || chunks.recv().await.transpose().map_err(Error::Findings);
    let Some(mut gathered) = next().await? else {
        return Ok(None);
    };
    let Some(second) = next().await? else {
        return Ok(Some(Loaded::Few(Arc::new(gathered))));
    };
    gathered.extend(second);
    let mut ahead = Ahead::begin(database, task, attempt).await?;
    let mut more = true;
    while more && ahead.room > 0 {
        match next().await? {
            Some(chunk) => gathered.extend(chunk),
            None => more = false,
        }
        if !more || gathered.len() >= CHUNK {
            ahead
                .append(database, std::mem::take(&mut gathered))
                .await?;
        }
    }
    Ok(Some(Loaded::Ahead(ahead.finish(database).await?)))
}

/// A batch that is being written ahead.
#[derive(Debug)]
struct Ahead {
    batch: Batch,
    /// Findings of it that can ever be read.
    room: usize,
    index: Index,
}

const WRITING: &str = "writing findings";

impl Ahead {
    async fn begin(
        database: &Database,
        task: TaskId,
        attempt: u32,
    ) -> std::result::Result<Self, Error> {
        let begun = database.write(WRITING, Mode::WriteLater, move |unit| {
            Box::pin(begin(unit, task, attempt))
        });
        let (batch, room) = begun.await?;
        Ok(Self {
            batch,
            room,
            index: Index::default(),
        })
    }

    async fn append(
        &mut self,
        database: &Database,
        mut findings: Vec<Finding>,
    ) -> std::result::Result<(), Error> {
        findings.truncate(self.room);
        self.room -= findings.len();
        let Some(last) = findings.last() else {
            return Ok(());
        };
        let before = self.batch;
        let rows = findings.len() as u64;
        let after = Batch {
            findings: before.findings + int(rows),
            last: (int(last.row_number), small(last.seq)),
            ..before
        };
        let mut encoder = Encoder::new(before.id, before.findings);
        for finding in &findings {
            encoder.push(finding, self.index.add(finding));
        }
        let bytes: Arc<[u8]> = encoder.finish().into();
        let appended = database.write(WRITING, Mode::WriteLater, move |unit| {
            let bytes = bytes.clone();
            Box::pin(async move {
                advance(unit, before, after, false).await?;
                copy(unit, &bytes, rows).await
            })
        });
        appended.await?;
        self.batch = after;
        Ok(())
    }

    /// Writes what pages need to know about the batch.
    async fn finish(self, database: &Database) -> std::result::Result<Batch, Error> {
        let Self { batch, index, .. } = self;
        let index = Arc::new(index);
        let finished = database.write(WRITING, Mode::WriteLater, move |unit| {
            let index = index.clone();
            Box::pin(async move {
                advance(unit, batch, batch, true).await?;
                write_index(unit, batch.id, &index).await
            })
        });
        finished.await?;
        Ok(batch)
    }
}

/// Begins a batch for an attempt that still runs. Also tells how many findings of it can ever be read.
async fn begin(unit: &mut Unit, task: TaskId, attempt: u32) -> Result<(Batch, usize)> {
    // What an earlier try of the same commit wrote is for the sweep: each would leave as much again. One whose commit is
    // still under way is locked, and nothing is written until that is decided.
    sqlx::query!(
        "UPDATE finding_batches SET attempt = 0 WHERE task = $1 AND attempt = $2 AND NOT linked",
        task.as_uuid(),
        small(attempt)
    )
    .execute(&mut *unit.connection)
    .await?;
    let batch = sqlx::query!(
        "INSERT INTO finding_batches (job, task, attempt, position)
        SELECT job, id, attempt, CASE kind WHEN 'piece' THEN idx + 1 ELSE 0 END FROM tasks
        WHERE id = $1 AND attempt = $2 AND state = 'RUNNING'
        RETURNING id, job, position",
        task.as_uuid(),
        small(attempt)
    )
    .fetch_optional(&mut *unit.connection)
    .await?
    .ok_or(Error::Stale)?;
    let room = sqlx::query_scalar!(
        r#"SELECT GREATEST(0, j.findings_max - (SELECT COALESCE(SUM(b.findings), 0)::bigint FROM finding_batches b
            WHERE b.job = j.id AND b.linked AND b.position < $1)) AS "room!"
        FROM jobs j WHERE j.id = $2"#,
        batch.position,
        batch.job
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    let begun = Batch {
        id: batch.id,
        task,
        attempt,
        findings: 0,
        last: (0, 0),
    };
    Ok((begun, usize::try_from(room).unwrap_or(usize::MAX)))
}

/// Takes a batch's row from `before` to `after`, to which nothing is added any more once it is `written`. The sweep takes
/// batches of attempts that are over, and what is added after that would stay for ever: so the row is held here, and
/// whoever comes second sees what the first has done.
async fn advance(unit: &mut Unit, before: Batch, after: Batch, written: bool) -> Result<()> {
    let (row, seq) = after.last;
    let advanced = sqlx::query!(
        "UPDATE finding_batches SET findings = $1, last_row = $2, last_seq = $3, written = $4
        WHERE id = $5 AND task = $6 AND attempt = $7 AND findings = $8 AND NOT written AND NOT linked",
        after.findings,
        row,
        seq,
        written,
        before.id,
        before.task.as_uuid(),
        small(before.attempt),
        before.findings
    )
    .execute(&mut *unit.connection)
    .await?;
    whole(advanced.rows_affected())
}

/// Whether the batch was found as it was left. Otherwise a crash has undone something, or the attempt is over and the
/// batch was swept: the next try, from the beginning, learns which.
fn whole(found: u64) -> Result<()> {
    if found == 1 {
        return Ok(());
    }
    Err(Error::Unavailable {
        step: WRITING,
        source: "what was written ahead is not there any more".into(),
    }
    .into())
}

async fn copy(unit: &mut Unit, bytes: &[u8], rows: u64) -> Result<()> {
    let mut copy = unit.connection.copy_in_raw(crate::copy::STATEMENT).await?;
    copy.send(bytes).await?;
    let copied = copy.finish().await?;
    if copied == rows {
        Ok(())
    } else {
        Err(crate::jobs::defect(
            "COPY took another number of findings than it was given",
        ))
    }
}

async fn write_index(unit: &mut Unit, batch: i64, index: &Index) -> Result<()> {
    let (labels, names) = index.labels();
    let counted = index.counted();
    sqlx::query!(
        "WITH labels AS (
            INSERT INTO finding_labels (batch, label, name)
            SELECT $1, l.label, l.name FROM UNNEST($2::integer[], $3::bytea[]) AS l (label, name)
        )
        INSERT INTO finding_counts (batch, code, label, findings)
        SELECT $1, c.code, c.label, c.findings
        FROM UNNEST($4::smallint[], $5::integer[], $6::bigint[]) AS c (code, label, findings)",
        batch,
        &labels,
        &names,
        &counted.codes,
        &counted.labels as &[Option<i32>],
        &counted.findings
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Makes a task's findings visible, in the transaction that ends it. Returns how many there are.
pub(crate) async fn link(
    unit: &mut Unit,
    (job, task, attempt): (JobId, TaskId, u32),
    position: i32,
    max: u64,
    loaded: &Loaded,
) -> Result<i64> {
    match loaded {
        Loaded::Few(findings) => {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            let readable = &findings[..findings.len().min(max)];
            few::link(unit, (job, task, attempt), position, readable).await?;
            Ok(int(findings.len() as u64))
        }
        Loaded::Ahead(batch) => link_ahead(unit, *batch).await,
    }
}

async fn link_ahead(unit: &mut Unit, batch: Batch) -> Result<i64> {
    let linked = sqlx::query!(
        "UPDATE finding_batches SET linked = true, committed_at = $1
        WHERE id = $2 AND task = $3 AND attempt = $4 AND findings = $5 AND written AND NOT linked",
        Time::from(unit.now),
        batch.id,
        batch.task.as_uuid(),
        small(batch.attempt),
        batch.findings
    )
    .execute(&mut *unit.connection)
    .await?;
    whole(linked.rows_affected())?;
    Ok(batch.findings)
}

/// How many findings of a job are linked, those past its cap included.
pub(crate) async fn linked(connection: &mut PgConnection, job: JobId) -> Result<i64> {
    let findings = sqlx::query_scalar!(
        r#"SELECT COALESCE(SUM(findings), 0)::bigint AS "findings!" FROM finding_batches WHERE job = $1 AND linked"#,
        job.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(findings)
}

/// Lets go of all findings of a job; the sweep removes them.
pub(crate) async fn unlink(unit: &mut Unit, job: JobId) -> Result<()> {
    sqlx::query!(
        "UPDATE finding_batches SET linked = false WHERE job = $1 AND linked",
        job.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Lets go of the findings of a job's tasks that are not done.
pub(crate) async fn unlink_ended(unit: &mut Unit, job: JobId) -> Result<()> {
    sqlx::query!(
        "UPDATE finding_batches SET linked = false
        WHERE job = $1 AND linked AND task IN (SELECT id FROM tasks WHERE job = $1 AND state <> 'DONE')",
        job.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Lets go of whole batches past the job's cap, once no batch can come before them.
pub(crate) async fn trim(unit: &mut Unit, job: JobId) -> Result<()> {
    sqlx::query!(
        "UPDATE finding_batches AS b SET linked = false
        WHERE b.job = $1 AND b.linked AND (SELECT COALESCE(SUM(e.findings), 0) FROM finding_batches e
            WHERE e.job = $1 AND e.linked AND e.position < b.position)
            >= (SELECT findings_max FROM jobs WHERE id = $1)",
        job.as_uuid()
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}
