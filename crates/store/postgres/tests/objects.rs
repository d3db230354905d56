//! Kubernetes objects and their jobs, on Postgres.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod fresh;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{JobId, JobState, SchedulerId, Sources};
use filejobs_store::{Error, NewJob, Store as _};
use filejobs_store::{NewTask, TaskKind};
use filejobs_store_postgres::objects::{Applied, Linking, ObjectRef, Objects, Seen, WebhookSecret};
use filejobs_store_postgres::{PostgresStore, Settings};
use filejobs_testkit::wait::{self, DEADLINE};
use sqlx::{Connection as _, PgConnection, Row as _};

/// A store whose scheduler `a` leads.
struct Bench {
    store: Arc<PostgresStore>,
    objects: Objects,
    sources: Sources,
    url: String,
}

/// The cluster of the tests.
const HERE: &str = "here";

const TERM: Duration = Duration::from_hours(1);

async fn bench() -> Bench {
    let sources = Sources::system();
    let settings = Settings {
        connections: 4,
        kept: 0,
        ..Settings::default()
    };
    let url = fresh::database().await;
    let store = PostgresStore::open(&url, sources.clone(), settings).await;
    let store = store.expect("opened");
    let leader = SchedulerId::new("a");
    store
        .lead(&leader, TERM)
        .await
        .unwrap()
        .expect("nobody else leads");
    Bench {
        objects: store.objects(leader, HERE),
        store,
        sources,
        url,
    }
}

fn object(uid: &str) -> ObjectRef {
    ObjectRef {
        uid: uid.to_owned(),
        namespace: "default".to_owned(),
        name: "orders".to_owned(),
    }
}

impl Bench {
    fn new_job(&self) -> NewJob {
        let id = self.sources.job_id();
        NewJob {
            id,
            task: NewTask {
                id: self.sources.task_id(),
                kind: TaskKind::Whole,
                index: 0,
                piece: serde_json::Value::Null,
                bytes: 10,
            },
            namespace: "default".parse().unwrap(),
            filename: "orders.csv".to_owned(),
            blob: format!("uploads/{id}_orders.csv"),
            file_size: 10,
            file_type: filejobs_core::FileType::Csv,
            sha256: "00".repeat(32),
            options: filejobs_core::Options::default(),
            schema: None,
            processor: serde_json::json!({"type": "import"}),
            webhook_url: None,
            priority: 0,
            findings_max: 1_000,
            idempotency: None,
            queued_max: None,
        }
    }

    async fn create(&self, uid: &str, applied: Applied) -> JobId {
        let made = self
            .objects
            .create(&object(uid), applied, None, self.new_job())
            .await;
        job(&made.unwrap()).0
    }

    async fn state(&self, job: JobId) -> JobState {
        self.store
            .job(job)
            .await
            .unwrap()
            .expect("it exists")
            .status
    }
}

fn secret() -> WebhookSecret {
    WebhookSecret {
        name: "hook".to_owned(),
        key: "signing".to_owned(),
    }
}

/// The job that was linked.
#[track_caller]
fn job(linking: &Linking) -> (JobId, JobState) {
    let linked = match linking {
        Linking::Linked(job) => Some((job.id, job.status)),
        Linking::Removed(_) | Linking::Taken => None,
    };
    linked.expect("the object has a job")
}

#[tokio::test]
async fn an_object_gets_one_job_however_often_it_is_asked_for() {
    let bench = bench().await;
    let first = bench.create("u1", Applied::default()).await;
    assert_eq!(bench.create("u1", Applied::default()).await, first);
    // The same name again, made anew: another object.
    assert_ne!(bench.create("u2", Applied::default()).await, first);
    // Asked for at the same moment, too.
    let both = [bench.new_job(), bench.new_job()].map(|new| {
        let objects = bench.objects.clone();
        tokio::spawn(async move {
            let made = objects
                .create(&object("u3"), Applied::default(), None, new)
                .await;
            job(&made.unwrap()).0
        })
    });
    let [one, two] = both;
    assert_eq!(one.await.unwrap(), two.await.unwrap());
}

