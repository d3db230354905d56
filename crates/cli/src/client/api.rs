//! Calls to the service: retried while it is out of reach, its problems told in its own words.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use filejobs_core::Sources;
use filejobs_core::retry::RetryPolicy;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, Request, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::watch;
use url::Host;

use super::problem::Problem;
use crate::exit::Stop;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence while an answer is awaited or read.
const SILENCE: Duration = Duration::from_mins(1);
/// Longest time that an upload may stand still. What was read from the file may still be on its way over a slow line,
/// and the service stores it before it answers.
const UPLOAD_SILENCE: Duration = Duration::from_mins(2);
/// Longest wait that an answer may ask for before the call is sent again.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long an idempotency key may be taken by an upload whose line broke: the service holds it for 20 s.
const KEY_HELD: Duration = Duration::from_secs(30);
/// Least pause before a key that is taken is tried again.
const KEY_PAUSE: Duration = Duration::from_millis(500);

/// The service as the commands see it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: Client,
    headers: HeaderMap,
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
    /// The line is there, and nothing goes over it.
    #[error("{server} has let an upload stand still for {} s", UPLOAD_SILENCE.as_secs())]
    Silent { server: Url },
    /// The service said no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer is not what the contract says.
    #[error("{server} gave an answer that is not Filejobs'")]
    Foreign {
        server: Url,
        #[source]
        source: serde_json::Error,
    },
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

/// Whether an address is this machine's own: a proxy would look for it on the wrong machine, and see the key.
fn is_here(url: &Url) -> bool {
    let ip: IpAddr = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
        Some(Host::Domain(name)) => return name == "localhost" || name.ends_with(".localhost"),
        None => return false,
    };
    // Nobody can bind an address of another machine.
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

