//! Somebody who calls a service: at one address or at several in turn, with or without a key.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use reqwest::{Client, Method};
use serde_json::Value;

use crate::http::{self, Answer, Upload};
use crate::wait::{self, DEADLINE};

/// Calls a service. Of several addresses each call goes to the next one, as behind a balancer: what one process of
/// the service was told, another one is asked.
#[derive(Debug)]
pub struct Caller {
    addresses: Vec<String>,
    calls: AtomicUsize,
    /// Speaks to the service.
    pub client: Client,
}

impl Caller {
    /// Calls at these addresses (`http://HOST:PORT`), with a key when there is one.
    pub fn new(addresses: Vec<String>, key: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            addresses,
            calls: AtomicUsize::new(0),
            client: http::client_with(key)?,
        })
    }

    /// From now on at this address only.
    pub(crate) fn move_to(&mut self, address: &str) {
        self.addresses = vec![address.to_owned()];
    }

    /// Where the next call goes; empty when the service was never started.
    #[must_use]
    pub fn url(&self) -> &str {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let count = self.addresses.len().max(1);
        let address = self.addresses.get(call % count);
        address.map_or("", String::as_str)
    }

    /// `GET` of a path.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, path).await
    }

    /// `GET` of a path, asking for a media type.
    pub async fn get_as(&self, path: &str, accept: &str) -> anyhow::Result<Answer> {
        let request = self.client.get(format!("{}{path}", self.url()));
        http::answer(request.header("accept", accept)).await
    }

    /// `POST` to a path without a body.
    pub async fn post(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::POST, path).await
    }

    /// `DELETE` of a path.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::DELETE, path).await
    }

    /// `PATCH` of a path with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let request = self.client.patch(format!("{}{path}", self.url()));
        http::answer(request.json(body)).await
    }

    async fn call(&self, method: Method, path: &str) -> anyhow::Result<Answer> {
        http::call(&self.client, method, format!("{}{path}", self.url())).await
    }

    /// Hands a file in.
    pub async fn upload(&self, upload: &Upload) -> anyhow::Result<Answer> {
        upload.send(&self.client, self.url()).await
    }

    /// Hands a file in, which must be taken, and gives back its job's id.
    pub async fn submit(&self, upload: &Upload) -> anyhow::Result<String> {
        http::job_id(&self.upload(upload).await?)
    }

    /// A job as it stands.
    pub async fn job(&self, id: &str) -> anyhow::Result<Value> {
        let answer = self.get(&format!("/api/jobs/{id}")).await?;
        anyhow::ensure!(
            answer.status == 200,
            "HTTP {}: {}",
            answer.status,
            answer.text()
        );
        Ok(answer.json())
    }

    /// Waits until a job is as wanted.
    pub async fn job_when(
        &self,
        id: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let seen = wait::until(what, DEADLINE, async || {
            last = self.job(id).await?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        let seen = seen.await;
        seen.with_context(|| format!("last seen: {last}"))
    }

    /// Waits until a job has ended.
    pub async fn finished(&self, id: &str) -> anyhow::Result<Value> {
        let ended = |job: &Value| {
            let status = job["status"].as_str().unwrap_or_default();
            matches!(status, "COMPLETED" | "FAILED" | "CANCELLED")
        };
        self.job_when(id, "the job to end", ended).await
    }

    /// Hands a file in and waits until its job has ended.
    pub async fn run(&self, upload: &Upload) -> anyhow::Result<Value> {
        let id = self.submit(upload).await?;
        self.finished(&id).await
    }

    /// Waits until the service is healthy. It has a second and a half for each look, which a busy machine may not give.
    pub async fn healthy(&self) -> anyhow::Result<Value> {
        let mut last = None;
        let healthy = wait::until("the service to be healthy", DEADLINE, async || {
            let answer = self.get("/api/health").await?;
            let health = (answer.status == 200).then(|| answer.json());
            last = Some(answer.text());
            Ok(health)
        });
        let healthy = healthy.await;
        healthy.with_context(|| format!("last seen: {last:?}"))
    }
}