#[tokio::test]
async fn where_the_key_of_a_webhook_is_stays_known() {
    let bench = bench().await;
    let secret = secret();
    let new = bench.new_job();
    let id = new.id;
    let made = bench
        .objects
        .create(&object("u1"), Applied::default(), Some(secret.clone()), new)
        .await;
    assert_eq!(job(&made.unwrap()).0, id);
    let other = bench.create("u2", Applied::default()).await;
    for (id, wanted) in [(id, Some(secret)), (other, None)] {
        let link = bench.objects.of_job(id).await.unwrap().expect("linked");
        assert_eq!(link.webhook_secret, wanted);
    }
}

#[tokio::test]
async fn a_job_that_was_removed_is_not_made_again_for_its_object() {
    let bench = bench().await;
    let id = bench.create("u1", Applied::default()).await;
    bench.store.delete(id).await.unwrap();
    let again = bench
        .objects
        .create(&object("u1"), Applied::default(), None, bench.new_job())
        .await;
    assert_eq!(again.unwrap(), Linking::Removed(id));
    bench.objects.remove(&object("u1"), id).await.unwrap();
    assert_eq!(bench.objects.of_object("u1").await.unwrap(), None);
}

#[tokio::test]
async fn an_object_that_is_to_be_held_back_is_so_from_the_beginning() {
    let bench = bench().await;
    let held = Applied {
        suspend: true,
        ..Applied::default()
    };
    let id = bench.create("u1", held).await;
    assert_eq!(bench.state(id).await, JobState::Suspended);
}

#[tokio::test]
async fn an_upload_is_linked_to_one_object_of_its_own_namespace() {
    let bench = bench().await;
    let upload = bench.store.create_job(bench.new_job()).await.unwrap();
    let mut foreign = object("u0");
    foreign.namespace = "other".to_owned();
    let link = |object: ObjectRef| {
        let objects = bench.objects.clone();
        async move { objects.link(&object, Applied::default(), upload.id).await }
    };
    assert!(matches!(link(foreign).await, Err(Error::NotFound)));
    assert_eq!(job(&link(object("u1")).await.unwrap()).0, upload.id);
    assert_eq!(job(&link(object("u1")).await.unwrap()).0, upload.id);
    assert_eq!(link(object("u2")).await.unwrap(), Linking::Taken);
    let found = bench
        .objects
        .of_job(upload.id)
        .await
        .unwrap()
        .expect("linked");
    assert_eq!(found.object, object("u1"));
}

#[tokio::test]
async fn jobs_without_objects_are_found_while_they_are_open_or_young() {
    let bench = bench().await;
    bench.create("u1", Applied::default()).await;
    let open = bench.store.create_job(bench.new_job()).await.unwrap().id;
    let ended = bench.store.create_job(bench.new_job()).await.unwrap().id;
    bench.store.cancel(ended).await.unwrap();
    let now = bench.sources.now();
    let found = async |since: Duration, namespaces: Option<&[String]>, after| {
        let since = now.checked_sub(since).unwrap();
        let page = bench
            .objects
            .without_object(namespaces, since, after, 10)
            .await;
        page.unwrap()
            .into_iter()
            .map(|job| job.id)
            .collect::<Vec<_>>()
    };
    let hour = Duration::from_hours(1);
    assert_eq!(found(hour, None, None).await, [ended, open]);
    assert_eq!(found(hour, None, Some(ended)).await, [open]);
    assert_eq!(found(hour, None, Some(open)).await, []);
    assert_eq!(found(hour, Some(&["other".to_owned()]), None).await, []);
    let future = now.checked_add(hour).unwrap();
    let only_open = bench
        .objects
        .without_object(None, future, None, 10)
        .await
        .unwrap();
    assert_eq!(
        only_open.iter().map(|job| job.id).collect::<Vec<_>>(),
        [open]
    );
}

