//! Handing in, and the lists that jobs are found in.

use std::time::Duration;

use filejobs_core::{FileType, JobId, JobState, Namespace, Options, TableSchema};

use super::{Bench, assert_status, effects};
use crate::{Error, Idempotency, Job, JobCursor, JobFilter, Page, Reservation, TaskCounts};

const HOLD: Duration = Duration::from_mins(10);
const DAY: Duration = Duration::from_hours(24);

/// Nothing is lost between the form and the row.
pub async fn a_new_job_comes_back_as_it_was_handed_in(bench: &Bench) {
    let mut new = bench.new_job();
    new.namespace = "team-a".parse().expect("a namespace");
    new.filename = String::from("Bestellungen \u{1f4e6}.xlsx");
    new.file_type = FileType::Xlsx;
    new.options = Options {
        delimiter: Some(';'),
        max_errors: Some(3),
        ..Options::default()
    };
    new.schema = Some(TableSchema::default());
    new.webhook_url = Some("https://example.com/hook".to_owned());
    new.priority = 7;
    new.findings_max = 5;
    let job = bench.hand_in(new.clone()).await;
    assert_eq!(job, bench.get(new.id).await);
    assert_status(&job, JobState::Queued);
    assert_eq!(job.namespace, new.namespace);
    assert_eq!(
        (&job.filename, &job.blob, &job.sha256),
        (&new.filename, &new.blob, &new.sha256)
    );
    assert_eq!(
        (job.file_size, job.file_type),
        (new.file_size, new.file_type)
    );
    assert_eq!((&job.options, &job.schema), (&new.options, &new.schema));
    assert_eq!(job.processor, new.processor);
    assert_eq!(job.webhook_url, new.webhook_url);
    assert_eq!((job.priority, job.findings_max), (7, 5));
    assert_eq!((job.attempt, job.generation), (0, 0));
    let one = TaskCounts {
        total: 1,
        done: 0,
        failed: 0,
    };
    assert_eq!(job.tasks, one);
    assert_eq!((job.outcome, job.rows_total, job.tally), (None, None, None));
    assert_eq!(job.created_at, bench.sources.now());
    assert_eq!(job.queued_at, job.created_at);
}

async fn reserve(bench: &Bench, namespace: &str, key: &str) -> Reservation {
    let namespace = namespace.parse().expect("a namespace");
    let reserved = bench.store.reserve_key(&namespace, key, HOLD).await;
    reserved.expect("the store answers")
}

async fn hand_in_with_key(bench: &Bench, key: &str) -> crate::Result<Job> {
    let mut new = bench.new_job();
    new.idempotency = Some(Idempotency {
        key: key.to_owned(),
        fingerprint: format!("body of {key}"),
        expires_at: bench.sources.now() + DAY,
    });
    bench.store.create_job(new).await
}

/// The second of two uploads with one key learns of the first.
pub async fn a_key_is_reserved_once(bench: &Bench) {
    assert_eq!(reserve(bench, "a", "k").await, Reservation::Reserved);
    assert_eq!(reserve(bench, "a", "k").await, Reservation::InFlight);
    assert_eq!(reserve(bench, "a", "other").await, Reservation::Reserved);
    assert_eq!(reserve(bench, "b", "k").await, Reservation::Reserved);
}

/// An upload that came to nothing does not block its key.
pub async fn a_released_or_expired_key_can_be_reserved_again(bench: &Bench) {
    let namespace = Namespace::default();
    assert_eq!(reserve(bench, "default", "k").await, Reservation::Reserved);
    let released = bench.store.release_key(&namespace, "k").await;
    released.expect("released");
    assert_eq!(reserve(bench, "default", "k").await, Reservation::Reserved);
    bench.clock.advance(HOLD);
    assert_eq!(reserve(bench, "default", "k").await, Reservation::Reserved);
    assert_eq!(reserve(bench, "default", "k").await, Reservation::InFlight);
}

