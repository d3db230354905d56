//! Everything is killed with -9 at random moments, several at a time, while files are handed in.

use std::sync::Arc;
use std::time::Duration;

use filejobs_testkit::wait::{self, DEADLINE};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::crew::{Crew, LEASE};
use crate::plan::{Kill, Plan, Victim};
use crate::sender::{Sent, send};
use crate::verdict::Verdict;
use crate::watch::Watch;

/// Kills for each of the seeds that always run.
const KILLS: usize = 100;

/// Longest time from the last restart to the end of the last job: a lease, a term of leadership, pauses of retries that
/// have grown, on a busy machine.
const HEALED: Duration = Duration::from_mins(4);

/// How much longer than its lease a task may be stuck. A machine that is busy with other tests is as slow to the service
/// as it is to who watches it: three of the slowest looks come on top.
const RESCUED: Duration = Duration::from_secs(5);

/// What a failed test shows of the tasks that did not end.
const OPEN_TASKS: &str =
    "SELECT id, kind, state, attempt, worker, published_at, lease_expires_at, failure_message
    FROM tasks WHERE ended_at IS NULL";

/// Seed 1, or the one that `cargo xtask faults` names by these variables.
#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_do_nothing_twice() {
    let chosen = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().unwrap());
    let seed = chosen("FILEJOBS_FAULTS_SEED").unwrap_or(1);
    let kills = chosen("FILEJOBS_FAULTS_KILLS").map_or(KILLS, |kills| kills.try_into().unwrap());
    endure(Plan::new(seed, kills)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_lose_nothing_and_do_nothing_twice_seed_2() {
    endure(Plan::new(2, KILLS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_lose_nothing_and_do_nothing_twice_seed_3() {
    endure(Plan::new(3, KILLS)).await;
}

/// Does to a service what the plan says, and judges what came of it.
async fn endure(plan: Plan) {
    eprintln!("seed {}; to replay: {}", plan.seed, plan.replay());
    let receiver = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&receiver)
        .await;
    let crew = Crew::start().await.unwrap();
    let watch = Watch::begin(crew.clone());
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for (number, file) in plan.files.iter().cloned().enumerate() {
        let webhook = format!("{}/hook", receiver.uri());
        clients.spawn(send(crew.clone(), begun, number, file, webhook));
    }
    let killed = strike_all(&crew, begun, &plan.kills).await;
    let healed = async {
        killed?;
        crew.all_ready().await?;
        let meanwhile = Meanwhile::of(&crew).await?;
        let sent: Vec<Sent> = clients
            .join_all()
            .await
            .into_iter()
            .collect::<Result<_, _>>()?;
        wait::until("all jobs to end", HEALED, async || {
            let open = "SELECT count(*) FROM jobs WHERE completed_at IS NULL";
            Ok(crew.ask(open).filter(|count| count == "0"))
        })
        .await?;
        anyhow::Ok((sent, meanwhile))
    };
    let healed = healed.await;
    let replay = plan.replay();
    let (sent, meanwhile) = match healed {
        Ok(healed) => healed,
        Err(error) => {
            let open = crew.ask(OPEN_TASKS).unwrap_or_default();
            let errors = crew.errors().await;
            unreachable!("{error:#}; to replay: {replay}\n{open}\n{errors:#?}")
        }
    };
    let took = begun.elapsed();
    let worst = watch.end();
    let mut verdict = Verdict::of(&crew, &sent, &receiver).await.unwrap();
    if worst.time > LEASE + RESCUED + 3 * worst.slowest_look {
        let problem = format!(
            "stuck for {:?} (the slowest look took {:?}): {}",
            worst.time, worst.slowest_look, worst.what
        );
        verdict.problems.push(problem);
    }
    let repeats: u32 = sent.iter().map(|sent| sent.repeats).sum();
    eprintln!(
        "seed {}: {} kills ({}), {} jobs ({repeats} uploads repeated; {} in and {} ended by the last kill), {} losses, {} duplicates, worst recovery {:.1} s, {:.0} s in all",
        plan.seed,
        plan.kills.len(),
        plan.tally(),
        sent.len(),
        meanwhile.taken,
        meanwhile.ended,
        verdict.losses.len(),
        verdict.duplicates.len(),
        worst.time.as_secs_f64(),
        took.as_secs_f64(),
    );
    let errors = crew.errors().await;
    assert!(
        verdict.is_clean(),
        "{verdict:#?}\nto replay: {replay}\n{errors:#?}"
    );
}

/// What a service got done while it was being killed: on a busy machine, where most of the time Postgres recovers from the
/// last kill, it may be little, and the rest is done after the last one.
#[derive(Debug)]
struct Meanwhile {
    /// Files that were taken.
    taken: usize,
    /// Jobs that ended.
    ended: usize,
}

impl Meanwhile {
    /// As the database has it, right after the last kill.
    async fn of(crew: &Crew) -> anyhow::Result<Self> {
        let count = async |what: &str| {
            let question = format!("SELECT count({what}) FROM jobs");
            wait::until("the database to answer", DEADLINE, async || {
                Ok(crew.ask(&question).and_then(|count| count.parse().ok()))
            })
            .await
        };
        Ok(Self {
            taken: count("*").await?,
            ended: count("completed_at").await?,
        })
    }
}

/// Each victim in a task of its own, so that several are down at a time; one that is still down when its next kill
/// comes is killed as soon as it was started.
async fn strike_all(crew: &Arc<Crew>, begun: Instant, kills: &[Kill]) -> anyhow::Result<()> {
    let mut victims: Vec<Victim> = kills.iter().map(|kill| kill.victim).collect();
    victims.sort_unstable();
    victims.dedup();
    let mut strikes = JoinSet::new();
    for victim in victims {
        let kills: Vec<Kill> = kills
            .iter()
            .copied()
            .filter(|kill| kill.victim == victim)
            .collect();
        let crew = crew.clone();
        strikes.spawn(async move {
            for kill in kills {
                tokio::time::sleep_until(begun + kill.at).await;
                crew.strike(kill).await?;
            }
            anyhow::Ok(())
        });
    }
    strikes.join_all().await.into_iter().collect()
}
