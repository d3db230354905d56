//! Jobs: made, read, listed.

use filejobs_core::{JobId, JobState};
use filejobs_store::counting::Count;
use filejobs_store::rows::{self, Reading, int};
use filejobs_store::{
    ChangeKind, Error, Idempotency, Job, JobCursor, JobFilter, Listed, NewJob, Page, telling,
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::database::Unit;
use crate::problem::{Result, micros};
use crate::{backlog, keys, outbox, tasks};

/// A row of `jobs` with the progress of its running tasks.
pub(crate) type JobRow = rows::JobRow<i64>;

/// Selects jobs: the rest of the statement, then its arguments. A plan's own reading is no progress.
macro_rules! select_jobs {
    ($rest:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            JobRow,
            r#"SELECT j.id AS "id: Uuid", j.namespace, j.filename, j.blob, j.file_size, j.file_type, j.sha256,
                j.options, j.schema, j.processor, j.webhook_url, j.priority, j.findings_max, j.status,
                j.failure_code, j.error_message, j.generation, j.attempt, j.rows_total, j.rows_processed,
                j.rows_failed, j.bytes_processed, j.errors_stored, j.tally, j.facts,
                j.tasks_total, j.tasks_done, j.tasks_failed,
                j.created_at, j.queued_at, j.started_at, j.completed_at, j.updated_at, j.last_event,
                (SELECT COALESCE(SUM(t.progress_rows), 0) FROM tasks t
                    WHERE t.job = j.id AND t.state = 'RUNNING' AND t.kind <> 'plan') AS "running_rows!: i64",
                (SELECT COALESCE(SUM(t.progress_failed), 0) FROM tasks t
                    WHERE t.job = j.id AND t.state = 'RUNNING' AND t.kind <> 'plan') AS "running_failed!: i64",
                (SELECT COALESCE(SUM(t.progress_bytes), 0) FROM tasks t
                    WHERE t.job = j.id AND t.state = 'RUNNING' AND t.kind <> 'plan') AS "running_bytes!: i64",
                (SELECT MAX(t.progress_at) FROM tasks t
                    WHERE t.job = j.id AND t.state = 'RUNNING') AS "running_at: i64"
            FROM jobs j "# + $rest
            $(, $argument)*
        )
    };
}

/// One job.
pub(crate) async fn find(connection: &mut SqliteConnection, id: JobId) -> Result<Option<Job>> {
    let id = id.as_uuid();
    let row = select_jobs!("WHERE j.id = ?", id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(JobRow::read).transpose()?)
}

/// A job that must be there.
pub(crate) async fn get(connection: &mut SqliteConnection, id: JobId) -> Result<Job> {
    find(connection, id).await?.ok_or(Error::NotFound.into())
}

/// Creates a job with its first task and event.
pub(crate) async fn create(unit: &mut Unit, new: NewJob) -> Result<Job> {
    if let Some(Idempotency {
        key,
        fingerprint,
        expires_at,
    }) = &new.idempotency
    {
        keys::take_up(unit, &new.namespace, key, new.id, fingerprint, *expires_at).await?;
    }
    if let Some(most) = new.queued_max {
        backlog::check(unit, &new.namespace, most).await?;
    }
    let status = JobState::Queued;
    insert(unit, &new, status).await?;
    tasks::insert(unit, new.id, std::slice::from_ref(&new.task)).await?;
    outbox::event(unit, new.id, 1, telling::STATE, &telling::state(status, 0)).await?;
    unit.count(Count::created(&new));
    unit.changed(new.id, ChangeKind::State);
    unit.changed(new.id, ChangeKind::Work);
    get(&mut unit.connection, new.id).await
}

