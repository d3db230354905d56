//! Small JSON bodies.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use crate::problem::{Code, Problem};

/// Bytes that a JSON body may have: far more than any that we take needs.
const MAX: usize = 64 * 1024;

/// A JSON body that is an object.
#[derive(Debug)]
pub(crate) struct JsonObject(pub(crate) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let media = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(|value| value.trim().to_ascii_lowercase());
        if media.is_none_or(|m| m != "application/json" && !m.ends_with("+json")) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "The body must be JSON. Send it with `Content-Type: application/json`.",
            ));
        }
        let bytes = read(request.into_body()).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(Problem::new(
                Code::InvalidBody,
                "The body is JSON but no object. Send an object, such as {\"priority\": 5}.",
            )),
            Err(e) => Err(Problem::new(
                Code::MalformedJson,
                format!(
                    "The body is not JSON: line {}, column {}. Correct it and send it again.",
                    e.line(),
                    e.column()
                ),
            )),
        }
    }
}

async fn read(body: Body) -> Result<bytes::Bytes, Problem> {
    match Limited::new(body, MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(Problem::new(
            Code::BodyTooLarge,
            format!("The body is larger than {MAX} bytes. Send only the members to be changed."),
        )),
        Err(e) if crate::server::is_idle_timeout(&*e) => Err(crate::server::body_timeout()),
        Err(_) => Err(Problem::new(
            Code::MalformedJson,
            "The body broke off before its end. Send it again.",
        )),
    }
}
