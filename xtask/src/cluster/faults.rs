//! What pods may suffer on a whole cluster: whatever it is, no file is refused, none is lost, no row is counted twice.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::test::{EXAMPLE, Installed, PATIENCE, RELEASE, SCHEMA};
use super::wait_for;
use crate::run::{output, run, say};

/// What the steps below need the chart to be set to: a file that takes seconds, and a dead worker that is noticed soon.
pub(super) const SETTINGS: &str = "settings.chunkSize=1,worker.concurrency=1,\
    worker.extraEnv[0].name=FILEJOBS_LEASE,worker.extraEnv[0].value=10s";
/// Rows of a file that takes some seconds with those settings, and is small enough to be read by one worker.
const ROWS: u64 = 2_000_000;
/// How many of them are bad, each with one finding.
const BAD: u64 = ROWS / 100;
/// How often a worker may be done before it is killed: on a busy machine a moment passes until it is noticed at work.
const TRIES: u32 = 5;
/// Files that wait while Redis loses its tickets.
const WAITING: usize = 20;
/// Files that are handed in before the new Redis has said anything.
const MEANWHILE: usize = 5;
/// Senders of files during the restart.
const SENDERS: usize = 2;
/// Between two files of one sender: a stream, not a flood.
const PACE: Duration = Duration::from_millis(500);
/// Fewer files than this were no stream.
const FEWEST: usize = 30;
/// As [`PATIENCE`].
const LONG: Duration = Duration::from_mins(5);
/// The parts that may have several pods, and are made anew one by one.
const PARTS: [&str; 3] = ["api", "worker", "controller"];

impl Installed {
    /// Workers whose nodes are lost in the middle of a file.
    pub(super) fn lose_workers(&self) -> anyhow::Result<()> {
        let caller = self.caller()?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("large.csv");
        let rows = ROWS.to_string();
        let sample = ["sample", "--bad", "1", "--rows", &rows, "--out"];
        run(Command::new(&self.binary).args(sample).arg(&file))?;
        for _ in 0..TRIES {
            let job = self.lose_workers_of(&caller, &file)?;
            if job["attempt"] != 1 {
                return is_the_large_one(&caller, &job);
            }
            say("the worker was done before it was killed; once more");
        }
        bail!("{TRIES} times the worker was done before it was killed")
    }

    /// Hands the file in and ends all workers once one of them has it; the job after its end.
    fn lose_workers_of(&self, caller: &Caller, file: &Path) -> anyhow::Result<Value> {
        self.rolled_out("worker")?;
        let pods = self.lasting_pods("worker")?;
        let containers = pods.iter().map(|pod| self.container(pod, "worker"));
        let containers = containers.collect::<anyhow::Result<Vec<_>>>()?;
        let job = caller.upload(file, None)?;
        let path = format!("/api/jobs/{job}");
        wait_for("a worker to have the file", LONG, || {
            let now = caller.get(&path);
            now.is_ok_and(|now| now["status"] != "QUEUED")
        })?;
        // A pod that is deleted by force alone is told to end, and has its whole grace: only its object is gone at once.
        for id in &containers {
            let mut kill = self.cluster.ctr();
            output(kill.args(["tasks", "kill", "--signal", "SIGKILL", id]))?;
        }
        let mut delete = vec!["delete", "pod", "--force", "--grace-period=0"];
        delete.extend(pods.iter().map(String::as_str));
        self.kubectl(&delete)?;
        let mut ended = caller.ended(&[job])?;
        ended.pop().context("one job was waited for")
    }