async fn insert(unit: &mut Unit, new: &NewJob, status: JobState) -> Result<()> {
    let id = new.id.as_uuid();
    let namespace = new.namespace.as_str();
    let file_size = int(new.file_size);
    let file_type = new.file_type.as_str();
    let options = serde_json::to_string(&new.options)?;
    let schema = new.schema.as_ref().map(serde_json::to_string).transpose()?;
    let processor = new.processor.to_string();
    let findings_max = int(new.findings_max);
    let status = status.as_str();
    let now = micros(unit.now);
    sqlx::query!(
        "INSERT INTO jobs (id, namespace, filename, blob, file_size, file_type, sha256, options, schema, processor,
            webhook_url, priority, findings_max, status, tasks_total, created_at, queued_at, updated_at, last_event)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, 1)",
        id,
        namespace,
        new.filename,
        new.blob,
        file_size,
        file_type,
        new.sha256,
        options,
        schema,
        processor,
        new.webhook_url,
        new.priority,
        findings_max,
        status,
        now,
        now,
        now,
    )
    .execute(&mut unit.connection)
    .await?;
    Ok(())
}

/// The exact filters of a list, and the range of creation times as the index has it: from `from` on, before `until`.
struct Range {
    status: Option<&'static str>,
    namespace: Option<String>,
    from: i64,
    until: (i64, Uuid),
}

impl Range {
    fn new(filter: &JobFilter) -> Self {
        let first = |time| micros(time);
        Self {
            status: filter.status.map(JobState::as_str),
            namespace: filter.namespace.as_ref().map(|n| n.as_str().to_owned()),
            from: filter.from.map_or(i64::MIN, first),
            // No id is that high, so the whole microsecond is in.
            until: (filter.to.map_or(i64::MAX, first), Uuid::max()),
        }
    }

    fn before(&self, cursor: Option<JobCursor>) -> (i64, Uuid) {
        let Some(cursor) = cursor else {
            return self.until;
        };
        let cursor = (micros(cursor.created_at), cursor.id.as_uuid());
        self.until.min(cursor)
    }
}

/// A page of jobs, newest first.
pub(crate) async fn list(
    connection: &mut SqliteConnection,
    filter: &JobFilter,
    page: Page<JobCursor>,
) -> Result<Listed<Job, JobCursor>> {
    let range = Range::new(filter);
    let total = count(connection, filter, &range).await?;
    let (until, offset, limit) = match page {
        Page::Offset { offset, limit } => (range.until, int(offset), limit),
        Page::After { cursor, limit } => (range.before(cursor), 0, limit),
    };
    // One more than asked for tells whether there are more.
    let rows = select(connection, &range, until, i64::from(limit) + 1, offset).await?;
    let more = rows.len() > limit as usize;
    let read = rows.into_iter().take(limit as usize).map(JobRow::read);
    let items = read.collect::<std::result::Result<Vec<_>, _>>()?;
    let last = items.last().filter(|_| more);
    let next = last.map(|job| JobCursor {
        created_at: job.created_at,
        id: job.id,
    });
    Ok(Listed { total, items, next })
}

/// One statement for each set of exact filters, so that each walks its own index in order.
async fn select(
    connection: &mut SqliteConnection,
    range: &Range,
    (until, until_id): (i64, Uuid),
    limit: i64,
    offset: i64,
) -> Result<Vec<JobRow>> {
    let from = range.from;
    let rows = match (range.status, &range.namespace) {
        (None, None) => {
            select_jobs!(
                "WHERE j.created_at >= ? AND (j.created_at, j.id) < (?, ?)
                ORDER BY j.created_at DESC, j.id DESC LIMIT ? OFFSET ?",
                from,
                until,
                until_id,
                limit,
                offset
            )
            .fetch_all(connection)
            .await?
        }
        (Some(status), None) => {
            select_jobs!(
                "WHERE j.status = ? AND j.created_at >= ? AND (j.created_at, j.id) < (?, ?)
                ORDER BY j.created_at DESC, j.id DESC LIMIT ? OFFSET ?",
                status,
                from,
                until,
                until_id,
                limit,
                offset
            )
            .fetch_all(connection)
            .await?
        }
        (None, Some(namespace)) => {
            select_jobs!(
                "WHERE j.namespace = ? AND j.created_at >= ? AND (j.created_at, j.id) < (?, ?)
                ORDER BY j.created_at DESC, j.id DESC LIMIT ? OFFSET ?",
                namespace,
                from,
                until,
                until_id,
                limit,
                offset
            )
            .fetch_all(connection)
            .await?
        }
        (Some(status), Some(namespace)) => {
            select_jobs!(
                "WHERE j.namespace = ? AND j.status = ? AND j.created_at >= ? AND (j.created_at, j.id) < (?, ?)
                ORDER BY j.created_at DESC, j.id DESC LIMIT ? OFFSET ?",
                namespace,
                status,
                from,
                until,
                until_id,
                limit,
                offset
            )
            .fetch_all(connection)
            .await?
        }
    };
    Ok(rows)
}

