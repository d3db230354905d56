//! The OpenAPI description: made from the handlers, so that it cannot tell of calls that are not there.

use filejobs_core::Limits;
use http::Method;
use utoipa::OpenApi;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{self, RefOr, Schema};
use utoipa_axum::router::OpenApiRouter;

use crate::App;
use crate::auth::access::{self, Access};
use crate::problem::Code;

/// What the description says beside the calls.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Filejobs",
        description = "Takes tables (CSV, XLSX, XLS) that people hand in, checks every row, keeps every bad cell with its place and reason, and stores the good rows as Parquet.\n\nEvery problem is `application/problem+json` (RFC 9457) with a stable `code`; `detail` says what to do. Every answer names its request in `X-Request-Id`.\n\nWhere the service asks for API keys, a key has scopes (`jobs:read`, `jobs:write`, or `admin`, which includes both) and, but for `admin`, one namespace: jobs of others do not exist for it.",
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
    for (path, item) in &mut document.paths.paths {
        if let Some(operation) = &mut item.get {
            bound_pages(operation, limits);
        }
        let calls = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in calls {
            if let Some(operation) = operation {
                guard(operation, &method, access::of(&method, path));
            }
        }
    }
    let components = document.components.get_or_insert_default();
    components.security_schemes.extend(schemes());
    document
}

/// How a key is sent.
fn schemes() -> [(String, RefOr<SecurityScheme>); 2] {
    let header = ApiKeyValue::with_description("X-API-KEY", "An API key, `fj_…`");
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The same API key, `fj_…`"));
    [
        (
            API_KEY.to_owned(),
            RefOr::T(SecurityScheme::ApiKey(ApiKey::Header(header))),
        ),
        (
            BEARER.to_owned(),
            RefOr::T(SecurityScheme::Http(bearer.build())),
        ),
    ]
}

const API_KEY: &str = "api_key";
const BEARER: &str = "bearer";

/// What a call needs, and the refusals that it shares with all like it.
fn guard(operation: &mut openapi::path::Operation, method: &Method, access: Access) {
    let mut refusals = Vec::new();
    if let Access::Needs(scope) = access {
        refusals.extend([Code::MissingKey, Code::InvalidKey, Code::MissingScope]);
        let either = [API_KEY, BEARER].map(|name| SecurityRequirement::new(name, [scope.as_str()]));
        operation.security = Some(either.into());
    }
    if !method.is_safe() {
        refusals.push(Code::CrossSite);
    }
    for (status, refused) in crate::problem::responses(&refusals) {
        if !matches!(status.as_str(), "401" | "403") {
            continue;
        }
        match operation.responses.responses.get_mut(&status) {
            // What the call itself refuses stands there already.
            Some(RefOr::T(own)) => {
                if let RefOr::T(refused) = refused {
                    own.description = format!("{} {}", refused.description, own.description);
                }
            }
            _ => {
                operation.responses.responses.insert(status, refused);
            }
        }
    }
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
                let open = call.get("security").is_none();
                assert_eq!(open, !responses.contains_key("401"), "{method} {path}");
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
