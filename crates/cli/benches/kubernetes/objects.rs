//! How soon objects tell what jobs do, and what that takes.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use filejobs_core::Sources;
use filejobs_crd::{FileJob, JOB_ID_LABEL};
use filejobs_testkit::gateway::Asked;
use filejobs_testkit::processes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::report::{Row, at_most, memory, p99, sample};
use crate::stage::{NAMESPACE, Stage};

/// Longest wait for all objects of a case.
const DEADLINE: Duration = Duration::from_mins(20);

/// Requests under way at a time.
const AT_A_TIME: usize = 32;

/// How long nothing happens before a minute without events begins.
const CALM: Duration = Duration::from_secs(15);

/// A file of three rows.
const ORDERS: &str = "id,name,amount\n1,Amara,1.5\nx,Bjarne,2.5\n3,Chen,3.5\n";

/// A service that has nothing to do.
pub(crate) fn idle(runtime: &Runtime, seconds: Option<u64>) -> anyhow::Result<Vec<Row>> {
    runtime.block_on(async {
        let stage = Stage::with_worker().await?;
        sleep(CALM).await;
        let (row, _) = still(
            &stage,
            Duration::from_secs(seconds.unwrap_or(60)),
            "nothing to do",
        )
        .await?;
        let resident = processes::resident_bytes(stage.pid()?);
        Ok(vec![row, memory("controller, nothing to do", 40, resident)])
    })
}

/// Requests a second while nothing happens, and all of them.
async fn still(stage: &Stage, time: Duration, what: &str) -> anyhow::Result<(Row, Vec<Asked>)> {
    let begun = Instant::now();
    sleep(time).await;
    let asked = stage.asked(begun, Instant::now());
    let rate = asked.len() as f64 / time.as_secs_f64();
    let row = Row {
        case: format!("requests to the API server, {what}"),
        goal: "≤ 1 a second".to_owned(),
        measured: format!("{rate:.2} a second"),
        met: rate <= 1.0,
    };
    Ok((row, asked))
}

/// From the answer to an upload to its object.
pub(crate) fn seen(runtime: &Runtime, uploads: Option<u64>) -> anyhow::Result<Vec<Row>> {
    let uploads = uploads.unwrap_or(100);
    runtime.block_on(async {
        let stage = Stage::with_worker().await?;
        let upload = sample(10, 10.0)?;
        let objects = watcher::watcher(stage.objects(), watcher::Config::default());
        let mut objects = pin!(objects.default_backoff().applied_objects());
        let mut times = Vec::new();
        for _ in 0..=uploads {
            let id = stage.service.submit(&upload).await?;
            let taken = Instant::now();
            let shown = async {
                while let Some(object) = objects.try_next().await? {
                    if object.labels().get(JOB_ID_LABEL) == Some(&id) {
                        return anyhow::Ok(());
                    }
                }
                anyhow::bail!("the watch ended")
            };
            timeout(DEADLINE, shown).await??;
            times.push(taken.elapsed());
        }
        // An API server holds creations back for two seconds after a definition is new.
        let first = times.remove(0);
        eprintln!("the first upload's object was there after {first:.1?}");
        let case = format!("upload answered to object there, p99 of {uploads}");
        Ok(vec![p99(case, Duration::from_secs(1), &mut times)])
    })
}

/// What was seen of objects until all had ended.
#[derive(Default)]
struct Ends {
    /// When the end of each job was seen in its object.
    seen: BTreeMap<String, Timestamp>,
    /// Bytes of the largest object.
    largest: usize,
}

/// Watches until so many objects are Finished.
async fn ends(stage: &Stage, count: usize) -> anyhow::Result<Ends> {
    let clock = Sources::system();
    let objects = watcher::watcher(stage.objects(), watcher::Config::default());
    let mut objects = pin!(objects.default_backoff().applied_objects());
    let mut ends = Ends::default();
    let all = async {
        while ends.seen.len() < count {
            let object = objects.try_next().await?.context("the watch ended")?;
            let status = object.status.as_ref();
            let conditions = status.into_iter().flat_map(|status| &status.conditions);
            let mut finished =
                conditions.filter(|one| one.type_ == "Finished" && one.status == "True");
            let id = status.and_then(|status| status.job_id.clone());
            if let (Some(_), Some(id)) = (finished.next(), id) {
                ends.seen.entry(id).or_insert_with(|| clock.now());
                ends.largest = ends.largest.max(serde_json::to_vec(&object)?.len());
            }
        }
        anyhow::Ok(())
    };
    timeout(DEADLINE, all).await??;
    Ok(ends)
}

/// When a job was begun and ended.
struct Times {
    started: Timestamp,
    completed: Timestamp,
}

/// The times of all completed jobs, by id.
async fn times(stage: &Stage) -> anyhow::Result<HashMap<String, Times>> {
    let mut times = HashMap::new();
    let mut next = Some("/api/jobs?status=COMPLETED&page_size=100".to_owned());
    while let Some(path) = next {
        let page = stage.service.get(&path).await?;
        for job in page.json()["jobs"].as_array().context("no jobs")? {
            let text = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
            let of_job = Times {
                started: text("started_at").parse()?,
                completed: text("completed_at").parse()?,
            };
            times.insert(text("id"), of_job);
        }
        let link = page.header("link").strip_prefix('<');
        next = link.and_then(|link| Some(link.split_once('>')?.0.to_owned()));
    }
    Ok(times)
}

