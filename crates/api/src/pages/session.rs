//! Signing in with an API key: the pages' only way in where keys are asked for.
//!
//! The key itself is the session. It lies in a cookie that no script can read and that no other site's page can make
//! the browser send, and it is checked with every request like a key in a header: revoking it ends the session.

use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use filejobs_core::ApiKey;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, ORIGIN, SET_COOKIE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::POLICY;
use super::assets::{LINKS, Links};
use crate::App;
use crate::auth::credential::SESSION;
use crate::auth::{Auth, verify};
use crate::problem::{Code, Problem};

/// How long a browser keeps the key.
const KEPT: Duration = Duration::from_hours(12);
/// Bytes of the form: a key and a path.
const FORM_BYTES: usize = 8 * 1024;

#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    links: &'static Links,
    session: bool,
    message: Option<String>,
    /// Where to go then.
    next: String,
    hours: u64,
    /// Ask for the page once more at once.
    again: bool,
}

impl SignIn {
    fn to(next: &str) -> Self {
        Self {
            links: &LINKS,
            session: false,
            message: None,
            next: local(next).to_owned(),
            hours: KEPT.as_secs() / 3600,
            again: false,
        }
    }

    fn respond(&self, status: StatusCode) -> Response {
        let html = match self.render() {
            Ok(html) => html,
            Err(error) => return Problem::internal(error).into_response(),
        };
        let mut response = (status, html).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        response
    }
}

/// A path of this service, or `/`: an address elsewhere would make the form a springboard for phishing.
fn local(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if local { next } else { "/" }
}

/// What a page is answered with that was asked for without a usable key.
pub(crate) fn sign_in(problem: &Problem, request: &Request) -> Response {
    let status = problem.code().status();
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return problem.clone().into_response();
    }
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let page = SignIn {
        message: (problem.code() != Code::MissingKey).then(|| problem.detail().to_owned()),
        again: problem.code() == Code::MissingKey && followed_a_link(request),
        ..SignIn::to(path)
    };
    let mut response = page.respond(status);
    // Headers of the problem, such as the challenge, belong to this form of it, too.
    let told = problem.clone().into_response();
    response.headers_mut().extend(told.headers().clone());
    response
}

/// A browser that follows a link on another site leaves a strict cookie out. Asked again by our own page it sends it.
fn followed_a_link(request: &Request) -> bool {
    let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok());
    *request.method() == Method::GET
        && header("sec-fetch-site") == Some("cross-site")
        && header("sec-fetch-mode") == Some("navigate")
}

/// `GET /sign-in`.
pub(super) async fn form(State(app): State<App>) -> Response {
    if app.auth() == Auth::None {
        return see("/");
    }
    SignIn::to("/").respond(StatusCode::OK)
}

/// `POST /sign-in`: checks the key and has the browser keep it.
pub(super) async fn begin(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let form = read(body).await?;
    let field = |wanted: &str| {
        let mut fields = form.iter();
        let found = fields.find(|(name, _)| name == wanted);
        found.map_or("", |(_, value)| value.as_str())
    };
    let page = SignIn::to(field("next"));
    if app.auth() == Auth::None {
        return Ok(see(&page.next));
    }
    let Ok(key) = field("key").trim().parse::<ApiKey>() else {
        let page = SignIn {
            message: Some("This is not an API key. Enter the whole key.".to_owned()),
            ..page
        };
        return Ok(page.respond(StatusCode::UNAUTHORIZED));
    };
    match verify(&app, &key).await {
        Ok(_) => {}
        Err(problem) if problem.code() == Code::InvalidKey => {
            let message = Some(problem.detail().to_owned());
            return Ok(SignIn { message, ..page }.respond(StatusCode::UNAUTHORIZED));
        }
        Err(problem) => return Err(problem),
    }
    let mut response = see(&page.next);
    let cookie = cookie(key.reveal(), KEPT, &headers)?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// `POST /sign-out`.
pub(super) async fn end(headers: HeaderMap) -> Result<Response, Problem> {
    let mut response = see("/sign-in");
    let cookie = cookie("", Duration::ZERO, &headers)?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

async fn read(body: Body) -> Result<Vec<(String, String)>, Problem> {
    let bytes = match Limited::new(body, FORM_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if crate::server::is_idle_timeout(&*error) => {
            return Err(crate::server::body_timeout());
        }
        Err(_) => {
            return Err(Problem::new(
                Code::MalformedForm,
                format!(
                    "The form broke off or is larger than {FORM_BYTES} bytes. Open /sign-in and enter the key there."
                ),
            ));
        }
    };
    let fields = url::form_urlencoded::parse(&bytes);
    Ok(fields.into_owned().collect())
}

fn see(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// The cookie; `Secure` where the browser says that it came by TLS, which ends before us.
fn cookie(key: &str, kept: Duration, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let secure = if origin.is_some_and(|origin| origin.starts_with("https://")) {
        "; Secure"
    } else {
        ""
    };
    let seconds = kept.as_secs();
    let text =
        format!("{SESSION}={key}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut cookie = HeaderValue::from_str(&text).map_err(Problem::internal)?;
    cookie.set_sensitive(true);
    Ok(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_service_are_gone_on_to() {
        for path in ["/", "/jobs/1?code=x", "/?status=QUEUED"] {
            assert_eq!(local(path), path);
        }
        for path in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/a\r\nb",
            "jobs",
        ] {
            assert_eq!(local(path), "/", "{path}");
        }
    }
}
