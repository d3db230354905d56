//! Redis and Postgres behind a network that loses every packet for a minute; and Postgres that is not there.

use std::time::{Duration, Instant};

use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::http::{self, Answer};
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::proxy::{Link, Proxy};
use filejobs_testkit::wait::{self, DEADLINE};

use crate::files::Content;
use crate::{BINARY, submit};

/// How long nothing comes through.
const SILENCE: Duration = Duration::from_mins(1);

/// `GET /api/health` answers within two seconds, which is tested where the clock is ours; the others are for a machine
/// that is busy with other tests. Silence lasts longer.
const HEALTH: Duration = Duration::from_secs(20);

/// Longest time for any other answer: a connection and a unit of work have their deadlines, and this is their sum.
const ANSWER: Duration = Duration::from_secs(30);

/// A service of three processes, one of whose servers will be away.
struct Stage {
    cluster: Cluster,
    api: Member,
    _scheduler: Member,
    _worker: Member,
    /// A job that ended before.
    before: String,
}

impl Stage {
    async fn set(cluster: Cluster) -> Self {
        let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
        let stage = Self {
            _scheduler: cluster.spawn(&["scheduler"]).await.unwrap(),
            _worker: cluster.spawn(&["worker"]).await.unwrap(),
            before: submit(&cluster, &api, &upload("before")).await,
            cluster,
            api,
        };
        stage.comes_to_its_end(&stage.before).await;
        stage
    }

    async fn comes_to_its_end(&self, id: &str) {
        let job = self.cluster.finished(&self.api, "none", id).await.unwrap();
        assert_eq!(job["status"], "COMPLETED", "{job}");
        assert_eq!(job["attempt"], 1, "{job}");
    }

    async fn get(&self, path: &str, within: Duration) -> Answer {
        let url = format!("{}{path}", self.api.url());
        let begun = Instant::now();
        let answer = http::answer(self.cluster.client.get(url)).await.unwrap();
        let took = begun.elapsed();
        assert!(took < within, "{path} took {took:?}");
        answer
    }

    async fn hand_in(&self, name: &str) -> Answer {
        let begun = Instant::now();
        let upload = upload(name);
        let answer = upload.send(&self.cluster.client, self.api.url()).await;
        let answer = answer.unwrap();
        let took = begun.elapsed();
        assert!(took < ANSWER, "an upload took {took:?}");
        answer
    }

    /// Without Postgres nothing is taken and nothing can be told, and each answer says when to come again.
    async fn refuses(&self, name: &str) {
        let job = format!("/api/jobs/{}", self.before);
        let (upload, job, list) = tokio::join!(
            self.hand_in(name),
            self.get(&job, ANSWER),
            self.get("/api/jobs", ANSWER)
        );
        for answer in [upload, job, list] {
            answer.assert_problem(503);
            let seconds: u32 = answer.header("retry-after").parse().unwrap();
            assert!(seconds > 0);
        }
        let health = self.get("/api/health", HEALTH).await;
        assert_eq!((health.status, &health.json()["db"]), (503, &"down".into()));
    }

    async fn is_healthy_again(&self) {
        wait::until("the service to be healthy", DEADLINE, async || {
            let health = self.get("/api/health", HEALTH).await;
            Ok((health.status == 200).then_some(()))
        })
        .await
        .unwrap();
        let after = submit(&self.cluster, &self.api, &upload("after")).await;
        self.comes_to_its_end(&after).await;
    }
}

fn upload(name: &str) -> http::Upload {
    Content::Small { rows: 20 }.upload(name)
}

/// Both at once, since a test of this kind waits for most of its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_silence_is_answered_in_time_and_survived_without_restarts() {
    tokio::join!(without_redis(), without_postgres());
}

async fn without_redis() {
    let mut cluster = Cluster::start(BINARY, PostgresServer::shared()).unwrap();
    let proxy = Proxy::start(cluster.redis.address()).unwrap();
    cluster.redis_url = format!("redis://{}", proxy.address());
    let stage = Stage::set(cluster).await;
    proxy.set(Link::Silent);
    let begun = Instant::now();
    let mut jobs = Vec::new();
    let mut knows_better = false;
    // Taken all the time: files wait in the database.
    while begun.elapsed() < SILENCE {
        let taken = stage.hand_in(&format!("during-{}", jobs.len())).await;
        jobs.push(http::job_id(&taken).unwrap());
        let health = stage.get("/api/health", HEALTH).await;
        assert_eq!(health.status, 503);
        let health = health.json();
        assert_eq!(health["redis"], "down");
        // Each part has a second and a half, which a busy machine does not always give to the database.
        knows_better |= health["db"] == "up";
        stage.get("/api/jobs", ANSWER).await.assert_status(200);
    }
    assert!(knows_better, "only Redis is away");
    proxy.set(Link::Open);
    stage.is_healthy_again().await;
    for id in &jobs {
        stage.comes_to_its_end(id).await;
    }
    eprintln!("{} files were taken without Redis", jobs.len());
}

async fn without_postgres() {
    let postgres = PostgresServer::shared();
    let mut cluster = Cluster::start(BINARY, postgres).unwrap();
    let proxy = Proxy::start(postgres.address()).unwrap();
    let database = cluster.database_url.rsplit('/').next().unwrap();
    cluster.database_url = PostgresServer::url_at(proxy.address(), database);
    let stage = Stage::set(cluster).await;
    proxy.set(Link::Silent);
    let begun = Instant::now();
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    while begun.elapsed() < SILENCE {
        let asked = Instant::now();
        stage.refuses(&format!("during-{refused}")).await;
        slowest = slowest.max(asked.elapsed());
        refused += 1;
    }
    proxy.set(Link::Open);
    stage.is_healthy_again().await;
    // What was refused is handed in again under its key, and made once at most before.
    for n in 0..refused {
        let answer = wait::until("the key to be free", DEADLINE, async || {
            let answer = stage.hand_in(&format!("during-{n}")).await;
            Ok((answer.status != 409).then_some(answer))
        });
        let id = http::job_id(&answer.await.unwrap()).unwrap();
        stage.comes_to_its_end(&id).await;
    }
    let all = stage.get("/api/jobs", ANSWER).await;
    assert_eq!(all.json()["total"], refused + 2);
    eprintln!("{refused} files were refused without Postgres, the slowest after {slowest:.1?}");
}

/// How often a Postgres that is not there is asked.
const REFUSALS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_refuses_connections_is_told_in_time_and_survived_without_restarts() {
    let mut postgres = PostgresServer::start_durable().unwrap();
    let cluster = Cluster::start(BINARY, &postgres).unwrap();
    let stage = Stage::set(cluster).await;
    postgres.kill().unwrap();
    for n in 0..REFUSALS {
        stage.refuses(&format!("during-{n}")).await;
    }
    postgres.restart().unwrap();
    stage.is_healthy_again().await;
    let all = stage.get("/api/jobs", ANSWER).await;
    assert_eq!(all.json()["total"], 2, "nothing was made meanwhile");
}
