//! Servers and processes, and how to speak to them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::http::{self, Answer, Upload};
use filejobs_testkit::postgres::PostgresServer;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use crate::BINARY;

/// Longest wait for a job that is worked on.
const DEADLINE: Duration = Duration::from_mins(2);

/// Pause between two looks at a job: often enough for the figures, too seldom to take time from what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A Postgres server as Debian starts it, but for what it takes to put a million rows into it.
const POSTGRES: &[&str] = &["shared_buffers=128MB", "max_wal_size=1GB"];

/// A service of many processes. What works on jobs is started by [`Stage::work`].
pub(crate) struct Stage {
    pub(crate) postgres: PostgresServer,
    pub(crate) cluster: Cluster,
    pub(crate) api: Member,
    pub(crate) client: Client,
    workers: Vec<Member>,
}

impl Stage {
    /// Servers and an API process.
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let postgres = PostgresServer::start_durable_with(POSTGRES)?;
        let mut cluster = Cluster::start(BINARY, &postgres)?;
        for (name, value) in [("FILEJOBS_LOG", "warn"), ("MAX_CONCURRENCY", "2")] {
            cluster
                .environment
                .push((name.to_owned(), value.to_owned()));
        }
        let key = cluster.admin_key()?;
        let api = cluster.spawn(&["api"]).await?;
        Ok(Self {
            client: client(&key)?,
            postgres,
            cluster,
            api,
            workers: Vec::new(),
        })
    }

    /// Servers, an API process, a worker and a scheduler.
    pub(crate) async fn with_workers() -> anyhow::Result<Self> {
        let mut stage = Self::set().await?;
        stage.work().await?;
        Ok(stage)
    }

    /// Starts a scheduler and a worker.
    pub(crate) async fn work(&mut self) -> anyhow::Result<()> {
        for process in ["scheduler", "worker"] {
            self.workers.push(self.cluster.spawn(&[process]).await?);
        }
        Ok(())
    }

    /// Ends them again.
    pub(crate) async fn rest(&mut self) -> anyhow::Result<()> {
        for mut member in self.workers.drain(..) {
            member.terminate().await?;
        }
        Ok(())
    }

    /// The name of its database.
    pub(crate) fn database(&self) -> anyhow::Result<&str> {
        let name = self.cluster.database_url.rsplit('/').next();
        name.context("the address names no database")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api.url())
    }

    /// A `GET`, which must be answered well.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        good(self.client.get(self.url(path))).await
    }

    /// Hands a file in.
    pub(crate) async fn submit(&self, upload: &Upload) -> anyhow::Result<String> {
        http::job_id(&upload.send(&self.client, self.api.url()).await?)
    }

    /// Waits until a job is completed.
    pub(crate) async fn completed(&self, id: &str) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            let job = self.get(&format!("/api/jobs/{id}")).await?.json();
            match job["status"].as_str().unwrap_or_default() {
                "COMPLETED" => return Ok(job),
                "FAILED" | "CANCELLED" => anyhow::bail!("{job}"),
                _ => {}
            }
            anyhow::ensure!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {job}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A client that says who it is. Its answers may take as long as the largest upload does.
pub(crate) fn client(key: &str) -> anyhow::Result<Client> {
    // Sets the provider of TLS.
    http::client()?;
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_str(key)?);
    Ok(Client::builder()
        .default_headers(headers)
        .timeout(Duration::from_mins(15))
        .build()?)
}

/// Sends a request, which must be answered well.
pub(crate) async fn good(request: RequestBuilder) -> anyhow::Result<Answer> {
    let answer = http::answer(request).await?;
    anyhow::ensure!(
        (200..300).contains(&answer.status),
        "HTTP {}: {}",
        answer.status,
        answer.text()
    );
    Ok(answer)
}
