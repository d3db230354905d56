//! How tasks and jobs end: everything a task leaves becomes visible in one transaction, behind its fence.

use filejobs_core::failure::Failure;
use filejobs_core::report::Tally;
use filejobs_core::{JobEvent, JobId, JobState, TaskEvent, TaskId, TaskState};
use filejobs_store::effects::Effects;
use filejobs_store::rows::{PartRow, Reading, int, of_task, task_kind};
use filejobs_store::{
    ChangeKind, Error, Job, NewTask, PlanCommit, StoredPart, TaskCommit, TaskKind, verdict,
};
use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::database::Unit;
use crate::findings::{self, Loaded};
use crate::jobs;
use crate::outbox;
use crate::problem::{Problem, Result, micros};
use crate::sweep;
use crate::tasks::{self, step};

/// A task that has just ended.
struct Ended {
    job: JobId,
    kind: TaskKind,
    /// What its end adds to the bytes read.
    bytes: i64,
}

/// Commits a task that read to its end. Counters that do not add up are never committed: the job fails instead.
pub(crate) async fn commit(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    commit: &TaskCommit,
    findings: Option<Loaded>,
) -> Result<Job> {
    if let Err(broken) = commit.tally.check() {
        return fail(unit, task, attempt, &broken, None, None).await;
    }
    let ended = end_task(unit, task, attempt, TaskEvent::Finish, None).await?;
    let effects = Effects::from(commit);
    let job = apply(unit, task, &ended, &effects, findings, TaskEvent::Finish).await?;
    let job = close_if_over(unit, job, &[]).await?;
    spend_upload(unit, &job, commit.spends_upload).await?;
    Ok(job)
}

/// Commits a plan: its pieces wait from now on.
pub(crate) async fn commit_plan(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    plan: &PlanCommit,
    findings: Option<Loaded>,
) -> Result<()> {
    let ended = end_task(unit, task, attempt, TaskEvent::Finish, None).await?;
    if ended.kind != TaskKind::Plan {
        return Err(Problem::Broken("a task that is no plan left one".into()));
    }
    let effects = Effects::from(plan);
    let job = apply(unit, task, &ended, &effects, findings, TaskEvent::Finish).await?;
    let job = close_if_over(unit, job, &plan.pieces).await?;
    spend_upload(unit, &job, plan.spends_upload).await
}

/// Writes down that the file of a job goes that this unit may have completed.
async fn spend_upload(unit: &mut Unit, job: &Job, wanted: bool) -> Result<()> {
    if wanted && job.status == JobState::Completed {
        sweep::spend_upload(unit, job).await?;
    }
    Ok(())
}

/// Commits a task that failed for good, with what it left until then; its job fails.
pub(crate) async fn fail(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    failure: &Failure,
    commit: Option<&TaskCommit>,
    findings: Option<Loaded>,
) -> Result<Job> {
    let ended = end_task(unit, task, attempt, TaskEvent::Fail, Some(failure)).await?;
    let effects = Effects::of_failed(commit);
    let job = apply(unit, task, &ended, &effects, findings, TaskEvent::Fail).await?;
    close(unit, job.id, job.status, JobEvent::Fail, Some(failure)).await
}

/// The attempt's lease has run out: another follows, or the job fails.
pub(crate) async fn rescue(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    failure: &Failure,
    not_before: Option<Timestamp>,
) -> Result<()> {
    let (id, now) = (task.as_uuid(), micros(unit.now));
    sqlx::query_scalar!(
        r#"SELECT id AS "id: Uuid" FROM tasks
        WHERE id = ? AND attempt = ? AND state = 'RUNNING' AND lease_expires_at <= ?"#,
        id,
        attempt,
        now
    )
    .fetch_optional(&mut unit.connection)
    .await?
    .ok_or(Error::Stale)?;
    match not_before {
        Some(not_before) => tasks::retry(unit, task, attempt, failure, not_before).await,
        None => fail(unit, task, attempt, failure, None, None)
            .await
            .map(drop),
    }
}

