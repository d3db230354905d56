//! `filejobs scheduler`: decides what runs when. One works, others stand by.

use clap::Args;
use filejobs_metrics::Process;

use super::{CommonArgs, Starting, block_on};
use crate::config::{
    Connections, KEEP, Problems, QuotaArgs, RetentionArgs, RetryArgs, WebhookArgs,
};
use crate::exit::Outcome;
use crate::services::Running;
use crate::services::backends::Backends;
use crate::services::ops::Needs;

/// What is scheduled, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct SchedulingArgs {
    #[command(flatten)]
    quotas: QuotaArgs,

    #[command(flatten)]
    retry: RetryArgs,

    #[command(flatten)]
    retention: RetentionArgs,

    #[command(flatten)]
    webhooks: WebhookArgs,
}

impl SchedulingArgs {
    pub(super) fn read(&self, problems: &mut Problems) -> filejobs_scheduler::Config {
        filejobs_scheduler::Config {
            quotas: self.quotas.read(problems),
            retry: self.retry.read(problems),
            keep_ended: self.retention.read(Some(KEEP), problems),
            keep_orphans: self.retention.orphans(problems),
            webhooks: self.webhooks.read(problems),
            ..filejobs_scheduler::Config::default()
        }
    }
}

/// Decide what runs when, rescue what lost its worker, tell webhooks, remove what is old; one works, others stand by
#[derive(Debug, Clone, Args)]
pub(crate) struct Scheduler {
    #[command(flatten)]
    scheduling: SchedulingArgs,

    #[command(flatten)]
    common: CommonArgs,
}

impl Scheduler {
    pub(crate) fn run(&self) -> Outcome {
        let mut problems = Problems::default();
        let config = self.scheduling.read(&mut problems);
        let common = self.common.read(Connections::FEW, &mut problems);
        problems.finish()?;
        block_on(async move {
            // Rescue and retention go on without Redis.
            let starting = common.begin(Process::Scheduler, Needs::NEITHER).await?;
            let work = async |backends: Backends, starting: &mut Starting| {
                let election = starting.election();
                let stop = starting.stop.clone();
                let parts = backends.for_scheduler();
                let mut running = Running::default();
                let scheduler = filejobs_scheduler::run_elected(parts, config, election, stop);
                running.start("scheduler", scheduler);
                Ok(running)
            };
            starting.run(work).await
        })
    }
}