#[tokio::test]
async fn a_walk_through_jobs_without_objects_meets_each_even_while_they_move_on() {
    let bench = bench().await;
    let mut jobs = Vec::new();
    for _ in 0..9 {
        jobs.push(bench.store.create_job(bench.new_job()).await.unwrap().id);
    }
    for held in &jobs[3..5] {
        bench.store.suspend(*held).await.unwrap();
    }
    bench.store.cancel(jobs[8]).await.unwrap();
    let hour = Duration::from_hours(1);
    let since = bench.sources.now().checked_sub(hour).unwrap();
    let (mut met, mut after) = (BTreeSet::new(), None);
    loop {
        let page = bench.objects.without_object(None, since, after, 2).await;
        let page = page.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        met.extend(page.iter().map(|job| job.id));
        // The last of a page of those that wait ends before the next page is asked for.
        if last.id == jobs[2] {
            bench.store.cancel(last.id).await.unwrap();
        }
    }
    assert_eq!(met, jobs.into_iter().collect());
}

#[tokio::test]
async fn a_retry_is_done_once_for_each_time_it_is_asked_for() {
    let bench = bench().await;
    let id = bench.create("u1", Applied::default()).await;
    bench.store.cancel(id).await.unwrap();
    assert!(bench.objects.retry(id, 1).await.unwrap());
    assert_eq!(bench.state(id).await, JobState::Queued);
    bench.store.cancel(id).await.unwrap();
    // The same wish again, after a crash: it has been carried out.
    assert!(!bench.objects.retry(id, 1).await.unwrap());
    assert_eq!(bench.state(id).await, JobState::Cancelled);
    assert!(bench.objects.retry(id, 2).await.unwrap());
    // Of a job that waits there is nothing to retry; seen is seen.
    assert!(!bench.objects.retry(id, 3).await.unwrap());
    let link = bench
        .objects
        .of_object("u1")
        .await
        .unwrap()
        .expect("linked");
    assert_eq!(link.applied.retries, 3);
}

#[tokio::test]
async fn a_deadline_fails_a_job_that_has_not_ended_and_no_other() {
    let bench = bench().await;
    let id = bench.create("u1", Applied::default()).await;
    let late = Failure::new(FailureCode::DeadlineExceeded, "Too late.");
    let failed = bench.objects.fail(id, &late).await.unwrap();
    assert_eq!(failed.status, JobState::Failed);
    assert_eq!(failed.failure_code, Some(FailureCode::DeadlineExceeded));
    let kinds: Vec<_> = bench.store.events(id, 0, 10).await.unwrap();
    assert_eq!(kinds.last().map(|event| &*event.kind), Some("finished"));
    let other = bench.create("u2", Applied::default()).await;
    bench.store.cancel(other).await.unwrap();
    let same = bench.objects.fail(other, &late).await.unwrap();
    assert_eq!(same.status, JobState::Cancelled);
}

#[tokio::test]
async fn what_is_removed_leaves_a_tombstone_and_no_link() {
    let bench = bench().await;
    let id = bench.create("u1", Applied::default()).await;
    bench.objects.remove(&object("u1"), id).await.unwrap();
    bench.objects.remove(&object("u1"), id).await.unwrap();
    assert_eq!(bench.store.job(id).await.unwrap(), None);
    assert_eq!(bench.objects.links(None, 10).await.unwrap(), []);
    let left = bench.store.tombstones(10).await.unwrap();
    assert_eq!(left.iter().map(|t| t.id).collect::<Vec<_>>(), [id]);
}

