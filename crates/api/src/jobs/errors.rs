//! `GET /api/jobs/{id}/errors`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use filejobs_core::{FindingCode, JobId, export};
use filejobs_store::{FindingCursor, FindingFilter, Page, StoredFinding};
use futures::stream::{self, Stream, StreamExt};
use http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::IntoParams;

use crate::App;
use crate::download::{self, BodyError, Download};
use crate::extract::accept::{CSV, JSON, negotiate};
use crate::extract::id::JobPath;
use crate::extract::paging::{Paging, next_link, total_pages};
use crate::extract::query::Query;
use crate::problem::{Problem, problems};

problems!(Problems: InvalidParameter, JobNotFound, NotAcceptable);

/// Findings read at a time for a CSV export.
const EXPORT_BATCH: u32 = 1_000;

/// The columns of the CSV export.
const HEADER: &str = "id,row_number,line,byte_offset,column_name,column_number,cell,error_type,error_message,raw_value,created_at\n";

/// A page of a job's errors.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ErrorList {
    /// Errors that the filter lets through.
    total: u64,
    page: u64,
    page_size: u32,
    /// 0 for no errors.
    total_pages: u64,
    errors: Vec<RowError>,
}

/// One thing wrong at one place of the file.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Error)]
struct RowError {
    /// Unique within the job.
    id: String,
    /// 1 is the first data row; 0 the header.
    row_number: u64,
    /// The physical line where the record begins; in workbooks the sheet's row.
    line: u64,
    /// Where the row starts in the bytes as uploaded; null in workbooks and transcoded text.
    #[schema(required)]
    byte_offset: Option<u64>,
    /// The column's label; null where the whole row is meant.
    #[schema(required)]
    column_name: Option<String>,
    /// The column's place, from 1.
    #[schema(required)]
    column_number: Option<u32>,
    /// The cell as a spreadsheet names it.
    #[schema(required, example = "C17")]
    cell: Option<String>,
    error_type: FindingCode,
    /// One sentence with what was expected.
    error_message: String,
    /// The cell's text as it came, cut at 256 characters.
    #[schema(required)]
    raw_value: Option<String>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

impl From<StoredFinding> for RowError {
    fn from(stored: StoredFinding) -> Self {
        let finding = stored.finding;
        Self {
            id: finding.id(),
            row_number: finding.row_number,
            line: finding.line,
            byte_offset: finding.byte_offset,
            column_name: finding.column_name,
            column_number: finding.column_number,
            cell: finding.cell,
            error_type: finding.code,
            error_message: finding.message,
            raw_value: finding.raw_value,
            created_at: stored.created_at,
        }
    }
}

/// Which errors.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters; `errors` reads them")]
struct ErrorParams {
    /// From 1. Ignored beside `cursor`.
    #[param(minimum = 1, maximum = 1_000_000_000, default = 1)]
    page: Option<u64>,
    /// Errors to a page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    page_size: Option<u32>,
    /// Where the page before ended: from the `Link` header of its answer.
    #[param(max_length = 512)]
    cursor: Option<String>,
    /// Only errors with this code.
    code: Option<FindingCode>,
    /// Only errors in the column with this label.
    column: Option<String>,
}

/// The job's errors, in order of their rows
///
/// With `Accept: text/csv` all of them as a file; text that a spreadsheet would run as a formula gets a leading `'`.
#[utoipa::path(
    get,
    path = "/jobs/{id}/errors",
    tag = "results",
    operation_id = "get_job_errors",
    params(("id" = String, Path, format = "uuid", description = "The job"), ErrorParams),
    responses(
        (status = 200, description = "A page of errors, or all of them as CSV",
         content((ErrorList = "application/json"), (String = "text/csv")),
         headers(("Link" = Option<String>, description = "`rel=\"next\"`: the next page, when there is one"))),
        Problems,
    )
)]
pub(crate) async fn errors(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    path: JobPath,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let media = negotiate(&headers, &[JSON, CSV])?;
    let paging = Paging::<FindingCursor>::take(&mut query, app.limits().page_size);
    let filter = FindingFilter {
        code: query.word("code", || {
            let codes: Vec<_> = FindingCode::ALL.iter().map(|c| c.as_str()).collect();
            codes.join(", ")
        }),
        column: query.take("column", |text| Ok(text.to_owned())),
    };
    query.finish()?;
    if media == CSV {
        let job = path.find(&app).await?;
        let lines = download::body(lines(app, job.id, filter));
        return Ok(Download::new(CSV_UTF8, &job.filename, "-errors.csv", lines).into_response());
    }
    let id = path.id(&app).await?;
    let listed = app
        .store()
        .findings(id, &filter, paging.into_page())
        .await?
        .ok_or_else(Problem::job_not_found)?;
    let body = ErrorList {
        total: listed.total,
        page: paging.page,
        page_size: paging.size,
        total_pages: total_pages(listed.total, paging.size),
        errors: listed.items.into_iter().map(RowError::from).collect(),
    };
    Ok((next_link(&uri, listed.next.as_ref()), Json(body)).into_response())
}

