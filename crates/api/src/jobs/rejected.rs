//! `GET /api/jobs/{id}/rejected.csv`.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use filejobs_store::Job;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};

use super::errors::CSV_UTF8;
use crate::App;
use crate::download::{self, BodyError, Download};
use crate::extract::id::JobPath;
use crate::problem::{Problem, problems};

problems!(Problems: JobNotFound, NotReady, NoResults);

/// The rejected rows as CSV
///
/// The cells as they came, with `_row` and `_reasons` behind them; cells beyond the header stand in `_extra`. Text
/// that a spreadsheet would run as a formula gets a leading `'`. A job that failed has the rows rejected until then.
#[utoipa::path(
    get,
    path = "/jobs/{id}/rejected.csv",
    tag = "results",
    operation_id = "get_job_rejected",
    params(("id" = String, Path, format = "uuid", description = "The job")),
    responses(
        (status = 200, description = "The rejected rows; the header alone when there are none", body = String,
         content_type = "text/csv"),
        Problems,
    )
)]
pub(super) async fn rejected(State(app): State<App>, path: JobPath) -> Result<Response, Problem> {
    let job = path.find(&app).await?;
    if !job.status.is_terminal() {
        return Err(super::view::not_ready(&job));
    }
    let keys = app.store().rejected(job.id).await?;
    if keys.is_empty() {
        super::view::only_completed(&job)?;
        let header = Body::from(header(&job));
        return Ok(Download::new(CSV_UTF8, &job.filename, "-rejected.csv", header).into_response());
    }
    // The first piece is opened before the answer begins, so that a piece that is gone can still be told.
    let first = match open(&app, &keys[0]).await {
        Ok(first) => first,
        Err(error) => return Err(super::blob_problem(&app, &job, error).await),
    };
    let body = download::body(joined(app, first, keys));
    Ok(Download::new(CSV_UTF8, &job.filename, "-rejected.csv", body).into_response())
}

type Blob = BoxStream<'static, Result<Bytes, filejobs_blobs::Error>>;

async fn open(app: &App, key: &str) -> Result<Blob, filejobs_blobs::Error> {
    let size = app.blobs().size(key).await?;
    app.blobs().stream(key, 0..size).await
}

/// The pieces one after another; all but the first without their header.
fn joined(
    app: App,
    first: Blob,
    keys: Vec<String>,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    let rest = stream::iter(keys.into_iter().skip(1))
        .then(move |key| {
            let app = app.clone();
            async move { open(&app, &key).await.map(without_header) }
        })
        .try_flatten();
    first.chain(rest).map_err(BodyError::from)
}

/// A piece from its second record on. The header is one record: a line end within quotes does not end it.
fn without_header(piece: Blob) -> Blob {
    let mut header = HeaderEnd::default();
    piece
        .map_ok(move |chunk| header.cut(chunk))
        .try_filter(|chunk| futures::future::ready(!chunk.is_empty()))
        .boxed()
}

/// Finds where the first record of our own CSV ends.
#[derive(Debug, Default)]
struct HeaderEnd {
    quoted: bool,
    passed: bool,
}

impl HeaderEnd {
    fn cut(&mut self, mut chunk: Bytes) -> Bytes {
        if self.passed {
            return chunk;
        }
        for (at, byte) in chunk.iter().enumerate() {
            match byte {
                b'"' => self.quoted = !self.quoted,
                b'\n' if !self.quoted => {
                    self.passed = true;
                    return chunk.split_off(at + 1);
                }
                _ => {}
            }
        }
        Bytes::new()
    }
}

/// The header of a file whose rows are all valid.
fn header(job: &Job) -> Bytes {
    let columns = job.facts.iter().filter_map(|f| f.layout.as_ref());
    let names = columns.flat_map(|layout| layout.columns.iter().map(|c| c.name.as_str()));
    let mut line = Vec::new();
    for name in names {
        filejobs_core::export::push_cell(&mut line, name.as_bytes());
        line.push(b',');
    }
    line.extend_from_slice(b"_row,_reasons,_extra\n");
    Bytes::from(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Service;

    #[test]
    fn a_header_ends_at_its_first_line_end_outside_quotes() {
        let mut end = HeaderEnd::default();
        let pieces = ["id,\"a\n", "\"\"b\",_row", "\n1,x\n", "2,y\n"];
        let rest: Vec<_> = pieces.map(|p| end.cut(Bytes::from(p))).concat();
        assert_eq!(String::from_utf8(rest).unwrap(), "1,x\n2,y\n");
    }

    #[tokio::test]
    async fn pieces_are_joined_under_one_header() {
        let service = Service::with_small_pieces().await;
        let (whole, rejected) = crate::tests::many_rows();
        let job = service.completed("big.csv", &whole).await;
        assert!(service.store().rejected(job).await.unwrap().len() > 1);
        let answer = service.get(&format!("/api/jobs/{job}/rejected.csv")).await;
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let rows: Vec<_> = text
            .lines()
            .skip(1)
            .map(|l| l.split(',').next().unwrap())
            .collect();
        assert_eq!(rows, rejected);
    }

    #[tokio::test]
    async fn without_rejected_rows_the_header_stands_alone() {
        let service = Service::start().await;
        let job = service.completed("a.csv", "id,=x\n1,2\n").await;
        let answer = service.get(&format!("/api/jobs/{job}/rejected.csv")).await;
        assert_eq!(answer.text(), "id,'=x,_row,_reasons,_extra\n");
    }

    #[tokio::test]
    async fn before_the_end_there_is_nothing_to_tell() {
        let service = Service::start().await;
        let job = service.upload("a.csv", "id\n1\n").await;
        let answer = service.get(&format!("/api/jobs/{job}/rejected.csv")).await;
        assert_eq!(answer.problem(), (409, "not_ready".to_owned()));
    }
}
