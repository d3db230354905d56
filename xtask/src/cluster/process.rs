//! Processes that outlive the command that started them, and are ended by a later one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::Cluster;

/// How long a process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cluster {
    /// Starts a program in a session of its own, its output in a log, and writes down which process it is.
    pub(super) fn spawn<S: AsRef<OsStr>>(
        &self,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<()> {
        let log = self.log(name);
        fs::create_dir_all(self.run.join("log"))?;
        let log = File::create(&log).with_context(|| format!("no log at {}", log.display()))?;
        // `setsid` becomes the program: the process id stays.
        let child = Command::new("setsid")
            .arg(program)
            .args(args)
            .current_dir(&self.run)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        let note = format!("{}\n{}\n", child.id(), program.display());
        Ok(fs::write(self.note(name), note)?)
    }

    /// Where a process writes what it has to say.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.run.join("log").join(format!("{name}.log"))
    }

    fn note(&self, name: &str) -> PathBuf {
        self.run.join(format!("{name}.pid"))
    }

    /// Whether a process that was started still runs.
    pub(super) fn runs(&self, name: &str) -> bool {
        self.started(name).is_some()
    }

    /// Ends processes that were started, one after another, and waits for each.
    pub(super) fn stop(&self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            let Some(pid) = self.started(name) else {
                continue;
            };
            // One that ended meanwhile is as good.
            let _ = kill_process(pid, Signal::TERM);
            let begun = Instant::now();
            while self.started(name).is_some() {
                if begun.elapsed() > PATIENCE {
                    let _ = kill_process(pid, Signal::KILL);
                }
                anyhow::ensure!(begun.elapsed() < PATIENCE * 2, "{name} cannot be ended");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// The process that was written down, if it is still that one: ids are used again.
    fn started(&self, name: &str) -> Option<Pid> {
        let note = fs::read_to_string(self.note(name)).ok()?;
        let (pid, program) = note.trim().split_once('\n')?;
        // A process that has ended but was not waited for has no program any more.
        let running = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let program = fs::canonicalize(program).unwrap_or_else(|_| program.into());
        // A program that was built anew meanwhile is shown as deleted.
        let same = running
            .to_string_lossy()
            .starts_with(&*program.to_string_lossy());
        same.then(|| Pid::from_raw(pid.parse().ok()?)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_written_down_is_ended() {
        let home = tempfile::tempdir().unwrap();
        let cluster = Cluster {
            bin: home.path().join("bin"),
            run: home.path().join("run"),
        };
        let sleep = crate::tools::on_path("sleep").unwrap();
        cluster.spawn("sleeper", &sleep, ["600"]).unwrap();
        let limit = Duration::from_secs(20);
        super::super::wait_for("the process to become sleep", limit, || {
            cluster.runs("sleeper")
        })
        .unwrap();
        // The same id under the name of another program is another process.
        let note = fs::read_to_string(cluster.note("sleeper")).unwrap();
        let other = note.replace(&*sleep.to_string_lossy(), "/usr/bin/other");
        fs::write(cluster.note("other"), other).unwrap();
        cluster.stop(&["other"]).unwrap();
        assert!(cluster.runs("sleeper"));
        cluster.stop(&["sleeper"]).unwrap();
        assert!(!cluster.runs("sleeper"));
    }
}
