//! Requests to the service under test, and answers that can be asserted on.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// Longest time for one answer; nothing in the contract takes as long.
const ANSWER: Duration = Duration::from_mins(1);

/// Longest time for which a connection is kept for the next request: shorter than the service keeps it.
const IDLE: Duration = Duration::from_secs(5);

/// An answer, read in full.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; a panic shows what came instead.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => unreachable!(
                "no JSON ({error}), but HTTP {}: {}",
                self.status,
                self.text()
            ),
        }
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Asserts on the status; a failure shows the body.
    ///
    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn assert_status(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
    }

    /// Asserts that this is a problem document (RFC 9457) with the status it says, complete.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_problem(&self, status: u16) {
        self.assert_status(status);
        let content_type = self.header("content-type");
        assert!(
            content_type.starts_with("application/problem+json"),
            "{content_type}: {}",
            self.text()
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        for field in ["type", "title", "detail", "instance", "code", "request_id"] {
            assert!(
                problem[field].is_string(),
                "`{field}` is missing: {problem}"
            );
        }
    }
}

/// A client without retries, proxies or redirects.
pub fn client() -> anyhow::Result<Client> {
    client_with(None)
}

/// The same, which sends an API key with every request when there is one.
pub fn client_with(key: Option<&str>) -> anyhow::Result<Client> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        headers.insert("x-api-key", key.parse()?);
    }
    // Installed already by another test of this process is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder()
        .default_headers(headers)
        .timeout(ANSWER)
        // A test that blocks its thread cannot see that the service has closed an idle connection meanwhile.
        .pool_idle_timeout(IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .build()?)
}

/// Sends a request and reads the answer.
pub async fn answer(request: RequestBuilder) -> anyhow::Result<Answer> {
    let response = request.send().await.context("no answer")?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response
        .bytes()
        .await
        .context("the answer broke off")?
        .to_vec();
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// A file about to be handed in.
#[derive(Debug, Clone)]
pub struct Upload {
    name: String,
    content: Bytes,
    fields: Vec<(String, String)>,
    key: Option<String>,
}

impl Upload {
    /// A file with its name and content, and nothing else said about it.
    pub fn new(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            content: Bytes::from(content.into()),
            fields: Vec::new(),
            key: None,
        }
    }

    /// Says something about the file.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    /// Hands it in under an idempotency key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The request for a service at `base`.
    pub fn request(&self, client: &Client, base: &str) -> RequestBuilder {
        let mut form = Form::new();
        for (name, value) in &self.fields {
            form = form.text(name.clone(), value.clone());
        }
        // Not copied: that of a large file would take as long as sending it.
        let length = self.content.len() as u64;
        let file = Part::stream_with_length(self.content.clone(), length);
        form = form.part("file", file.file_name(self.name.clone()));
        let mut request = client
            .post(format!("{base}/api/files/upload"))
            .multipart(form);
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        request
    }

    /// Hands it in at a service.
    pub async fn send(&self, client: &Client, base: &str) -> anyhow::Result<Answer> {
        answer(self.request(client, base)).await
    }
}

/// Sends one request without a body.
pub async fn call(client: &Client, method: Method, url: String) -> anyhow::Result<Answer> {
    answer(client.request(method, url)).await
}

/// The id in the answer to an upload that was taken.
pub fn job_id(answer: &Answer) -> anyhow::Result<String> {
    ensure!(
        answer.status == 202,
        "HTTP {}: {}",
        answer.status,
        answer.text()
    );
    let id = answer.json()["job_id"].as_str().map(str::to_owned);
    id.context("the answer names no job")
}
