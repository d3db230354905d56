//! Calls to the service: retried while it is out of reach, its problems told in its own words.

use std::time::{Duration, Instant};

use filejobs_core::Sources;
use filejobs_core::retry::RetryPolicy;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Request, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::exit::Stop;
use crate::terminal;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence while an answer is awaited or read.
const SILENCE: Duration = Duration::from_mins(1);
/// Longest wait that an answer may ask for before the call is sent again.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Most of an error body that is read.
const PROBLEM_BYTES: usize = 64 * 1024;

/// The service as the commands see it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: Client,
    base: Url,
    retry: RetryPolicy,
    sources: Sources,
}

/// Why a call gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request could not be made, for the reason inside.
    #[error(transparent)]
    Unsent(anyhow::Error),
    /// Nobody answered.
    #[error("{server} is out of reach; is the service running there? (--server, FILEJOBS_URL)")]
    Unreachable {
        server: Url,
        #[source]
        source: reqwest::Error,
    },
    /// The service said no.
    #[error("{0}")]
    Refused(Problem),
    /// The answer is not what the contract says.
    #[error("{server} gave an answer that is not Filejobs'")]
    Foreign {
        server: Url,
        #[source]
        source: serde_json::Error,
    },
}

/// An error answer, after RFC 9457.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) request_id: Option<String>,
    pub(crate) errors: Vec<Value>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = if self.detail.is_empty() {
            &self.title
        } else {
            &self.detail
        };
        write!(f, "{} (HTTP {}", terminal::shown(said, 2_000), self.status)?;
        if let Some(id) = &self.request_id {
            write!(f, ", request {}", terminal::shown(id, 80))?;
        }
        write!(f, ")")?;
        for error in &self.errors {
            write!(f, "\n  - {}", terminal::shown(&field_error(error), 500))?;
        }
        Ok(())
    }
}

/// One entry of `errors[]`: its place and what is wrong there, whichever of the usual names they have.
fn field_error(error: &Value) -> String {
    let part = |names: &[&str]| names.iter().find_map(|name| error.get(name)?.as_str());
    match (
        part(&["field", "parameter", "pointer", "name"]),
        part(&["detail", "message"]),
    ) {
        (Some(field), Some(detail)) => format!("{field}: {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a call may be sent again when it is unknown whether it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice is the same as once.
    Safe,
    /// Only when it surely never arrived.
    BeforeSent,
}

/// The headers of every call: the key, where there is one.
fn headers(key: Option<&str>) -> Result<HeaderMap, Stop> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) {
        let mut value = HeaderValue::from_str(key).map_err(|_| {
            Stop::usage(&[
                "FILEJOBS_API_KEY (--api-key): an API key has letters, digits and `_` only"
                    .to_owned(),
            ])
        })?;
        value.set_sensitive(true);
        headers.insert("x-api-key", value);
    }
    Ok(headers)
}

impl Api {
    pub(crate) fn new(base: Url, key: Option<&str>, retries: u32) -> Result<Self, Stop> {
        // The default provider would need cmake and a C++ tool chain. Set already is set by us.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .user_agent(concat!("filejobs/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers(key)?)
            .build()?;
        let retry = RetryPolicy {
            max_attempts: retries.saturating_add(1),
            base: Duration::from_millis(250),
            cap: Duration::from_secs(5),
        };
        Ok(Self {
            http,
            base,
            retry,
            sources: Sources::system(),
        })
    }

    /// A new key under which an upload is taken at most once.
    pub(crate) fn new_key(&self) -> String {
        self.sources.ids.uuid(self.sources.now()).to_string()
    }

    /// The address of a path of the API, `/api` included.
    pub(crate) fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// `GET` of a JSON document.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Value, Error> {
        let url = self.url(path, query);
        self.json(
            self.send(Repeat::Safe, || Ok(self.http.get(url.clone()).build()?))
                .await?,
        )
        .await
    }

    /// `GET` of anything; the caller reads the body.
    pub(crate) async fn open(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        headers: &[(&'static str, String)],
    ) -> Result<Response, Error> {
        let url = self.url(path, query);
        let build = || {
            let mut request = self.http.get(url.clone());
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            Ok(request.build()?)
        };
        self.send(Repeat::Safe, build).await
    }

    /// A call that changes something; `null` for an answer without a body.
    pub(crate) async fn change(
        &self,
        repeat: Repeat,
        method: Method,
        path: &[&str],
    ) -> Result<Value, Error> {
        let url = self.url(path, &[]);
        let build = || Ok(self.http.request(method.clone(), url.clone()).build()?);
        self.json(self.send(repeat, build).await?).await
    }

    /// Sends a request that carries an idempotency key, made anew for every attempt, its answer a JSON document.
    pub(crate) async fn submit(
        &self,
        mut build: impl FnMut() -> anyhow::Result<RequestBuilder>,
    ) -> Result<Value, Error> {
        let build = || Ok(build()?.build()?);
        self.json(self.send(Repeat::Safe, build).await?).await
    }

    pub(crate) fn post(&self, path: &[&str]) -> reqwest::RequestBuilder {
        self.http.post(self.url(path, &[]))
    }

    /// Sends, and sends again after a pause while the service is out of reach, or says that it is or that it takes no
    /// more just now. The pause is as long as the answer asks for, within bounds.
    async fn send(
        &self,
        repeat: Repeat,
        mut build: impl FnMut() -> anyhow::Result<Request>,
    ) -> Result<Response, Error> {
        let mut attempt = 1;
        loop {
            let begun = Instant::now();
            let outcome = self.http.execute(build().map_err(Error::Unsent)?).await;
            let worth_another = match &outcome {
                Ok(response) => repeat == Repeat::Safe && is_passing(response.status()),
                Err(error) => error.is_connect() || (repeat == Repeat::Safe && !error.is_builder()),
            };
            let pause = if worth_another {
                self.retry.pause_after(attempt, &*self.sources.randomness)
            } else {
                None
            };
            match (pause, outcome) {
                (Some(pause), outcome) => {
                    let asked = outcome.as_ref().ok().and_then(asked_wait);
                    let pause = pause.max(asked.unwrap_or_default().min(LONGEST_WAIT));
                    let why = outcome.map_or_else(|e| e.to_string(), |r| r.status().to_string());
                    tracing::info!(attempt, %why, took = ?begun.elapsed(), ?pause, "no answer, trying again");
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                }
                (None, Ok(response)) if response.status().is_success() => return Ok(response),
                (None, Ok(response)) => return Err(Error::Refused(problem(response).await)),
                (None, Err(source)) => {
                    return Err(Error::Unreachable {
                        server: self.base.clone(),
                        source,
                    });
                }
            }
        }
    }

    async fn json(&self, response: Response) -> Result<Value, Error> {
        let unreachable = |source| Error::Unreachable {
            server: self.base.clone(),
            source,
        };
        let body = response.bytes().await.map_err(unreachable)?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|source| Error::Foreign {
            server: self.base.clone(),
            source,
        })
    }

    /// An error for an answer of a shape that the contract does not have.
    pub(crate) fn foreign(&self, source: serde_json::Error) -> Error {
        Error::Foreign {
            server: self.base.clone(),
            source,
        }
    }
}

