//! `GET /api/jobs`.

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Response};
use filejobs_core::{JobState, Namespace};
use filejobs_store::{JobCursor, JobFilter};
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use serde::Serialize;
use utoipa::IntoParams;

use super::view::Job;
use crate::App;
use crate::auth::Caller;
use crate::extract::paging::{Paging, next_link, total_pages};
use crate::extract::query::Query;
use crate::problem::{Problem, problems};

problems!(Problems: InvalidParameter, OtherNamespace);

/// A page of jobs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct JobList {
    /// Jobs that the filter lets through.
    total: u64,
    page: u64,
    page_size: u32,
    /// 0 for no jobs.
    total_pages: u64,
    jobs: Vec<Job>,
}

/// Which jobs.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters; `filter` reads them")]
struct ListParams {
    /// From 1. Ignored beside `cursor`.
    #[param(minimum = 1, maximum = 1_000_000_000, default = 1)]
    page: Option<u64>,
    /// Jobs to a page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    page_size: Option<u32>,
    /// Where the page before ended: from the `Link` header of its answer.
    #[param(max_length = 512)]
    cursor: Option<String>,
    /// Only jobs in this state.
    status: Option<JobState>,
    /// Only jobs created then or later: RFC 3339, or `YYYY-MM-DD` for the whole day (UTC).
    #[param(example = "2026-01-31")]
    from_date: Option<String>,
    /// Only jobs created then or earlier: RFC 3339, or `YYYY-MM-DD` for the whole day (UTC).
    #[param(example = "2026-01-31T12:00:00Z")]
    to_date: Option<String>,
    /// Only jobs of this namespace; a key that is for one namespace lists no others anyway.
    #[param(
        min_length = 1,
        max_length = 63,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
    )]
    namespace: Option<String>,
}

/// Jobs, newest first
#[utoipa::path(
    get,
    path = "/jobs",
    tag = "jobs",
    operation_id = "list_jobs",
    params(ListParams),
    responses(
        (status = 200, description = "A page of jobs", body = JobList,
         headers(("Link" = Option<String>, description = "`rel=\"next\"`: the next page, when there is one"))),
        Problems,
    )
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    mut query: Query,
) -> Result<Response, Problem> {
    let paging = Paging::<JobCursor>::take(&mut query, app.limits().page_size);
    let mut filter = filter(&mut query);
    query.finish()?;
    filter.namespace = caller.namespace(filter.namespace.as_ref())?;
    let listed = app.store().jobs(&filter, paging.into_page()).await?;
    let body = JobList {
        total: listed.total,
        page: paging.page,
        page_size: paging.size,
        total_pages: total_pages(listed.total, paging.size),
        jobs: listed.items.into_iter().map(Job::from).collect(),
    };
    Ok((next_link(&uri, listed.next.as_ref()), Json(body)).into_response())
}

fn filter(query: &mut Query) -> JobFilter {
    JobFilter {
        status: query.word("status", || JobState::ALL.map(JobState::as_str).join(", ")),
        namespace: query.take("namespace", |text| {
            text.parse::<Namespace>().map_err(|_| {
                "must be 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-'".to_owned()
            })
        }),
        from: query.take("from_date", |text| moment(text, Time::midnight())),
        to: query.take("to_date", |text| moment(text, Time::MAX)),
    }
}

/// A moment, or the first or last of a day. Days that only a shifted clock can reach are cut to what a timestamp
/// holds: no job was created then.
fn moment(text: &str, time_of_day: Time) -> Result<Timestamp, String> {
    let malformed =
        || "must be a date (2026-01-31) or an RFC 3339 time (2026-01-31T12:00:00Z)".to_owned();
    // An unescaped `+` in a query arrives as a blank; before an offset it can mean nothing else.
    let mut text = text.to_owned();
    if let Some(at) = text
        .len()
        .checked_sub("+02:00".len())
        .filter(|at| text.get(*at..=*at) == Some(" "))
    {
        text.replace_range(at..=at, "+");
    }
    let pieces = Pieces::parse(&text).map_err(|_| malformed())?;
    let offset = match (pieces.time(), pieces.offset()) {
        (None, None) if text.len() == "2026-01-31".len() => Offset::UTC,
        (Some(_), Some(offset)) => offset.to_numeric_offset(),
        _ => return Err(malformed()),
    };
    if pieces.time_zone_annotation().is_some() {
        return Err(malformed());
    }
    let local = pieces
        .date()
        .to_datetime(pieces.time().unwrap_or(time_of_day));
    let latest = if local.year() > 0 {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    };
    Ok(TimeZone::fixed(offset)
        .to_timestamp(local)
        .unwrap_or(latest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Service;

    #[test]
    fn a_day_is_whole_and_a_moment_has_an_offset() {
        let at = |text| moment(text, Time::MAX).map(|t| t.to_string()).ok();
        assert_eq!(at("2026-01-31").unwrap(), "2026-01-31T23:59:59.999999999Z");
        assert_eq!(
            at("2026-01-31T12:00:00+02:00").unwrap(),
            "2026-01-31T10:00:00Z"
        );
        assert_eq!(
            at("2026-01-31T12:00:00 02:00").unwrap(),
            "2026-01-31T10:00:00Z"
        );
        assert_eq!(at("9999-12-31").unwrap(), Timestamp::MAX.to_string());
        for bad in [
            "",
            "yesterday",
            "2026-02-30",
            "20260131",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00Z[UTC]",
            "2026-01-31T25:00:00Z",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn jobs_are_listed_newest_first_in_pages() {
        let service = Service::start().await;
        for name in ["a.csv", "b.csv", "c.csv"] {
            service.upload(name, "id\n1\n").await;
        }
        let first = service.get("/api/jobs?page_size=2&status=QUEUED").await;
        insta::assert_json_snapshot!(first.json());
        let next = first.header("link");
        let path = next.trim_start_matches('<').split('>').next().unwrap();
        assert!(
            path.starts_with("/api/jobs?page_size=2&status=QUEUED&cursor="),
            "{path}"
        );
        let second = service.get(path).await;
        assert_eq!(second.json()["jobs"][0]["filename"], "a.csv");
        assert_eq!(second.try_header("link"), None);
        let by_number = service.get("/api/jobs?page_size=2&page=2").await;
        assert_eq!(by_number.json()["jobs"], second.json()["jobs"]);
    }

    #[tokio::test]
    async fn nothing_to_list_has_no_pages() {
        let service = Service::start().await;
        let answer = service
            .get("/api/jobs?namespace=empty&to_date=2026-01-31")
            .await;
        insta::assert_json_snapshot!(answer.json(), @r#"
        {
          "total": 0,
          "page": 1,
          "page_size": 50,
          "total_pages": 0,
          "jobs": []
        }
        "#);
    }
}
