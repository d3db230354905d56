//! `cancel retry suspend resume delete`: calls that change a job.

use clap::Args;
use reqwest::{Method, StatusCode};

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
        // A running job becomes CANCELLED and stays; the caller should know which of the two it was.
        let left = match api.get(&path, &[]).await {
            Ok(answer) => Some(Job::read(&api, &answer)?.status),
            Err(error) if error.is_status(StatusCode::NOT_FOUND) => None,
            Err(error) => return Err(error.into()),
        };
        if self.server.json {
            terminal::json(&serde_json::json!({"job_id": self.job, "status": left}))?;
        } else if let Some(status) = left {
            terminal::line(format!("{} {status}", self.job))?;
        } else {
            terminal::line(format!("{} deleted", self.job))?;
        }
        Ok(Exit::Clean)
    }
}
