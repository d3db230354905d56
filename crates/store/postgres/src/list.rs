//! Lists of jobs, newest first.

use filejobs_core::JobState;
use filejobs_store::rows::{Reading, int};
use filejobs_store::{Job, JobCursor, JobFilter, Listed, Page};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::jobs::{JobRow, select_jobs};
use crate::problem::Result;
use crate::time::Time;

/// The exact filters of a list, and the range of creation times as the index has it: from `from` on, before `until`.
struct Range {
    status: Option<&'static str>,
    namespace: Option<String>,
    from: Time,
    until: (Time, Uuid),
}

impl Range {
    fn new(filter: &JobFilter) -> Self {
        Self {
            status: filter.status.map(JobState::as_str),
            namespace: filter.namespace.as_ref().map(|n| n.as_str().to_owned()),
            from: filter.from.unwrap_or(Timestamp::MIN).into(),
            // No id is that high, so the whole microsecond is in.
            until: (filter.to.unwrap_or(Timestamp::MAX).into(), Uuid::max()),
        }
    }

    fn before(&self, cursor: Option<JobCursor>) -> (Time, Uuid) {
        let Some(cursor) = cursor else {
            return self.until;
        };
        let cursor = (Time::from(cursor.created_at), cursor.id.as_uuid());
        self.until.min(cursor)
    }
}

/// A page of jobs.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &JobFilter,
    page: Page<JobCursor>,
) -> Result<Listed<Job, JobCursor>> {
    let range = Range::new(filter);
    let total = if filter.from.is_none() && filter.to.is_none() {
        kept_count(connection, &range).await?
    } else {
        count(connection, &range).await?
    };
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
    let row = Reading {
        table: "job_counts",
        row: &"of a list",
    };
    let total = row.number("jobs", total)?;
    Ok(Listed { total, items, next })
}

/// One statement for each set of exact filters, so that each walks its own index in order.
async fn select(
    connection: &mut PgConnection,
    range: &Range,
    (until, until_id): (Time, Uuid),
    limit: i64,
    offset: i64,
) -> Result<Vec<JobRow>> {
    macro_rules! select {
        ($filter:tt $(, $argument:expr)*) => {
            select_jobs!(
                "WHERE j.created_at >= $1 AND (j.created_at, j.id) < ($2, $3)" + $filter
                    + " ORDER BY j.created_at DESC, j.id DESC LIMIT $4 OFFSET $5",
                range.from, until, until_id, limit, offset $(, $argument)*
            )
            .fetch_all(connection)
            .await?
        };
    }
    Ok(match (range.status, range.namespace.as_deref()) {
        (None, None) => select!(""),
        (Some(status), None) => select!(" AND j.status = $6", status),
        (None, Some(namespace)) => select!(" AND j.namespace = $6", namespace),
        (Some(status), Some(namespace)) => {
            select!(" AND j.status = $6 AND j.namespace = $7", status, namespace)
        }
    })
}

/// How many jobs there are by the kept counts: their sum when it was last made, and what has changed since.
async fn kept_count(connection: &mut PgConnection, range: &Range) -> Result<i64> {
    let jobs = sqlx::query_scalar!(
        r#"SELECT COALESCE(SUM(c.jobs), 0)::bigint AS "jobs!" FROM (
            SELECT namespace, status, jobs FROM job_counts
            UNION ALL
            SELECT namespace, status, jobs::bigint FROM job_count_changes
        ) c
        WHERE ($1::text IS NULL OR c.status = $1) AND ($2::text IS NULL OR c.namespace = $2)"#,
        range.status,
        range.namespace.as_deref()
    )
    .fetch_one(connection)
    .await?;
    Ok(jobs)
}

/// How many jobs were created in a range of time.
async fn count(connection: &mut PgConnection, range: &Range) -> Result<i64> {
    macro_rules! count {
        ($filter:tt $(, $argument:expr)*) => {
            sqlx::query_scalar!(
                r#"SELECT COUNT(*) AS "jobs!" FROM jobs WHERE created_at BETWEEN $1 AND $2"# + $filter,
                range.from, range.until.0 $(, $argument)*
            )
            .fetch_one(connection)
            .await?
        };
    }
    Ok(match (range.status, range.namespace.as_deref()) {
        (None, None) => count!(""),
        (Some(status), None) => count!(" AND status = $3", status),
        (None, Some(namespace)) => count!(" AND namespace = $3", namespace),
        (Some(status), Some(namespace)) => {
            count!(" AND status = $3 AND namespace = $4", status, namespace)
        }
    })
}
