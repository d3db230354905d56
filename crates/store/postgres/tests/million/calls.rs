//! What calls read, counted by the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use filejobs_core::failure::{Failure, FailureCode};
use filejobs_core::{FindingCode, JobId, JobState, SchedulerId};
use filejobs_store::conformance::{LEASE, effects, worker};
use filejobs_store::{
    DeliveryAttempt, FindingCursor, FindingFilter, Held, Job, JobCursor, JobFilter, NewJob,
    NextDelivery, Page, Store, WorkerInfo,
};
use filejobs_store_postgres::PostgresStore;
use filejobs_store_postgres::objects::{Applied, ObjectRef, Objects};
use filejobs_testkit::wait::{self, DEADLINE};

use crate::{Million, is_small, million, open};

/// Rows, and entries of indexes, that a call may read of one table: a few times what the largest page, window or batch
/// here takes, and next to nothing of a million.
const MOST: i64 = 400;

/// A page.
const PAGE: u32 = 50;

/// Reads of each table that grows: rows by scans, entries by its indexes.
type Reads = BTreeMap<String, i64>;

fn reads(million: &Million) -> Reads {
    let told = million.run(
        "SELECT t.relname, t.seq_tup_read + COALESCE(SUM(i.idx_tup_read), 0)
        FROM pg_stat_user_tables t LEFT JOIN pg_stat_user_indexes i ON i.relid = t.relid GROUP BY 1, t.seq_tup_read",
    );
    let told = told.expect("the server counts");
    told.lines()
        .filter_map(|line| line.split_once('|'))
        .filter(|(table, _)| !is_small(table))
        .map(|(table, rows)| (table.to_owned(), rows.parse().expect("a number")))
        .collect()
}

/// Makes a call on connections of its own; also tells what it read.
async fn counted<T>(
    million: &Million,
    call: impl AsyncFnOnce(&Arc<PostgresStore>) -> T,
) -> (T, Reads) {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let before = reads(million);
    let name = format!("call{}", CALLS.fetch_add(1, Ordering::Relaxed));
    let answer = uncounted(million, &name, call).await;
    // A server process adds to the counts when it ends at the latest.
    let gone = wait::until("the connections to end", DEADLINE, async || {
        let open = million.run(&format!(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = '{name}'"
        ))?;
        Ok((open == "0").then_some(()))
    });
    gone.await.expect("ended");
    let mut counted = reads(million);
    for (table, rows) in &mut counted {
        *rows -= before.get(table).copied().unwrap_or(0);
    }
    (answer, counted)
}

/// Makes a call on connections of its own. Those of the bench end with the test that made it.
async fn uncounted<T>(
    million: &Million,
    name: &str,
    call: impl AsyncFnOnce(&Arc<PostgresStore>) -> T,
) -> T {
    let url = million.server.url(&million.name);
    let url = format!("{url}?application_name={name}");
    let store = open(&url, million.bench.sources.clone()).await;
    let answer = call(&store).await;
    store.close().await;
    answer
}

/// Hands in a job.
async fn hand_in(million: &Million) -> Job {
    let job = million.bench.new_job();
    let made = uncounted(million, "hands-in", async |store| {
        store.create_job(job).await
    });
    made.await.expect("created")
}

/// Ends a job.
async fn cancel(million: &Million, job: JobId) {
    let ended = uncounted(million, "cancels", async |store| store.cancel(job).await);
    ended.await.expect("cancelled");
}

/// Makes a call and asserts on what it read.
async fn reads_little<T>(what: &str, call: impl AsyncFnOnce(&Arc<PostgresStore>) -> T) -> T {
    let (answer, counted) = counted(million().await, call).await;
    for (table, rows) in counted {
        assert!(rows <= MOST, "{what} read {rows} rows of `{table}`");
    }
    answer
}

