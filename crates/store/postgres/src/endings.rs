//! How tasks and jobs end: everything a task leaves becomes visible in one transaction, behind its fence.

use filejobs_core::failure::Failure;
use filejobs_core::report::Tally;
use filejobs_core::{JobEvent, JobId, JobState, TaskEvent, TaskId, TaskState};
use filejobs_store::effects::Effects;
use filejobs_store::rows::{Committed, PartRow, int, of_task, task_kind};
use filejobs_store::{
    ChangeKind, Error, Job, NewTask, PlanCommit, StoredPart, TaskCommit, TaskKind, verdict,
};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::database::Unit;
use crate::findings::{self, Loaded};
use crate::jobs::{self, defect, write_job};
use crate::numbers::small;
use crate::outbox;
use crate::problem::Result;
use crate::sweep;
use crate::tasks::{self, after};
use crate::text::plain;
use crate::time::Time;

/// The end of a task, as its worker tells it.
struct Ending<'a> {
    task: TaskId,
    attempt: u32,
    effects: Effects<'a>,
    findings: Option<&'a Loaded>,
    /// Why it failed, unless it read to its end.
    failure: Option<&'a Failure>,
    /// What a plan leaves to do.
    pieces: Option<&'a [NewTask]>,
}

/// A task that has just ended.
struct Ended {
    kind: TaskKind,
    /// Place of its findings among those of its job.
    position: i32,
    /// What its end adds to the bytes read.
    bytes: i64,
}

/// Commits a task that read to its end. Counters that do not add up are never committed: the job fails instead.
pub(crate) async fn commit(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    commit: &TaskCommit,
    findings: Option<&Loaded>,
) -> Result<Job> {
    if let Err(broken) = commit.tally.check() {
        return fail(unit, task, attempt, &broken, None, None).await;
    }
    let ending = Ending {
        task,
        attempt,
        effects: Effects::from(commit),
        findings,
        failure: None,
        pieces: None,
    };
    let job = end(unit, ending).await?;
    spend_upload(unit, &job, commit.spends_upload).await?;
    Ok(job)
}

/// Commits a plan: its pieces wait from now on.
pub(crate) async fn commit_plan(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    plan: &PlanCommit,
    findings: Option<&Loaded>,
) -> Result<()> {
    let ending = Ending {
        task,
        attempt,
        effects: Effects::from(plan),
        findings,
        failure: None,
        pieces: Some(&plan.pieces),
    };
    let job = end(unit, ending).await?;
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
    findings: Option<&Loaded>,
) -> Result<Job> {
    let ending = Ending {
        task,
        attempt,
        effects: Effects::of_failed(commit),
        findings,
        failure: Some(failure),
        pieces: None,
    };
    end(unit, ending).await
}

/// The attempt's lease has run out: another follows, or the job fails.
pub(crate) async fn rescue(
    unit: &mut Unit,
    task: TaskId,
    attempt: u32,
    failure: &Failure,
    not_before: Option<Timestamp>,
) -> Result<()> {
    jobs::lock_of_task(unit, task).await?.ok_or(Error::Stale)?;
    // Held, so that it is not renewed from here on.
    sqlx::query_scalar!(
        "SELECT id FROM tasks WHERE id = $1 AND attempt = $2 AND state = 'RUNNING' AND lease_expires_at <= $3
        FOR NO KEY UPDATE",
        task.as_uuid(),
        small(attempt),
        Time::from(unit.now)
    )
    .fetch_optional(&mut *unit.connection)
    .await?
    .ok_or(Error::Stale)?;
    match not_before {
        Some(not_before) => tasks::retry(unit, task, attempt, failure, not_before).await,
        None => fail(unit, task, attempt, failure, None, None)
            .await
            .map(drop),
    }
}