/// How many jobs the filter lets through: kept counts, unless a range of time is asked for.
async fn count(
    connection: &mut SqliteConnection,
    filter: &JobFilter,
    range: &Range,
) -> Result<u64> {
    let (status, namespace) = (range.status, &range.namespace);
    let (from, until) = (range.from, range.until.0);
    let jobs =
        if filter.from.is_none() && filter.to.is_none() {
            sqlx::query_scalar!(
                r#"SELECT COALESCE(SUM(jobs), 0) AS "jobs!: i64" FROM job_counts
            WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR namespace = ?2)"#,
                status,
                namespace
            )
            .fetch_one(connection)
            .await?
        } else {
            match (status, namespace) {
                (None, None) => sqlx::query_scalar!(
                    r#"SELECT COUNT(*) AS "jobs!: i64" FROM jobs WHERE created_at BETWEEN ? AND ?"#,
                    from,
                    until
                )
                .fetch_one(connection)
                .await?,
                (Some(status), None) => {
                    sqlx::query_scalar!(
                        r#"SELECT COUNT(*) AS "jobs!: i64" FROM jobs
                    WHERE status = ? AND created_at BETWEEN ? AND ?"#,
                        status,
                        from,
                        until
                    )
                    .fetch_one(connection)
                    .await?
                }
                (None, Some(namespace)) => {
                    sqlx::query_scalar!(
                        r#"SELECT COUNT(*) AS "jobs!: i64" FROM jobs
                    WHERE namespace = ? AND created_at BETWEEN ? AND ?"#,
                        namespace,
                        from,
                        until
                    )
                    .fetch_one(connection)
                    .await?
                }
                (Some(status), Some(namespace)) => {
                    sqlx::query_scalar!(
                        r#"SELECT COUNT(*) AS "jobs!: i64" FROM jobs
                    WHERE namespace = ? AND status = ? AND created_at BETWEEN ? AND ?"#,
                        namespace,
                        status,
                        from,
                        until
                    )
                    .fetch_one(connection)
                    .await?
                }
            }
        };
    let row = Reading {
        table: "job_counts",
        row: &"of a list",
    };
    Ok(row.number("jobs", jobs)?)
}

/// Which of `ids` are jobs.
pub(crate) async fn existing(
    connection: &mut SqliteConnection,
    ids: &[JobId],
) -> Result<Vec<JobId>> {
    let ids = hex_list(ids.iter().map(JobId::as_uuid));
    let found = sqlx::query_scalar!(
        r#"SELECT id AS "id: Uuid" FROM jobs WHERE id IN (SELECT unhex(value) FROM json_each(?))"#,
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(JobId::from_uuid).collect())
}

/// Ended jobs, oldest end first.
pub(crate) async fn ended_before(
    connection: &mut SqliteConnection,
    before: i64,
    limit: u32,
) -> Result<Vec<JobId>> {
    let found = sqlx::query_scalar!(
        r#"SELECT id AS "id: Uuid" FROM jobs
        WHERE completed_at IS NOT NULL AND completed_at < ? ORDER BY completed_at LIMIT ?"#,
        before,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(JobId::from_uuid).collect())
}

/// Ids as a JSON list for `json_each`: one parameter whatever their number.
pub(crate) fn hex_list(ids: impl Iterator<Item = Uuid>) -> String {
    let mut list = String::from("[");
    for id in ids {
        if list.len() > 1 {
            list.push(',');
        }
        list.push('"');
        list.push_str(id.simple().encode_lower(&mut Uuid::encode_buffer()));
        list.push('"');
    }
    list.push(']');
    list
}