/// A slow upload keeps its key for as long as it says so, and not a moment longer.
pub async fn a_renewed_key_stays_reserved(bench: &Bench) {
    let namespace = Namespace::default();
    assert_eq!(reserve(bench, "default", "k").await, Reservation::Reserved);
    for _ in 0..3 {
        bench.clock.advance(HOLD / 2);
        let renewed = bench.store.renew_key(&namespace, "k", HOLD).await;
        renewed.expect("renewed");
        assert_eq!(reserve(bench, "default", "k").await, Reservation::InFlight);
    }
    let job = hand_in_with_key(bench, "k").await.expect("created");
    // Too late to matter: the key is the job's, for a day.
    let renewed = bench.store.renew_key(&namespace, "k", HOLD).await;
    renewed.expect("nothing to do");
    bench.clock.advance(2 * HOLD);
    let used = reserve(bench, "default", "k").await;
    assert!(
        matches!(used, Reservation::Used { job: id, .. } if id == job.id),
        "{used:?}"
    );
    let other = bench.store.renew_key(&namespace, "other", HOLD).await;
    other.expect("nothing to do");
    assert_eq!(
        reserve(bench, "default", "other").await,
        Reservation::Reserved
    );
}

/// A used key names its job until it expires or the job is deleted; one that is not reserved makes none.
pub async fn a_job_takes_up_its_key(bench: &Bench) {
    let refused = hand_in_with_key(bench, "k").await;
    assert!(matches!(refused, Err(Error::KeyTaken)), "{refused:?}");
    assert_eq!(reserve(bench, "default", "k").await, Reservation::Reserved);
    let job = hand_in_with_key(bench, "k").await.expect("created");
    let used = |job: JobId| Reservation::Used {
        job,
        fingerprint: "body of k".to_owned(),
    };
    assert_eq!(reserve(bench, "default", "k").await, used(job.id));
    let refused = hand_in_with_key(bench, "k").await;
    assert!(matches!(refused, Err(Error::KeyTaken)), "{refused:?}");
    let all = bench.store.jobs(&JobFilter::default(), first(10)).await;
    assert_eq!(
        all.expect("listed").total,
        1,
        "a refused job leaves nothing"
    );

    let release = bench.store.release_key(&job.namespace, "k").await;
    release.expect("a used key stays");
    assert_eq!(reserve(bench, "default", "k").await, used(job.id));
    bench.store.delete(job.id).await.expect("deleted");
    assert_eq!(reserve(bench, "default", "k").await, Reservation::Reserved);
    hand_in_with_key(bench, "k").await.expect("created");
    bench.clock.advance(DAY);
    assert_eq!(reserve(bench, "default", "k").await, Reservation::Reserved);
}

fn first(limit: u32) -> Page<JobCursor> {
    Page::Offset { offset: 0, limit }
}

async fn ids(bench: &Bench, filter: &JobFilter, page: Page<JobCursor>) -> (u64, Vec<JobId>) {
    let listed = bench.store.jobs(filter, page).await.expect("listed");
    (listed.total, listed.items.iter().map(|j| j.id).collect())
}

/// The list's order is by creation, and by id within one moment.
pub async fn jobs_are_listed_newest_first(bench: &Bench) {
    assert_eq!(
        ids(bench, &JobFilter::default(), first(10)).await,
        (0, vec![])
    );
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(bench.job().await.id);
        if n % 2 == 0 {
            bench.clock.advance(Duration::from_millis(1));
        }
    }
    made.reverse();
    let all = JobFilter::default();
    assert_eq!(ids(bench, &all, first(10)).await, (5, made.clone()));
    let middle = Page::Offset {
        offset: 1,
        limit: 3,
    };
    assert_eq!(ids(bench, &all, middle).await, (5, made[1..4].to_vec()));
    let past = Page::Offset {
        offset: 9,
        limit: 3,
    };
    assert_eq!(ids(bench, &all, past).await, (5, vec![]));
}

