//! The controller killed at each of its requests, before the API server has it and after: what is there in the end is
//! what an undisturbed controller leaves, and then nothing is written any more.

use std::time::Duration;

use filejobs_crd::{FileJob, JOB_ID_LABEL, Phase};
use filejobs_testkit::gateway::{Asked, Fate, Gateway};
use filejobs_testkit::http::Upload;
use filejobs_testkit::wait;
use kube::ResourceExt as _;
use kube::api::ListParams;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::place::{Crew, Place, phase};
use crate::{DEADLINE, ORDERS, schema, settles};

/// How long the last request may follow the end of what was to be done: an event follows its status.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Times that one scenario is run at most: more requests than any of them needs.
const RUNS: usize = 60;

/// What is going on when the controller is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scenario {
    /// An object is applied and its job runs.
    Apply,
    /// A file is handed in by HTTP and its job runs.
    Upload,
    /// A job that is held back is cancelled.
    Cancel,
    /// A job that was cancelled starts over.
    Retry,
    /// An object whose job has ended is deleted.
    Delete,
}

/// When in the life of a request.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The API server never has it.
    Before,
    /// The API server has done it, and the controller does not know.
    After,
}

struct Stage {
    place: Place,
    gateway: Gateway,
    crew: Crew,
    scenario: Scenario,
}

#[tokio::test]
async fn killed_while_an_object_becomes_a_job_and_ends() {
    Stage::set(Scenario::Apply)
        .await
        .kill_at_each_request()
        .await;
}

#[tokio::test]
async fn killed_while_an_upload_becomes_an_object_and_ends() {
    Stage::set(Scenario::Upload)
        .await
        .kill_at_each_request()
        .await;
}

#[tokio::test]
async fn killed_while_a_job_is_cancelled() {
    Stage::set(Scenario::Cancel)
        .await
        .kill_at_each_request()
        .await;
}

#[tokio::test]
async fn killed_while_a_job_is_retried() {
    Stage::set(Scenario::Retry)
        .await
        .kill_at_each_request()
        .await;
}

#[tokio::test]
async fn killed_while_an_object_is_deleted() {
    Stage::set(Scenario::Delete)
        .await
        .kill_at_each_request()
        .await;
}

impl Stage {
    async fn set(scenario: Scenario) -> Self {
        let (place, gateway) = Place::gated().await;
        let crew = place.crew().await;
        Self {
            place,
            gateway,
            crew,
            scenario,
        }
    }

