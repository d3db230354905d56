//! Clients that hang up at the moment at which their job is made.

use std::time::{Duration, Instant};

use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::raw::{self, Raw};
use filejobs_testkit::wait::{self, DEADLINE};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::BINARY;

/// Clients, half of them with a key under which they come again.
const CLIENTS: usize = 120;

/// Microseconds after the last byte, at least: from before the service has read it to after the answer.
const MOMENTS: u64 = 25_000;

/// Uploads that show how long after the last byte the answer comes on this machine.
const TRIALS: usize = 5;

/// The same moments on every run; another number gives others.
const SEED: u64 = 20_261_128;

const FILE: &str = "id,name\n1,Amara\n2,Bjarne\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_at_the_commit_leaves_one_job_or_none_and_one_with_its_key() {
    let mut random = StdRng::seed_from_u64(SEED);
    let postgres = PostgresServer::shared();
    let cluster = Cluster::start(BINARY, postgres).unwrap();
    let api = ["api", "--auth=none", "--database-connections", "4"];
    let api = cluster.spawn(&api).await.unwrap();
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let _worker = cluster.spawn(&["worker"]).await.unwrap();
    let database = cluster.database_url.rsplit('/').next().unwrap();
    let moments = moments(&api).await;
    let mut told = Vec::new();
    for n in 0..CLIENTS {
        let key = (n % 2 == 0).then(|| format!("key-{n}"));
        let moment = Duration::from_micros(random.random_range(0..moments));
        hang_up(&api, n, key.as_deref(), moment).await;
        if let Some(key) = &key {
            told.push((n, come_again(&api, n, key).await));
        }
    }
    // A commit that a client has left behind ends in its own time.
    wait::until("no transaction to be open", DEADLINE, async || {
        let open = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        Ok((postgres.run(database, open)? == "0").then_some(()))
    })
    .await
    .unwrap();
    let made = "SELECT filename, count(*), min(id::text) FROM jobs WHERE filename LIKE 'file-%' GROUP BY filename";
    let made = postgres.run(database, made).unwrap();
    for line in made.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        assert_eq!(fields[1], "1", "{line}");
        let job = cluster.finished(&api, "none", fields[2]).await.unwrap();
        assert_eq!(
            (&job["status"], &job["rows_processed"]),
            (&"COMPLETED".into(), &2.into()),
            "{job}"
        );
    }
    for (n, id) in told {
        assert!(made.contains(&format!("file-{n}.csv|1|{id}")), "{n} {id}");
    }
    let without_key = made.lines().count() - CLIENTS / 2;
    eprintln!(
        "{CLIENTS} clients hung up; of {} without a key {without_key} left a job",
        CLIENTS / 2
    );
    assert!(without_key > 0, "all hung up too early");
}

/// Until when clients hang up, in microseconds: three times as long as an answer takes.
async fn moments(api: &Member) -> u64 {
    let mut took = Vec::new();
    for n in 0..TRIALS {
        let mut client = Raw::connect(api.url()).await.unwrap();
        client.send(&form("trial", n, None)).await.unwrap();
        let sent = Instant::now();
        client.answer().await.unwrap();
        took.push(sent.elapsed());
    }
    took.sort();
    let median = u64::try_from(took[TRIALS / 2].as_micros()).unwrap();
    MOMENTS.max(3 * median)
}

/// The whole of an upload but for its answer.
async fn hang_up(api: &Member, n: usize, key: Option<&str>, moment: Duration) {
    let mut client = Raw::connect(api.url()).await.unwrap();
    client.send(&form("file", n, key)).await.unwrap();
    tokio::time::sleep(moment).await;
    drop(client);
}

/// Sends the same again until it is answered; gives the job's id.
async fn come_again(api: &Member, n: usize, key: &str) -> String {
    let answer = wait::until("the key's job", DEADLINE, async || {
        let mut client = Raw::connect(api.url()).await?;
        client.send(&form("file", n, Some(key))).await?;
        let answer = client.answer().await?;
        assert!(matches!(answer.status, 202 | 409), "{}", answer.text);
        Ok((answer.status == 202).then_some(answer))
    });
    let text = answer.await.unwrap().text;
    let body = text.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["job_id"].as_str().unwrap().to_owned()
}

fn form(stem: &str, n: usize, key: Option<&str>) -> Vec<u8> {
    let name = format!("{stem}-{n}.csv");
    let (_, mut body) = raw::upload_head(None, name.as_bytes());
    body.extend_from_slice(FILE.as_bytes());
    body.extend_from_slice(raw::UPLOAD_END);
    let (mut head, _) = raw::upload_head(Some(body.len() as u64), name.as_bytes());
    if let Some(key) = key {
        head.truncate(head.len() - 2);
        head.extend_from_slice(format!("Idempotency-Key: {key}\r\n\r\n").as_bytes());
    }
    [head, body].concat()
}
