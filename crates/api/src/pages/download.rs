//! Links that stand for an `Accept` header: a browser cannot send one with a link.

use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};

use crate::App;
use crate::extract::accept::{CSV, PARQUET};
use crate::extract::id::JobPath;
use crate::extract::query::Query;
use crate::jobs::{errors, results};
use crate::problem::Problem;

/// `GET /jobs/{id}/results.csv`.
pub(super) async fn results_csv(app: State<App>, job: JobPath) -> Result<Response, Problem> {
    results::results(app, job, accept(CSV), Query::default()).await
}

/// `GET /jobs/{id}/results.parquet`.
pub(super) async fn results_parquet(app: State<App>, job: JobPath) -> Result<Response, Problem> {
    results::results(app, job, accept(PARQUET), Query::default()).await
}

/// `GET /jobs/{id}/errors.csv`.
pub(super) async fn errors_csv(
    app: State<App>,
    uri: OriginalUri,
    job: JobPath,
) -> Result<Response, Problem> {
    errors::errors(app, uri, job, accept(CSV), Query::default()).await
}

fn accept(media: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(media))])
}