/// How long the end of each job took to its object.
async fn lags(stage: &Stage, ends: &Ends) -> anyhow::Result<Vec<Duration>> {
    let times = times(stage).await?;
    let of = ends.seen.iter();
    let of = of.filter_map(|(id, seen)| Some(seen.duration_since(times.get(id)?.completed)));
    Ok(of
        .map(|lag| Duration::try_from(lag).unwrap_or_default())
        .collect())
}

/// Many objects at once, each with its file in a ConfigMap.
pub(crate) fn burst(runtime: &Runtime, objects: Option<u64>) -> anyhow::Result<Vec<Row>> {
    let count = objects.unwrap_or(1_000) as usize;
    runtime.block_on(async {
        let stage = Stage::with_worker().await?;
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), NAMESPACE);
        let parameters = PostParams::default();
        let make_map = async |number: usize| {
            let name = format!("orders-{number}");
            let map = json!({"metadata": {"name": name}, "data": {"orders.csv": ORDERS}});
            maps.create(&parameters, &serde_json::from_value(map)?)
                .await?;
            anyhow::Ok(())
        };
        stream::iter(0..count)
            .map(make_map)
            .buffer_unordered(AT_A_TIME)
            .try_collect::<()>()
            .await?;
        let all = stage.objects();
        let make = async |number: usize| {
            let name = format!("orders-{number}");
            let source = json!({"configMap": {"name": name, "key": "orders.csv"}});
            let object = json!({
                "apiVersion": "filejobs.dev/v1alpha1", "kind": "FileJob",
                "metadata": {"name": name}, "spec": {"source": source}
            });
            all.create(&parameters, &serde_json::from_value::<FileJob>(object)?)
                .await?;
            anyhow::Ok(())
        };
        let begun = Instant::now();
        let creating = stream::iter(0..count)
            .map(make)
            .buffer_unordered(AT_A_TIME)
            .try_collect::<()>();
        let (created, ends) = tokio::join!(creating, ends(&stage, count));
        created?;
        let ends = ends?;
        let took = begun.elapsed();
        let writes = stage
            .asked(begun, Instant::now())
            .iter()
            .filter(|asked| asked.writes())
            .count();
        let peak = processes::peak_resident_bytes(stage.pid()?);
        let mut lags = lags(&stage, &ends).await?;
        let per_object = writes as f64 / count as f64;
        let largest = ends.largest as f64 / 1024.0;
        let case = format!("{count} FileJobs with ConfigMaps, created at once to all Finished");
        Ok(vec![
            at_most(case, Duration::from_mins(1), took),
            p99(
                "job ended to its object Finished, p99 of these",
                Duration::from_secs(2),
                &mut lags,
            ),
            Row {
                case: "writes of the controller for each of them, events included".to_owned(),
                goal: "≤ 12 a minute".to_owned(),
                measured: format!("{per_object:.1} in all"),
                met: per_object <= 12.0,
            },
            Row {
                case: "the largest of these objects".to_owned(),
                goal: "≤ 8 KiB".to_owned(),
                measured: format!("{largest:.1} KiB"),
                met: largest <= 8.0,
            },
            memory("controller, at most", 150, peak),
        ])
    })
}

/// Very many objects whose jobs have ended, and a tenth as many that are active when the controller starts.
pub(crate) fn history(runtime: &Runtime, objects: Option<u64>) -> anyhow::Result<Vec<Row>> {
    let ended = objects.unwrap_or(10_000) as usize;
    let active = ended / 10;
    runtime.block_on(async {
        let mut stage = Stage::with_worker().await?;
        hand_in(&stage, ended).await?;
        ends(&stage, ended).await?;
        let grown = processes::peak_resident_bytes(stage.pid()?);
        stage
            .controller
            .take()
            .context("no controller")?
            .terminate()
            .await?;
        hand_in(&stage, active).await?;
        let clock = Sources::system();
        let (started, begun) = (clock.now(), Instant::now());
        stage.start_controller().await?;
        ends(&stage, ended + active).await?;
        let worked = begun.elapsed().as_secs_f64();
        let peak = processes::peak_resident_bytes(stage.pid()?);
        let times = times(&stage).await?;
        let first = times.values().map(|times| times.started);
        let first = first.filter(|first| *first >= started).min();
        let first = first.context("nothing was begun")?.duration_since(started);
        sleep(CALM).await;
        let what = format!("{} ended objects", ended + active);
        let (requests, asked) = still(&stage, Duration::from_mins(1), &what).await?;
        let writes = asked.iter().filter(|asked| asked.writes()).count();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let case = format!("controller with {ended} ended and {active} active objects, at most");
        let row = memory(case, 150, peak);
        let measured = format!(
            "{} ({:.1} MiB while the ended ones came, {:.1} MiB in the end; \
             the active ones took {worked:.0} s)",
            row.measured,
            mib(grown),
            mib(processes::resident_bytes(stage.pid()?))
        );
        let first = Duration::try_from(first)?;
        Ok(vec![
            Row { measured, ..row },
            at_most(
                "its start to the first job begun",
                Duration::from_secs(10),
                first,
            ),
            Row {
                case: format!("writes of the controller within a minute, {what}"),
                goal: "0".to_owned(),
                measured: writes.to_string(),
                met: writes == 0,
            },
            requests,
        ])
    })
}

async fn hand_in(stage: &Stage, files: usize) -> anyhow::Result<()> {
    let upload = sample(10, 10.0)?;
    let sent = stream::iter(0..files).map(|_| stage.service.submit(&upload));
    sent.buffer_unordered(AT_A_TIME)
        .try_for_each(async |_| Ok(()))
        .await
}
