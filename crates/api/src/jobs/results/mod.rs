//! `GET /api/jobs/{id}/results`: the valid rows.

mod cell;
mod formats;
mod joined;
mod part;
mod rows;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use filejobs_store::{Job, StoredPart};
use futures::stream::{self, StreamExt};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::IntoParams;

use super::errors::CSV_UTF8;
use crate::App;
use crate::download::{self, BodyError, Download, Pieces};
use crate::extract::accept::{CSV, JSON, PARQUET, negotiate};
use crate::extract::id::JobPath;
use crate::extract::query::Query;
use crate::problem::{Problem, problems};
use formats::{CsvRows, JsonRows};
use rows::Rows;

problems!(Problems: InvalidParameter, JobNotFound, NotAcceptable, NotReady, NoResults);

/// Rows of a page when nobody asks for another number.
const DEFAULT_LIMIT: u64 = 100;
/// Rows of a page; they are streamed, so that the number alone costs nothing.
const MAX_LIMIT: u64 = 10_000;
/// The farthest offset, exact in every JSON reader.
const MAX_OFFSET: u64 = 9_007_199_254_740_991;

/// A page of valid rows.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ResultList {
    /// Valid rows of the job.
    total: u64,
    limit: u64,
    offset: u64,
    items: Vec<ResultRow>,
}

/// A valid row.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ResultRow {
    /// 1 is the first data row of the file.
    #[schema(minimum = 1)]
    row_number: u64,
    /// The piece of the file that it came from.
    task_index: u32,
    /// The typed cells by column; dates and times as ISO 8601, `NaN` and `INF` as text.
    data: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Which rows.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters; `results` reads them")]
struct ResultParams {
    /// Rows to a page.
    #[param(minimum = 1, maximum = 10_000, default = 100)]
    limit: Option<u64>,
    /// Valid rows to skip.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991u64, default = 0)]
    offset: Option<u64>,
}

/// The valid rows
///
/// With `Accept: text/csv` or `application/vnd.apache.parquet` all of them as a file. Only a job that was read to its
/// end has results; one that has not ended, failed (by `max_errors`, too) or was cancelled is 409.
#[utoipa::path(
    get,
    path = "/jobs/{id}/results",
    tag = "results",
    operation_id = "get_job_results",
    params(("id" = String, Path, format = "uuid", description = "The job"), ResultParams),
    responses(
        (status = 200, description = "A page of rows, or all of them as a file",
         content((ResultList = "application/json"), (String = "text/csv"), ("application/vnd.apache.parquet"))),
        Problems,
    )
)]
pub(crate) async fn results(
    State(app): State<App>,
    path: JobPath,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let media = negotiate(&headers, &[JSON, CSV, PARQUET])?;
    let limit = query.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
    let offset = query.number("offset", 0, MAX_OFFSET).unwrap_or(0);
    query.finish()?;
    let job = path.find(&app).await?;
    super::view::only_completed(&job)?;
    let parts = app.store().parts(job.id).await?;
    match media {
        CSV => {
            let rows = CsvRows::new(Rows::all(&app, parts), column_names(&job));
            let body = begun(&app, &job, rows).await?;
            Ok(Download::new(CSV_UTF8, &job.filename, "-results.csv", body).into_response())
        }
        PARQUET => parquet(&app, &job, parts).await,
        _ => {
            let total = parts.iter().map(|part| part.rows).sum();
            let rows = Rows::page(&app, parts, offset, limit);
            let body = begun(&app, &job, JsonRows::new(rows, total, limit, offset)).await?;
            Ok(([(CONTENT_TYPE, JSON)], body).into_response())
        }
    }
}

/// The names of the columns, as the results have them.
fn column_names(job: &Job) -> Vec<String> {
    let layout = job.facts.iter().filter_map(|f| f.layout.as_ref());
    layout
        .flat_map(|layout| layout.columns.iter().map(|c| c.name.clone()))
        .collect()
}

