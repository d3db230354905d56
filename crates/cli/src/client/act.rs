//! `cancel retry suspend resume delete`: calls that change a job.

use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::Server;
use super::api::Repeat;
use super::job::Job;
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Which job, at which service.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,

    #[command(flatten)]
    server: Server,
}

impl Target {
    async fn post(&self, verb: &str, repeat: Repeat) -> Outcome {
        let api = self.server.api()?;
        let answer = api
            .change(repeat, Method::POST, &["api", "jobs", &self.job, verb])
            .await?;
        if self.server.json {
            terminal::json(&answer)?;
        } else {
            let job = Job::read(&api, &answer)?;
            terminal::line(format!("{} {}", job.id, job.status))?;
        }
        Ok(Exit::Clean)
    }

    /// Stop a job for good; one that is cancelled already stays so.
    pub(crate) async fn cancel(&self) -> Outcome {
        self.post("cancel", Repeat::Safe).await
    }

    /// Do a failed or cancelled job again from the beginning. Twice would be once too often: the second call finds a
    /// job that waits, and is refused.
    pub(crate) async fn retry(&self) -> Outcome {
        self.post("retry", Repeat::BeforeSent).await
    }

    /// Hold a job back.
    pub(crate) async fn suspend(&self) -> Outcome {
        self.post("suspend", Repeat::Safe).await
    }

    /// Let a suspended job go on.
    pub(crate) async fn resume(&self) -> Outcome {
        self.post("resume", Repeat::Safe).await
    }

    /// Remove a job with its file, findings and results; one that is running is cancelled instead.
    pub(crate) async fn delete(&self) -> Outcome {
        let api = self.server.api()?;
        let path = ["api", "jobs", &self.job];
        api.change(Repeat::BeforeSent, Method::DELETE, &path)
            .await?;
        // A running job becomes CANCELLED and stays; the caller should know which of the two it was. A key that may
        // delete need not be one that may look, and what is done is done.
        let mut shown = serde_json::json!({"job_id": self.job});
        let line = match api.get(&path, &[]).await {
            Ok(answer) => {
                let status = Job::read(&api, &answer)?.status;
                shown["status"] = status.to_string().into();
                format!("{} {status}", self.job)
            }
            Err(error) if error.is_status(StatusCode::NOT_FOUND) => {
                shown["status"] = Value::Null;
                format!("{} deleted", self.job)
            }
            Err(error) => {
                tracing::info!(%error, "what became of the job cannot be seen");
                format!("{} deleted, or cancelled if it was running", self.job)
            }
        };
        if self.server.json {
            terminal::json(&shown)?;
        } else {
            terminal::line(line)?;
        }
        Ok(Exit::Clean)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        target: Target,
    }

    #[tokio::test]
    async fn a_key_that_may_delete_need_not_be_one_that_may_look() {
        let server = MockServer::start().await;
        for (verb, status) in [("DELETE", 204), ("GET", 403)] {
            let answer = Mock::given(method(verb)).respond_with(ResponseTemplate::new(status));
            answer.expect(1).mount(&server).await;
        }
        let line = Line::try_parse_from(["delete", "j", "--server", &server.uri()]).unwrap();
        assert_eq!(line.target.delete().await.unwrap(), Exit::Clean);
    }
}