/// Ends the task, if this attempt still runs. The first statement of every commit: nothing else happens without it.
async fn end_task(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    event: TaskEvent,
    failure: Option<&Failure>,
) -> Result<Ended> {
    let (from, to) = step(TaskState::Running, event)?;
    let id = task.as_uuid();
    let now = micros(unit.now);
    let code = failure.map(|f| f.code.as_str());
    let message = failure.map(|f| f.message.as_str());
    let dead = failure.is_some_and(verdict::is_dead_letter);
    let ended = sqlx::query!(
        r#"UPDATE tasks SET state = ?, worker = NULL, lease_expires_at = NULL, ended_at = ?, failure_code = ?,
            failure_message = ?, dead = ?
        WHERE id = ? AND attempt = ? AND state = ?
        RETURNING job AS "job: Uuid", kind, bytes, progress_bytes"#,
        to,
        now,
        code,
        message,
        dead,
        id,
        attempt,
        from
    )
    .fetch_optional(&mut unit.connection)
    .await?
    .ok_or(Error::Stale)?;
    let kind = task_kind(of_task(&task), &ended.kind)?;
    Ok(Ended {
        job: JobId::from_uuid(ended.job),
        kind,
        bytes: match (kind, event) {
            (TaskKind::Plan, _) => 0,
            (_, TaskEvent::Finish) => ended.bytes,
            _ => ended.progress_bytes,
        },
    })
}

/// Adds a task's effects to its job.
async fn apply(
    unit: &mut Unit,
    task: TaskId,
    ended: &Ended,
    effects: &Effects<'_>,
    findings: Option<Loaded>,
    event: TaskEvent,
) -> Result<Job> {
    keep_outputs(unit, task, ended.kind, effects).await?;
    let stored = match findings {
        Some(loaded) => findings::link(unit, task, loaded).await?,
        None => 0,
    };
    let id = ended.job.as_uuid();
    let mut tally = committed_tally(&mut unit.connection, ended.job).await?;
    tally.merge(effects.tally.unwrap_or(&Tally::default()));
    let tally_json = serde_json::to_string(&tally)?;
    let facts = effects.facts.map(serde_json::to_string).transpose()?;
    let (rows, failed) = (int(tally.rows_processed), int(tally.rows_failed));
    let rows_total = effects.rows_total.map(int);
    let done = event == TaskEvent::Finish;
    let now = micros(unit.now);
    let processing = JobState::Processing.as_str();
    let updated = sqlx::query!(
        "UPDATE jobs SET tally = ?, facts = COALESCE(facts, ?), rows_processed = ?, rows_failed = ?,
            rows_total = COALESCE(?, rows_total), bytes_processed = bytes_processed + ?,
            errors_stored = MIN(errors_stored + ?, findings_max),
            tasks_done = tasks_done + ?, tasks_failed = tasks_failed + NOT ?, updated_at = ?
        WHERE id = ? AND status = ?",
        tally_json,
        facts,
        rows,
        failed,
        rows_total,
        ended.bytes,
        stored,
        done,
        done,
        now,
        id,
        processing
    )
    .execute(&mut unit.connection)
    .await?;
    if updated.rows_affected() != 1 {
        return Err(Error::Stale.into());
    }
    unit.changed(ended.job, ChangeKind::Progress);
    jobs::get(&mut unit.connection, ended.job).await
}

/// Parts, rejected rows and tally of one task. A job of one task has its tally in `jobs` only.
async fn keep_outputs(
    unit: &mut Unit,
    task: TaskId,
    kind: TaskKind,
    effects: &Effects<'_>,
) -> Result<()> {
    let id = task.as_uuid();
    let tally = effects.tally.filter(|_| kind != TaskKind::Whole);
    let tally = tally.map(serde_json::to_string).transpose()?;
    let result = effects.result.map(ToString::to_string);
    if tally.is_some() || effects.rejected.is_some() || result.is_some() {
        sqlx::query!(
            "UPDATE tasks SET tally = ?, rejected = ?, result = ? WHERE id = ?",
            tally,
            effects.rejected,
            result,
            id
        )
        .execute(&mut unit.connection)
        .await?;
    }
    if !effects.parts.is_empty() {
        let parts = serde_json::to_string(effects.parts)?;
        sqlx::query!(
            "INSERT INTO parts (task, ordinal, blob, rows_blob, rows, bytes)
            SELECT ?, p.key, p.value ->> 'blob', p.value ->> 'rows_blob', p.value ->> 'rows', p.value ->> 'bytes'
            FROM json_each(?) p",
            id,
            parts
        )
        .execute(&mut unit.connection)
        .await?;
    }
    Ok(())
}

