//! Another run of this program while this one does something that does not need all of the machine.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::run::{Watched, ended, say, watch};

/// The other run.
#[derive(Debug)]
pub(crate) struct Beside {
    shown: String,
    limit: Duration,
    watched: Watched,
    said: File,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Everything that it printed: nobody can follow two runs at once.
    pub(crate) said: String,
    /// An error names the command.
    pub(crate) result: anyhow::Result<()>,
}

impl Beside {
    /// Starts it at the lowest priority, and ends it with all that it started once it takes longer than `limit`.
    pub(crate) fn start(arguments: &[&str], limit: Duration) -> anyhow::Result<Self> {
        let shown = format!("xtask {}", arguments.join(" "));
        let said = tempfile::tempfile()?;
        let program = std::env::current_exe()?;
        let child = Command::new("nice")
            .args(["-n", "19"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?)
            .process_group(0)
            .spawn()
            .context("`nice` could not be started")?;
        say(format_args!("beside what follows: `{shown}`"));
        Ok(Self {
            shown,
            limit,
            watched: watch(child, limit),
            said,
        })
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let result = ended(self.watched, &self.shown, self.limit);
        let mut said = String::new();
        let read = self.said.rewind();
        let read = read.and_then(|()| self.said.read_to_string(&mut said));
        let result = result.and(
            read.map(drop)
                .with_context(|| format!("what `{}` printed cannot be read", self.shown)),
        );
        Ended { said, result }
    }
}