    /// Redis in a new pod, with nothing of what lay in the one before.
    pub(super) fn empty_redis(&self) -> anyhow::Result<()> {
        let caller = self.caller()?;
        let workers = format!("deployment/{RELEASE}-worker");
        self.kubectl(&["scale", &workers, "--replicas=0"])?;
        let gone = ["--for=delete", "--timeout", PATIENCE];
        let selector = "app.kubernetes.io/component=worker";
        self.kubectl(&[&["wait", "pod", "--selector", selector], &gone[..]].concat())?;
        let mut jobs = Vec::new();
        for _ in 0..WAITING {
            jobs.push(caller.upload_example()?);
        }
        let redis = format!("deployment/{RELEASE}-redis");
        let cli = ["exec", &redis, "--", "redis-cli", "XLEN", "filejobs:tasks"];
        wait_for("tickets to lie in Redis", LONG, || {
            let length = self.kubectl(&cli).unwrap_or_default();
            length
                .trim()
                .parse()
                .is_ok_and(|length: usize| length >= WAITING)
        })?;
        let selector = "app.kubernetes.io/component=redis";
        self.kubectl(&["delete", "pod", "--selector", selector])?;
        for _ in 0..MEANWHILE {
            jobs.push(caller.upload_example()?);
        }
        self.rolled_out("redis")?;
        self.kubectl(&["scale", &workers, "--replicas=2"])?;
        are_the_example(&caller.ended(&jobs)?)
    }