/// Every combination of filters, both ends of a range of time included.
pub async fn a_list_is_filtered_and_counted(bench: &Bench) {
    let team: Namespace = "team-a".parse().expect("a namespace");
    let begin = bench.sources.now();
    let mut made = Vec::new();
    for n in 0..8 {
        let mut new = bench.new_job();
        if n % 2 == 1 {
            new.namespace = team.clone();
        }
        let job = bench.hand_in(new).await;
        if n % 4 >= 2 {
            bench.store.cancel(job.id).await.expect("cancelled");
        }
        made.push(bench.get(job.id).await);
        bench.clock.advance(Duration::from_secs(1));
    }
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    for status in [
        None,
        Some(JobState::Queued),
        Some(JobState::Cancelled),
        Some(JobState::Failed),
    ] {
        for namespace in [None, Some(team.clone())] {
            for (from, to) in [
                (None, None),
                (Some(at(2)), None),
                (None, Some(at(5))),
                (Some(at(3)), Some(at(6))),
            ] {
                let filter = JobFilter {
                    status,
                    namespace: namespace.clone(),
                    from,
                    to,
                };
                let wanted: Vec<_> = made
                    .iter()
                    .rev()
                    .filter(|j| status.is_none_or(|s| j.status == s))
                    .filter(|j| namespace.as_ref().is_none_or(|n| j.namespace == *n))
                    .filter(|j| from.is_none_or(|t| j.created_at >= t))
                    .filter(|j| to.is_none_or(|t| j.created_at <= t))
                    .map(|j| j.id)
                    .collect();
                let got = ids(bench, &filter, first(10)).await;
                assert_eq!(got, (wanted.len() as u64, wanted), "{filter:?}");
            }
        }
    }
}

/// Those that are queued count, of this namespace only; what is refused leaves nothing.
pub async fn no_more_jobs_are_queued_than_a_namespace_may_have(bench: &Bench) {
    let bounded = || {
        let mut new = bench.new_job();
        new.queued_max = Some(2);
        new
    };
    let namespace = Namespace::default();
    let queued = || async { bench.store.queued(&namespace).await.expect("counted") };
    let first = bench.hand_in(bounded()).await;
    bench.hand_in(bounded()).await;
    assert_eq!(queued().await, 2);
    let refused = bounded();
    let id = refused.id;
    let error = bench.store.create_job(refused).await.expect_err("full");
    assert!(matches!(error, Error::QueueFull { most: 2, .. }), "{error}");
    assert_eq!(bench.store.job(id).await.expect("answers"), None);
    assert_eq!(queued().await, 2);

    let mut elsewhere = bounded();
    elsewhere.namespace = "elsewhere".parse().expect("a namespace");
    bench.hand_in(elsewhere).await;
    // What runs or has ended is not queued.
    bench.store.cancel(first.id).await.expect("cancelled");
    bench.hand_in(bounded()).await;
    bench.claim_next().await;
    bench.hand_in(bounded()).await;
    assert_eq!(queued().await, 2);
    // Who states no bound has none.
    bench.job().await;
    assert_eq!(queued().await, 3);
}

/// Of many that come at the same moment exactly as many get in as there is room for.
pub async fn jobs_handed_in_at_once_do_not_pass_the_bound_together(bench: &Bench) {
    let mut coming = Vec::new();
    for _ in 0..24 {
        let mut new = bench.new_job();
        new.queued_max = Some(5);
        let store = bench.store.clone();
        coming.push(tokio::spawn(async move { store.create_job(new).await }));
    }
    let mut taken = 0;
    for one in coming {
        match one.await.expect("no panic") {
            Ok(_) => taken += 1,
            Err(error) => assert!(matches!(error, Error::QueueFull { .. }), "{error}"),
        }
    }
    assert_eq!(taken, 5);
    let queued = bench.store.queued(&Namespace::default()).await;
    assert_eq!(queued.expect("counted"), 5);
}

/// Pages by cursor show each job once, though jobs come and end in between.
pub async fn a_cursor_walks_the_whole_list(bench: &Bench) {
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(bench.job().await.id);
        if n % 3 == 0 {
            bench.clock.advance(Duration::from_millis(1));
        }
    }
    made.reverse();
    let filter = JobFilter {
        status: None,
        namespace: Some(Namespace::default()),
        ..JobFilter::default()
    };
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = Page::After { cursor, limit: 2 };
        let listed = bench.store.jobs(&filter, page).await.expect("listed");
        assert!(listed.items.len() <= 2);
        seen.extend(listed.items.iter().map(|j| j.id));
        if seen.len() == 2 {
            bench.clock.advance(Duration::from_secs(1));
            bench.finished(bench.new_job(), effects(1, 0)).await;
        }
        cursor = listed.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
    let offset = bench.store.jobs(&filter, first(3)).await.expect("listed");
    let next = Page::After {
        cursor: offset.next,
        limit: 10,
    };
    let rest = bench.store.jobs(&filter, next).await.expect("listed");
    assert_eq!(offset.items.len() + rest.items.len(), 8);
    assert_eq!((rest.total, rest.next), (8, None));
}
