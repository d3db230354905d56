//! A service of many processes: `filejobs api`, `worker`, `scheduler` and `migrate`, each as it is run in production,
//! over a Postgres database, a Redis server and a folder of their own.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::figures::Figures;
use crate::http::{self, Answer};
use crate::kept;
use crate::postgres::PostgresServer;
use crate::redis::RedisServer;
use crate::wait::{self, DEADLINE};

/// Lines of a process' log that a failed test shows.
const LOG_LINES: usize = 60;

/// What the processes of a service share.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    /// The database; changed to put something between it and the processes that are started from then on.
    pub database_url: String,
    /// The Redis server.
    pub redis: RedisServer,
    /// Where the processes look for Redis.
    pub redis_url: String,
    /// Variables that every process gets.
    pub environment: Vec<(String, String)>,
    /// Speaks to the processes.
    pub client: Client,
    home: TempDir,
}

impl Cluster {
    /// A database on `postgres` with its tables, an empty Redis, an empty folder. `binary` is the built program:
    /// `env!("CARGO_BIN_EXE_filejobs")`.
    pub fn start(binary: impl Into<PathBuf>, postgres: &PostgresServer) -> anyhow::Result<Self> {
        let cluster = Self::empty(binary, postgres)?;
        let migrated = cluster.run(&["migrate"])?;
        ensure!(migrated.status.success(), "migrate: {migrated:?}");
        Ok(cluster)
    }

    /// The same, with a database that holds nothing yet.
    pub fn empty(binary: impl Into<PathBuf>, postgres: &PostgresServer) -> anyhow::Result<Self> {
        Self::below(&std::env::temp_dir(), binary, postgres)
    }

    /// One with an empty database that tests share: it may lie in a static, and leaves nothing behind all the same.
    pub fn kept(binary: impl Into<PathBuf>, postgres: &PostgresServer) -> anyhow::Result<Self> {
        Self::below(kept::folder(), binary, postgres)
    }

