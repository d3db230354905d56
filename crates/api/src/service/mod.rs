//! Calls about the service itself.

pub(crate) mod health;
mod limits;
mod queues;
mod workers;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

/// Every call about the service.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(limits::limits))
        .routes(routes!(queues::stats))
        .routes(routes!(queues::dead_letters))
        .routes(routes!(queues::replay))
        .routes(routes!(workers::workers))
}
