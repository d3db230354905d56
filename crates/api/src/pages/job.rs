//! `/jobs/{id}`: one job, live, with its findings and downloads.

mod facts;
mod findings;
mod offers;
mod words;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use filejobs_core::{FailureClass, FailureCode, FindingCode, JobState};
use filejobs_store::{FindingFilter, Job, Page};
use http::{HeaderMap, StatusCode};

use super::assets::{LINKS, Links};
use super::list::{Filter, LAST_PAGE, Pager};
use super::show::{self, Badge};
use crate::App;
use crate::auth::Caller;
use crate::extract::id::JobPath;
use crate::extract::query::Query;
use crate::jobs::view;
use crate::problem::{Code, Problem};
use facts::Fact;
use findings::Finding;
use offers::{Action, Download};
use words::Figure;

/// Findings to a page.
const FINDINGS_PAGE: u32 = 50;

#[derive(Debug, Template)]
#[template(path = "missing.html")]
struct Missing {
    links: &'static Links,
    session: bool,
}

#[derive(Debug, Template)]
#[template(path = "job.html")]
struct JobPage {
    links: &'static Links,
    session: bool,
    filename: String,
    badge: Badge,
    announce: String,
    events: Option<String>,
    sentence: String,
    failure: Option<Failure>,
    progress: u8,
    live: Option<Vec<String>>,
    figures: Vec<Figure>,
    actions: Vec<Action>,
    downloads: Vec<Download>,
    no_downloads: &'static str,
    findings_summary: String,
    truncated: bool,
    codes: Vec<Filter>,
    findings: Vec<Finding>,
    no_findings: &'static str,
    pager: Pager,
    facts: Vec<Fact>,
}

/// Why it failed.
#[derive(Debug)]
struct Failure {
    message: String,
    code: &'static str,
    class: &'static str,
}

/// `GET /jobs/{id}`.
pub(super) async fn job(
    State(app): State<App>,
    caller: Caller,
    path: Result<JobPath, Problem>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let code = query.word::<FindingCode>("code", String::new);
    let page = query.number("page", 1, LAST_PAGE).unwrap_or(1);
    let filter = FindingFilter { code, column: None };
    let wanted = Page::Offset {
        offset: (page - 1) * u64::from(FINDINGS_PAGE),
        limit: FINDINGS_PAGE,
    };
    let session = caller.is_session();
    let found = match path {
        Ok(path) => known(path.find(&app).await)?,
        Err(_) => None,
    };
    let found = match found {
        Some(job) => {
            let listed = app.store().findings(job.id, &filter, wanted).await?;
            listed.map(|listed| (job, listed))
        }
        None => None,
    };
    let Some((job, listed)) = found else {
        let missing = Missing {
            links: &LINKS,
            session,
        };
        return super::page(&missing, StatusCode::NOT_FOUND, &headers);
    };
    let link = |page| findings::href(job.id, code, page);
    let pager = Pager::new(page, listed.total, FINDINGS_PAGE, link);
    let findings = listed.items.into_iter().map(findings::finding).collect();
    let wait = view::wait(&app, &job).await?;
    let mut shown = JobPage {
        session,
        ..render(&job, code, findings, pager)
    };
    shown.facts.splice(0..0, facts::waiting(wait));
    super::page(&shown, StatusCode::OK, &headers)
}

/// The job, or `None` when there is none to be seen.
fn known(found: Result<Job, Problem>) -> Result<Option<Job>, Problem> {
    match found {
        Ok(job) => Ok(Some(job)),
        Err(problem) if problem.code() == Code::JobNotFound => Ok(None),
        Err(problem) => Err(problem),
    }
}

fn render(job: &Job, code: Option<FindingCode>, findings: Vec<Finding>, pager: Pager) -> JobPage {
    let badge = show::badge(job.status, job.outcome);
    let sentence = words::sentence(job);
    JobPage {
        links: &LINKS,
        session: false,
        filename: show::text(&job.filename),
        badge,
        announce: words::announcement(job, badge, &sentence),
        // From here on: a job that was started over has ended before, and that end is not the one to wait for.
        events: (!job.status.is_terminal())
            .then(|| format!("/api/jobs/{}/events?after={}", job.id, job.last_event)),
        failure: failure(job),
        progress: job.progress(),
        live: words::live(job),
        figures: words::figures(job),
        actions: offers::actions(job),
        downloads: offers::downloads(job),
        no_downloads: match job.status {
            JobState::Cancelled => {
                "A cancelled job has no results. Retry it to have its file read to the end."
            }
            _ => "There will be something here once the job has ended.",
        },
        findings_summary: findings::summary(job),
        truncated: job.errors_truncated,
        codes: findings::codes(job, code),
        findings,
        no_findings: match (job.status.is_terminal(), job.errors_by_code.total()) {
            (false, _) => "Findings show up here as parts of the file are done.",
            (true, 0) if job.status == JobState::Completed => "Nothing is wrong with this file.",
            (true, 0) => "No row was found to be wrong.",
            (true, _) => "None on this page.",
        },
        pager,
        facts: facts::facts(job),
        sentence,
    }
}

fn failure(job: &Job) -> Option<Failure> {
    let message = job.error_message.as_deref()?;
    Some(Failure {
        message: show::text(message),
        code: job.failure_code.map_or("", FailureCode::as_str),
        class: job.failure_class.map_or("", FailureClass::as_str),
    })
}
