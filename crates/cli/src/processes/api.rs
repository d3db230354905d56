//! `filejobs api`: takes files, answers, shows pages. As many as wanted.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use filejobs_api::App;
use filejobs_metrics::Process;
use tokio::net::TcpListener;

use super::{CommonArgs, Starting, block_on};
use crate::config::{Access, AuthMode, Connections, LimitArgs, Problems};
use crate::exit::Outcome;
use crate::services::Running;
use crate::services::backends::Backends;
use crate::services::ops::Needs;

/// Take files and answer calls, on Postgres, Redis and a storage; as many of it as wanted
#[derive(Debug, Clone, Args)]
pub(crate) struct Api {
    /// Where to listen
    #[arg(
        long,
        env = "FILEJOBS_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS:PORT"
    )]
    listen: String,

    #[command(flatten)]
    access: Access,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    common: CommonArgs,
}

impl Api {
    pub(crate) fn run(&self) -> Outcome {
        let mut problems = Problems::default();
        let listen = problems.address("FILEJOBS_LISTEN (--listen)", &self.listen);
        let door = self.access.read(&mut problems);
        let limits = self.limits.read(&mut problems);
        let common = self.common.read(Connections::MANY, &mut problems);
        problems.finish()?;
        let auth = door.mode.unwrap_or(AuthMode::Keys);
        let address = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        block_on(async move {
            // Uploads wait in the database for Redis to come back.
            let needs = Needs {
                redis: false,
                storage: true,
            };
            let starting = common.begin(Process::Api, needs).await?;
            let work = async |backends: Backends, starting: &mut Starting| {
                if let Some(key) = &door.bootstrap {
                    crate::keys::bootstrap(&*backends.store, key).await?;
                }
                if auth == AuthMode::None {
                    tracing::warn!("callers are not asked who they are (--auth=none)");
                }
                let listener = TcpListener::bind(address).await.with_context(|| {
                    format!("{address} cannot be listened on; choose another with --listen (FILEJOBS_LISTEN)")
                })?;
                let address = listener.local_addr()?;
                starting.facts.push(("url", format!("http://{address}")));
                tracing::info!(%address, "the API listens");
                let app = App::new(backends.for_api(auth, limits));
                let (grace, stop) = (starting.lifecycle.grace, starting.stop.clone());
                let mut running = Running::default();
                running.serve(listener, app, grace, stop);
                Ok(running)
            };
            starting.run(work).await
        })
    }
}
