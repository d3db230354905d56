//! The layer that every request passes once its route is known.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use filejobs_core::Scope;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method};

use super::access::{self, Access};
use super::{Auth, Caller, credential, verify};
use crate::App;
use crate::pages;
use crate::problem::{Code, Problem};

/// Lets a request through with its [`Caller`], or answers 401 or 403: as a problem under `/api`, elsewhere as the page
/// where a person can sign in.
pub(crate) async fn gate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let Some(route) = route.filter(|_| *request.method() != Method::OPTIONS) else {
        // Nothing is served there, or only told which methods are.
        return next.run(request).await;
    };
    let needed = match access::of(request.method(), route.as_str()) {
        Access::Open => return next.run(request).await,
        Access::Needs(scope) => scope,
    };
    let (method, headers) = (request.method(), request.headers());
    match admit(&app, needed, method, headers).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) if route.as_str().starts_with("/api/") => problem.into_response(),
        Err(problem) => pages::sign_in(&problem, &request),
    }
}

async fn admit(
    app: &App,
    needed: Scope,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Problem> {
    if app.auth() == Auth::None {
        return Ok(Caller::anybody());
    }
    let presented = credential::of(headers)?.ok_or_else(missing)?;
    if presented.session && credential::is_forged(method, headers) {
        return Err(crate::layers::envelope::foreign());
    }
    let stored = verify(app, &presented.key).await?;
    tracing::Span::current().record("key.prefix", stored.prefix.as_str());
    if !stored.grant.allows(needed) {
        return Err(missing_scope(needed, &stored.grant.scopes_text()));
    }
    Ok(Caller::new(stored.grant, presented.session))
}

fn missing() -> Problem {
    unauthenticated(
        Code::MissingKey,
        "This call needs an API key. Send one as `X-API-KEY: fj_…` or `Authorization: Bearer fj_…`; `filejobs keys create` makes it.",
    )
}

fn missing_scope(needed: Scope, has: &str) -> Problem {
    let challenge =
        format!("Bearer realm=\"filejobs\", error=\"insufficient_scope\", scope=\"{needed}\"");
    let problem = Problem::new(
        Code::MissingScope,
        format!(
            "This call needs the scope `{needed}`, and the API key has `{has}`. Use a key with that scope."
        ),
    );
    match HeaderValue::from_str(&challenge) {
        Ok(challenge) => problem.header(WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

/// Nobody, or nobody that is known: 401 with what would be taken (RFC 6750).
pub(crate) fn unauthenticated(code: Code, detail: impl Into<String>) -> Problem {
    let challenge = if code == Code::MissingKey {
        "Bearer realm=\"filejobs\""
    } else {
        "Bearer realm=\"filejobs\", error=\"invalid_token\""
    };
    Problem::new(code, detail).header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
