//! Makes a job of a form that has come in full.

use filejobs_core::{JobId, Namespace};
use filejobs_store::{Error, Idempotency, Job, NewJob, NewTask, TaskKind};

use super::fields::Fields;
use super::file::Received;
use super::form::Form;
use super::key::{self, Hold, Standing};
use crate::App;
use crate::problem::{Code, Problem};

/// How often a key may change hands under ours before the client is asked to come again.
const TRIES: u32 = 3;

/// A job that stands for the form.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) job: Job,
    /// Whether an earlier upload with the same key made it.
    pub(crate) replayed: bool,
}

/// Makes the job, or finds the one that the same key and form made before. Runs as a task of its own: a client that
/// hangs up meanwhile leaves either a whole job or nothing.
pub(crate) async fn commit(
    app: App,
    namespace: Namespace,
    form: Form<Received>,
    hold: Option<Hold>,
) -> Result<Accepted, Problem> {
    let Form { fields, file } = form;
    let Some(mut hold) = hold else {
        let job = create(&app, namespace, fields, file, None).await?;
        return Ok(Accepted {
            job,
            replayed: false,
        });
    };
    let fingerprint = key::fingerprint(&file.complete.sha256, &file.name, &fields.texts);
    for _ in 0..TRIES {
        if let Standing::Used {
            job,
            fingerprint: earlier,
        } = hold.settle(&namespace).await?
        {
            if earlier != fingerprint {
                return Err(key::reused());
            }
            // A job that is gone by now took its key with it: then the key is free again.
            if let Some(job) = app.store().job(job).await? {
                return Ok(Accepted {
                    job,
                    replayed: true,
                });
            }
            continue;
        }
        let idempotency = Idempotency {
            key: hold.key().to_owned(),
            fingerprint,
            expires_at: expiry(&app),
        };
        let made = create(&app, namespace, fields, file, Some(idempotency)).await;
        // Made: the key is the job's. Taken: it ran out and is another upload's.
        if made
            .as_ref()
            .map_or_else(|p| p.code() == Code::KeyInFlight, |_| true)
        {
            hold.forget();
        }
        return made.map(|job| Accepted {
            job,
            replayed: false,
        });
    }
    Err(crate::problem::key_in_flight())
}

fn expiry(app: &App) -> jiff::Timestamp {
    let now = app.sources().now();
    now.checked_add(key::KNOWN_FOR).unwrap_or(now)
}

/// Stores file and row. The file gets its name first: a crash between the two leaves a file without a job, which the
/// orphan sweep removes, never a job without a file.
async fn create(
    app: &App,
    namespace: Namespace,
    fields: Fields,
    file: Received,
    idempotency: Option<Idempotency>,
) -> Result<Job, Problem> {
    let (id, blob) = (file.job, file.blob.clone());
    let new = NewJob {
        id,
        task: first_task(app, &file),
        namespace,
        filename: file.name.as_str().to_owned(),
        blob: blob.clone(),
        file_size: file.complete.size,
        file_type: file.kind,
        sha256: file.complete.sha256.clone(),
        options: fields.options,
        schema: fields.schema,
        processor: serde_json::json!({"type": "import"}),
        webhook_url: fields.webhook_url.map(String::from),
        priority: fields.priority,
        findings_max: app.limits().findings_per_job,
        idempotency,
        queued_max: Some(app.limits().queued_jobs),
    };
    app.blobs().publish(file.complete).await?;
    match app.store().create_job(new).await {
        Ok(job) => Ok(job),
        Err(error) => uncertain(app, id, &blob, error).await,
    }
}

/// The database did not confirm the job. It may have made it all the same, or still be about to: only when it never
/// will does the file go.
async fn uncertain(app: &App, id: JobId, blob: &str, error: Error) -> Result<Job, Problem> {
    match app.store().job(id).await {
        Ok(Some(job)) => return Ok(job),
        Ok(None) if !error.is_open() => {
            if let Err(left) = app.blobs().delete(blob).await {
                tracing::warn!(job.id = %id, error = %left, "a file without a job stays for the sweep");
            }
        }
        Ok(None) | Err(_) => {
            tracing::warn!(job.id = %id, "whether a file has a job is left to the sweep");
        }
    }
    Err(error.into())
}

fn first_task(app: &App, file: &Received) -> NewTask {
    NewTask {
        id: app.sources().task_id(),
        kind: TaskKind::first(file.kind, file.complete.size, app.limits()),
        index: 0,
        piece: file.complete.sums.to_task(),
        bytes: file.complete.size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Service;

    /// What becomes of the one file in the storage after `create_job` ended with an error and left no job.
    async fn files_left(error: Error) -> usize {
        let service = Service::start().await;
        let (app, id) = (service.app.clone(), service.app.sources().job_id());
        let mut staged = app.blobs().stage("uploads/a").await.unwrap();
        staged.write("id\n1\n".into()).await.unwrap();
        let complete = staged.complete().await.unwrap();
        app.blobs().publish(complete).await.unwrap();
        let told = uncertain(&app, id, "uploads/a", error).await;
        assert_eq!(told.unwrap_err().code(), Code::Unavailable);
        service.files()
    }

    #[tokio::test]
    async fn a_file_stays_as_long_as_its_job_may_still_come() {
        let step = "creating a job";
        let source = || -> Box<dyn std::error::Error + Send + Sync> { "a stalled disk".into() };
        let unsettled = Error::Unsettled {
            step,
            source: source(),
        };
        assert_eq!(files_left(unsettled).await, 1);
        let unavailable = Error::Unavailable {
            step,
            source: source(),
        };
        assert_eq!(files_left(unavailable).await, 0);
    }
}