/// The counters of a job's committed tasks, as `jobs` has them.
async fn committed_tally(connection: &mut SqliteConnection, job: JobId) -> Result<Tally> {
    let id = job.as_uuid();
    let tally = sqlx::query_scalar!("SELECT tally FROM jobs WHERE id = ?", id)
        .fetch_optional(connection)
        .await?
        .ok_or(Error::Stale)?;
    let row = Reading {
        table: "jobs",
        row: &job,
    };
    let tally = tally.map(|tally| row.json("tally", &tally)).transpose()?;
    Ok(tally.unwrap_or_default())
}

/// After a task that is done: fails the job when it has too many errors, completes it when nothing is left, or lets
/// `pieces` wait.
async fn close_if_over(unit: &mut Unit, job: Job, pieces: &[NewTask]) -> Result<Job> {
    let last = pieces.is_empty() && job.tasks.done == job.tasks.total;
    let tally = committed_tally(&mut unit.connection, job.id).await?;
    let over = verdict::of_job(&tally, &job.options, job.rows_total, last);
    if let Some((event, failure)) = over {
        return close(unit, job.id, job.status, event, failure.as_ref()).await;
    }
    if !pieces.is_empty() {
        tasks::insert(unit, job.id, pieces).await?;
        let id = job.id.as_uuid();
        let count = int(pieces.len() as u64);
        sqlx::query!(
            "UPDATE jobs SET tasks_total = tasks_total + ? WHERE id = ?",
            count,
            id
        )
        .execute(&mut unit.connection)
        .await?;
        unit.changed(job.id, ChangeKind::Work);
    }
    jobs::get(&mut unit.connection, job.id).await
}

/// Ends a job: its open tasks are cancelled, its end is told.
pub(crate) async fn close(
    unit: &mut Unit,
    id: JobId,
    from: JobState,
    event: JobEvent,
    failure: Option<&Failure>,
) -> Result<Job> {
    let to = from.after(event)?;
    if to != JobState::Completed {
        tasks::cancel_open(unit, id).await?;
    }
    let uuid = id.as_uuid();
    let now = micros(unit.now);
    let (from, to) = (from.as_str(), to.as_str());
    let completed = event == JobEvent::Complete;
    let code = failure.map(|f| f.code.as_str());
    let message = failure.map(|f| f.message.as_str());
    let updated = sqlx::query!(
        "UPDATE jobs SET status = ?, failure_code = ?, error_message = ?, completed_at = ?, updated_at = ?,
            rows_total = CASE WHEN ? THEN rows_processed ELSE rows_total END, last_event = last_event + 2
        WHERE id = ? AND status = ?",
        to,
        code,
        message,
        now,
        now,
        completed,
        uuid,
        from
    )
    .execute(&mut unit.connection)
    .await?;
    if updated.rows_affected() != 1 {
        return Err(Error::Stale.into());
    }
    if completed {
        findings::trim(unit, id).await?;
    }
    let job = jobs::get(&mut unit.connection, id).await?;
    outbox::ended(unit, &job).await?;
    unit.changed(id, ChangeKind::State);
    Ok(job)
}

/// The parts of a job's valid rows, in row order.
pub(crate) async fn parts(
    connection: &mut SqliteConnection,
    job: JobId,
) -> Result<Vec<StoredPart>> {
    let id = job.as_uuid();
    let rows = sqlx::query_as!(
        PartRow,
        r#"SELECT t.idx, p.blob, p.rows_blob, p.rows, p.bytes FROM tasks t JOIN parts p ON p.task = t.id
        WHERE t.job = ? ORDER BY t.idx, p.ordinal"#,
        id
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(|part| part.read(job));
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// Keys of the rejected rows' pieces, in row order.
pub(crate) async fn rejected(connection: &mut SqliteConnection, job: JobId) -> Result<Vec<String>> {
    let id = job.as_uuid();
    let keys = sqlx::query_scalar!(
        r#"SELECT rejected AS "rejected!" FROM tasks WHERE job = ? AND rejected IS NOT NULL ORDER BY idx"#,
        id
    )
    .fetch_all(connection)
    .await?;
    Ok(keys)
}
