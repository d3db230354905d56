//! `filejobs controller`: keeps jobs and `FileJob` objects in step, and hosts the scheduler. One works, others stand by.

use anyhow::Context as _;
use clap::Args;
use filejobs_metrics::Process;

use super::scheduler::SchedulingArgs;
use super::{CommonArgs, Starting, block_on};
use crate::config::{ClusterArgs, Connections, LimitArgs, Problems};
use crate::exit::Outcome;
use crate::services::Running;
use crate::services::backends::Backends;
use crate::services::ops::Needs;

/// Keep jobs and `FileJob` objects of a Kubernetes cluster in step, and decide what runs when; one works, others stand by
///
/// It does what `filejobs scheduler` does as well: a cluster needs none.
#[derive(Debug, Clone, Args)]
pub(crate) struct Controller {
    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    scheduling: SchedulingArgs,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    common: CommonArgs,
}

impl Controller {
    pub(crate) fn run(&self) -> Outcome {
        let mut problems = Problems::default();
        let cluster = self.cluster.read(&mut problems);
        let scheduling = self.scheduling.read(&mut problems);
        let limits = self.limits.read(&mut problems);
        let common = self.common.read(Connections::FEW, &mut problems);
        problems.finish()?;
        block_on(async move {
            let starting = common.begin(Process::Controller, Needs::NEITHER).await?;
            let work = async |backends: Backends, starting: &mut Starting| {
                let election = starting.election();
                let holder = election.holder.clone();
                let client = filejobs_controller::client().await?;
                let config = cluster.config(holder, client.default_namespace(), limits);
                let parts = filejobs_controller::Backends {
                    client,
                    watching_client: filejobs_controller::watching_client().await?,
                    store: backends
                        .postgres
                        .clone()
                        .context("a cluster's service needs Postgres")?,
                    blobs: backends.blobs.clone(),
                    sources: backends.sources.clone(),
                };
                let schedulers = (backends.for_scheduler(), scheduling, election);
                let stop = starting.stop.clone();
                let mut running = Running::default();
                running.start(
                    "controller",
                    filejobs_controller::run(parts, config, schedulers, stop),
                );
                Ok(running)
            };
            starting.run(work).await
        })
    }
}
