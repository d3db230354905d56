//! `GET /api/queues/stats`, `GET /api/queues/dead-letters` and the replay of a dead task.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Response};
use filejobs_core::{FailureClass, TaskId};
use filejobs_store::{DeadLetter, Error};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::IntoParams;

use crate::App;
use crate::extract::id::{TaskPath, task_not_found};
use crate::extract::paging::{Paging, next_link, total_pages};
use crate::extract::query::Query;
use crate::jobs::view::Job;
use crate::problem::{Problem, problems};

problems!(StatsProblems:);
problems!(ListProblems: InvalidParameter);
problems!(ReplayProblems: TaskNotFound, WrongState, StorageFull);

/// Depth, age and speed of the queue.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct QueueStats {
    /// Tasks that wait or are on their way to a worker.
    depth: u64,
    /// Of these, on their way.
    published: u64,
    /// Tasks that workers hold.
    running: u64,
    /// Tasks that used up their attempts.
    dead_letters: u64,
    /// How long the oldest has waited; 0 when none waits.
    oldest_age_seconds: u64,
    /// Rows of the jobs that ended within the last minute, for each second of it.
    rows_per_second: f64,
    /// Jobs by state.
    jobs_by_status: BTreeMap<&'static str, u64>,
}

/// Depth, age and speed of the queue
#[utoipa::path(
    get,
    path = "/queues/stats",
    tag = "queues",
    operation_id = "get_queue_stats",
    responses((status = 200, description = "The figures", body = QueueStats), StatsProblems)
)]
pub(super) async fn stats(State(app): State<App>) -> Result<Json<QueueStats>, Problem> {
    let stats = app.store().queue_stats().await?;
    Ok(Json(QueueStats {
        depth: stats.depth,
        published: stats.published,
        running: stats.running,
        dead_letters: stats.dead_letters,
        oldest_age_seconds: stats.oldest_age_seconds,
        rows_per_second: stats.rows_per_second,
        jobs_by_status: stats
            .jobs_by_status
            .into_iter()
            .map(|(status, n)| (status.as_str(), n))
            .collect(),
    }))
}

/// A page of dead tasks.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct DeadLetterList {
    total: u64,
    page: u64,
    page_size: u32,
    /// 0 for none.
    total_pages: u64,
    dead_letters: Vec<DeadTask>,
}

/// A task that used up its attempts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = DeadLetter)]
struct DeadTask {
    #[schema(format = "uuid")]
    task_id: String,
    #[schema(format = "uuid")]
    job_id: String,
    /// Its place among the job's pieces.
    task_index: u32,
    attempts: u32,
    /// Who can do something about it.
    #[schema(required)]
    failure_class: Option<FailureClass>,
    /// The failure's stable name.
    #[schema(required)]
    failure_code: Option<&'static str>,
    /// What the last attempt failed with.
    #[schema(required)]
    error_message: Option<String>,
    #[schema(value_type = String, format = "date-time")]
    failed_at: Timestamp,
}

impl From<DeadLetter> for DeadTask {
    fn from(letter: DeadLetter) -> Self {
        let failure = letter.failure;
        Self {
            task_id: letter.task.to_string(),
            job_id: letter.job.to_string(),
            task_index: letter.index,
            attempts: letter.attempts,
            failure_class: failure.as_ref().map(filejobs_core::Failure::class),
            failure_code: failure.as_ref().map(|f| f.code.as_str()),
            error_message: failure.map(|f| f.message),
            failed_at: letter.failed_at,
        }
    }
}

/// Which dead tasks.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters; `dead_letters` reads them"
)]
struct DeadLetterParams {
    /// From 1. Ignored beside `cursor`.
    #[param(minimum = 1, maximum = 1_000_000_000, default = 1)]
    page: Option<u64>,
    /// Tasks to a page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    page_size: Option<u32>,
    /// Where the page before ended: from the `Link` header of its answer.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// Tasks that used up their attempts, newest first
#[utoipa::path(
    get,
    path = "/queues/dead-letters",
    tag = "queues",
    operation_id = "list_dead_letters",
    params(DeadLetterParams),
    responses(
        (status = 200, description = "A page of dead tasks", body = DeadLetterList,
         headers(("Link" = Option<String>, description = "`rel=\"next\"`: the next page, when there is one"))),
        ListProblems,
    )
)]
pub(super) async fn dead_letters(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    mut query: Query,
) -> Result<Response, Problem> {
    let paging = Paging::<TaskId>::take(&mut query, app.limits().page_size);
    query.finish()?;
    let listed = app.store().dead_letters(paging.into_page()).await?;
    let body = DeadLetterList {
        total: listed.total,
        page: paging.page,
        page_size: paging.size,
        total_pages: total_pages(listed.total, paging.size),
        dead_letters: listed.items.into_iter().map(DeadTask::from).collect(),
    };
    Ok((next_link(&uri, listed.next.as_ref()), Json(body)).into_response())
}

/// Gives a dead task its attempts back
///
/// Its failed job goes back to `QUEUED`; what other tasks have done is kept.
#[utoipa::path(
    post,
    path = "/queues/dead-letters/{task}/replay",
    tag = "queues",
    operation_id = "replay_dead_letter",
    params(("task" = String, Path, format = "uuid", description = "The task")),
    responses((status = 200, description = "The job as it stands now", body = Job), ReplayProblems)
)]
pub(super) async fn replay(
    State(app): State<App>,
    TaskPath(task): TaskPath,
) -> Result<Job, Problem> {
    match app.store().replay(task).await {
        Ok(job) => Ok(job.into()),
        Err(Error::NotFound) => Err(task_not_found()),
        Err(other) => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::Service;

    #[tokio::test]
    async fn the_queue_tells_its_depth() {
        let service = Service::start().await;
        service.completed("b.csv", "id\n1\n").await;
        service.upload("a.csv", "id\n1\n").await;
        insta::assert_json_snapshot!(service.get("/api/queues/stats").await.json());
    }

    #[tokio::test]
    async fn a_dead_task_is_listed_and_can_be_replayed() {
        let service = Service::start().await;
        let job = service.dead("a.csv", "id\n1\n").await;
        let listed = service.get("/api/queues/dead-letters").await;
        insta::assert_json_snapshot!(listed.json());
        let task = listed.json()["dead_letters"][0]["task_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let path = format!("/api/queues/dead-letters/{task}/replay");
        let replayed = service.post(&path).await;
        assert_eq!(replayed.status, 200);
        assert_eq!(replayed.json()["id"], job.to_string());
        assert_eq!(replayed.json()["status"], "QUEUED");
        let answer = service
            .post("/api/queues/dead-letters/nonsense/replay")
            .await;
        assert_eq!(answer.problem(), (404, "task_not_found".to_owned()));
    }
}
