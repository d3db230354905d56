//! `filejobs dev` as a process of its own.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::caller::Caller;
use crate::processes;
use crate::wait::{self, DEADLINE};

/// Lines of the service's log that a failed test shows.
const LOG_LINES: usize = 60;

/// How to start a service.
#[derive(Debug)]
pub struct Builder {
    binary: PathBuf,
    /// A shell script that ends with `exec "$@"`.
    prelude: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data: Option<PathBuf>,
    listen: String,
}

/// A running service, and who calls it. It ends with the value, and with the test even when that is killed.
#[derive(Debug)]
pub struct Service {
    builder: Builder,
    /// Holds data, log and ready file of a service that was given no folder.
    home: TempDir,
    child: Option<Child>,
    ops: String,
    caller: Caller,
}

impl Builder {
    /// Runs these shell commands first, in user and mount namespaces of its own, where they may mount file systems
    /// without being root. The process id stays that of the service.
    #[must_use]
    pub fn in_namespace(mut self, commands: &str) -> Self {
        self.prelude = Some(format!("set -e\n{commands}\nexec \"$@\""));
        self
    }

    /// Passes an argument to `dev`.
    #[must_use]
    pub fn arg(mut self, argument: impl std::fmt::Display) -> Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Uses this folder for its data instead of one that goes with the service.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Listens there, instead of on a free port of loopback.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Starts it and waits until it is healthy.
    pub async fn start(self) -> anyhow::Result<Service> {
        let mut service = Service {
            builder: self,
            home: tempfile::tempdir()?,
            child: None,
            ops: String::new(),
            caller: Caller::new(Vec::new(), None)?,
        };
        service.start().await?;
        Ok(service)
    }
}

impl Service {
    /// A service of the built program at `binary`: `env!("CARGO_BIN_EXE_filejobs")`.
    #[must_use]
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder {
            prelude: None,
            binary: binary.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            data: None,
            listen: "127.0.0.1:0".to_owned(),
        }
    }

    /// Starts it (again) and waits until it is healthy.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let ready = self.home.path().join("ready.json");
        if ready.exists() {
            std::fs::remove_file(&ready)?;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = match &self.builder.prelude {
            None => Command::new(&self.builder.binary),
            Some(script) => {
                let mut command = Command::new("unshare");
                command.args([
                    "--user",
                    "--map-root-user",
                    "--mount",
                    "sh",
                    "-c",
                    script,
                    "sh",
                ]);
                command.arg(&self.builder.binary);
                command
            }
        };
        command
            .args([
                "dev",
                "--listen",
                &self.builder.listen,
                "--until-stdin-closes",
                "--ready-file",
            ])
            .arg(&ready)
            .arg("--data-dir")
            .arg(self.data())
            .args(&self.builder.arguments)
            // Nothing of the developer's own settings reaches the service under test.
            .env_clear()
            .env("TMPDIR", self.home.path())
            .env("FILEJOBS_LOG", "info")
            .envs(self.builder.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(
            command
                .spawn()
                .context("the service could not be started")?,
        );
        let said = wait::until("the service to be ready", DEADLINE, async || {
            self.look_for(&ready)
        })
        .await?;
        let url = said["url"].as_str();
        self.caller
            .move_to(url.context("the ready file names no url")?);
        let ops = said["ops"].as_str().unwrap_or_default();
        ops.clone_into(&mut self.ops);
        Ok(())
    }

    /// The ready file's content; an error when the service has ended.
    fn look_for(&mut self, ready: &Path) -> anyhow::Result<Option<Value>> {
        match std::fs::read(ready) {
            Ok(text) => return Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let child = self.child.as_mut().context("the service was not started")?;
        match child.try_wait()? {
            None => Ok(None),
            Some(status) => bail!("the service ended with {status}:\n{}", self.log_tail()),
        }
    }

    /// The folder with its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.builder
            .data
            .clone()
            .unwrap_or_else(|| self.home.path().join("data"))
    }

    /// Where it answers probes; empty without `--ops-listen`.
    #[must_use]
    pub fn ops(&self) -> &str {
        &self.ops
    }

    /// Its process id; 0 when it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its living child processes.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        processes::descendants(self.pid())
    }

    /// All that it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, as an orchestrator would, and waits for that. Gives back how it ended.
    pub async fn terminate(&mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        let mut child = self.child.take().context("the service does not run")?;
        let begun = Instant::now();
        let killed = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()?;
        anyhow::ensure!(killed.success(), "the signal could not be sent");
        let ended = wait::until("the service to end", DEADLINE, async || {
            Ok(child.try_wait()?)
        });
        match ended.await {
            Ok(status) => Ok((status, begun.elapsed())),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }
}

impl Deref for Service {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A service that has ended already is just as well.
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("the service's log ends with:\n{}", self.log_tail());
        }
    }
}