/// Answers of a service, or of a proxy before it, that another moment may change.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// How long an answer asks to wait before the next try. A date is for people's time, not for ours: it counts as nothing.
fn asked_wait(response: &Response) -> Option<Duration> {
    let header = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    header.trim().parse().ok().map(Duration::from_secs)
}

async fn problem(mut response: Response) -> Problem {
    let status = response.status();
    let mut body = Vec::new();
    // A body that breaks off still has its status to tell.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > PROBLEM_BYTES {
            break;
        }
    }
    let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    problem.status = status.as_u16();
    if problem.title.is_empty() {
        status
            .canonical_reason()
            .unwrap_or("refused")
            .clone_into(&mut problem.title);
    }
    problem
}

impl Error {
    /// Whether the service answered with this status.
    pub(crate) fn is_status(&self, status: StatusCode) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == status.as_u16())
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    fn api(base: &str) -> Api {
        Api::new(base.parse().unwrap(), None, 0).unwrap()
    }

    #[test]
    fn paths_are_put_behind_whatever_the_server_has() {
        let at = |base| {
            api(base)
                .url(&["api", "jobs", "a/b"], &[("page", "2".to_owned())])
                .to_string()
        };
        assert_eq!(at("http://h:1"), "http://h:1/api/jobs/a%2Fb?page=2");
        assert_eq!(at("http://h:1/"), "http://h:1/api/jobs/a%2Fb?page=2");
        assert_eq!(
            at("http://h:1/files/"),
            "http://h:1/files/api/jobs/a%2Fb?page=2"
        );
    }

    /// A service that answers with `refusal` once and then takes everything; how long the call took, its outcome, and
    /// how many calls came in.
    async fn refused_once(
        refusal: ResponseTemplate,
        retries: u32,
    ) -> (Duration, Result<Value, Error>, usize) {
        let server = MockServer::start().await;
        let once = Mock::given(any()).respond_with(refusal);
        once.up_to_n_times(1).mount(&server).await;
        let taken = ResponseTemplate::new(202).set_body_json(serde_json::json!({"job_id": "j"}));
        Mock::given(any()).respond_with(taken).mount(&server).await;
        let api = Api::new(server.uri().parse().unwrap(), None, retries).unwrap();
        let begun = Instant::now();
        let answer = api.submit(|| Ok(api.post(&["api"]))).await;
        let calls = server.received_requests().await.unwrap_or_default().len();
        (begun.elapsed(), answer, calls)
    }

    #[tokio::test]
    async fn a_full_queue_is_asked_again_no_sooner_than_it_says() {
        let full = ResponseTemplate::new(429).insert_header("retry-after", "1");
        let (took, answer, calls) = refused_once(full, 2).await;
        assert_eq!(answer.unwrap()["job_id"], "j");
        assert_eq!(calls, 2);
        assert!(took >= Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_once_the_tries_are_used_up() {
        let away = ResponseTemplate::new(503).insert_header("retry-after", "3600");
        let (_, answer, calls) = refused_once(away, 0).await;
        assert!(
            answer
                .unwrap_err()
                .is_status(StatusCode::SERVICE_UNAVAILABLE)
        );
        assert_eq!(calls, 1);
    }

    #[test]
    fn an_answer_may_ask_for_a_wait_in_seconds() {
        let asked = |value: &'static str| {
            let answer = axum::http::Response::builder().header(RETRY_AFTER, value);
            asked_wait(&answer.body("").unwrap().into())
        };
        assert_eq!(asked("5"), Some(Duration::from_secs(5)));
        assert_eq!(asked("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn a_problem_is_told_in_the_services_words() {
        let problem: Problem = serde_json::from_value(serde_json::json!({
            "status": 400, "detail": "Send CSV.\u{1b}[2J", "request_id": "r1",
            "errors": [{"field": "priority", "detail": "0 to 10"}],
        }))
        .unwrap();
        let text = problem.to_string();
        assert_eq!(
            text,
            "Send CSV.\\u{1b}[2J (HTTP 400, request r1)\n  - priority: 0 to 10"
        );
    }
}
