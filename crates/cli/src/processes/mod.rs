//! The processes of a service that runs on many machines: each has one part, all share database, Redis and storage.

mod api;
mod controller;
mod migrate;
mod scheduler;
mod worker;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use filejobs_core::{SchedulerId, Sources};
use filejobs_metrics::Process;
use filejobs_scheduler::Election;
use tokio_util::sync::CancellationToken;

use crate::config::{
    Connections, DatabaseArgs, Lifecycle, LifecycleArgs, OpsArgs, Place, Problems, RedisArgs,
    StorageArgs,
};
use crate::exit::{Exit, Outcome};
use crate::services::backends::{Backends, Remote};
use crate::services::ops::{Needs, Ops, OpsServer};
use crate::services::{self, Running, open_files, ready, stop};

pub(crate) use api::Api;
pub(crate) use controller::Controller;
pub(crate) use migrate::Migrate;
pub(crate) use scheduler::Scheduler;
pub(crate) use worker::Worker;

/// What every process but `migrate` has.
#[derive(Debug, Clone, clap::Args)]
struct CommonArgs {
    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    redis: RedisArgs,

    #[command(flatten)]
    storage: StorageArgs,

    #[command(flatten)]
    ops: OpsArgs,

    #[command(flatten)]
    lifecycle: LifecycleArgs,
}

/// What every process but `migrate` has, read.
struct Common {
    remote: Option<Remote>,
    ops: Option<SocketAddr>,
    lifecycle: Lifecycle,
}

impl CommonArgs {
    fn read(&self, connections: Connections, problems: &mut Problems) -> Common {
        let database = self.database.read(connections, problems);
        let redis = self.redis.read(problems);
        let place: Option<Place> = self.storage.read(None, problems);
        let parts = database.zip(redis).zip(place);
        let remote = parts.map(|((database, redis), place)| Remote {
            database,
            redis,
            place,
            name: services::name(&Sources::system()).as_str().to_owned(),
        });
        Common {
            remote,
            ops: self.ops.read(problems),
            lifecycle: self.lifecycle.read(problems),
        }
    }
}

/// A process that is being started.
struct Starting {
    remote: Remote,
    lifecycle: Lifecycle,
    ops: Arc<Ops>,
    server: Option<OpsServer>,
    stop: CancellationToken,
    facts: Vec<(&'static str, String)>,
}

impl Common {
    /// Listens for probes and signals, as `process`. `problems` must have been told before: nothing is missing then.
    async fn begin(self, process: Process, needs: Needs) -> anyhow::Result<Starting> {
        let remote = self
            .remote
            .ok_or_else(|| anyhow::anyhow!("the settings were not checked"))?;
        open_files::raise_limit();
        let stop = CancellationToken::new();
        stop::on_signals(&stop)?;
        if self.lifecycle.until_stdin_closes {
            stop::when_stdin_closes(&stop)?;
        }
        let ops = Ops::new(needs, stop.clone());
        let mut facts = Vec::new();
        let mut server = None;
        if let Some(address) = self.ops {
            let (address, listening) = ops.listen(address, &[process]).await?;
            facts.push(("ops", format!("http://{address}")));
            server = Some(listening);
        }
        Ok(Starting {
            remote,
            lifecycle: self.lifecycle,
            ops,
            server,
            stop,
            facts,
        })
    }
}

impl Starting {
    /// How this process comes to lead, under its own name; its probes tell whether it does.
    fn election(&self) -> Election {
        let election = Election::new(SchedulerId::new(&*self.remote.name));
        self.ops.tell_leader(election.leads.clone());
        election
    }

    /// Waits for the back ends, starts what `work` makes of them, and waits for its end.
    async fn run(
        mut self,
        work: impl AsyncFnOnce(Backends, &mut Starting) -> anyhow::Result<Running>,
    ) -> anyhow::Result<()> {
        let (needs, start) = (self.ops.needs(), self.lifecycle.start);
        let ran = match Backends::remote(&self.remote, needs, start, &self.stop).await? {
            None => Ok(()),
            Some(backends) => {
                self.ops.started(&backends);
                let running = work(backends, &mut self).await?;
                if let Some(path) = &self.lifecycle.ready_file {
                    ready::write(path, &self.facts)?;
                }
                running
                    .until_stopped(self.lifecycle.grace, &self.stop)
                    .await
            }
        };
        if let Some(server) = self.server {
            server.end().await;
        }
        ran
    }
}

/// Runs a process to its end, a thread for each core.
fn block_on(process: impl Future<Output = anyhow::Result<()>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(process);
    // Whatever still runs has had its time; another process goes on with it.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome?;
    Ok(Exit::Clean)
}
