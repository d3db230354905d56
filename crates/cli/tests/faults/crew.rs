//! A service of which every part can be killed at any moment and comes back: two of each process, a Postgres server
//! that keeps what it confirmed, a Redis server that writes its file.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::Context as _;
use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::tethered::free_port;
use reqwest::Client;

use crate::BINARY;
use crate::plan::{Kill, Victim};

/// Settings of every process: many attempts, since kills spend them; short leases, so that a run is not spent waiting.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("FILEJOBS_LEASE", "10s"),
    ("MAX_RETRIES", "100"),
    ("BASE_BACKOFF", "100ms"),
    ("MAX_BACKOFF", "1s"),
    ("FILEJOBS_SPLIT_MB", "1"),
    ("FILEJOBS_WEBHOOK_ALLOW", "127.0.0.1/32"),
    ("FILEJOBS_DATABASE_KEPT", "2"),
    ("MAX_CONCURRENCY", "2"),
];

/// Lines of the processes' logs that a failed test shows.
const ERROR_LINES: usize = 40;

/// The lease of [`ENVIRONMENT`].
pub(crate) const LEASE: std::time::Duration = std::time::Duration::from_secs(10);

/// The service.
#[derive(Debug)]
pub(crate) struct Crew {
    cluster: RwLock<Cluster>,
    postgres: RwLock<PostgresServer>,
    database: String,
    seats: [Seat; 6],
    /// What nobody asked for: processes that ended by themselves, panics.
    surprises: Mutex<Vec<String>>,
    /// What processes that were killed had logged as errors: no test judges by it, but a failed one shows it.
    errors: Mutex<Vec<String>>,
    /// Speaks to the processes.
    pub(crate) client: Client,
}

/// The place of one process, filled again after each kill.
#[derive(Debug)]
struct Seat {
    victim: Victim,
    arguments: Vec<String>,
    url: String,
    member: tokio::sync::Mutex<Option<Member>>,
    /// Its process id; 0 while there is none.
    pid: AtomicU32,
}

impl Crew {
    /// Starts everything and waits until it works.
    pub(crate) async fn start() -> anyhow::Result<Arc<Self>> {
        let postgres = PostgresServer::start_durable()?;
        let mut cluster = Cluster::start(BINARY, &postgres)?;
        let environment = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
        cluster.environment.extend(environment);
        let database = cluster.database_url.rsplit('/').next();
        let crew = Arc::new(Self {
            database: database.unwrap_or_default().to_owned(),
            client: cluster.client.clone(),
            cluster: RwLock::new(cluster),
            postgres: RwLock::new(postgres),
            seats: [
                Seat::new(Victim::Api(0))?,
                Seat::new(Victim::Api(1))?,
                Seat::new(Victim::Worker(0))?,
                Seat::new(Victim::Worker(1))?,
                Seat::new(Victim::Scheduler(0))?,
                Seat::new(Victim::Scheduler(1))?,
            ],
            surprises: Mutex::default(),
            errors: Mutex::default(),
        });
        for seat in &crew.seats {
            crew.launch(seat).await?;
        }
        crew.all_ready().await?;
        Ok(crew)
    }

    /// The address of an API process, another one for each next `n`. Nobody may listen there at the moment.
    pub(crate) fn api(&self, n: usize) -> &str {
        &self.seats[n % 2].url
    }

    /// Kills a victim, and starts it again after its pause.
    pub(crate) async fn strike(self: &Arc<Self>, kill: Kill) -> anyhow::Result<()> {
        match kill.victim {
            Victim::Postgres => {
                self.blocking(|crew| write(&crew.postgres).kill()).await?;
                tokio::time::sleep(kill.pause).await;
                self.blocking(|crew| write(&crew.postgres).restart()).await
            }
            Victim::Redis => {
                let kill_it = |crew: &Self| write(&crew.cluster).redis.kill();
                self.blocking(kill_it).await?;
                tokio::time::sleep(kill.pause).await;
                let start_it = |crew: &Self| write(&crew.cluster).redis.restart();
                self.blocking(start_it).await
            }
            victim => {
                let seat = self.seats.iter().find(|seat| seat.victim == victim);
                let seat = seat.context("every process has a seat")?;
                self.kill(seat).await?;
                tokio::time::sleep(kill.pause).await;
                self.launch(seat).await
            }
        }
    }

    /// Both schedulers are started anew: the next to lead sweeps at once.
    pub(crate) async fn renew_schedulers(&self) -> anyhow::Result<()> {
        for seat in &self.seats {
            if matches!(seat.victim, Victim::Scheduler(_)) {
                if let Some(member) = &mut *seat.member.lock().await {
                    member.terminate().await?;
                }
                self.kill(seat).await?;
                self.launch(seat).await?;
            }
        }
        self.all_ready().await
    }

