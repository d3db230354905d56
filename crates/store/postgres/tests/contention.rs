//! Units that stand in each other's way are done again, and their callers see nothing of it.

#[path = "fresh/bench.rs"]
mod bench;
mod fresh;

use filejobs_core::JobState;
use filejobs_store::Error;
use filejobs_testkit::wait::{self, DEADLINE};
use sqlx::{Connection as _, PgConnection, Row as _};

use bench::bench;

async fn number(connection: &mut PgConnection, question: &'static str) -> i64 {
    let row = sqlx::raw_sql(question).fetch_one(connection).await;
    row.expect("asked").try_get(0).expect("a number")
}

async fn run(connection: &mut PgConnection, statements: &str) {
    let ran = sqlx::raw_sql(sqlx::AssertSqlSafe(statements));
    ran.execute(connection).await.expect("run");
}

/// Another session holds the task and wants the job, the unit holds the job and wants the task. No two units of ours
/// do that; an operator's statement might.
#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_loses_a_deadlock_is_done_again() {
    let url = fresh::database().await;
    let mut watch = PgConnection::connect(&url).await.expect("connected");
    // The unit looks once, so late that there is a deadlock by then, and before it would give up.
    run(
        &mut watch,
        "DO $$ BEGIN EXECUTE
            format('ALTER DATABASE %I SET deadlock_timeout = %L', current_database(), '4s');
        END $$",
    )
    .await;
    let bench = bench(&url).await;
    let job = bench.job().await.id;
    let mut other = PgConnection::connect(&url).await.expect("connected");
    // The server ends whichever of the two looks first: never this one.
    run(
        &mut other,
        "SET deadlock_timeout = '1h'; BEGIN; SELECT 1 FROM tasks FOR UPDATE",
    )
    .await;
    let store = bench.store.clone();
    let cancelled = tokio::spawn(async move { store.cancel(job).await });
    wait::until("the unit to wait for the task", DEADLINE, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        Ok((number(&mut watch, waiting).await == 1).then_some(()))
    })
    .await
    .expect("it waits");
    run(&mut other, "SELECT 1 FROM jobs FOR UPDATE").await;
    run(&mut other, "COMMIT").await;
    let job = cancelled.await.expect("joined").expect("cancelled");
    assert_eq!(job.status, JobState::Cancelled);
    wait::until("the deadlock to be counted", DEADLINE, async || {
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        Ok((number(&mut watch, deadlocks).await == 1).then_some(()))
    })
    .await
    .expect("there was one");
}

/// A server that is set to a stricter isolation refuses what could not have happened one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_cannot_be_serialized_is_done_again_a_bounded_number_of_times() {
    let url = fresh::database().await;
    let bench = bench(&url).await;
    let job = bench.job().await.id;
    let mut admin = PgConnection::connect(&url).await.expect("connected");
    // Sequences are the one thing that a rollback leaves as it is.
    run(
        &mut admin,
        "CREATE SEQUENCE tries;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') <= 3 THEN
                RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .await;
    let cancelled = bench.store.cancel(job).await.expect("cancelled");
    assert_eq!(cancelled.status, JobState::Cancelled);
    assert_eq!(number(&mut admin, "SELECT last_value FROM tries").await, 4);

    run(
        &mut admin,
        "ALTER SEQUENCE tries RESTART MINVALUE -1000000 START -1000000",
    )
    .await;
    let refused = bench.store.retry(job).await.expect_err("refused each time");
    assert_eq!(
        refused.class(),
        filejobs_core::ErrorClass::Transient,
        "{refused:?}"
    );
    let tried = number(&mut admin, "SELECT last_value + 1000001 FROM tries").await;
    assert_eq!(tried, 6);
}

/// A commit that is refused again and again writes its findings each time, while its attempt goes on.
#[tokio::test(flavor = "multi_thread")]
async fn each_try_of_a_commit_gives_up_the_findings_of_the_one_before() {
    const FINDINGS: u32 = 1_500;
    let url = fresh::database().await;
    let bench = bench(&url).await;
    let job = bench.job().await.id;
    let claimed = bench.claim_next().await;
    let mut admin = PgConnection::connect(&url).await.expect("connected");
    run(
        &mut admin,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full';
        END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .await;
    let commit = bench.effects(1, FINDINGS.into(), FINDINGS.into());
    for _ in 0..3 {
        let refused = bench.store.commit(claimed.task, 1, commit.clone()).await;
        assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    }
    let stored = "SELECT count(*) FROM findings";
    assert_eq!(number(&mut admin, stored).await, 3 * i64::from(FINDINGS));
    while bench.store.sweep(10_000).await.expect("swept") > 0 {}
    assert_eq!(number(&mut admin, stored).await, i64::from(FINDINGS));

    run(&mut admin, "DROP TRIGGER refuse ON jobs").await;
    let done = bench.store.commit(claimed.task, 1, commit).await;
    assert_eq!(done.expect("committed").status, JobState::Completed);
    while bench.store.sweep(10_000).await.expect("swept") > 0 {}
    assert_eq!(number(&mut admin, stored).await, i64::from(FINDINGS));
    assert_eq!(bench.get(job).await.errors_stored, u64::from(FINDINGS));
}