async fn end(unit: &mut Unit, ending: Ending<'_>) -> Result<Job> {
    let row = jobs::lock_of_task(unit, ending.task).await?;
    let mut job = row.ok_or(Error::Stale)?.committed()?;
    // The fence: nothing else happens without it.
    let ended = end_task(unit, &ending).await?;
    if job.status != JobState::Processing {
        return Err(Error::Stale.into());
    }
    if ending.pieces.is_some() && ended.kind != TaskKind::Plan {
        return Err(defect("a task that is no plan left one"));
    }
    keep_parts(unit, ending.task, ending.effects.parts).await?;
    let stored = match ending.findings {
        Some(loaded) => {
            let of = (job.job, ending.task, ending.attempt);
            findings::link(unit, of, ended.position, job.findings_max, loaded).await?
        }
        None => 0,
    };
    job.tally
        .merge(ending.effects.tally.unwrap_or(&Tally::default()));
    job.rows_total = ending.effects.rows_total.or(job.rows_total);
    let pieces = ending.pieces.unwrap_or_default();
    let closing = if let Some(failure) = ending.failure {
        job.tasks_failed += 1;
        Some((JobEvent::Fail, Some(failure.clone())))
    } else {
        job.tasks_done += 1;
        let last = pieces.is_empty() && job.tasks_done == job.tasks_total;
        verdict::of_job(&job.tally, &job.options, job.rows_total, last)
    };
    match closing {
        Some((JobEvent::Complete, _)) => job.rows_total = Some(job.tally.rows_processed),
        Some(_) => tasks::cancel_open(unit, job.job).await?,
        None if pieces.is_empty() => {}
        None => {
            tasks::insert(unit, job.job, pieces).await?;
            job.tasks_total += u32::try_from(pieces.len()).unwrap_or(u32::MAX);
            unit.changed(job.job, ChangeKind::Work);
        }
    }
    add_up(unit, &job, &ending.effects, ended.bytes, stored, closing).await
}

/// Ends the task, if this attempt still runs.
async fn end_task(unit: &mut Unit, ending: &Ending<'_>) -> Result<Ended> {
    let Ending {
        task,
        effects,
        failure,
        ..
    } = ending;
    let event = match failure {
        Some(_) => TaskEvent::Fail,
        None => TaskEvent::Finish,
    };
    let tally = effects.tally.map(serde_json::to_string).transpose()?;
    let ended = sqlx::query!(
        "UPDATE tasks SET state = $1, worker = NULL, lease_expires_at = NULL, ended_at = $2, failure_code = $3,
            failure_message = $4, dead = $5, tally = CASE WHEN kind <> 'whole' THEN $6::text::json END, rejected = $7,
            result = $8::text::json
        WHERE id = $9 AND attempt = $10 AND state = 'RUNNING'
        RETURNING kind, idx, bytes, progress_bytes",
        after(TaskState::Running, event)?,
        Time::from(unit.now),
        failure.map(|f| f.code.as_str()),
        failure.map(|f| plain(&f.message)),
        failure.is_some_and(verdict::is_dead_letter),
        tally,
        effects.rejected,
        effects.result.map(ToString::to_string),
        task.as_uuid(),
        small(ending.attempt)
    )
    .fetch_optional(&mut *unit.connection)
    .await?
    .ok_or(Error::Stale)?;
    let kind = task_kind(of_task(task), &ended.kind)?;
    Ok(Ended {
        kind,
        position: match kind {
            TaskKind::Piece => ended.idx.saturating_add(1),
            TaskKind::Whole | TaskKind::Plan => 0,
        },
        bytes: match (kind, event) {
            (TaskKind::Plan, _) => 0,
            (_, TaskEvent::Finish) => ended.bytes,
            _ => ended.progress_bytes,
        },
    })
}

async fn keep_parts(unit: &mut Unit, task: TaskId, parts: &[StoredPart]) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let blobs: Vec<String> = parts.iter().map(|part| part.blob.clone()).collect();
    let rows_blobs: Vec<String> = parts.iter().map(|part| part.rows_blob.clone()).collect();
    let rows: Vec<i64> = parts.iter().map(|part| int(part.rows)).collect();
    let bytes: Vec<i64> = parts.iter().map(|part| int(part.bytes)).collect();
    sqlx::query!(
        "INSERT INTO parts (task, ordinal, blob, rows_blob, rows, bytes)
        SELECT $1, p.number - 1, p.blob, p.rows_blob, p.rows, p.bytes
        FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::bigint[])
            WITH ORDINALITY AS p (blob, rows_blob, rows, bytes, number)",
        task.as_uuid(),
        &blobs,
        &rows_blobs,
        &rows,
        &bytes
    )
    .execute(&mut *unit.connection)
    .await?;
    Ok(())
}

