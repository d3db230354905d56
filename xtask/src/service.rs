//! A `filejobs dev` of our own, for commands that talk to it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::run::output;
use crate::tools;

/// How long the service may take to be ready.
const START: Duration = Duration::from_mins(1);

/// A running service; ends with the value, and with us even when we are killed.
#[derive(Debug)]
pub(crate) struct Service {
    /// Also the client.
    binary: PathBuf,
    child: Child,
    url: String,
    /// Holds its files until it has ended.
    home: tempfile::TempDir,
}

impl Service {
    /// Builds the binary, starts it on a free port and waits until it is ready.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let binary = tools::filejobs()?;
        let home = tempfile::tempdir()?;
        let child = Command::new(&binary)
            .args([
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--until-stdin-closes",
                "--ready-file",
            ])
            .arg(home.path().join("ready.json"))
            .arg("--data-dir")
            .arg(home.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("`filejobs dev` could not be started")?;
        let mut service = Self {
            binary,
            child,
            url: String::new(),
            home,
        };
        service.url = service.wait_until_ready()?;
        Ok(service)
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Hands a file in, waits for the end of its job and gives its id.
    pub(crate) fn job(&self, file: &str) -> anyhow::Result<String> {
        let id = output(self.client().args(["submit", file]))?
            .trim()
            .to_owned();
        // A file with bad rows is done, too, and says so by its exit code.
        self.client().args(["wait", &id]).output()?;
        Ok(id)
    }

    fn client(&self) -> Command {
        let mut client = Command::new(&self.binary);
        client.env("FILEJOBS_URL", &self.url);
        client
    }

    /// Fails when the service has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("`filejobs dev` has ended with {status}"),
        }
    }

    /// The address that the service has written down.
    fn wait_until_ready(&mut self) -> anyhow::Result<String> {
        let ready = self.home.path().join("ready.json");
        let started = Instant::now();
        while started.elapsed() < START {
            self.still_runs()?;
            if let Ok(text) = std::fs::read_to_string(&ready) {
                let said: serde_json::Value = serde_json::from_str(&text)?;
                let url = said["url"]
                    .as_str()
                    .context("the ready file names no url")?;
                return Ok(url.to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("`filejobs dev` was not ready within {} s", START.as_secs())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A service that has ended already is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