/// The media type of a CSV answer, with its encoding.
pub(super) const CSV_UTF8: &str = "text/csv; charset=utf-8";

/// Where a CSV export stands.
enum Export {
    Header,
    After(Option<FindingCursor>),
    Ended,
}

/// All findings as lines of CSV, a batch at a time.
fn lines(
    app: App,
    id: JobId,
    filter: FindingFilter,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    let filter = Arc::new(filter);
    stream::try_unfold(Export::Header, move |at| {
        let (app, filter) = (app.clone(), Arc::clone(&filter));
        async move {
            let cursor = match at {
                Export::Header => {
                    let header = Bytes::from_static(HEADER.as_bytes());
                    return Ok(Some((header, Export::After(None))));
                }
                Export::After(cursor) => cursor,
                Export::Ended => return Ok(None),
            };
            let page = Page::After {
                cursor,
                limit: EXPORT_BATCH,
            };
            let Some(listed) = app.store().findings(id, &filter, page).await? else {
                return Err(BodyError::from("the job was deleted during the export"));
            };
            let next = match listed.next {
                Some(cursor) => Export::After(Some(cursor)),
                None => Export::Ended,
            };
            let mut text = Vec::with_capacity(listed.items.len() * 128);
            for stored in listed.items {
                push_line(&mut text, &RowError::from(stored));
            }
            Ok(Some((Bytes::from(text), next)))
        }
    })
    .boxed()
}

fn push_line(text: &mut Vec<u8>, error: &RowError) {
    fn shown<T: ToString>(value: Option<T>) -> String {
        value.map(|v| v.to_string()).unwrap_or_default()
    }
    let cells = [
        error.id.clone(),
        error.row_number.to_string(),
        error.line.to_string(),
        shown(error.byte_offset),
        shown(error.column_name.as_deref()),
        shown(error.column_number),
        shown(error.cell.as_deref()),
        error.error_type.as_str().to_owned(),
        error.error_message.clone(),
        shown(error.raw_value.as_deref()),
        error.created_at.to_string(),
    ];
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        export::push_cell(text, cell.as_bytes());
    }
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use filejobs_core::JobId;

    use crate::tests::{Form, Request, Service};

    /// A job with three errors in two rows.
    async fn bad(service: &Service) -> JobId {
        let schema = r#"{"fields": [{"name": "id", "type": "integer"},
            {"name": "=name", "type": "string", "constraints": {"required": true, "maxLength": 3}}]}"#;
        let form = Form::file("bad.csv", "id,=name\n1,a\nx,=1+1\n3,\n").field("schema", schema);
        let job = service.send(form.request()).await.job();
        service.work_on(job).await;
        job
    }

    #[tokio::test]
    async fn errors_are_listed_by_row_and_can_be_filtered() {
        let service = Service::start().await;
        let job = bad(&service).await;
        let path = format!("/api/jobs/{job}/errors");
        let all = service.get(&path).await;
        insta::assert_json_snapshot!(all.json());
        let one = service
            .get(&format!("{path}?code=type-error&column=id"))
            .await;
        assert_eq!(one.json()["total"], 1);
        let none = service
            .get(&format!("{path}?column=%3Dname&code=type-error"))
            .await;
        assert_eq!(
            (
                none.json()["total"].clone(),
                none.json()["total_pages"].clone()
            ),
            (0.into(), 0.into())
        );
    }

    #[tokio::test]
    async fn pages_of_errors_lead_on_by_cursor() {
        let service = Service::start().await;
        let job = bad(&service).await;
        let first = service
            .get(&format!("/api/jobs/{job}/errors?page_size=2"))
            .await;
        let next = first.header("link");
        let next = next.trim_start_matches('<').split('>').next().unwrap();
        let second = service.get(next).await;
        assert_eq!(first.json()["errors"][1]["row_number"], 2);
        assert_eq!(second.json()["errors"][0]["row_number"], 3);
        assert_eq!(second.try_header("link"), None);
    }

    #[tokio::test]
    async fn errors_as_csv_cannot_run_as_formulas() {
        let service = Service::start().await;
        let job = bad(&service).await;
        let csv = Request::get(&format!("/api/jobs/{job}/errors")).header("accept", "text/csv");
        let answer = service.send(csv).await;
        assert_eq!(
            answer.header("content-disposition"),
            "attachment; filename=\"bad-errors.csv\""
        );
        insta::assert_snapshot!(answer.text());
    }

    #[tokio::test]
    async fn an_unknown_job_has_no_errors_in_either_form() {
        let service = Service::start().await;
        let path = "/api/jobs/0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b/errors";
        for accept in ["application/json", "text/csv"] {
            let answer = service
                .send(Request::get(path).header("accept", accept))
                .await;
            assert_eq!(answer.problem(), (404, "job_not_found".to_owned()));
        }
    }
}