    fn below(
        parent: &Path,
        binary: impl Into<PathBuf>,
        postgres: &PostgresServer,
    ) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(parent)?;
        let redis = RedisServer::start_below(home.path(), &[])?;
        Ok(Self {
            binary: binary.into(),
            database_url: postgres.url(&postgres.create(None)?),
            redis_url: redis.url(),
            redis,
            environment: Vec::new(),
            client: http::client()?,
            home,
        })
    }

    /// The folder that all processes see.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.home.path().join("files")
    }

    /// The folder in which engines work.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.home.path().join("scratch")
    }

    /// A command of the program with the variables that lead to this cluster.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            // Nothing of the developer's own settings reaches the processes under test.
            .env_clear()
            .env("TMPDIR", self.home.path())
            .env("DATABASE_URL", &self.database_url)
            .env("REDIS_URL", &self.redis_url)
            .env("UPLOAD_DIR", self.files())
            .env("FILEJOBS_SCRATCH_DIR", self.scratch())
            .env("FILEJOBS_LISTEN", "127.0.0.1:0")
            .env("FILEJOBS_OPS_LISTEN", "127.0.0.1:0")
            .env("FILEJOBS_LOG", "info")
            .envs(self.environment.iter().cloned());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<std::process::Output> {
        Ok(self.command(arguments).output()?)
    }

    /// Makes an API key with every right.
    pub fn admin_key(&self) -> anyhow::Result<String> {
        let made = self.run(&["keys", "create", "--name", "test", "--scope", "admin"])?;
        ensure!(made.status.success(), "keys create: {made:?}");
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    /// Starts a process and waits until it does its work.
    pub async fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Member> {
        let mut member = self.launch(self.command(arguments))?;
        member.until_ready().await?;
        Ok(member)
    }

    /// Starts a process and waits for nothing.
    pub fn launch(&self, mut command: Command) -> anyhow::Result<Member> {
        let home = tempfile::tempdir_in(self.home.path())?;
        let path = home.path().join("log");
        let log = File::options().create_new(true).append(true).open(&path)?;
        let child = command
            .arg("--until-stdin-closes")
            .arg("--ready-file")
            .arg(home.path().join("ready.json"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the process could not be started")?;
        Ok(Member {
            home,
            // With a position of its own.
            log: File::open(path)?,
            child,
            ready: Value::Null,
        })
    }

    /// A job as an API process has it.
    pub async fn job(&self, api: &Member, key: &str, id: &str) -> anyhow::Result<Value> {
        let url = format!("{}/api/jobs/{id}", api.url());
        let answer = http::answer(self.client.get(url).header("x-api-key", key)).await?;
        ensure!(
            answer.status == 200,
            "HTTP {}: {}",
            answer.status,
            answer.text()
        );
        Ok(answer.json())
    }

    /// Waits until a job has ended.
    pub async fn finished(&self, api: &Member, key: &str, id: &str) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let ended = wait::until("the job to end", DEADLINE, async || {
            last = self.job(api, key, id).await?;
            let status = last["status"].as_str().unwrap_or_default();
            let ended = matches!(status, "COMPLETED" | "FAILED" | "CANCELLED");
            Ok(ended.then(|| last.clone()))
        });
        let ended = ended.await;
        ended.with_context(|| format!("last seen: {last}"))
    }

    /// What a process has counted and measured.
    pub async fn figures(&self, member: &Member) -> anyhow::Result<Figures> {
        let url = format!("{}/metrics", member.ops());
        let answer = http::answer(self.client.get(url)).await?;
        ensure!(answer.status == 200, "HTTP {}", answer.status);
        Figures::read(&answer.text())
    }

    /// What a process says at `/readyz`; nothing while it does not listen.
    pub async fn readiness(&self, member: &Member) -> Option<Answer> {
        let url = format!("{}/readyz", member.ops());
        http::answer(self.client.get(url)).await.ok()
    }
}

/// A running process. It ends with the value, and with the test even when that is killed.
#[derive(Debug)]
pub struct Member {
    home: TempDir,
    /// Open, so that it can be read when the folder has gone with the test.
    log: File,
    child: Child,
    ready: Value,
}

impl Member {
    /// Waits until it does its work.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        let path = self.home.path().join("ready.json");
        self.ready = wait::until("the process to be ready", DEADLINE, async || {
            self.look_for(&path)
        })
        .await?;
        Ok(())
    }

    /// The ready file's content; an error when the process has ended.
    fn look_for(&mut self, ready: &Path) -> anyhow::Result<Option<Value>> {
        match std::fs::read(ready) {
            Ok(text) => return Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        match self.child.try_wait()? {
            None => Ok(None),
            Some(status) => bail!("it ended with {status}:\n{}", self.log_tail()),
        }
    }

    /// Where it answers calls; empty for one that does not.
    #[must_use]
    pub fn url(&self) -> &str {
        self.ready["url"].as_str().unwrap_or_default()
    }

    /// Where it answers probes.
    #[must_use]
    pub fn ops(&self) -> &str {
        self.ready["ops"].as_str().unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        let mut log = &self.log;
        let mut bytes = Vec::new();
        let read = log.rewind().and_then(|()| log.read_to_end(&mut bytes));
        read.map_or_else(
            |error| format!("it cannot be read: {error}"),
            |_| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The last lines of that.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Sends it a signal by its short name: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let mut kill = Command::new("kill");
        let sent = kill.args([&format!("-{name}"), &self.pid().to_string()]);
        ensure!(
            sent.status()?.success(),
            "the signal {name} could not be sent"
        );
        Ok(())
    }

    /// How it has ended, if it has.
    pub fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it has ended. How, and after how long.
    pub async fn ended(&mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        let begun = Instant::now();
        let status = wait::until("the process to end", DEADLINE, async || {
            Ok(self.child.try_wait()?)
        });
        let status = status.await;
        Ok((status.with_context(|| self.log_tail())?, begun.elapsed()))
    }

    /// Asks it to end, as an orchestrator would, and waits for that.
    pub async fn terminate(&mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        self.signal("TERM")?;
        self.ended().await
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // One that has ended already is just as well.
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("a process' log ends with:\n{}", self.log_tail());
        }
    }
}
