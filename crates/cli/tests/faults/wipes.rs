//! Redis loses all that it held, again and again, in the middle of work.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filejobs_testkit::cluster::Cluster;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::wait::{self, DEADLINE};

use crate::files::Content;
use crate::{BINARY, submit};

/// Wipes.
const WIPES: usize = 20;

/// Files handed in before each: more than the worker takes at once.
const BURST: usize = 6;

/// A ticket that was lost is published again within this time.
const PUBLISHED_AGAIN: Duration = Duration::from_secs(30);

/// Pause between two looks for lost tickets.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn twenty_wipes_lose_nothing_and_what_was_lost_is_published_again_within_thirty_seconds() {
    let mut cluster = Cluster::start(BINARY, PostgresServer::shared()).unwrap();
    let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let worker = ["worker", "--max-concurrency", "1"];
    let _worker = cluster.spawn(&worker).await.unwrap();
    let database = cluster.database_url.rsplit('/').next().unwrap().to_owned();
    let lost = Lost::watch(database);
    let content = Content::Small { rows: 40 };
    let mut jobs = Vec::new();
    for wipe in 0..WIPES {
        for _ in 0..BURST {
            let upload = content.upload(&format!("{}", jobs.len()));
            jobs.push(submit(&cluster, &api, &upload).await);
        }
        wait::until("tickets to wait", DEADLINE, async || {
            let waiting = cluster.redis.command(&["XLEN", "filejobs:tasks"])?;
            if waiting.parse::<u32>()? >= 2 {
                return Ok(Some(()));
            }
            // The worker may have been faster than this look.
            let upload = content.upload(&format!("{}", jobs.len()));
            jobs.push(submit(&cluster, &api, &upload).await);
            Ok(None)
        })
        .await
        .unwrap();
        if wipe % 2 == 0 {
            cluster.redis.flush().unwrap();
        } else {
            cluster.redis.restart_empty().unwrap();
        }
        lost.note();
    }
    let truth = content.truth();
    for id in &jobs {
        let job = cluster.finished(&api, "none", id).await.unwrap();
        assert_eq!(job["status"], "COMPLETED", "{job}");
        assert_eq!(
            (&job["rows_processed"], &job["rows_failed"], &job["attempt"]),
            (&truth.rows.into(), &truth.bad.into(), &1.into()),
            "{job}"
        );
    }
    let (tickets, worst) = lost.end();
    eprintln!(
        "{WIPES} wipes, {} jobs, {tickets} tickets lost, the last published again after {:.1} s",
        jobs.len(),
        worst.as_secs_f64()
    );
    assert!(tickets > 0, "no wipe hit anything");
    assert!(worst <= PUBLISHED_AGAIN, "{worst:?}");
    wait::until("the stream to be empty", DEADLINE, async || {
        let left = cluster.redis.command(&["XLEN", "filejobs:tasks"])?;
        Ok((left == "0").then_some(()))
    })
    .await
    .unwrap();
}

/// Tickets that were in Redis when it was wiped, each until its task is published again or has gone on.
#[derive(Debug)]
struct Lost {
    database: String,
    tickets: Arc<Mutex<Tickets>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Tickets {
    /// Task and time of its publication, and since when the ticket is lost.
    missing: Vec<(String, Instant)>,
    count: usize,
    worst: Duration,
}

impl Lost {
    fn watch(database: String) -> Self {
        let tickets = Arc::new(Mutex::new(Tickets::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped, of) = (tickets.clone(), stop.clone(), database.clone());
        let thread = std::thread::spawn(move || {
            loop {
                // Asked first: what went on before the end is seen by a last look.
                let last = stopped.load(Ordering::Relaxed);
                let there = published(&of);
                let mut tickets = seen.lock().unwrap();
                let Tickets { missing, worst, .. } = &mut *tickets;
                missing.retain(|(ticket, since)| {
                    *worst = since.elapsed().max(*worst);
                    there.contains(ticket)
                });
                drop(tickets);
                if last {
                    break;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self {
            database,
            tickets,
            stop,
            thread,
        }
    }

    /// Redis was wiped a moment ago.
    fn note(&self) {
        let since = Instant::now();
        let mut tickets = self.tickets.lock().unwrap();
        let known: BTreeSet<String> = tickets.missing.iter().map(|(t, _)| t.clone()).collect();
        let new = published(&self.database);
        let new: Vec<_> = new.difference(&known).cloned().collect();
        tickets.count += new.len();
        tickets
            .missing
            .extend(new.into_iter().map(|ticket| (ticket, since)));
    }

    /// How many tickets were lost, and how long the last of them was missing.
    fn end(self) -> (usize, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let tickets = self.tickets.lock().unwrap();
        assert!(tickets.missing.is_empty(), "{tickets:?}");
        (tickets.count, tickets.worst)
    }
}

/// Tasks that are on their way, each with the time of its publication.
fn published(database: &str) -> BTreeSet<String> {
    let question = "SELECT concat(id, ' ', published_at) FROM tasks WHERE state = 'PUBLISHED'";
    let answer = PostgresServer::shared().run(database, question).unwrap();
    answer.lines().map(str::to_owned).collect()
}