/// One at a time: what another test reads meanwhile would be counted, too.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn job(million: &Million) -> NewJob {
    NewJob {
        webhook_url: Some("https://example.com/hook".to_owned()),
        ..million.bench.new_job()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_call_reads_is_counted() {
    let _alone = ALONE.lock().await;
    let skipped = 3_000;
    let (listed, counted) = counted(million().await, async |store| {
        let page = Page::Offset {
            offset: skipped,
            limit: PAGE,
        };
        store.jobs(&JobFilter::default(), page).await
    })
    .await;
    assert_eq!(listed.unwrap().items.len(), 50);
    assert!(counted["jobs"] > 3_000, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_reads_no_more_than_it_would_without_a_past() {
    let _alone = ALONE.lock().await;
    let million = million().await;
    let bench = &million.bench;
    reads_little("handing in ten files", async |store| {
        for _ in 0..10 {
            store.create_job(job(million)).await.unwrap();
        }
    })
    .await;
    let waiting = reads_little("looking for work", async |store| store.waiting(PAGE).await);
    let waiting: Vec<_> = waiting.await.unwrap().iter().map(|w| w.task).collect();
    assert_eq!(waiting.len(), 10);
    let tickets = reads_little("publishing", async |store| store.publish(&waiting).await);
    let tickets = tickets.await.unwrap();
    let published = reads_little("counting what is published", async |store| {
        store.published().await
    });
    assert_eq!(published.await.unwrap(), 10);
    let again = reads_little("publishing again", async |store| {
        store.republish(Duration::ZERO, PAGE).await
    });
    assert_eq!(again.await.unwrap().len(), 10);
    let claim = async |number: usize| {
        let claimed = reads_little("claiming", async |store| {
            store.claim(&tickets[number], &worker(), LEASE).await
        });
        claimed.await.unwrap().expect("it was published")
    };
    let (first, second, third, fourth) = (
        claim(0).await,
        claim(1).await,
        claim(2).await,
        claim(3).await,
    );
    let held = [&first, &second, &third, &fourth].map(|claimed| Held {
        task: claimed.task,
        attempt: claimed.attempt,
        bytes: 10,
        rows: 1,
        failed: 0,
    });
    let lost = reads_little("a heartbeat", async |store| {
        store.renew(&worker(), &held, LEASE).await
    });
    assert_eq!(lost.await.unwrap(), []);
    admitting(million).await;
    let expired = reads_little("looking for lost work", async |store| {
        store.expired_leases(PAGE).await
    });
    assert_eq!(expired.await.unwrap(), []);
    reads_little("committing", async |store| {
        store
            .commit(first.task, first.attempt, bench.effects(1, 100, 10))
            .await
    })
    .await
    .unwrap();
    let failure = || Failure::new(FailureCode::ParserCrash, "The parser crashed.");
    reads_little("putting off", async |store| {
        let soon = bench.sources.now();
        store
            .retry_task(second.task, second.attempt, &failure(), soon)
            .await
    })
    .await
    .unwrap();
    reads_little("giving back", async |store| {
        store.release(third.task, third.attempt).await
    })
    .await
    .unwrap();
    reads_little("failing", async |store| {
        let left = Some(effects(10, 0));
        store
            .fail(fourth.task, fourth.attempt, failure(), left)
            .await
    })
    .await
    .unwrap();
    telling(million).await;
    let stats = reads_little("measuring the queue", async |store| {
        store.queue_stats().await
    });
    assert_eq!(stats.await.unwrap().published, 6);
    let taken = reads_little("taking all back", async |store| store.take_back_all().await);
    assert_eq!(taken.await.unwrap(), 6);
}

/// With six tasks published and four running.
async fn admitting(million: &Million) {
    let running = reads_little("counting what runs", async |store| store.running().await);
    let tasks: u64 = running.await.unwrap().iter().map(|r| r.load.tasks).sum();
    assert_eq!(tasks, 10);
    reads_little("looking for work of jobs under way", async |store| {
        store.waiting_of_begun(PAGE).await
    })
    .await
    .unwrap();
    let behind = hand_in(million).await;
    let queued = reads_little("counting what is queued", async |store| {
        store.queued(&behind.namespace).await
    });
    assert!(queued.await.unwrap() >= 7);
    let why = reads_little("looking why a job waits", async |store| {
        store.why_waiting(behind.id).await
    });
    let place = why.await.unwrap().expect("it waits").place;
    assert_eq!(place.map(|place| place.position), Some(7));
    cancel(million, behind.id).await;
}

async fn telling(million: &Million) {
    let now = million.bench.sources.now();
    let due = reads_little("looking for webhooks", async |store| {
        store.due_deliveries(PAGE, LEASE).await
    });
    let due = due.await.unwrap();
    assert_eq!(due.len(), 2);
    let attempt = DeliveryAttempt {
        at: now,
        duration_ms: 1,
        status: Some(200),
        error: None,
    };
    reads_little("noting an attempt", async |store| {
        store
            .record_attempt(&due[0], attempt, NextDelivery::Delivered)
            .await
    })
    .await
    .unwrap();
    let beat = WorkerInfo {
        id: worker(),
        slots: 2,
        busy: 1,
        version: "1.2.3".to_owned(),
        started_at: now,
        last_seen: now,
    };
    reads_little("a worker's beat", async |store| store.beat(&beat).await)
        .await
        .unwrap();
    let workers = reads_little("listing workers", async |store| store.workers(LEASE).await);
    assert_eq!(workers.await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_reads_no_more_deep_in_a_list_than_at_its_beginning() {
    let _alone = ALONE.lock().await;
    let million = million().await;
    let any = JobFilter::default();
    let first = reads_little("the first page of jobs", async |store| {
        store
            .jobs(
                &any,
                Page::Offset {
                    offset: 0,
                    limit: PAGE,
                },
            )
            .await
    });
    assert_eq!(first.await.unwrap().items.len(), 50);
    let halfway = million
        .run(
            "SELECT id, (EXTRACT(EPOCH FROM created_at) * 1000000)::bigint FROM jobs
        ORDER BY created_at OFFSET 500000 LIMIT 1",
        )
        .unwrap();
    let (id, micros) = halfway.split_once('|').unwrap();
    let cursor = Some(JobCursor {
        created_at: jiff::Timestamp::from_microsecond(micros.parse().unwrap()).unwrap(),
        id: id.parse().unwrap(),
    });
    let other = Some("other".parse().unwrap());
    for (status, namespace) in [
        (None, None),
        (Some(JobState::Failed), None),
        (None, other.clone()),
        (Some(JobState::Completed), other),
    ] {
        let filter = JobFilter {
            status,
            namespace,
            ..JobFilter::default()
        };
        let page = reads_little("a page deep in the list of jobs", async |store| {
            store
                .jobs(
                    &filter,
                    Page::After {
                        cursor,
                        limit: PAGE,
                    },
                )
                .await
        });
        let page = page.await.unwrap();
        assert_eq!(page.items.len(), 50, "{filter:?}");
        assert!(page.total > 50_000 - 50, "{filter:?}: {}", page.total);
    }
    let row_number = 500_000;
    let column = Some("value".to_owned());
    let code = Some(FindingCode::TypeError);
    for (code, column) in [
        (None, None),
        (code, None),
        (None, column.clone()),
        (code, column),
    ] {
        let filter = FindingFilter { code, column };
        let cursor = Some(FindingCursor { row_number, seq: 0 });
        let page = reads_little("a page deep in the findings", async |store| {
            store
                .findings(
                    million.found,
                    &filter,
                    Page::After {
                        cursor,
                        limit: PAGE,
                    },
                )
                .await
        });
        let page = page.await.unwrap().expect("the job is there");
        assert_eq!(
            (page.items.len(), page.total),
            (50, 1_000_000),
            "{filter:?}"
        );
        assert_eq!(page.items[0].finding.row_number, row_number + 1);
    }
    let page = reads_little("a page of findings by its number", async |store| {
        let page = Page::Offset {
            offset: 900_000,
            limit: PAGE,
        };
        store
            .findings(million.found, &FindingFilter::default(), page)
            .await
    });
    assert_eq!(
        page.await.unwrap().expect("it is there").items[0]
            .finding
            .row_number,
        900_001
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_at_a_job_steering_and_forgetting_it_read_only_what_is_its_own() {
    let _alone = ALONE.lock().await;
    let million = million().await;
    let id = million.found;
    reads_little("looking at a job", async |store| {
        store.job(id).await.unwrap().expect("it is there");
        store.parts(id).await.unwrap();
        store.rejected(id).await.unwrap();
        store.events(id, 0, PAGE).await.unwrap();
        store.deliveries(id).await.unwrap();
    })
    .await;
    let new = job(million);
    let own = new.id;
    reads_little("steering", async |store| {
        store.create_job(new).await.unwrap();
        store.set_priority(own, 3).await.unwrap();
        store.suspend(own).await.unwrap();
        store.resume(own).await.unwrap();
        store.cancel(own).await.unwrap();
        store.retry(own).await.unwrap();
        store.cancel(own).await.unwrap();
        store.resend_delivery(own).await.unwrap();
    })
    .await;
    let dead = reads_little("listing the dead letters", async |store| {
        let dead = store
            .dead_letters(Page::Offset {
                offset: 0,
                limit: PAGE,
            })
            .await;
        dead.unwrap().items[1].task
    });
    let dead = dead.await;
    reads_little("replaying a dead letter", async |store| {
        let job = store.replay(dead).await.unwrap();
        store.cancel(job.id).await.unwrap();
    })
    .await;
    let now = million.bench.sources.now();
    let old = reads_little("looking for old jobs", async |store| {
        store.ended_before(now, 100).await
    });
    let old = old.await.unwrap();
    assert_eq!(old.len(), 100);
    let existing = reads_little("asking which jobs exist", async |store| {
        store.existing(&old).await
    });
    assert_eq!(existing.await.unwrap().len(), 100);
    reads_little("deleting", async |store| {
        store.delete(own).await.unwrap();
        store.delete(old[1]).await.unwrap();
        let mut tombstones = store.tombstones(100).await.unwrap();
        // Another test may have left one, whichever comes first.
        tombstones.retain(|tombstone| [own, old[1]].contains(&tombstone.id));
        assert_eq!(tombstones.len(), 2);
        store
            .postpone_burial(&tombstones[1], Duration::ZERO)
            .await
            .unwrap();
        store.bury(&tombstones[0]).await.unwrap();
    })
    .await;
    reads_little("sweeping", async |store| store.sweep(100).await.unwrap()).await;
}

/// Makes a call for the scheduler that leads and asserts on what it read.
async fn object_reads_little<T>(what: &str, call: impl AsyncFnOnce(Objects) -> T) -> T {
    let leader = SchedulerId::new("leads");
    reads_little(what, async |store| {
        store.lead(&leader, LEASE).await.unwrap().expect("it leads");
        call(store.objects(leader.clone(), "here")).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_for_an_object_reads_only_what_is_its_own() {
    let _alone = ALONE.lock().await;
    let million = million().await;
    let object = ObjectRef {
        uid: "one".to_owned(),
        namespace: million.bench.new_job().namespace.to_string(),
        name: "orders".to_owned(),
    };
    let new = job(million);
    let own = new.id;
    object_reads_little("making an object's job", async |objects| {
        let applied = Applied::default();
        objects.create(&object, applied, None, new).await.unwrap();
        objects.of_object("one").await.unwrap().expect("linked");
        objects.of_job(own).await.unwrap().expect("linked");
        objects.seen(&[own]).await.unwrap();
    })
    .await;
    object_reads_little("steering for an object", async |objects| {
        objects.note(own, Applied::default()).await.unwrap();
        let late = Failure::new(FailureCode::DeadlineExceeded, "Too late.");
        objects.fail(own, &late).await.unwrap();
        assert!(objects.retry(own, 1).await.unwrap());
    })
    .await;
    let middle = million.run("SELECT job FROM object_links ORDER BY job OFFSET 50000 LIMIT 1");
    let middle: JobId = middle.unwrap().parse().unwrap();
    let links = object_reads_little("a page of links", async |objects| {
        objects.links(Some(middle), PAGE).await.unwrap()
    });
    assert_eq!(links.await.len(), 50);
    let states = object_reads_little("a page of states", async |objects| {
        objects.states(&[middle, own]).await.unwrap()
    });
    assert_eq!(states.await[&own], JobState::Queued);
    let upload = hand_in(million).await.id;
    let minute = Duration::from_mins(1);
    let young = million.bench.sources.now().checked_sub(minute).unwrap();
    let without = object_reads_little("looking for jobs without objects", async |objects| {
        objects
            .without_object(None, young, None, PAGE)
            .await
            .unwrap()
    });
    let without: Vec<_> = without.await.iter().map(|job| job.id).collect();
    assert!(without.contains(&upload), "{without:?}");
    assert!(!without.contains(&own), "{without:?}");
    object_reads_little("removing an object's job", async |objects| {
        objects.remove(&object, own).await.unwrap();
    })
    .await;
    cancel(million, upload).await;
}