/// Writes down what the task's end makes of its job; when that ends, too, it is told.
async fn add_up(
    unit: &mut Unit,
    job: &Committed,
    effects: &Effects<'_>,
    bytes: i64,
    stored: i64,
    closing: Option<(JobEvent, Option<Failure>)>,
) -> Result<Job> {
    let (event, failure) = closing.unzip();
    let failure = failure.flatten();
    let status = match event {
        Some(event) => job.status.after(event)?,
        None => job.status,
    };
    let now = Time::from(unit.now);
    let written = write_job!(
        "UPDATE jobs AS j SET tally = $2::text::json, facts = COALESCE(j.facts, $3::text::json), rows_processed = $4,
            rows_failed = $5, rows_total = $6, bytes_processed = j.bytes_processed + $7,
            errors_stored = LEAST(j.errors_stored + $8, j.findings_max), tasks_total = $9, tasks_done = $10,
            tasks_failed = $11, status = $12, failure_code = $13, error_message = $14, completed_at = $15,
            updated_at = $16, last_event = j.last_event + $17
        WHERE j.id = $1",
        job.job.as_uuid(),
        serde_json::to_string(&job.tally)?,
        effects.facts.map(serde_json::to_string).transpose()?,
        int(job.tally.rows_processed),
        int(job.tally.rows_failed),
        job.rows_total.map(int),
        bytes,
        stored,
        small(job.tasks_total),
        small(job.tasks_done),
        small(job.tasks_failed),
        status.as_str(),
        failure.as_ref().map(|f| f.code.as_str()),
        failure.as_ref().map(|f| plain(&f.message)),
        event.map(|_| now),
        now,
        // The last two events of a job that ends.
        event.map_or(0_i64, |_| 2)
    )
    .fetch_one(&mut *unit.connection)
    .await?;
    let truncated = written.errors_stored == written.findings_max;
    let written = written.read()?;
    unit.changed(job.job, ChangeKind::Progress);
    let Some(event) = event else {
        return Ok(written);
    };
    if event == JobEvent::Complete && truncated {
        findings::trim(unit, job.job).await?;
    }
    outbox::ended(unit, &written).await?;
    unit.changed(job.job, ChangeKind::State);
    Ok(written)
}

/// Ends a job without its tasks: what is open of it is cancelled, its end is told. The job is locked.
pub(crate) async fn close(
    unit: &mut Unit,
    job: &Job,
    event: JobEvent,
    failure: Option<&Failure>,
) -> Result<Job> {
    let to = job.status.after(event)?;
    tasks::cancel_open(unit, job.id).await?;
    let closed = write_job!(
        "UPDATE jobs AS j SET status = $1, failure_code = $2, error_message = $3, completed_at = $4, updated_at = $4,
            last_event = j.last_event + 2
        WHERE j.id = $5 AND j.status = $6",
        to.as_str(),
        failure.map(|f| f.code.as_str()),
        failure.map(|f| plain(&f.message)),
        Time::from(unit.now),
        job.id.as_uuid(),
        job.status.as_str()
    )
    .fetch_optional(&mut *unit.connection)
    .await?;
    let closed = closed.ok_or(Error::Stale)?.read()?;
    outbox::ended(unit, &closed).await?;
    unit.changed(job.id, ChangeKind::State);
    Ok(closed)
}

/// The parts of a job's valid rows, in row order.
pub(crate) async fn parts(connection: &mut PgConnection, job: JobId) -> Result<Vec<StoredPart>> {
    let rows = sqlx::query_as!(
        PartRow,
        "SELECT t.idx, p.blob, p.rows_blob, p.rows, p.bytes FROM tasks t JOIN parts p ON p.task = t.id
        WHERE t.job = $1 ORDER BY t.idx, p.ordinal",
        job.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(|part| part.read(job));
    Ok(read.collect::<std::result::Result<_, _>>()?)
}

/// Keys of the rejected rows' pieces, in row order.
pub(crate) async fn rejected(connection: &mut PgConnection, job: JobId) -> Result<Vec<String>> {
    let keys = sqlx::query_scalar!(
        r#"SELECT rejected AS "rejected!" FROM tasks WHERE job = $1 AND rejected IS NOT NULL ORDER BY idx"#,
        job.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    Ok(keys)
}