/// Anybody may write the id of a job into an object of their own, and delete it.
#[tokio::test]
async fn an_object_removes_no_job_of_another_object_or_namespace() {
    let bench = bench().await;
    let linked = bench.create("u1", Applied::default()).await;
    let other = object("u2");
    bench.objects.remove(&other, linked).await.unwrap();
    assert_eq!(bench.state(linked).await, JobState::Queued);
    assert!(bench.objects.of_job(linked).await.unwrap().is_some());

    let uploaded = bench.store.create_job(bench.new_job()).await.unwrap().id;
    let foreign = ObjectRef {
        namespace: "team-b".to_owned(),
        ..object("u3")
    };
    bench.objects.remove(&foreign, uploaded).await.unwrap();
    let jobs = [linked, uploaded, bench.sources.job_id()];
    let states = bench.objects.states(&jobs);
    let queued = [linked, uploaded].map(|job| (job, JobState::Queued));
    assert_eq!(states.await.unwrap(), queued.into());
    // Never linked, of the object's namespace: the upload has made the object.
    bench.objects.remove(&other, uploaded).await.unwrap();
    assert_eq!(bench.store.job(uploaded).await.unwrap(), None);
}

#[tokio::test]
async fn another_cluster_lets_an_object_go_until_it_has_seen_it() {
    let bench = bench().await;
    let id = bench.create("u1", Applied::default()).await;
    let elsewhere = bench.store.objects(SchedulerId::new("a"), "elsewhere");
    let seen = async |objects: &Objects| {
        let link = objects.of_job(id).await.unwrap();
        link.expect("it stays").seen
    };
    assert_eq!(seen(&bench.objects).await, Seen::Here);
    assert_eq!(seen(&elsewhere).await, Seen::Elsewhere);
    bench.objects.let_go(&object("u1"), id).await.unwrap();
    elsewhere.let_go(&object("u2"), id).await.unwrap();
    assert_eq!(seen(&bench.objects).await, Seen::Here, "neither lets it go");
    elsewhere.let_go(&object("u1"), id).await.unwrap();
    assert_eq!(seen(&elsewhere).await, Seen::LetGo);
    assert_eq!(bench.state(id).await, JobState::Queued);
    // The database comes back.
    bench.objects.seen(&[id]).await.unwrap();
    assert_eq!(seen(&bench.objects).await, Seen::Here);
    assert_eq!(seen(&elsewhere).await, Seen::Elsewhere);
}

#[tokio::test]
async fn a_job_whose_object_was_let_go_may_have_another_and_keeps_what_signs_its_webhook() {
    let bench = bench().await;
    let secret = secret();
    let new = bench.new_job();
    let id = new.id;
    let elsewhere = bench.store.objects(SchedulerId::new("a"), "elsewhere");
    let made = elsewhere
        .create(&object("u1"), Applied::default(), Some(secret.clone()), new)
        .await;
    made.unwrap();
    let link = async || {
        let linked = bench
            .objects
            .link(&object("u2"), Applied::default(), id)
            .await;
        linked.unwrap()
    };
    let without = async || {
        let jobs = bench
            .objects
            .without_object(None, jiff::Timestamp::MAX, None, 10);
        jobs.await.unwrap().len()
    };
    assert_eq!(link().await, Linking::Taken);
    assert_eq!(without().await, 0);
    bench.objects.let_go(&object("u1"), id).await.unwrap();
    assert_eq!(without().await, 1);
    assert_eq!(job(&link().await).0, id);
    assert_eq!(without().await, 0);
    let now = bench.objects.of_job(id).await.unwrap().expect("linked");
    assert_eq!(
        (now.object, now.seen, now.webhook_secret),
        (object("u2"), Seen::Here, Some(secret))
    );
    // Who was let go removes nothing; the other does.
    bench.objects.remove(&object("u1"), id).await.unwrap();
    assert_eq!(bench.state(id).await, JobState::Queued);
    bench.objects.remove(&object("u2"), id).await.unwrap();
    assert_eq!(bench.objects.of_job(id).await.unwrap(), None);
}

