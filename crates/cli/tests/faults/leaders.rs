//! Two schedulers that both believe they lead.

use std::collections::{BTreeMap, BTreeSet};

use filejobs_blobs::Blobs;
use filejobs_core::Sources;
use filejobs_queue::redis::{self, Redis};
use filejobs_scheduler::{Backends, Config};
use filejobs_store_postgres::{PostgresStore, Settings};
use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::files::Content;
use crate::{BINARY, submit};

/// Jobs that both see.
const JOBS: usize = 100;

/// Two that work all the time without asking who leads: more than a lost term can ever bring about.
#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_at_work_do_nothing_twice() {
    let receiver = receiver().await;
    let cluster = Cluster::start(BINARY, PostgresServer::shared()).unwrap();
    let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
    let stop = CancellationToken::new();
    let mut schedulers = JoinSet::new();
    for name in ["one", "other"] {
        let backends = backends(&cluster, name).await;
        let mut config = Config::default();
        config
            .webhooks
            .allowed
            .push("127.0.0.1/32".parse().unwrap());
        schedulers.spawn(filejobs_scheduler::run(backends, config, stop.clone()));
    }
    // They meet over all of the jobs before the first is done.
    let ids = hand_in(&cluster, &api, &receiver, 0..JOBS).await;
    let _worker = cluster.spawn(&["worker"]).await.unwrap();
    everything_once(&cluster, &api, &ids, &receiver).await;
    stop.cancel();
    for ended in schedulers.join_all().await {
        ended.unwrap();
    }
}

/// The leader stands still until another has its place, and goes on where it stood.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_past_its_term_does_nothing_twice() {
    let receiver = receiver().await;
    let mut cluster = Cluster::start(BINARY, PostgresServer::shared()).unwrap();
    let allowed = ("FILEJOBS_WEBHOOK_ALLOW", "127.0.0.1/32");
    cluster
        .environment
        .push((allowed.0.to_owned(), allowed.1.to_owned()));
    let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
    let _worker = cluster.spawn(&["worker"]).await.unwrap();
    let schedulers = [
        cluster.spawn(&["scheduler"]).await.unwrap(),
        cluster.spawn(&["scheduler"]).await.unwrap(),
    ];
    let still = leader(&cluster, &schedulers, None).await;
    let mut ids = hand_in(&cluster, &api, &receiver, 0..JOBS / 2).await;
    // In the middle of its work.
    schedulers[still].signal("STOP").unwrap();
    let next = leader(&cluster, &schedulers, Some(still)).await;
    ids.extend(hand_in(&cluster, &api, &receiver, JOBS / 2..JOBS).await);
    schedulers[still].signal("CONT").unwrap();
    everything_once(&cluster, &api, &ids, &receiver).await;
    wait::until("the first to stand by", DEADLINE, async || {
        let leads = [
            leads(&cluster, &schedulers[still]).await,
            leads(&cluster, &schedulers[next]).await,
        ];
        Ok((leads == [false, true]).then_some(()))
    })
    .await
    .unwrap();
}

async fn receiver() -> MockServer {
    let receiver = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&receiver)
        .await;
    receiver
}

/// What a scheduler process makes of the same settings.
async fn backends(cluster: &Cluster, name: &str) -> Backends {
    let sources = Sources::system();
    let url = &cluster.database_url;
    let settings = Settings {
        connections: 10,
        kept: 2,
        ..Settings::default()
    };
    let store = PostgresStore::open(url, sources.clone(), settings);
    let server = cluster.redis_url.parse().unwrap();
    let queue = redis::Config::new(server, name, sources.clone());
    Backends {
        store: store.await.unwrap(),
        queue: std::sync::Arc::new(Redis::new(queue).unwrap()),
        blobs: Blobs::local(&cluster.files()).await.unwrap(),
        sources,
        webhook_keys: None,
    }
}

async fn hand_in(
    cluster: &Cluster,
    api: &Member,
    receiver: &MockServer,
    numbers: std::ops::Range<usize>,
) -> Vec<String> {
    let mut ids = Vec::new();
    for n in numbers {
        let upload = Content::Small { rows: 10 }.upload(&n.to_string());
        let upload = upload.field("webhook_url", receiver.uri());
        ids.push(submit(cluster, api, &upload).await);
    }
    ids
}

/// Each job was done by one attempt of one task that had one ticket, and told once.
async fn everything_once(cluster: &Cluster, api: &Member, ids: &[String], receiver: &MockServer) {
    let truth = Content::Small { rows: 10 }.truth();
    for id in ids {
        let job = cluster.finished(api, "none", id).await.unwrap();
        assert_eq!(
            (&job["status"], &job["rows_failed"], &job["attempt"]),
            (&"COMPLETED".into(), &truth.bad.into(), &1.into()),
            "{job}"
        );
    }
    let told = async || {
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for request in receiver.received_requests().await.unwrap() {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let id = request.headers["webhook-id"].to_str().unwrap();
            let job = body["job_id"].as_str().unwrap();
            told.entry(job.to_owned())
                .or_default()
                .insert(id.to_owned());
        }
        told
    };
    let told = wait::until("all to be told", DEADLINE, async || {
        let told = told().await;
        Ok((told.len() == ids.len()).then_some(told))
    });
    let told = told.await.unwrap();
    assert!(told.values().all(|ids| ids.len() == 1), "{told:?}");
    // A ticket may come twice, at worst once from each of the two; never again and again.
    let stream = cluster
        .redis
        .command(&["XINFO", "STREAM", "filejobs:tasks"]);
    let stream = stream.unwrap();
    let mut lines = stream.lines().skip_while(|line| *line != "entries-added");
    let tickets: usize = lines.nth(1).unwrap().parse().unwrap();
    assert!(
        tickets <= 2 * ids.len(),
        "{tickets} tickets for {} tasks",
        ids.len()
    );
}

async fn leads(cluster: &Cluster, member: &Member) -> bool {
    let said = cluster.readiness(member).await;
    said.is_some_and(|said| said.json()["leads"] == true)
}

/// Which of the schedulers leads, `but` one that cannot be asked.
async fn leader(cluster: &Cluster, schedulers: &[Member; 2], but: Option<usize>) -> usize {
    wait::until("one to lead", DEADLINE, async || {
        for (n, member) in schedulers.iter().enumerate() {
            if Some(n) != but && leads(cluster, member).await {
                return Ok(Some(n));
            }
        }
        Ok(None)
    })
    .await
    .unwrap()
}