    /// New pods of everything while files are handed in, each once and on a connection of its own.
    pub(super) fn restart(&self) -> anyhow::Result<()> {
        let caller = self.caller()?;
        let is_over = AtomicBool::new(false);
        let uploads = || {
            let mut jobs = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                jobs.push(caller.upload_example()?);
                thread::sleep(PACE);
            }
            anyhow::Ok(jobs)
        };
        let (restarted, sent) = thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(uploads)).collect();
            let restarted = self.replace_pods();
            is_over.store(true, Ordering::Relaxed);
            let sent = senders.into_iter().map(|sender| match sender.join() {
                Ok(jobs) => jobs,
                Err(_) => bail!("a sender ended early"),
            });
            (restarted, sent.collect::<anyhow::Result<Vec<_>>>())
        });
        restarted?;
        let jobs = sent.context("an upload failed")?.concat();
        ensure!(jobs.len() >= FEWEST, "only {} files came in", jobs.len());
        say(format_args!("{} files came in meanwhile", jobs.len()));
        are_the_example(&caller.ended(&jobs)?)
    }

    /// Until none of the pods from before is left.
    fn replace_pods(&self) -> anyhow::Result<()> {
        let all = || -> anyhow::Result<Vec<String>> {
            let lists = PARTS.iter().map(|part| self.pods(part));
            Ok(lists.collect::<anyhow::Result<Vec<_>>>()?.concat())
        };
        let before = all()?;
        let names = PARTS.map(|part| format!("deployment/{RELEASE}-{part}"));
        let mut words = vec!["rollout", "restart"];
        words.extend(names.iter().map(String::as_str));
        self.kubectl(&words)?;
        for part in PARTS {
            self.rolled_out(part)?;
        }
        wait_for("the pods from before to be gone", LONG, || {
            all().is_ok_and(|now| before.iter().all(|pod| !now.contains(pod)))
        })
    }

    fn rolled_out(&self, part: &str) -> anyhow::Result<()> {
        let name = format!("deployment/{RELEASE}-{part}");
        self.kubectl(&["rollout", "status", &name, "--timeout", PATIENCE])?;
        Ok(())
    }

    /// Names of a part's pods, those that are ending included.
    fn pods(&self, part: &str) -> anyhow::Result<Vec<String>> {
        let selector = format!("app.kubernetes.io/component={part}");
        let names = "jsonpath={.items[*].metadata.name}";
        let pods = self.kubectl(&["get", "pods", "--selector", &selector, "--output", names])?;
        Ok(pods.split_whitespace().map(str::to_owned).collect())
    }

    /// Names of a part's pods, but for those that are ending.
    fn lasting_pods(&self, part: &str) -> anyhow::Result<Vec<String>> {
        let selector = format!("app.kubernetes.io/component={part}");
        let pods = self.kubectl(&["get", "pods", "--selector", &selector, "--output=json"])?;
        let pods: Value = serde_json::from_str(&pods)?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let lasting = pods
            .map(|pod| &pod["metadata"])
            .filter(|pod| pod["deletionTimestamp"].is_null());
        let names = lasting.filter_map(|pod| pod["name"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// The id that the node knows a pod's container by.
    fn container(&self, pod: &str, name: &str) -> anyhow::Result<String> {
        let filter = format!(
            r#"labels."io.kubernetes.pod.name"=={pod},labels."io.kubernetes.container.name"=={name}"#
        );
        let mut list = self.cluster.ctr();
        let found = output(list.args(["containers", "list", "--quiet", &filter]))?;
        let id = found.split_whitespace().next();
        let id = id.with_context(|| format!("the node has no container of {pod}"))?;
        Ok(id.to_owned())
    }

    fn caller(&self) -> anyhow::Result<Caller> {
        let (url, key) = self.access()?;
        let header = NamedTempFile::new()?;
        fs::write(header.path(), format!("X-API-KEY: {key}\n"))?;
        Ok(Caller { url, header })
    }
}

/// What a file of so many rows has to come to, however often it was begun.
fn is_the_large_one(caller: &Caller, job: &Value) -> anyhow::Result<()> {
    ensure!(job["status"] == "COMPLETED", "the job ended as {job}");
    let counts = (&job["rows_processed"], &job["rows_failed"]);
    ensure!(
        counts == (&ROWS.into(), &BAD.into()),
        "of {ROWS} rows {BAD} are bad: {job}"
    );
    let id = job["id"].as_str().context("a job has an id")?;
    for (list, rows) in [("errors?page_size=1", BAD), ("results?limit=1", ROWS - BAD)] {
        let page = caller.get(&format!("/api/jobs/{id}/{list}"))?;
        ensure!(page["total"] == rows, "{list}: {rows} are right: {page}");
    }
    Ok(())
}

/// The example has 65 rows, 10 of them bad.
fn are_the_example(jobs: &[Value]) -> anyhow::Result<()> {
    for job in jobs {
        ensure!(job["status"] == "COMPLETED", "a job ended as {job}");
        ensure!(
            job["rows_processed"] == 65 && job["rows_failed"] == 10,
            "the example has 65 rows, 10 of them bad: {job}"
        );
    }
    Ok(())
}

/// A client that tries nothing twice: what ours would make good by itself is an error here.
struct Caller {
    url: String,
    /// A file with the header that has the key: arguments can be seen by everybody.
    header: NamedTempFile,
}

impl Caller {
    fn curl(&self, path: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            "60",
        ])
        .arg("--header")
        .arg(format!("@{}", self.header.path().display()))
        .args(arguments)
        .arg(format!("{}{path}", self.url));
        let answered = curl.stdin(Stdio::null()).output();
        let answered = answered.context("`curl` could not be started")?;
        let said = String::from_utf8_lossy(&answered.stdout);
        ensure!(
            answered.status.success(),
            "{path}: {} {said}",
            String::from_utf8_lossy(&answered.stderr).trim()
        );
        serde_json::from_str(&said).with_context(|| format!("{path} answered {said}"))
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.curl(path, &[])
    }

    /// Hands a file in; which job that is.
    fn upload(&self, file: &Path, schema: Option<&str>) -> anyhow::Result<String> {
        let file = format!("file=@{}", file.display());
        let schema = schema.map(|schema| format!("schema=<{schema}"));
        let mut form = vec!["--form", &file];
        if let Some(schema) = &schema {
            form.extend(["--form", schema]);
        }
        let job = self.curl("/api/files/upload", &form)?;
        let id = job["job_id"].as_str();
        Ok(id.with_context(|| format!("no id in {job}"))?.to_owned())
    }

    fn upload_example(&self) -> anyhow::Result<String> {
        self.upload(Path::new(EXAMPLE), Some(SCHEMA))
    }

    /// Waits for the end of all of these jobs.
    fn ended(&self, jobs: &[String]) -> anyhow::Result<Vec<Value>> {
        let mut open = jobs.to_vec();
        let mut ended = Vec::new();
        wait_for("every job to have ended", LONG, || {
            open.retain(|id| match self.get(&format!("/api/jobs/{id}")) {
                Ok(job) if !job["completed_at"].is_null() => {
                    ended.push(job);
                    false
                }
                _ => true,
            });
            open.is_empty()
        })?;
        Ok(ended)
    }
}