    /// Waits until every process does its work.
    pub(crate) async fn all_ready(&self) -> anyhow::Result<()> {
        for seat in &self.seats {
            if let Some(member) = &mut *seat.member.lock().await {
                let ready = member.until_ready().await;
                ready.with_context(|| format!("{} did not come back", seat.victim))?;
            }
        }
        Ok(())
    }

    async fn launch(&self, seat: &Seat) -> anyhow::Result<()> {
        let mut member = seat.member.lock().await;
        let cluster = read(&self.cluster);
        let arguments: Vec<&str> = seat.arguments.iter().map(String::as_str).collect();
        let started = cluster.launch(cluster.command(&arguments))?;
        seat.pid.store(started.pid(), Ordering::Relaxed);
        *member = Some(started);
        Ok(())
    }

    async fn kill(&self, seat: &Seat) -> anyhow::Result<()> {
        let Some(mut member) = seat.member.lock().await.take() else {
            return Ok(());
        };
        let ended = member.exited()?;
        member.kill()?;
        seat.pid.store(0, Ordering::Relaxed);
        let log = member.log();
        let errors = error_lines(&log).map(|line| format!("{}: {line}", seat.victim));
        lock(&self.errors).extend(errors);
        if ended.is_some_and(|status| !status.success()) || log.contains("panicked at") {
            self.surprised(format!("{}, {ended:?}:\n{log}", seat.victim));
        }
        Ok(())
    }

    /// Notes what must not have happened.
    pub(crate) fn surprised(&self, what: String) {
        lock(&self.surprises).push(what);
    }

    /// What must not have happened.
    pub(crate) fn surprises(&self) -> Vec<String> {
        lock(&self.surprises).clone()
    }

    /// What processes have logged as errors so far, the last ones.
    pub(crate) async fn errors(&self) -> Vec<String> {
        let mut errors = lock(&self.errors).clone();
        for seat in &self.seats {
            if let Some(member) = &*seat.member.lock().await {
                let log = member.log();
                errors.extend(error_lines(&log).map(|line| format!("{}: {line}", seat.victim)));
            }
        }
        errors.split_off(errors.len().saturating_sub(ERROR_LINES))
    }

    /// Whether the process with this id is one of those that live now.
    pub(crate) fn lives(&self, pid: u32) -> bool {
        let mut seats = self.seats.iter();
        pid != 0 && seats.any(|seat| seat.pid.load(Ordering::Relaxed) == pid)
    }

    /// Whether any worker is there.
    pub(crate) fn has_worker(&self) -> bool {
        let mut workers = self
            .seats
            .iter()
            .filter(|seat| matches!(seat.victim, Victim::Worker(_)));
        workers.any(|seat| seat.pid.load(Ordering::Relaxed) != 0)
    }

    /// Asks Postgres, past the service. `None` while it is away.
    pub(crate) fn ask(&self, statement: &str) -> Option<String> {
        let postgres = self.postgres.try_read().ok()?;
        postgres.run(&self.database, statement).ok()
    }

    /// Asks Redis, past the service. `None` while it is away.
    pub(crate) fn ask_redis(&self, words: &[&str]) -> Option<String> {
        let cluster = self.cluster.try_read().ok()?;
        cluster.redis.command(words).ok()
    }

    /// The folder with uploads and results.
    pub(crate) fn files(&self) -> std::path::PathBuf {
        read(&self.cluster).files()
    }

    /// The folder in which engines work.
    pub(crate) fn scratch(&self) -> std::path::PathBuf {
        read(&self.cluster).scratch()
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let crew = self.clone();
        tokio::task::spawn_blocking(move || work(&crew)).await?
    }
}

impl Seat {
    fn new(victim: Victim) -> anyhow::Result<Self> {
        let (arguments, url) = match victim {
            // At the same address after each start, as behind a service's name.
            Victim::Api(_) => {
                let address = format!("127.0.0.1:{}", free_port()?);
                let arguments = vec!["api", "--auth=none", "--listen", &address];
                let arguments = arguments.into_iter().map(str::to_owned).collect();
                (arguments, format!("http://{address}"))
            }
            Victim::Worker(_) => (vec!["worker".to_owned()], String::new()),
            _ => (vec!["scheduler".to_owned()], String::new()),
        };
        Ok(Self {
            victim,
            arguments,
            url,
            member: tokio::sync::Mutex::default(),
            pid: AtomicU32::new(0),
        })
    }
}

fn error_lines(log: &str) -> impl Iterator<Item = &str> {
    // What is out of reach for a while is no error here.
    let known = ["http.status=503", "waiting for"];
    log.lines()
        .filter(move |line| line.contains("ERROR") && !known.iter().any(|k| line.contains(k)))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
