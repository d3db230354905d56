//! An upgrade: the database is migrated first, then processes are replaced one by one, and work goes on meanwhile.
//!
//! That every statement of the release before means the same on the newer schema is shown beside the store; here are its
//! rows, written by its own statements, and the processes of this release.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use filejobs_testkit::cluster::Cluster;
use filejobs_testkit::http;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::tethered::free_port;
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::Value;

use crate::{BINARY, SMALL, small_upload};

const STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../store/postgres");

/// What the release before knew: see `cargo xtask freeze`.
fn release() -> Value {
    let text = std::fs::read_to_string(format!("{STORE}/previous/release.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn migration(name: &str) -> PathBuf {
    Path::new(STORE).join("migrations").join(name)
}

/// A cluster whose database an earlier version has left, and the database's name.
fn left_behind(migrations: &[PathBuf]) -> (Cluster, String) {
    let server = PostgresServer::shared();
    let mut cluster = Cluster::empty(BINARY, server).unwrap();
    let database = server.create_at(migrations).unwrap();
    cluster.database_url = server.url(&database);
    (cluster, database)
}

/// All migrations but the last, and that one.
fn all_but_one() -> (Vec<PathBuf>, PathBuf) {
    let mut migrations: Vec<_> = std::fs::read_dir(format!("{STORE}/migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    migrations.sort();
    let last = migrations.pop().unwrap();
    (migrations, last)
}

#[tokio::test]
async fn a_migration_that_takes_long_is_told_by_its_name_and_not_by_its_text() {
    let (migrations, last) = all_but_one();
    let (cluster, database) = left_behind(&migrations);
    // Longer than what sqlx takes for a slow statement.
    let slow = "CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(1.2); END';
        CREATE EVENT TRIGGER slow ON ddl_command_start EXECUTE FUNCTION slow()";
    PostgresServer::shared().run(&database, slow).unwrap();
    let migrated = cluster.run(&["migrate"]).unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let log = String::from_utf8(migrated.stderr).unwrap();
    let name = last.file_stem().unwrap().to_str().unwrap();
    let (version, name) = name.split_once('_').unwrap();
    for line in ["migration begins", "migration done"] {
        let told = log.lines().find(|told| told.contains(line));
        let told = told.unwrap_or_else(|| panic!("no `{line}`: {log}"));
        assert!(told.contains(version), "{told}");
        assert!(told.contains(&name.replace('_', " ")), "{told}");
    }
    assert!(!log.contains("CREATE") && !log.contains("ALTER"), "{log}");
}

#[tokio::test]
async fn processes_wait_for_the_schema_they_need_and_go_on_once_it_is_there() {
    let (migrations, _) = all_but_one();
    let (cluster, _) = left_behind(&migrations);
    let mut members = Vec::new();
    for name in ["api", "worker", "scheduler"] {
        let ops = format!("127.0.0.1:{}", free_port().unwrap());
        let mut command = cluster.command(&[name]);
        command.env("FILEJOBS_OPS_LISTEN", &ops);
        members.push((cluster.launch(command).unwrap(), ops));
    }
    for (member, ops) in &members {
        let waits = wait::until("it to say what it waits for", DEADLINE, async || {
            let log = member.log();
            let told = log.contains("waiting for the database") && log.contains("filejobs migrate");
            Ok(told.then_some(()))
        });
        waits.await.unwrap();
        let ready = cluster.client.get(format!("http://{ops}/readyz"));
        let ready = http::answer(ready).await.unwrap();
        assert_eq!(
            (ready.status, &ready.json()["state"]),
            (503, &"starting".into())
        );
        let live = cluster.client.get(format!("http://{ops}/livez"));
        http::answer(live).await.unwrap().assert_status(200);
    }
    let migrated = cluster.run(&["migrate"]).unwrap();
    let told = String::from_utf8_lossy(&migrated.stdout).into_owned();
    assert!(told.contains("after 1 migration"), "{told}");
    for (member, _) in &mut members {
        member.until_ready().await.unwrap();
        let ready = wait::until("it to be ready", DEADLINE, async || {
            let said = cluster.readiness(member).await;
            Ok(said.filter(|said| said.status == 200).map(drop))
        });
        ready.await.unwrap();
    }
}

/// The schema and the checksums of the small file, as the release before writes them down.
const SCHEMA: &str = r#"{"fields":[{"name":"id","type":"integer"},{"name":"name","type":"string"},{"name":"value","type":"number"}],"missingValues":[""]}"#;
const PIECE: &str = r#"{"sums":{"first":0,"sums":[2941432920701819845]}}"#;

/// The processes of the release before, as far as the database sees them: what they would send.
struct Before {
    database: String,
    statements: Vec<String>,
}

impl Before {
    fn new(database: String, release: &Value) -> Self {
        let statements = release["statements"].as_array().unwrap().iter();
        let statements = statements.map(|one| one["query"].as_str().unwrap().to_owned());
        Self {
            database,
            statements: statements.collect(),
        }
    }

    /// Sends the one statement that has this part, with values as SQL has them.
    #[track_caller]
    fn sends(&self, part: &str, values: &[&str]) {
        let mut found = self.statements.iter().filter(|one| one.contains(part));
        let statement = found.next().expect("a statement of the release before");
        assert!(found.next().is_none(), "more than one has {part}");
        let values = values.join(", ");
        let script = format!("PREPARE old AS {statement}; EXECUTE old ({values})");
        let server = PostgresServer::shared();
        server.run(&self.database, &script).unwrap();
    }

    /// Its API takes the small file, under the `number`th id. Which that is.
    fn takes(&self, cluster: &Cluster, number: u32) -> String {
        let (job, task) = (id("a", number), id("b", number));
        let blob = format!("uploads/{job}_small.csv");
        let path = cluster.files().join(&blob);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, SMALL).unwrap();
        let size = SMALL.len().to_string();
        let quoted = |text: &str| format!("'{text}'");
        self.sends(
            "INSERT INTO jobs AS j",
            &[
                &quoted(&job),
                "'default'",
                "'small.csv'",
                &quoted(&blob),
                &size,
                "'csv'",
                &format!("encode(sha256(convert_to('{SMALL}', 'UTF8')), 'hex')"),
                "'{}'",
                &quoted(SCHEMA),
                r#"'{"type":"import"}'"#,
                "NULL",
                "0",
                "1000000",
                "'QUEUED'",
                "now()",
                &quoted(&task),
                "'whole'",
                "0",
                &quoted(PIECE),
                &size,
                "'state'",
                r#"'{"generation":0,"status":"QUEUED"}'"#,
            ],
        );
        job
    }

    /// Its scheduler hands out the task, `ago` as Postgres has spans of time.
    fn publishes(&self, number: u32, ago: &str) {
        let task = format!("ARRAY['{}']::uuid[]", id("b", number));
        let at = format!("now() - interval '{ago}'");
        self.sends("WITH free AS", &[&task, "'PUBLISHED'", &at]);
    }

    /// Its worker takes the task, under a `lease` as Postgres has spans of time.
    fn claims(&self, number: u32, lease: &str) {
        let (job, task) = (id("a", number), id("b", number));
        let until = format!("now() + interval '{lease}'");
        let task = format!("'{task}'");
        self.sends(
            "SET state = $1, attempt = attempt + 1",
            &["'RUNNING'", "'old-worker'", &until, "now()", &task, "0"],
        );
        self.sends(
            "SET status = $2, started_at = COALESCE(started_at, $3)",
            &[
                &format!("'{job}'"),
                "'PROCESSING'",
                "now()",
                "1",
                "2",
                "'state'",
                r#"'{"generation":0,"status":"PROCESSING"}'"#,
                "true",
            ],
        );
    }

    /// Its worker is told to stop, and gives the task back.
    fn gives_back(&self, number: u32) {
        let task = format!("'{}'", id("b", number));
        self.sends(
            "lease_expires_at = NULL, released = released + 1",
            &["'PENDING'", &task, "1"],
        );
    }
}

fn id(kind: &str, number: u32) -> String {
    format!("0190f5a4-7c2e-7d3a-9b1{kind}-{number:012x}")
}

#[tokio::test]
async fn what_the_release_before_has_begun_is_ended_by_this_one() {
    let release = release();
    let migrations = release["migrations"].as_array().unwrap().iter();
    let migrations: Vec<_> = migrations
        .map(|name| migration(name.as_str().unwrap()))
        .collect();
    let (cluster, database) = left_behind(&migrations);
    let before = Before::new(database, &release);
    // What waits, what was handed out and lost, and what a worker has that will not come back, or that is told to stop
    // once the schema is new.
    let [waits, lost, dead, stops] = [1, 2, 3, 4].map(|number| before.takes(&cluster, number));
    before.publishes(2, "1 minute");
    for (number, lease) in [(3, "-1 second"), (4, "1 hour")] {
        before.publishes(number, "0");
        before.claims(number, lease);
    }
    assert!(cluster.run(&["migrate"]).unwrap().status.success());
    let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let _worker = cluster.spawn(&["worker"]).await.unwrap();
    // Its processes are still there.
    before.gives_back(4);
    let late = before.takes(&cluster, 5);
    for (job, attempts) in [(waits, 1), (lost, 1), (dead, 2), (stops, 1), (late, 1)] {
        let job = cluster.finished(&api, "none", &job).await.unwrap();
        assert_eq!(job["status"], "COMPLETED", "{job}");
        let rows = (&job["rows_processed"], &job["rows_failed"]);
        assert_eq!(rows, (&3.into(), &1.into()), "{job}");
        assert_eq!(job["attempt"], attempts, "{job}");
    }
}

/// What migrations of a next release may do: they expand. Each runs as it would in `filejobs migrate`.
const NEXT: &[&str] = &[
    "ALTER TABLE jobs ADD COLUMN next_note text,
        ADD COLUMN next_count integer NOT NULL DEFAULT 0 CHECK (next_count >= 0)",
    "ALTER TABLE tasks ADD COLUMN next_flag boolean NOT NULL DEFAULT false;
    CREATE INDEX tasks_next ON tasks (queued_at) WHERE state = 'PENDING' AND next_flag",
    "CREATE TABLE next_things (
        job uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, at timestamptz NOT NULL, PRIMARY KEY (job, at)
    )",
    "ALTER TABLE workers ADD COLUMN next_zone text;
    ALTER TABLE finding_batches ADD COLUMN next_note text;
    ALTER TABLE deliveries ADD COLUMN next_note text",
];

/// Uploads between two of them.
const BETWEEN: usize = 15;

#[tokio::test]
async fn nothing_is_lost_while_the_schema_grows_under_load() {
    let (cluster, database) = left_behind(&[]);
    assert!(cluster.run(&["migrate"]).unwrap().status.success());
    let api = cluster.spawn(&["api", "--auth=none"]).await.unwrap();
    let _scheduler = cluster.spawn(&["scheduler"]).await.unwrap();
    let _worker = cluster.spawn(&["worker"]).await.unwrap();
    let taken = Mutex::new(Vec::new());
    let is_grown = AtomicBool::new(false);
    let uploads = async || {
        while !is_grown.load(Ordering::Relaxed) {
            let sent = small_upload().send(&cluster.client, api.url()).await;
            let job = http::job_id(&sent.unwrap()).unwrap();
            taken.lock().unwrap().push(job);
        }
    };
    let grows = async {
        for statements in NEXT {
            let enough = taken.lock().unwrap().len() + BETWEEN;
            let more = wait::until("uploads to go on", DEADLINE, async || {
                Ok((taken.lock().unwrap().len() >= enough).then_some(()))
            });
            more.await.unwrap();
            let script = format!("SET lock_timeout TO '10s'; {statements}");
            let database = database.clone();
            let run = move || PostgresServer::shared().run(&database, &script);
            tokio::task::spawn_blocking(run).await.unwrap().unwrap();
            // Any number may migrate at a time.
            let mut migrate = [(); 2].map(|()| cluster.command(&["migrate"]).spawn().unwrap());
            for process in &mut migrate {
                let ended =
                    wait::until("migrate to end", DEADLINE, async || Ok(process.try_wait()?));
                assert!(ended.await.unwrap().success());
            }
        }
        is_grown.store(true, Ordering::Relaxed);
    };
    tokio::join!(uploads(), uploads(), grows);
    let taken = taken.into_inner().unwrap();
    assert!(taken.len() >= BETWEEN * NEXT.len());
    for job in &taken {
        let job = cluster.finished(&api, "none", job).await.unwrap();
        assert_eq!(job["status"], "COMPLETED", "{job}");
        let rows = (&job["rows_processed"], &job["rows_failed"]);
        assert_eq!(rows, (&3.into(), &1.into()), "{job}");
        assert_eq!(job["attempt"], 1, "no work was done twice: {job}");
    }
}