    async fn kill_at_each_request(mut self) {
        self.prepare("undisturbed").await;
        self.act("undisturbed").await;
        let wanted = self.ended("undisturbed").await;
        let mut killed = Vec::new();
        'requests: for number in 0.. {
            for moment in [Moment::Before, Moment::After] {
                assert!(
                    killed.len() < RUNS,
                    "there is no end of requests: {killed:#?}"
                );
                let name = format!("run-{}", killed.len());
                self.prepare(&name).await;
                let Some(what) = self.kill_at(&name, number, moment).await else {
                    break 'requests;
                };
                let run = format!("{name}: killed {moment:?} request {number}, {what}");
                killed.push(run);
                self.becomes(&name, &wanted, killed.last().unwrap()).await;
            }
        }
        assert!(!killed.is_empty(), "nothing was asked");
        // The last was not disturbed: it stands with the others.
        settles(&self.gateway).await;
        for (number, run) in killed.iter().enumerate() {
            self.becomes(&format!("run-{number}"), &wanted, run).await;
        }
        let jobs = self.place.jobs(&self.crew).await;
        let objects = self
            .place
            .all::<FileJob>()
            .list(&ListParams::default())
            .await;
        let objects = objects.unwrap().items.len();
        if self.scenario == Scenario::Delete {
            assert_eq!((jobs, objects), (0, 0));
            assert_eq!(self.place.stored(), Vec::<std::path::PathBuf>::new());
        } else {
            // With the undisturbed one and the one in which nothing was reached.
            let made = killed.len() + 2;
            assert_eq!((jobs, objects), (made as u64, made));
        }
    }

    /// Acts, and kills the controller at a request that concerns the object. What it asked; nothing when there were
    /// fewer requests.
    async fn kill_at(&mut self, name: &str, number: usize, moment: Moment) -> Option<String> {
        let (reached, mut point) = mpsc::unbounded_channel();
        let (of, mut left, mut fired) = (name.to_owned(), number, false);
        self.gateway.judge(move |asked| {
            if fired {
                return Fate::Lost;
            }
            if !concerns(asked, &of) {
                return Fate::Pass;
            }
            if left > 0 {
                left -= 1;
                return Fate::Pass;
            }
            fired = true;
            let _ = reached.send(asked.what.clone());
            match moment {
                Moment::Before => Fate::Lost,
                Moment::After => Fate::Unanswered,
            }
        });
        let before = self.gateway.count();
        self.act(name).await;
        let what = tokio::select! {
            what = point.recv() => what,
            _ = self.ended(name) => timeout(AFTERMATH, point.recv()).await.unwrap_or(None),
        }?;
        if matches!(moment, Moment::After) {
            let done = "the request to be done";
            wait::until(done, DEADLINE, async || {
                let asked = self.gateway.asked();
                let mut since = asked[before..].iter().filter(|asked| concerns(asked, name));
                let last = since.nth(number);
                Ok(last.and_then(|asked| asked.status))
            })
            .await
            .unwrap();
        }
        self.crew.controller.kill().unwrap();
        self.place.forget_leader().await;
        self.gateway.open();
        self.crew.controller = self.place.controller().await;
        Some(what)
    }

    /// Brings an object to where the scenario begins.
    async fn prepare(&self, name: &str) {
        match self.scenario {
            Scenario::Apply | Scenario::Upload => return,
            Scenario::Delete => {
                self.place.orders(name, json!({})).await;
                self.place.finished(name).await;
            }
            Scenario::Cancel | Scenario::Retry => {
                self.place.orders(name, json!({"suspend": true})).await;
                let suspended = |object: &FileJob| phase(object) == Some(Phase::Suspended);
                let held = self.place.until(name, "the job to be held back", suspended);
                held.await;
                if self.scenario == Scenario::Retry {
                    let cancelled = json!({"spec": {"cancel": true}});
                    self.place.change(name, cancelled).await;
                    self.place.finished(name).await;
                }
            }
        }
        wait::until("what came before to be told", DEADLINE, async || {
            let asked = self.gateway.asked();
            let last = asked.iter().rfind(|asked| concerns(asked, name));
            let over = last.is_none_or(|last| last.at.elapsed() >= AFTERMATH);
            Ok(over.then_some(()))
        })
        .await
        .unwrap();
    }

    async fn act(&self, name: &str) {
        match self.scenario {
            Scenario::Apply => {
                self.place.orders(name, json!({})).await;
            }
            Scenario::Upload => {
                let upload = Upload::new(format!("{name}.csv"), ORDERS).field("schema", schema());
                self.place.upload(&self.crew, upload).await;
            }
            Scenario::Cancel => {
                self.place
                    .change(name, json!({"spec": {"cancel": true}}))
                    .await;
            }
            Scenario::Retry => {
                let again = json!({"cancel": false, "suspend": false, "retryGeneration": 1});
                self.place.change(name, json!({ "spec": again })).await;
            }
            Scenario::Delete => {
                self.place.ask_to_delete(name).await;
            }
        }
    }

    /// Waits for the scenario's end; how things stand then.
    async fn ended(&self, name: &str) -> Value {
        let end = match self.scenario {
            Scenario::Apply | Scenario::Upload | Scenario::Retry => Some(Phase::Completed),
            Scenario::Cancel => Some(Phase::Cancelled),
            Scenario::Delete => None,
        };
        let mut last = None;
        let ended = wait::until("the scenario to end", DEADLINE, async || {
            last = self.object(name).await;
            Ok(
                (last.as_ref().and_then(phase) == end && last.is_some() == end.is_some())
                    .then_some(()),
            )
        });
        let ended = ended.await;
        ended.unwrap_or_else(|error| unreachable!("{error}: {last:#?}"));
        self.picture(name).await
    }

    /// Waits until things stand as wanted.
    async fn becomes(&self, name: &str, wanted: &Value, run: &str) {
        let mut last = Value::Null;
        let became = wait::until("the end to be as without a kill", DEADLINE, async || {
            last = self.picture(name).await;
            Ok((last == *wanted).then_some(()))
        });
        let became = became.await;
        became
            .unwrap_or_else(|error| unreachable!("{run}: {error}: {last:#} instead of {wanted:#}"));
    }

    /// The object; an upload's has a name that begins with the file's.
    async fn object(&self, name: &str) -> Option<FileJob> {
        if self.scenario != Scenario::Upload {
            return self.place.object(name).await;
        }
        let all = self
            .place
            .all::<FileJob>()
            .list(&ListParams::default())
            .await;
        let mut of_file = all
            .unwrap()
            .items
            .into_iter()
            .filter(|object| concerns_name(&object.name_any(), name));
        let found = of_file.next();
        assert!(of_file.next().is_none(), "two objects for {name}");
        found
    }

    /// Object and job, without what is another each time: names, ids and times.
    async fn picture(&self, name: &str) -> Value {
        let Some(mut object) = self.object(name).await else {
            return Value::Null;
        };
        let id = object
            .status
            .as_ref()
            .and_then(|status| status.job_id.clone());
        let labels: Vec<_> = object.labels().keys().cloned().collect();
        let label = object.labels().get(JOB_ID_LABEL).cloned();
        let finalizers = object.finalizers().to_vec();
        if let Some(source) = &mut object.spec.source.upload {
            // Label and status name the same job, once there is one.
            assert!(id.as_ref().is_none_or(|id| *id == source.id));
            assert_eq!(label.as_ref(), Some(&source.id));
            source.id.clear();
        }
        if let Some(source) = &mut object.spec.source.config_map {
            source.name.clear();
        }
        let mut status = json!(object.status);
        for time in [
            "jobId",
            "file",
            "resultsUrl",
            "queuedTime",
            "startTime",
            "completionTime",
        ] {
            if let Some(value) = status.get_mut(time) {
                *value = json!(value.is_string());
            }
        }
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"].take();
        }
        let mut job = Value::Null;
        if let Some(id) = id {
            let all = self
                .place
                .call(&self.crew, Method::GET, &format!("jobs/{id}"))
                .await;
            let all = all.json();
            job = json!([
                all["status"],
                all["outcome"],
                all["attempt"],
                all["rows_processed"],
                all["rows_failed"]
            ]);
        }
        json!({
            "spec": object.spec, "labels": labels, "finalizers": finalizers, "status": status, "job": job,
            "deleted": object.metadata.deletion_timestamp.is_some(),
        })
    }
}

/// Whether it is asked for the sake of an object. What makes something bears no name, and nothing else is going on.
/// Leases, lists and watches have tests of their own.
fn concerns(asked: &Asked, name: &str) -> bool {
    let makes = asked.what.starts_with("create ") && !asked.what.ends_with("leases");
    makes || concerns_name(&asked.name, name)
}

/// `run-1` is not `run-10`.
fn concerns_name(name: &str, of: &str) -> bool {
    let rest = name.strip_prefix(of);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
