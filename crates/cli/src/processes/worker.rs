//! `filejobs worker`: reads files. As many as wanted.

use clap::Args;
use filejobs_core::WorkerId;
use filejobs_metrics::Process;

use super::{CommonArgs, Starting, block_on};
use crate::config::{Connections, LimitArgs, Problems, ProcessingArgs, RetryArgs};
use crate::exit::Outcome;
use crate::services::backends::Backends;
use crate::services::ops::Needs;
use crate::services::{Running, worker_config};

/// Read files and store what is found; as many of it as wanted
#[derive(Debug, Clone, Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    processing: ProcessingArgs,

    #[command(flatten)]
    retry: RetryArgs,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    common: CommonArgs,
}

impl Worker {
    pub(crate) fn run(&self) -> Outcome {
        let mut problems = Problems::default();
        let scratch = std::env::temp_dir().join("filejobs");
        let processing = self.processing.read(scratch, &mut problems);
        let retry = self.retry.read(&mut problems);
        let limits = self.limits.read(&mut problems);
        let common = self.common.read(Connections::FEW, &mut problems);
        problems.finish()?;
        block_on(async move {
            let needs = Needs {
                redis: true,
                storage: true,
            };
            let starting = common.begin(Process::Worker, needs).await?;
            let work = async |backends: Backends, starting: &mut Starting| {
                let id = WorkerId::new(&*starting.remote.name);
                let grace = starting.lifecycle.grace;
                let config = worker_config(id, &processing, retry, limits, grace)?;
                starting
                    .facts
                    .push(("worker", config.id.as_str().to_owned()));
                let stop = starting.stop.clone();
                let mut running = Running::default();
                let worker = filejobs_worker::run(backends.for_worker(), config, stop);
                running.start("worker", worker);
                Ok(running)
            };
            starting.run(work).await
        })
    }
}
