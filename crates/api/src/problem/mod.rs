//! What a request that cannot be served is answered with: `application/problem+json` after RFC 9457.
//!
//! Handlers return `Result<_, Problem>`. A problem becomes a response without a body; the outermost layer
//! (`layers::envelope`) knows the path and the request's id, writes the body and the one log line.

mod backend;
mod codes;
mod places;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use filejobs_core::causes;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};

pub(crate) use backend::{key_in_flight, queue_full};
pub use codes::Code;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Where pages about problems live; with a code behind it the `type` of a problem.
const TYPE_BASE: &str = "https://filejobs.dev/problems/";

/// A request that cannot be served.
#[derive(Debug, Clone)]
pub struct Problem(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where the field stands: `query`, `header`, `form` or `body`.
    #[serde(rename = "in")]
    pub place: Place,
    /// The field's name.
    pub name: String,
    /// JSON pointer to the culprit inside a field that holds JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What is wrong with it and what is taken.
    pub detail: String,
}

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FieldPlace)]
pub enum Place {
    /// A query parameter.
    Query,
    /// A request header.
    Header,
    /// A part of the multipart form.
    Form,
    /// A member of the JSON body.
    Body,
}

impl FieldError {
    /// A field at fault.
    pub(crate) fn new(place: Place, name: &str, detail: impl Into<String>) -> Self {
        Self {
            place,
            name: name.to_owned(),
            pointer: None,
            detail: detail.into(),
        }
    }

    /// The same with a place inside the field.
    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }
}

/// The body of a problem.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem, title = "Problem")]
pub struct Body<'a> {
    /// Identifies the kind of problem.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    kind: String,
    /// The kind in one sentence.
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened here and what to do about it.
    detail: &'a str,
    /// The path that was asked for.
    #[schema(format = "uri-reference")]
    instance: &'a str,
    /// The stable name that programs branch on.
    code: &'a str,
    /// Names this request in the service's log.
    request_id: &'a str,
    /// The fields at fault; only when single fields are.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem with what to do about it.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// A defect of ours: the cause goes to the log, never to the client.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(
            Code::Internal,
            "The service could not finish this request. Try again; if it fails again, report the request_id.",
        )
        .caused_by(cause)
    }

    /// A back end that does not answer just now.
    pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(
            Code::Unavailable,
            "A part of the service is out of reach. Try again in a few seconds; GET /api/health says which part.",
        )
        .retry_after(2)
        .caused_by(cause)
    }

    /// No job has this id.
    pub(crate) fn job_not_found() -> Self {
        Self::new(
            Code::JobNotFound,
            "No job has this id: it never existed, or it was deleted. GET /api/jobs lists the jobs there are.",
        )
    }

    /// Single fields are at fault.
    pub(crate) fn fields(code: Code, detail: impl Into<String>, errors: Vec<FieldError>) -> Self {
        Self::new(code, detail).change(|inner| inner.errors = errors)
    }

    /// Adds a header to the answer.
    pub(crate) fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.change(|inner| inner.headers.push((name, value)))
    }

    /// Says when to come again.
    pub(crate) fn retry_after(self, seconds: u16) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Keeps a cause for the log.
    pub(crate) fn caused_by(
        self,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let cause = cause.into();
        self.change(|inner| inner.cause = Some(cause))
    }

    /// A problem is built by its only owner; a shared one (already an answer) is left as it is.
    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// Its stable name.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What happened and what to do.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The fields at fault.
    #[cfg(test)]
    pub(crate) fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// Where the fields at fault stand, in one line for the log.
    pub(crate) fn places(&self) -> String {
        places::line(&self.0.errors)
    }

    /// The cause and its causes in one line, for the log.
    pub(crate) fn cause_chain(&self) -> Option<String> {
        self.0.cause.as_deref().map(|cause| causes::chain(cause))
    }

    /// The body as JSON.
    pub(crate) fn to_json(&self, instance: &str, request_id: &str) -> Vec<u8> {
        let code = self.0.code;
        let body = Body {
            kind: format!("{TYPE_BASE}{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            detail: &self.0.detail,
            instance,
            code: code.as_str(),
            request_id,
            errors: &self.0.errors,
        };
        // Plain texts and numbers: nothing in it can fail to be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.code.status().into_response();
        for (name, value) in &self.0.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The problems that an operation can answer with, as OpenAPI responses by status. Every operation can also fail
/// with [`Code::Internal`] and [`Code::Unavailable`].
pub(crate) fn responses(codes: &[Code]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for code in codes.iter().chain(&[Code::Internal, Code::Unavailable]) {
        by_status
            .entry(code.status().as_u16())
            .or_default()
            .push(*code);
    }
    let describe = |codes: Vec<Code>| {
        let lines: Vec<_> = codes
            .iter()
            .map(|c| format!("`{}`: {}.", c.as_str(), c.title()))
            .collect();
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        ResponseBuilder::new()
            .description(lines.join(" "))
            .content(MEDIA_TYPE, content)
            .build()
    };
    by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), RefOr::T(describe(codes))))
        .collect()
}

/// Names the problems of an operation for its OpenAPI description.
macro_rules! problems {
    ($name:ident: $($code:ident),* $(,)?) => {
        #[doc = "The problems that the operation can answer with."]
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                $crate::problem::responses(&[$($crate::problem::Code::$code),*])
            }
        }
    };
}
pub(crate) use problems;
