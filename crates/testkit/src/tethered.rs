//! Programs of others (databases, storages) as processes that never outlive ours.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::processes;

/// A shell that starts the program, says its process id, and ends it when its own input closes: that happens however
/// we end, even by `kill -9`. The program's words go to descriptor 4, and it keeps no end of our pipes. Then the folder
/// that comes before the program goes, if it names one; children of the program may still write into it for a moment.
const GUARD: &str = r#"
exec 3<&0
folder=$1
shift
"$@" </dev/null >&4 2>&4 3<&- 4>&- &
child=$!
exec 4>&-
echo "$child"
while read -r _ <&3; do :; done
kill -KILL "$child" 2>/dev/null
wait
[ -n "$folder" ] || exit 0
for _ in 1 2 3 4 5; do
    rm -rf "$folder" && exit 0
    sleep 0.2
done
"#;

/// Longest wait for a signal to have its effect.
const SIGNALLED: Duration = Duration::from_secs(20);

/// Lines of a program's log that a failed start shows.
const LOG_LINES: usize = 30;

/// A running program. It ends with the value, and with this process.
#[derive(Debug)]
pub struct Tethered {
    guard: Child,
    pid: u32,
    log: PathBuf,
}

impl Tethered {
    /// Starts a program whose output is added to the file `log`.
    pub fn start(command: &Command, log: &Path) -> anyhow::Result<Self> {
        Self::begin(command, log, "".as_ref())
    }

    /// Starts a program that keeps what it writes in a folder, which goes with it: also where the value lives as long as
    /// the process, and nobody drops it.
    pub fn start_in(command: &Command, log: &Path, folder: &Path) -> anyhow::Result<Self> {
        Self::begin(command, log, folder.as_os_str())
    }

    fn begin(command: &Command, log: &Path, folder: &OsStr) -> anyhow::Result<Self> {
        let name = command.get_program();
        let out = File::options().create(true).append(true).open(log)?;
        let mut guarded = Command::new("sh");
        // The shell has no way to open the log by itself without its name going through its language.
        guarded
            .args(["-c", &format!("exec 4>&2 2>/dev/null\n{GUARD}"), "sh"])
            .arg(folder)
            .arg(name)
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(out);
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(variable, value),
                None => guarded.env_remove(variable),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guarded.current_dir(folder);
        }
        let mut guard = guarded.spawn()?;
        let said = guard.stdout.take().context("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        let pid = line.trim().parse();
        let pid = pid.with_context(|| format!("{} was not started", name.display()))?;
        Ok(Self {
            guard,
            pid,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        processes::is_alive(self.pid)
    }

    /// Sends it a signal by its short name: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        processes::signal(self.pid, name)
    }

    /// Sends it a signal and waits until it is gone.
    pub fn end(&self, signal: &str) -> anyhow::Result<()> {
        if self.is_running() {
            self.signal(signal)?;
        }
        self.until("its end", SIGNALLED, || Ok(!self.is_running()))
    }

    /// Looks until `done`; fails early with the program's last words when it has ended without that.
    pub fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut done: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let running = self.is_running();
            if done()? {
                return Ok(());
            }
            if !running {
                bail!("the program has ended:\n{}", self.log_tail());
            }
            if begun.elapsed() > deadline {
                bail!(
                    "waited {deadline:?} in vain for {what}:\n{}",
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Tethered {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A port of this machine on which nobody listens. Ports of outgoing connections lie higher, so that nobody takes it
/// by accident while its server is away.
pub fn free_port() -> anyhow::Result<u16> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let port = rand::random_range(15_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port was found in {TRIES} tries")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Tethered {
        let mut command = Command::new("sleep");
        command.arg("1000");
        Tethered::start(&command, &folder.join("log")).unwrap()
    }

    #[test]
    fn a_program_ends_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let sleeper = sleeper(folder.path());
        let pid = sleeper.pid();
        assert!(processes::is_alive(pid));
        drop(sleeper);
        assert!(!processes::is_alive(pid));
    }

    #[test]
    fn a_program_that_was_killed_is_seen_to_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let sleeper = sleeper(folder.path());
        sleeper.end("KILL").unwrap();
        assert!(!sleeper.is_running());
    }

    #[test]
    fn a_program_that_ends_early_tells_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo it hurts >&2; exit 3"]);
        let failing = Tethered::start(&command, &folder.path().join("log")).unwrap();
        let error = failing.until("never", SIGNALLED, || Ok(false)).unwrap_err();
        assert!(error.to_string().contains("it hurts"), "{error}");
    }
}
