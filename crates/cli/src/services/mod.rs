//! The services and how they are run: the same parts for `filejobs dev`, which has all of them in one process, and for
//! the processes that have one each.

pub(crate) mod backends;
mod figures;
pub(crate) mod open_files;
pub(crate) mod ops;
pub(crate) mod ready;
pub(crate) mod stop;
pub(crate) mod waiting;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use filejobs_api::{App, Timeouts};
use filejobs_core::retry::RetryPolicy;
use filejobs_core::{Limits, Sources, WorkerId};
use filejobs_worker::EngineCommand;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Processing;

/// How long services may take to stop beyond the time that their work has.
const STOP: Duration = Duration::from_secs(10);

/// A name for this process: host, process id and an end that is new with every start.
pub(crate) fn name(sources: &Sources) -> WorkerId {
    filejobs_worker::Config::worker_id(sources)
}

/// How a worker works.
pub(crate) fn worker_config(
    id: WorkerId,
    processing: &Processing,
    retry: RetryPolicy,
    limits: Limits,
    grace: Duration,
) -> anyhow::Result<filejobs_worker::Config> {
    let engine = EngineCommand::current().context("this program cannot be found")?;
    let defaults = filejobs_worker::Config::new(id, processing.scratch.clone(), engine);
    Ok(filejobs_worker::Config {
        slots: processing.slots,
        retry,
        lease: processing.lease,
        grace,
        delete_completed: processing.delete_completed,
        limits,
        ..defaults
    })
}

/// Services that run until they are told to stop.
#[derive(Debug, Default)]
pub(crate) struct Running {
    services: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Running {
    /// Starts one.
    pub(crate) fn start<E>(
        &mut self,
        name: &'static str,
        service: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error>,
    {
        self.services
            .spawn(async move { (name, service.await.map_err(Into::into)) });
    }

    /// Answers requests until `stop`, then lets those under way end within `grace`.
    pub(crate) fn serve(
        &mut self,
        listener: TcpListener,
        app: App,
        grace: Duration,
        stop: CancellationToken,
    ) {
        let timeouts = Timeouts {
            grace,
            ..Timeouts::default()
        };
        self.start("API", async move {
            filejobs_api::serve(listener, app, timeouts, stop.cancelled_owned()).await;
            Ok::<_, Infallible>(())
        });
    }

    /// Waits until `stop`, then until all have ended, which may take them `grace`. A service that ends early stops the
    /// others.
    pub(crate) async fn until_stopped(
        mut self,
        grace: Duration,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut first = None;
        let all = async {
            while let Some(ended) = self.services.join_next().await {
                let failure = match ended {
                    Ok((name, Err(error))) => Some(error.context(format!("the {name} failed"))),
                    Ok((name, Ok(()))) if !stop.is_cancelled() => {
                        Some(anyhow::anyhow!("the {name} ended by itself"))
                    }
                    Ok(_) => None,
                    Err(error) => Some(error.into()),
                };
                if let Some(failure) = failure {
                    stop.cancel();
                    first.get_or_insert(failure);
                }
            }
        };
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(grace + STOP).await;
        };
        tokio::select! {
            () = all => first.map_or(Ok(()), Err),
            () = overdue => {
                tracing::warn!("services did not stop in time; what they held goes on with the next start");
                Ok(())
            }
        }
    }
}