fn client(base: &Url, headers: HeaderMap) -> ClientBuilder {
    let client = Client::builder()
        .user_agent(concat!("filejobs/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(headers);
    if is_here(base) {
        client.no_proxy()
    } else {
        client
    }
}

/// Told of every part of an upload that goes out.
#[derive(Debug)]
pub(crate) struct Pulse(watch::Sender<()>);

impl Pulse {
    pub(crate) fn beat(&self) {
        self.0.send_replace(());
    }
}

/// Ends when nothing has gone out for `limit`, or when all has and that long has passed since.
async fn silence(mut pulse: watch::Receiver<()>, limit: Duration) {
    loop {
        match tokio::time::timeout(limit, pulse.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return tokio::time::sleep(limit).await,
            Err(_) => return,
        }
    }
}

impl Api {
    pub(crate) fn new(base: Url, key: Option<&str>, retries: u32) -> Result<Self, Stop> {
        // The default provider would need cmake and a C++ tool chain. Set already is set by us.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let headers = headers(key)?;
        let http = client(&base, headers.clone())
            .read_timeout(SILENCE)
            .build()?;
        let retry = RetryPolicy {
            max_attempts: retries.saturating_add(1),
            base: Duration::from_millis(250),
            cap: Duration::from_secs(5),
        };
        Ok(Self {
            http,
            headers,
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
        let build = || Ok(self.http.get(url.clone()).build()?);
        self.json(self.send(Repeat::Safe, build).await?).await
    }

    /// `GET` of anything; the caller reads the body.
    pub(crate) async fn open(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        accept: &'static str,
    ) -> Result<Response, Error> {
        let url = self.url(path, query);
        let build = || Ok(self.http.get(url.clone()).header(ACCEPT, accept).build()?);
        self.send(Repeat::Safe, build).await
    }

    /// Opens a stream of events; one that cannot be had now is not asked for again.
    pub(crate) async fn listen(&self, path: &[&str]) -> Result<Response, Error> {
        let request = self.http.get(self.url(path, &[]));
        let request = request.header(ACCEPT, "text/event-stream").build();
        let request = request.map_err(|error| Error::Unsent(error.into()))?;
        self.answer(&self.http, request).await
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
    ///
    /// It may take any time, as long as its body tells the pulse that it moves.
    pub(crate) async fn submit(
        &self,
        mut build: impl FnMut(Pulse) -> anyhow::Result<RequestBuilder>,
    ) -> Result<Value, Error> {
        // reqwest counts the time that a body takes as silence of the service.
        let http = client(&self.base, self.headers.clone()).build();
        let http = http.map_err(|error| Error::Unsent(error.into()))?;
        self.again(Repeat::Safe, async || {
            let (told, pulse) = watch::channel(());
            let request = build(Pulse(told)).map_err(Error::Unsent)?.build();
            let request = request.map_err(|error| Error::Unsent(error.into()))?;
            let answer = async { self.json(self.answer(&http, request).await?).await };
            tokio::select! {
                answer = answer => answer,
                () = silence(pulse, UPLOAD_SILENCE) => Err(Error::Silent {
                    server: self.base.clone(),
                }),
            }
        })
        .await
    }

    pub(crate) fn post(&self, path: &[&str]) -> RequestBuilder {
        self.http.post(self.url(path, &[]))
    }

    /// Sends, and sends again where that may help.
    async fn send(
        &self,
        repeat: Repeat,
        mut build: impl FnMut() -> anyhow::Result<Request>,
    ) -> Result<Response, Error> {
        self.again(repeat, async || {
            let request = build().map_err(Error::Unsent)?;
            self.answer(&self.http, request).await
        })
        .await
    }

    /// Calls, and calls again after a pause while the service is out of reach, or says that it is or that it takes no
    /// more just now. The pause is as long as the answer asks for, within bounds.
    async fn again<T>(
        &self,
        repeat: Repeat,
        mut call: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut attempt = 1;
        let mut key_taken = None;
        loop {
            let begun = Instant::now();
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = if error.is_key_in_flight() && self.retry.max_attempts > 1 {
                // Our own upload may hold it, whose line broke: that is no attempt of its own.
                let since = *key_taken.get_or_insert_with(Instant::now);
                (since.elapsed() < KEY_HELD).then_some(KEY_PAUSE)
            } else if error.is_passing(repeat) {
                key_taken = None;
                let pause = self.retry.pause_after(attempt, &*self.sources.randomness);
                attempt += 1;
                pause
            } else {
                None
            };
            let Some(pause) = pause else {
                return Err(error);
            };
            let pause = pause.max(error.asked_wait().min(LONGEST_WAIT));
            tracing::info!(attempt, %error, took = ?begun.elapsed(), ?pause, "no answer, trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One try.
    async fn answer(&self, http: &Client, request: Request) -> Result<Response, Error> {
        let response = http
            .execute(request)
            .await
            .map_err(|source| self.unreachable(source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(Error::Refused(Box::new(Problem::of(response).await)))
    }

    fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable {
            server: self.base.clone(),
            source,
        }
    }

    async fn json(&self, response: Response) -> Result<Value, Error> {
        let body = response.bytes().await;
        let body = body.map_err(|source| self.unreachable(source))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|source| self.foreign(source))
    }

    /// An error for an answer of a shape that the contract does not have.
    pub(crate) fn foreign(&self, source: serde_json::Error) -> Error {
        Error::Foreign {
            server: self.base.clone(),
            source,
        }
    }
}

impl Error {
    /// Whether the service answered with this status.
    pub(crate) fn is_status(&self, status: StatusCode) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == status.as_u16())
    }

    /// Whether another upload has the idempotency key just now.
    fn is_key_in_flight(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.is_key_in_flight())
    }

    /// Whether another moment may change it.
    fn is_passing(&self, repeat: Repeat) -> bool {
        match self {
            Self::Unsent(_) | Self::Foreign { .. } => false,
            Self::Unreachable { source, .. } => {
                source.is_connect() || (repeat == Repeat::Safe && !source.is_builder())
            }
            Self::Silent { .. } => repeat == Repeat::Safe,
            Self::Refused(problem) => repeat == Repeat::Safe && problem.is_passing(),
        }
    }

    /// How long the service asks to wait before the next try.
    fn asked_wait(&self) -> Duration {
        match self {
            Self::Refused(problem) => problem.retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// Whether the call may have been carried out all the same, or may yet be when it is sent again.
    pub(crate) fn is_open(&self) -> bool {
        let garbled = matches!(self, Self::Foreign { .. });
        garbled || self.is_key_in_flight() || self.is_passing(Repeat::Safe)
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
        let answer = api.submit(|_| Ok(api.post(&["api"]))).await;
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

    #[tokio::test]
    async fn a_key_that_a_lost_upload_holds_is_waited_for() {
        let server = MockServer::start().await;
        let held = ResponseTemplate::new(409)
            .set_body_json(serde_json::json!({"code": "idempotency_key_in_flight"}));
        let twice = Mock::given(any()).respond_with(held).up_to_n_times(2);
        twice.mount(&server).await;
        let taken = ResponseTemplate::new(202).set_body_json(serde_json::json!({"job_id": "j"}));
        Mock::given(any()).respond_with(taken).mount(&server).await;
        let api = Api::new(server.uri().parse().unwrap(), None, 1).unwrap();
        let answer = api.submit(|_| Ok(api.post(&["api"]))).await;
        assert_eq!(answer.unwrap()["job_id"], "j");
    }

    #[tokio::test]
    async fn another_conflict_is_told_at_once() {
        let state =
            ResponseTemplate::new(409).set_body_json(serde_json::json!({"code": "wrong_state"}));
        let (_, answer, calls) = refused_once(state, 2).await;
        assert!(!answer.unwrap_err().is_open());
        assert_eq!(calls, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_take_any_time_as_long_as_it_moves() {
        let limit = Duration::from_mins(1);
        let (told, pulse) = watch::channel(());
        let told = Pulse(told);
        let begun = tokio::time::Instant::now();
        let sending = async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                told.beat();
            }
        };
        tokio::join!(sending, silence(pulse, limit));
        assert_eq!(begun.elapsed().as_secs(), 10 * 50 + limit.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stands_still_is_given_up() {
        let limit = Duration::from_mins(1);
        let (_told, pulse) = watch::channel(());
        let begun = tokio::time::Instant::now();
        silence(pulse, limit).await;
        assert_eq!(begun.elapsed().as_secs(), limit.as_secs());
    }

    #[test]
    fn addresses_of_this_machine_are_known() {
        let here = |url: &str| is_here(&url.parse().unwrap());
        for url in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
            "http://0.0.0.0:1",
        ] {
            assert!(here(url), "{url}");
        }
        for url in ["http://filejobs.example", "http://192.0.2.1:1"] {
            assert!(!here(url), "{url}");
        }
    }
}