/// What the spec says of a job that starts over is carried out anew.
#[tokio::test]
async fn a_job_that_starts_over_is_neither_cancelled_nor_held_back() {
    let bench = bench().await;
    let held = Applied {
        suspend: true,
        cancel: true,
        ..Applied::default()
    };
    let id = bench.create("u1", held).await;
    let applied = async || bench.objects.of_job(id).await.unwrap().unwrap().applied;
    assert!(
        !bench.objects.retry(id, 1).await.unwrap(),
        "it has not ended"
    );
    assert!(applied().await.suspend);
    bench.objects.cancel(id).await.unwrap();
    assert!(bench.objects.retry(id, 2).await.unwrap());
    let now = Applied {
        retries: 2,
        ..Applied::default()
    };
    assert_eq!(applied().await, now);
}

#[tokio::test]
async fn who_does_not_lead_changes_nothing() {
    let bench = bench().await;
    let id = bench.create("u1", Applied::default()).await;
    let other = bench.store.objects(SchedulerId::new("b"), HERE);
    let late = Failure::new(FailureCode::DeadlineExceeded, "Too late.");
    let created = other
        .create(&object("u2"), Applied::default(), None, bench.new_job())
        .await;
    assert!(matches!(created, Err(Error::Stale)), "{created:?}");
    assert!(matches!(other.retry(id, 1).await, Err(Error::Stale)));
    assert!(matches!(other.fail(id, &late).await, Err(Error::Stale)));
    assert!(matches!(
        other.remove(&object("u1"), id).await,
        Err(Error::Stale)
    ));
    let let_go = other.let_go(&object("u1"), id).await;
    assert!(matches!(let_go, Err(Error::Stale)));
    assert!(matches!(other.seen(&[id]).await, Err(Error::Stale)));
    assert!(matches!(other.cancel(id).await, Err(Error::Stale)));
    assert!(matches!(other.suspend(id).await, Err(Error::Stale)));
    assert!(matches!(other.resume(id).await, Err(Error::Stale)));
    assert!(matches!(other.set_priority(id, 3).await, Err(Error::Stale)));
    assert!(matches!(
        other.note(id, Applied::default()).await,
        Err(Error::Stale)
    ));
    assert_eq!(bench.state(id).await, JobState::Queued);
    // What it reads it may.
    assert!(other.of_object("u1").await.unwrap().is_some());
}

/// The leader's own units hold the lead, one or another of them all the time while many objects are made.
#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_unit_holds_up_who_would_take_the_lead_and_not_who_has_it() {
    let bench = bench().await;
    let id = bench.create("u1", Applied::default()).await;
    let mut other = PgConnection::connect(&bench.url).await.unwrap();
    let mut watch = PgConnection::connect(&bench.url).await.unwrap();
    let mut waiting = async |wanted: i64| {
        wait::until("units to wait for a lock", DEADLINE, async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let row = sqlx::raw_sql(waiting).fetch_one(&mut watch).await?;
            Ok((row.try_get::<i64, _>(0)? == wanted).then_some(()))
        })
        .await
        .unwrap();
    };
    let hold = sqlx::raw_sql("BEGIN; SELECT 1 FROM jobs FOR UPDATE");
    hold.execute(&mut other).await.unwrap();
    let objects = bench.store.objects(SchedulerId::new("a"), HERE);
    let removed = tokio::spawn(async move { objects.remove(&object("u1"), id).await });
    waiting(1).await;
    let (a, b) = (SchedulerId::new("a"), SchedulerId::new("b"));
    let kept = bench.store.lead(&a, TERM).await.unwrap();
    assert_eq!(kept.map(|lead| lead.epoch), Some(1));

    bench.store.step_down(&a).await.unwrap();
    let store = bench.store.clone();
    let taken = tokio::spawn(async move { store.lead(&b, TERM).await });
    waiting(2).await;
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    removed.await.unwrap().unwrap();
    let taken = taken.await.unwrap().unwrap();
    assert_eq!(taken.map(|lead| lead.epoch), Some(2));
}
