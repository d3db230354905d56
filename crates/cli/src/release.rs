//! `release`: what is done before an installation in a cluster is taken away.

use clap::Args;

use crate::config::{Problems, given, watched};
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Let go of all `FileJob` objects, so that they can be deleted without a controller
///
/// The chart does it before it is uninstalled: the finalizer is taken off. Jobs, files and results stay where they are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Release {
    /// Let go of the objects of this namespace only [default: all namespaces]
    #[arg(long, env = "FILEJOBS_WATCH_NAMESPACE", value_name = "NAMESPACE")]
    watch_namespace: Option<String>,

    /// The Deployment of the controllers, in the pod's own namespace: it is deleted first, since they would take hold of
    /// the objects again
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
}

impl Release {
    pub(crate) async fn run(&self) -> Outcome {
        let mut problems = Problems::default();
        let watched = watched(self.watch_namespace.as_deref(), &mut problems);
        problems.finish()?;
        let client = filejobs_controller::client().await?;
        let controllers = given(self.deployment.as_deref());
        let freed = filejobs_controller::release(&client, &watched, controllers).await?;
        terminal::line(format_args!("{freed} FileJobs were let go of"))?;
        Ok(Exit::Clean)
    }
}
