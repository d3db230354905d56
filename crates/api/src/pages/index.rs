//! `/`: hand in a file, and the list of jobs.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use filejobs_core::JobState;
use filejobs_store::{JobFilter, Page};
use http::{HeaderMap, StatusCode};

use super::assets::{LINKS, Links};
use super::list::{Filter, LAST_PAGE, Pager};
use super::show::{self, Badge, Moment};
use crate::App;
use crate::auth::Caller;
use crate::extract::query::Query;
use crate::problem::Problem;

/// Jobs to a page.
const PAGE: u32 = 50;

#[derive(Debug, Template)]
#[template(path = "index.html")]
struct Index {
    links: &'static Links,
    session: bool,
    upload_bytes: u64,
    upload_limit: String,
    summary: String,
    filters: Vec<Filter>,
    nothing: &'static str,
    rows: Vec<Row>,
    pager: Pager,
}

/// One job of the list.
#[derive(Debug)]
struct Row {
    href: String,
    filename: String,
    badge: Badge,
    progress: u8,
    /// How long it took, once it has ended.
    took: Option<String>,
    rows: String,
    failed: String,
    any_failed: bool,
    size: String,
    created: Moment,
}

/// `GET /`. What a query asks for in vain is ignored: a page for people shows what there is.
pub(super) async fn index(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let page = query.number("page", 1, LAST_PAGE).unwrap_or(1);
    let status = query.word::<JobState>("status", String::new);
    let filter = JobFilter {
        status,
        namespace: caller.namespace(None)?,
        ..JobFilter::default()
    };
    let wanted = Page::Offset {
        offset: (page - 1) * u64::from(PAGE),
        limit: PAGE,
    };
    let listed = app.store().jobs(&filter, wanted).await?;
    let limit = app.limits().upload_bytes;
    let template = Index {
        links: &LINKS,
        session: caller.is_session(),
        upload_bytes: limit,
        upload_limit: show::size(limit),
        summary: show::plural(listed.total, "job", "jobs"),
        filters: filters(status),
        nothing: if page > 1 {
            "This page of the list is empty."
        } else if status.is_some() {
            "No job is in this state."
        } else {
            "Nothing has been handed in yet."
        },
        rows: listed.items.iter().map(row).collect(),
        pager: Pager::new(page, listed.total, PAGE, |page| href(status, page)),
    };
    super::page(&template, StatusCode::OK, &headers)
}

fn href(status: Option<JobState>, page: u64) -> String {
    match (status, page) {
        (None, 1) => "/".to_owned(),
        (None, page) => format!("/?page={page}"),
        (Some(status), 1) => format!("/?status={status}"),
        (Some(status), page) => format!("/?status={status}&page={page}"),
    }
}

fn filters(current: Option<JobState>) -> Vec<Filter> {
    let states = JobState::ALL.into_iter().map(Some);
    std::iter::once(None)
        .chain(states)
        .map(|state| Filter {
            label: state
                .map_or("All", |s| show::badge(s, None).word)
                .to_owned(),
            href: href(state, 1),
            current: state == current,
        })
        .collect()
}

fn row(job: &filejobs_store::Job) -> Row {
    Row {
        href: format!("/jobs/{}", job.id),
        filename: show::text(&job.filename),
        badge: show::badge(job.status, job.outcome),
        progress: job.progress(),
        took: job.status.is_terminal().then(|| took(job)),
        rows: show::count(job.rows_processed),
        failed: show::count(job.rows_failed),
        any_failed: job.rows_failed > 0,
        size: show::size(job.file_size),
        created: show::moment(job.created_at),
    }
}

fn took(job: &filejobs_store::Job) -> String {
    match (job.started_at, job.completed_at) {
        (Some(start), Some(end)) => {
            let seconds = end.duration_since(start).as_secs_f64().max(0.0);
            format!("took {}", show::span(seconds))
        }
        _ => "never started".to_owned(),
    }
}
