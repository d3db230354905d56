//! Builds what tests need beside our own programs: those of a cluster, and the fuzz targets.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::run::say;
use crate::{cluster, fuzz};

/// The subcommand.
pub(crate) fn run() -> anyhow::Result<()> {
    cluster::chart_tools()?;
    cluster::whole_cluster()?;
    fuzz::build()
}

/// The same on the way, while something else goes on that does not need all of the machine.
#[derive(Debug)]
pub(crate) struct Beside {
    child: Child,
    said: File,
}

impl Beside {
    /// Starts it at the lowest priority.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let said = tempfile::tempfile()?;
        let program = std::env::current_exe()?;
        let child = Command::new("nice")
            .args(["-n", "19"])
            .arg(program)
            .arg("prepare")
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?)
            .spawn()
            .context("`nice` could not be started")?;
        say("what later parts need is built beside the tests");
        Ok(Self { child, said })
    }

    /// Waits for its end, and tells what it said when that was an error.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        self.said.rewind()?;
        self.said.read_to_string(&mut said)?;
        eprint!("{said}");
        bail!("`xtask prepare` ended with {status}")
    }
}
