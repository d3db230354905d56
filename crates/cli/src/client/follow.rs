//! `watch` and `wait`: following a job until it ends.

use std::time::Duration;

use clap::Args;
use reqwest::Response;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::Server;
use super::api::Api;
use super::job::Job;
use crate::exit::{Outcome, Stop};
use crate::terminal::{self, Progress};

/// Least pause between two looks at a job.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest pause between two looks, whatever the event stream says or fails to say.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// Pause between two looks while there is no event stream.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Pause after which an event stream that could not be had is asked for again.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);

/// Show a job's progress until it ends
#[derive(Debug, Clone, Args)]
pub(crate) struct Watch {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,

    /// Give up after this time, such as `90s` or `10m`
    #[arg(long, value_name = "TIME", value_parser = crate::time::duration)]
    timeout: Option<Duration>,

    #[command(flatten)]
    server: Server,
}

/// Wait until a job ends; the exit code says how
#[derive(Debug, Clone, Args)]
pub(crate) struct Wait {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,

    /// Give up after this time, such as `90s` or `10m`
    #[arg(long, value_name = "TIME", value_parser = crate::time::duration)]
    timeout: Option<Duration>,

    #[command(flatten)]
    server: Server,
}

impl Watch {
    pub(crate) async fn run(&self) -> Outcome {
        let api = self.server.api()?;
        let json = self.server.json;
        let mut progress = Progress::percent("watching", json);
        let look = |answer: &Value, _: &Job| {
            if json {
                terminal::json_line(answer)
            } else {
                Ok(())
            }
        };
        let (_, job) = follow(&api, &self.job, &mut progress, self.timeout, look).await?;
        if !json {
            terminal::line(job.describe())?;
        }
        Ok(job.exit())
    }
}

impl Wait {
    pub(crate) async fn run(&self) -> Outcome {
        let api = self.server.api()?;
        let mut progress = Progress::percent("waiting", true);
        let (answer, job) =
            follow(&api, &self.job, &mut progress, self.timeout, |_, _| Ok(())).await?;
        if self.server.json {
            terminal::json(&answer)?;
        } else {
            terminal::line(format!("{} {}: {}", job.id, job.status, job.verdict()))?;
        }
        Ok(job.exit())
    }
}

/// Follows a job until it ends, and gives it back as it was answered and as it was read.
///
/// `look` sees every answer that differs from the one before.
pub(crate) async fn follow(
    api: &Api,
    id: &str,
    progress: &mut Progress,
    limit: Option<Duration>,
    mut look: impl FnMut(&Value, &Job) -> std::io::Result<()>,
) -> Outcome<(Value, Job)> {
    let work = async {
        let mut last = Value::Null;
        let mut changes = Changes::default();
        loop {
            // The stream is opened before the look: what happens after the look is then never missed.
            changes.open(api, id).await;
            let answer = api.get(&["api", "jobs", id], &[]).await?;
            let job = Job::read(api, &answer)?;
            if answer != last {
                progress.set(terminal::whole(job.progress), job.progress_line());
                progress.tell(coarse_line(&job));
                look(&answer, &job)?;
            }
            if job.status.is_terminal() {
                progress.finish();
                return Ok((answer, job));
            }
            last = answer;
            changes.next().await;
        }
    };
    match limit {
        None => work.await,
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| {
            let limit = terminal::duration(limit);
            Err(Stop::timed_out(format!(
                "job {id} has not ended within {limit}; it goes on"
            )))
        }),
    }
}

/// A line that changes with the state and every tenth of the way: logs stay short.
fn coarse_line(job: &Job) -> String {
    format!(
        "{} {} {:.0} %",
        job.id,
        job.status,
        (job.progress / 10.0).floor() * 10.0
    )
}

/// Wakes when the job's event stream says anything; the stream's words are not read, the job is.
#[derive(Default)]
struct Changes {
    stream: Option<Response>,
    refused: Option<Instant>,
}

impl Changes {
    async fn open(&mut self, api: &Api, id: &str) {
        let lately = |refused: Instant| refused.elapsed() < LISTEN_AGAIN;
        if self.stream.is_some() || self.refused.is_some_and(lately) {
            return;
        }
        let path = ["api", "jobs", id, "events"];
        let opened = timeout(LOOK_ANYWAY, api.listen(&path)).await;
        // Too many streams, or none at all behind some proxy: polling does as well.
        self.stream = opened.ok().and_then(Result::ok);
        self.refused = self.stream.is_none().then(Instant::now);
    }

    async fn next(&mut self) {
        let begun = Instant::now();
        let Some(stream) = &mut self.stream else {
            tokio::time::sleep(POLL_EVERY).await;
            return;
        };
        match timeout_at(begun + LOOK_ANYWAY, stream.chunk()).await {
            Ok(Ok(Some(_))) | Err(_) => {}
            Ok(Ok(None) | Err(_)) => self.stream = None,
        }
        // Events that come close together are worth one look.
        tokio::time::sleep_until(begun + LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn a_stream_that_is_refused_is_asked_for_once_and_looks_go_on() {
        let server = MockServer::start().await;
        let full = ResponseTemplate::new(503).insert_header("retry-after", "60");
        let events = Mock::given(path("/api/jobs/j/events")).respond_with(full);
        events.expect(1).mount(&server).await;
        let job = |status: &str| {
            let job = serde_json::json!({"id": "j", "filename": "a.csv", "status": status});
            ResponseTemplate::new(200).set_body_json(job)
        };
        let under_way = Mock::given(method("GET")).respond_with(job("PROCESSING"));
        under_way.up_to_n_times(2).mount(&server).await;
        let ended = Mock::given(method("GET")).respond_with(job("COMPLETED"));
        ended.mount(&server).await;
        let api = Api::new(server.uri().parse().unwrap(), None, 4).unwrap();
        let mut progress = Progress::percent("", true);
        let limit = Some(Duration::from_secs(25));
        let (_, job) = follow(&api, "j", &mut progress, limit, |_, _| Ok(()))
            .await
            .unwrap();
        assert!(job.status.is_terminal());
    }
}
