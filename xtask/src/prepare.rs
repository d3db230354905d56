//! Builds what tests need beside our own programs: those of a cluster, and the fuzz targets.

use std::time::Duration;

use crate::beside::Beside;
use crate::{cluster, fuzz};

/// On a new machine, at the lowest priority beside tests, it takes half an hour.
const LIMIT: Duration = Duration::from_hours(1);

/// The subcommand.
pub(crate) fn run() -> anyhow::Result<()> {
    cluster::chart_tools()?;
    cluster::whole_cluster()?;
    fuzz::build()
}

/// The same on the way.
pub(crate) fn beside() -> anyhow::Result<Beside> {
    Beside::start(&["prepare"], LIMIT)
}