/// A body whose first piece is made already, so that what cannot be begun can still be told.
async fn begun<P: Pieces>(app: &App, job: &Job, source: P) -> Result<axum::body::Body, Problem> {
    let mut pieces = download::pieces(source).boxed();
    let first: Option<Result<Bytes, BodyError>> = pieces.next().await;
    let first = match first.transpose() {
        Ok(first) => first,
        Err(error) => return Err(unreadable(app, job, error).await),
    };
    let first = stream::iter(first.map(Ok));
    Ok(download::body(first.chain(pieces)))
}

async fn unreadable(app: &App, job: &Job, error: BodyError) -> Problem {
    match error.downcast::<filejobs_blobs::Error>() {
        Ok(error) => super::blob_problem(app, job, *error).await,
        Err(error) => Problem::internal(error),
    }
}

async fn parquet(app: &App, job: &Job, parts: Vec<StoredPart>) -> Result<Response, Problem> {
    let file = joined::join(app, job, parts).await;
    let file = match file {
        Ok(file) => file,
        Err(error) => return Err(unreadable(app, job, error).await),
    };
    let length = file.length();
    let body = download::body(file.stream(app.blobs().clone()));
    let download = Download::new(PARQUET, &job.filename, "-results.parquet", body);
    Ok(download.of_length(length).into_response())
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use crate::tests::{Form, Request, Service, many_rows};

    const MIXED: &str = "id,name,paid,ratio,day,at\n\
        1,a,true,1.5,2026-01-31,2026-01-31T12:00:00Z\n\
        x,b,true,1.5,2026-01-31,2026-01-31T12:00:00Z\n\
        3,=cmd(),false,-2e300,1999-12-31,1969-07-20T20:17:40.5Z\n";

    const SCHEMA: &str = r#"{"fields": [
        {"name": "id", "type": "integer"}, {"name": "name", "type": "string"},
        {"name": "paid", "type": "boolean"}, {"name": "ratio", "type": "number"},
        {"name": "day", "type": "date"}, {"name": "at", "type": "datetime"}]}"#;

    async fn mixed(service: &Service) -> String {
        let form = Form::file("mixed.csv", MIXED).field("schema", SCHEMA);
        let job = service.send(form.request()).await.job();
        service.work().await;
        format!("/api/jobs/{job}/results")
    }

    #[tokio::test]
    async fn rows_are_typed_and_know_their_place_in_the_file() {
        let service = Service::start().await;
        let path = mixed(&service).await;
        insta::assert_json_snapshot!(service.get(&path).await.json());
        let one = service
            .get(&format!("{path}?offset=1&limit=1"))
            .await
            .json();
        assert_eq!(one["items"][0]["row_number"], 3);
        let none = service.get(&format!("{path}?offset=2")).await.text();
        assert_eq!(none, r#"{"total":2,"limit":100,"offset":2,"items":[]}"#);
    }

    #[tokio::test]
    async fn rows_as_csv_cannot_run_as_formulas() {
        let service = Service::start().await;
        let path = mixed(&service).await;
        let csv = Request::get(&path).header("accept", "text/csv");
        let answer = service.send(csv).await;
        assert_eq!(
            answer.header("content-disposition"),
            "attachment; filename=\"mixed-results.csv\""
        );
        insta::assert_snapshot!(answer.text());
    }

    /// Readers skip an empty line, and with it the row.
    #[tokio::test]
    async fn a_row_of_one_empty_cell_is_no_empty_line_as_csv() {
        let service = Service::start().await;
        let schema = r#"{"fields": [{"name": "id", "type": "integer"}], "missingValues": ["NA"]}"#;
        let form = Form::file("a.csv", "id\n1\nNA\n2\n").field("schema", schema);
        let job = service.send(form.request()).await.job();
        service.work().await;
        let csv = Request::get(&format!("/api/jobs/{job}/results")).header("accept", "text/csv");
        assert_eq!(service.send(csv).await.text(), "id\n1\n\"\"\n2\n");
    }

    #[tokio::test]
    async fn many_parts_are_one_table_in_every_form() {
        let service = Service::with_small_pieces().await;
        let (text, rejected) = many_rows();
        let job = service.completed("many.csv", &text).await;
        assert!(service.store().parts(job).await.unwrap().len() > 1);
        let path = format!("/api/jobs/{job}/results");
        let wanted: Vec<i64> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap())
            .filter(|id| !rejected.iter().any(|r| r == id))
            .map(|id| id.parse().unwrap())
            .collect();

        let csv = service
            .send(Request::get(&path).header("accept", "text/csv"))
            .await
            .text();
        let ids: Vec<i64> = csv
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(ids, wanted);

        let parquet = Request::get(&path).header("accept", "application/vnd.apache.parquet");
        let answer = service.send(parquet).await;
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        let reader = ParquetRecordBatchReaderBuilder::try_new(answer.body.clone()).unwrap();
        let ids: Vec<i64> = reader
            .build()
            .unwrap()
            .flat_map(|batch| {
                batch
                    .unwrap()
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .collect();
        assert_eq!(ids, wanted);

        let offset = wanted.len() / 2;
        let page = service
            .get(&format!("{path}?offset={offset}&limit=3000"))
            .await
            .json();
        assert_eq!(page["total"], wanted.len());
        let items = page["items"].as_array().unwrap();
        let ids: Vec<i64> = items
            .iter()
            .map(|i| i["data"]["id"].as_i64().unwrap())
            .collect();
        assert_eq!(ids[..], wanted[offset..(offset + 3000).min(wanted.len())]);
        // `many_rows` numbers its rows from 1, so that a row's id is its number.
        assert!(items.iter().all(|i| i["row_number"] == i["data"]["id"]));
    }

    #[tokio::test]
    async fn a_table_without_valid_rows_still_has_columns() {
        let service = Service::start().await;
        let job = service.completed("none.csv", "id,name\n").await;
        let path = format!("/api/jobs/{job}/results");
        assert_eq!(service.get(&path).await.json()["total"], 0);
        let csv = service
            .send(Request::get(&path).header("accept", "text/csv"))
            .await;
        assert_eq!(csv.text(), "id,name\n");
        let parquet = Request::get(&path).header("accept", "application/vnd.apache.parquet");
        let answer = service.send(parquet).await;
        let reader = ParquetRecordBatchReaderBuilder::try_new(answer.body.clone()).unwrap();
        let names: Vec<_> = reader
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect();
        assert_eq!(names, ["id", "name"]);
    }

    #[tokio::test]
    async fn only_a_job_that_was_read_to_its_end_has_results() {
        let service = Service::start().await;
        let waiting = service.upload("a.csv", "id\n1\n").await;
        let form = Form::file("b.csv", "id\n1\nx\n")
            .field(
                "schema",
                r#"{"fields": [{"name": "id", "type": "integer"}]}"#,
            )
            .field("options", r#"{"max_errors": 0}"#);
        let failed = service.send(form.request()).await.job();
        for (job, code) in [(waiting, "not_ready"), (failed, "no_results")] {
            if code == "no_results" {
                service.work_on(failed).await;
            }
            let answer = service.get(&format!("/api/jobs/{job}/results")).await;
            assert_eq!(answer.problem(), (409, code.to_owned()));
        }
    }

    #[tokio::test]
    async fn bounds_and_media_types_are_checked() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id\n1\n").await;
        let path = format!("/api/jobs/{job}/results");
        for query in ["limit=0", "limit=10001", "offset=-1", "limit=x"] {
            let answer = service.get(&format!("{path}?{query}")).await;
            assert_eq!(
                answer.problem(),
                (400, "invalid_parameter".to_owned()),
                "{query}"
            );
        }
        let image = Request::get(&path).header("accept", "image/png");
        let answer = service.send(image).await;
        assert_eq!(answer.problem(), (406, "not_acceptable".to_owned()));
    }
}
