//! `GET /api/limits`.

use axum::Json;
use axum::extract::State;
use filejobs_core::Limits;

use crate::App;
use crate::problem::{Problem, problems};

problems!(Problems:);

/// How big anything may be
///
/// Sizes in bytes.
#[utoipa::path(
    get,
    path = "/limits",
    tag = "service",
    operation_id = "get_limits",
    responses((status = 200, description = "Every limit", body = Limits), Problems)
)]
pub(super) async fn limits(State(app): State<App>) -> Result<Json<Limits>, Problem> {
    Ok(Json(app.limits().clone()))
}

#[cfg(test)]
mod tests {
    use crate::tests::Service;

    #[tokio::test]
    async fn limits_are_flat_whole_numbers() {
        let service = Service::start().await;
        let answer = service.get("/api/limits").await;
        insta::assert_json_snapshot!(answer.json());
    }
}
