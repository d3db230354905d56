//! `POST /api/files/upload`.
//!
//! The form is read as it comes and its file goes straight to storage; nothing but text fields is held. Only when
//! the last byte has come is a job made, in a task of its own.

mod commit;
mod fields;
mod file;
mod form;
mod key;
mod steady;

#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use filejobs_core::{Limits, Options, TableSchema};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Caller;
use crate::jobs::view::{self, Job};
use crate::problem::{Code, Problem, problems};
pub(crate) use fields::MAX_PRIORITY;

use commit::{Accepted, commit};
use file::Storing;
use form::Form;
use key::Hold;

problems!(
    Problems: InvalidHeader,
    MalformedForm,
    InvalidForm,
    UnsupportedFile,
    BodyTimeout,
    KeyInFlight,
    BodyTooLarge,
    UnsupportedMediaType,
    KeyReused,
    OtherNamespace,
    QueueFull,
    StorageFull,
);

/// The longest boundary that RFC 2046 allows.
const MAX_BOUNDARY: usize = 70;

/// The upload's routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(upload))
}

/// The form of an upload.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the form; `form::read` reads it")]
struct UploadForm {
    /// The table: CSV, XLSX or XLS, with a file name whose extension fits the content.
    #[schema(value_type = String, format = "binary", content_media_type = "application/octet-stream")]
    file: Vec<u8>,
    /// Where the end of the job is told.
    #[schema(format = "uri", max_length = 2048)]
    webhook_url: Option<String>,
    /// 0 to 10, 10 first.
    #[schema(minimum = 0, maximum = 10, default = 0)]
    priority: Option<u8>,
    /// The Table Schema that the rows are checked against, as JSON; inferred when left out.
    schema: Option<TableSchema>,
    /// What is not to be detected, as JSON.
    options: Option<Options>,
    /// Whose quota the job counts against: a DNS label. Left out, that of the API key.
    #[schema(min_length = 1, max_length = 63, default = "default")]
    namespace: Option<String>,
}

/// What an upload is answered with: the job, and its id under the name that scripts look for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct AcceptedJob {
    /// The job's id.
    #[schema(format = "uuid")]
    job_id: String,
    #[serde(flatten)]
    job: Job,
}

/// Hands in a file
///
/// The parts of the form may come in any order. The file's name and its first bytes must both fit one of the kinds
/// that are taken. With an `Idempotency-Key` the same key and form give the same job for 24 hours.
#[utoipa::path(
    post,
    path = "/files/upload",
    tag = "files",
    operation_id = "upload_file",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes it safe to send the same upload again",
         min_length = 1, max_length = 255),
    ),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 202, description = "The job that checks the file", body = AcceptedJob,
         headers(
            ("Location" = String, description = "The job's path"),
            ("Idempotent-Replayed" = Option<String>, description = "`true` when an earlier upload with the same key made the job"),
         )),
        Problems,
    )
)]
async fn upload(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let boundary = boundary(&headers)?;
    refuse_announced(&headers, app.limits())?;
    let mut hold = Hold::of(&app, &headers)?;
    let mut storing = Storing::new(&app, &caller, hold.as_mut());
    let stream = body.into_data_stream();
    let form = form::read(stream, &boundary, app.limits(), &mut storing).await?;
    // A namespace that came behind the file is known only now.
    let namespace = caller.namespace(form.fields.namespace.as_ref())?;
    let commit = commit(app, namespace.unwrap_or_default(), form, hold);
    let commit = tokio::spawn(commit);
    Ok(answer(commit.await.map_err(Problem::internal)??))
}

fn answer(accepted: Accepted) -> Response {
    let location = view::path(accepted.job.id);
    let body = AcceptedJob {
        job_id: accepted.job.id.to_string(),
        job: accepted.job.into(),
    };
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    if accepted.replayed {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

fn boundary(headers: &HeaderMap) -> Result<String, Problem> {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    match value.map(multer::parse_boundary) {
        Some(Ok(boundary)) if (1..=MAX_BOUNDARY).contains(&boundary.len()) => Ok(boundary),
        Some(Ok(_) | Err(multer::Error::NoBoundary)) => Err(Problem::new(
            Code::MalformedForm,
            "The Content-Type has no usable boundary. Let the HTTP client set it: multipart/form-data; boundary=… of 1 to 70 characters.",
        )),
        None | Some(Err(_)) => Err(Problem::new(
            Code::UnsupportedMediaType,
            "An upload is a form. Send it as multipart/form-data with a part `file` (curl: -F file=@orders.csv).",
        )),
    }
}

/// An announced length that can hold no acceptable form is refused before anything is read.
fn refuse_announced(headers: &HeaderMap, limits: &Limits) -> Result<(), Problem> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > form::max_bytes(limits)) {
        return Err(form::too_large(limits));
    }
    Ok(())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

/// Reads a form the way an upload does but keeps nothing: for the fuzz target.
#[doc(hidden)]
pub async fn read_form_for_fuzzing(
    boundary: &str,
    chunks: Vec<bytes::Bytes>,
    limits: &Limits,
) -> bool {
    /// Checks and forgets.
    struct Forgetting<'a>(Option<file::Inspector>, &'a Limits);

    impl form::Receiver for Forgetting<'_> {
        type File = u64;

        async fn begin(
            &mut self,
            name: filejobs_core::FileName,
            _fields: &fields::Fields,
        ) -> Result<(), Problem> {
            self.0 = Some(file::Inspector::new(name, self.1)?);
            Ok(())
        }

        async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), Problem> {
            let inspector = self
                .0
                .as_mut()
                .ok_or_else(|| Problem::internal("not begun"))?;
            inspector.take(bytes, self.1).map(drop)
        }

        async fn end(&mut self) -> Result<u64, Problem> {
            let mut inspector = self
                .0
                .take()
                .ok_or_else(|| Problem::internal("not begun"))?;
            Ok(inspector.end(self.1)?.len() as u64)
        }
    }

    let stream = futures::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
    let mut receiver = Forgetting(None, limits);
    match form::read(stream, boundary, limits, &mut receiver).await {
        Ok(Form { .. }) => true,
        Err(problem) => {
            assert!(
                problem.code().status().is_client_error(),
                "{}",
                problem.detail()
            );
            false
        }
    }
}
