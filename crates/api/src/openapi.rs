//! The OpenAPI description: made from the handlers, so that it cannot tell of calls that are not there.

use filejobs_core::Limits;
use utoipa::OpenApi;
use utoipa::openapi::{self, RefOr, Schema};
use utoipa_axum::router::OpenApiRouter;

use crate::App;
use crate::problem::Code;

/// What the description says beside the calls.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Filejobs",
        description = "Takes tables (CSV, XLSX, XLS) that people hand in, checks every row, keeps every bad cell with its place and reason, and stores the good rows as Parquet.\n\nEvery problem is `application/problem+json` (RFC 9457) with a stable `code`; `detail` says what to do. Every answer names its request in `X-Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(crate::problem::Body)),
    tags(
        (name = "files", description = "Handing files in"),
        (name = "jobs", description = "Following and steering jobs"),
        (name = "results", description = "What was found"),
        (name = "queues", description = "The queue and what got stuck in it"),
        (name = "service", description = "The service itself"),
        (name = "docs", description = "This description"),
    )
)]
struct Description;

/// Every call under `/api` with its description.
pub(crate) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(crate::upload::router())
        .merge(crate::jobs::router())
        .merge(crate::service::router())
        .merge(crate::docs::api())
}

/// The description of a service with these limits.
#[must_use]
pub fn document(limits: &Limits) -> openapi::OpenApi {
    let (_, calls) = OpenApiRouter::with_openapi(Description::openapi())
        .nest("/api", api())
        .split_for_parts();
    let mut document = calls;
    for item in document.paths.paths.values_mut() {
        if let Some(operation) = &mut item.get {
            bound_pages(operation, limits);
        }
        let changing = [&mut item.post, &mut item.patch, &mut item.delete];
        for operation in changing.into_iter().flatten() {
            let refused = crate::problem::responses(&[Code::CrossSite]);
            let refused = refused.into_iter().filter(|(status, _)| status == "403");
            operation.responses.responses.extend(refused);
        }
    }
    document
}

/// The size of a page is a matter of the service's settings, not of the code.
fn bound_pages(operation: &mut openapi::path::Operation, limits: &Limits) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else {
            continue;
        };
        if parameter.name != "page_size" {
            continue;
        }
        if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
            schema.maximum = Some(limits.page_size.into());
            let usual = crate::extract::paging::DEFAULT_SIZE.min(limits.page_size);
            schema.default = Some(usual.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use filejobs_core::{FailureCode, FindingCode, JobState};

    use super::*;

    #[test]
    fn the_committed_description_is_what_the_code_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap();
        let committed: serde_json::Value = serde_json::from_str(&committed).unwrap();
        let now = serde_json::to_value(document(&Limits::default())).unwrap();
        // Compared as text: the order of calls and members is part of what readers see.
        let pretty = |value| serde_json::to_string_pretty(value).unwrap();
        assert!(
            pretty(&committed) == pretty(&now),
            "docs/openapi.json is not what the code gives; run `cargo xtask generate`"
        );
    }

    #[test]
    fn every_call_tells_what_it_can_answer_with() {
        let document = serde_json::to_value(document(&Limits::default())).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut ids = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, call) in item.as_object().unwrap() {
                let responses = call["responses"].as_object().unwrap();
                assert!(responses.contains_key("500"), "{method} {path}");
                assert!(call["summary"].is_string(), "{method} {path}");
                let job = path.contains("{id}") || path.contains("{task}");
                assert_eq!(responses.contains_key("404"), job, "{method} {path}");
                ids.push(call["operationId"].as_str().unwrap().to_owned());
            }
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "operation ids are unique");
    }

    #[test]
    fn codes_are_described_as_they_are_sent() {
        let document = serde_json::to_value(document(&Limits::default())).unwrap();
        for (name, codes) in [
            ("FindingCode", serde_json::to_value(FindingCode::ALL)),
            ("FailureCode", serde_json::to_value(FailureCode::ALL)),
            ("JobState", serde_json::to_value(JobState::ALL)),
        ] {
            let described = &document["components"]["schemas"][name]["enum"];
            assert_eq!(described, &codes.unwrap(), "{name}");
        }
    }

    #[test]
    fn the_size_of_a_page_is_the_service_s_own() {
        let limits = Limits {
            page_size: 20,
            ..Limits::default()
        };
        let document = serde_json::to_value(document(&limits)).unwrap();
        let parameters = document["paths"]["/api/jobs"]["get"]["parameters"]
            .as_array()
            .unwrap();
        let size = parameters
            .iter()
            .find(|p| p["name"] == "page_size")
            .unwrap();
        assert_eq!(
            (&size["schema"]["maximum"], &size["schema"]["default"]),
            (&20.into(), &20.into())
        );
    }
}
