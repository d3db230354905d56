//! The parent's end of the engine process: start, follow, kill.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use filejobs_engine::task::Progress;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::config::EngineCommand;

/// Bytes of standard error that are kept; the rest is read and dropped.
const STDERR_BYTES: usize = 4096;

/// A progress line is far shorter; a child that sends more at once is not believed.
const LINE_BYTES: u64 = 1024;

/// How long to wait for the end of a killed process, and for the last of a dead process' pipes.
const REAP: Duration = Duration::from_secs(5);

/// Starts children from a thread that lives as long as this.
///
/// A child asks the kernel to end it with its parent, and the kernel means the parent's *thread*. Threads of the
/// runtime's pool come and go, so none of them may start a child.
#[derive(Debug)]
pub(crate) struct Launcher {
    orders: mpsc::Sender<Order>,
    command: EngineCommand,
}

struct Order {
    command: Command,
    started: oneshot::Sender<io::Result<Child>>,
}

/// A child about to be started.
#[derive(Debug)]
pub(crate) struct Start {
    /// Its working folder.
    pub(crate) folder: PathBuf,
    /// The file to read.
    pub(crate) input: File,
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code or signal.
    pub(crate) status: ExitStatus,
    /// The beginning of what it said on standard error.
    pub(crate) stderr: Vec<u8>,
}

/// How following a child ended.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The child ended.
    Ended(Ended),
    /// It was killed because the caller wanted so.
    Killed,
    /// It was killed because it took longer than it may.
    TimedOut,
}

impl Launcher {
    /// Starts the thread. Must be called inside a runtime: the children's pipes belong to it.
    pub(crate) fn start(command: EngineCommand) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("engine-launcher".to_owned())
            .spawn(move || {
                let _inside = runtime.enter();
                while let Ok(mut order) = inbox.recv() {
                    // A caller that has gone drops the child, which kills it.
                    let _ = order.started.send(order.command.spawn());
                }
            })?;
        Ok(Self { orders, command })
    }

    async fn spawn(&self, start: Start) -> io::Result<Child> {
        let mut command = Command::new(&self.command.program);
        command
            .args(&self.command.arguments)
            .env_clear()
            .current_dir(start.folder)
            .stdin(Stdio::from(start.input))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: a Ctrl-C on the terminal is the worker's to handle.
            .process_group(0)
            .kill_on_drop(true);
        let (started, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.orders
            .send(Order { command, started })
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Starts a child and follows it to its end, to `kill`, or to `at_most`. No process is left in any case.
    pub(crate) async fn follow(
        &self,
        start: Start,
        progress: impl Fn(Progress),
        kill: impl Future<Output = ()>,
        at_most: Duration,
    ) -> io::Result<Followed> {
        let mut child = self.spawn(start).await?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("a child without pipes"));
        };
        let mut said = Vec::new();
        let pipes = async {
            tokio::join!(
                follow_progress(stdout, progress),
                keep_beginning(stderr, &mut said)
            );
        };
        let ended = {
            let mut pipes = std::pin::pin!(pipes);
            let to_the_end = async {
                let mut drained = false;
                let status = loop {
                    tokio::select! {
                        status = child.wait() => break status?,
                        () = &mut pipes, if !drained => drained = true,
                    }
                };
                if !drained {
                    // Nothing keeps them open but a grandchild, and the engine starts none.
                    let _ = tokio::time::timeout(REAP, pipes).await;
                }
                Ok::<_, io::Error>(status)
            };
            tokio::select! {
                biased;
                () = kill => Err(Followed::Killed),
                status = to_the_end => Ok(status?),
                () = tokio::time::sleep(at_most) => Err(Followed::TimedOut),
            }
        };
        match ended {
            Ok(status) => Ok(Followed::Ended(Ended {
                status,
                stderr: said,
            })),
            Err(why) => {
                end(child).await;
                Ok(why)
            }
        }
    }
}

/// Kills a child with all that it may have started, and waits until it is gone.
async fn end(mut child: Child) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(group) = group {
        // Fails when it is gone already.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    if tokio::time::timeout(REAP, child.wait()).await.is_err() {
        tracing::warn!("a killed engine process is stuck in the kernel");
    }
}

async fn follow_progress(stdout: impl AsyncRead + Unpin, tell: impl Fn(Progress)) {
    let mut reader = BufReader::with_capacity(LINE_BYTES as usize, stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader)
            .take(LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if let Ok(progress) = serde_json::from_slice(&line) {
                    tell(progress);
                }
            }
        }
    }
}

async fn keep_beginning(mut stderr: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
        let room = STDERR_BYTES - kept.len();
        kept.extend_from_slice(&buffer[..n.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    struct Run {
        folder: TempDir,
        launcher: Launcher,
        progress: RefCell<Vec<Progress>>,
    }

    impl Run {
        /// A shell with `script` in place of the engine.
        fn script(script: &str) -> Self {
            let command = EngineCommand {
                program: "/bin/sh".into(),
                arguments: vec!["-c".into(), script.into()],
            };
            Self {
                folder: tempfile::tempdir().unwrap(),
                launcher: Launcher::start(command).unwrap(),
                progress: RefCell::default(),
            }
        }

        async fn follow(&self, kill: impl Future<Output = ()>, at_most: Duration) -> Followed {
            let input = self.folder.path().join("input");
            std::fs::write(&input, "a,b\n1,2\n").unwrap();
            let start = Start {
                folder: self.folder.path().to_owned(),
                input: File::open(input).unwrap(),
            };
            let tell = |progress| self.progress.borrow_mut().push(progress);
            let followed = self.launcher.follow(start, tell, kill, at_most);
            followed.await.unwrap()
        }

        async fn to_the_end(&self) -> Ended {
            match self.follow(std::future::pending(), LONG).await {
                Followed::Ended(ended) => ended,
                other => panic!("{other:?}"),
            }
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.folder.path().join(name)).unwrap()
        }
    }

    /// Waits for `done`, with a deadline that only a broken program meets.
    async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
        let all = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(LONG, all).await.is_ok(), "{what}");
    }

    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
    }

    #[tokio::test]
    async fn a_child_gets_the_file_its_folder_and_no_environment() {
        let run = Run::script("cat > copy; cat /proc/$$/environ > environment; exit 7");
        assert_eq!(run.to_the_end().await.status.code(), Some(7));
        assert_eq!(run.read("copy"), "a,b\n1,2\n");
        assert_eq!(run.read("environment"), "");
    }

    #[tokio::test]
    async fn progress_is_told_and_noise_is_not() {
        let run = Run::script(
            r#"echo '{"bytes":9,"rows":2,"failed":1}'; echo noise; head -c 5000 /dev/zero; echo; echo '{"bytes":10,"rows":3,"failed":1}'"#,
        );
        assert!(run.to_the_end().await.status.success());
        let told: Vec<_> = run
            .progress
            .borrow()
            .iter()
            .map(|p| (p.bytes, p.rows))
            .collect();
        assert_eq!(told, [(9, 2), (10, 3)]);
    }

    #[tokio::test]
    async fn only_the_beginning_of_what_a_child_complains_is_kept() {
        let run = Run::script("echo first >&2; head -c 1000000 /dev/zero >&2");
        let ended = run.to_the_end().await;
        assert!(ended.stderr.starts_with(b"first\n"));
        assert_eq!(ended.stderr.len(), STDERR_BYTES);
    }

    #[tokio::test]
    async fn a_killed_child_is_gone_with_all_that_it_started() {
        let run = Run::script(
            "sleep 1000 & echo $! > grandchild.part; echo $$ > child; mv grandchild.part grandchild; wait",
        );
        let started = run.folder.path().join("grandchild");
        let kill = eventually("the child has started", || started.exists());
        let followed = run.follow(kill, LONG).await;
        assert!(matches!(followed, Followed::Killed), "{followed:?}");
        assert!(!runs(&run.read("child")));
        let grandchild = run.read("grandchild");
        eventually("the grandchild is gone", || !runs(&grandchild)).await;
    }

    #[tokio::test]
    async fn a_child_that_takes_too_long_is_killed() {
        let run = Run::script("exec sleep 1000");
        let followed = run
            .follow(std::future::pending(), Duration::from_millis(50))
            .await;
        assert!(matches!(followed, Followed::TimedOut), "{followed:?}");
    }

    #[tokio::test]
    async fn a_child_whose_follower_is_dropped_is_killed() {
        let run = Run::script("echo $$ > child.part; mv child.part child; exec sleep 1000");
        let child = run.folder.path().join("child");
        tokio::select! {
            followed = run.follow(std::future::pending(), LONG) => panic!("{followed:?}"),
            () = eventually("the child has started", || child.exists()) => {}
        }
        let pid = run.read("child");
        eventually("the child is gone", || !runs(&pid)).await;
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_is_an_error_not_an_end() {
        let command = EngineCommand {
            program: "/nonexistent/engine".into(),
            arguments: Vec::new(),
        };
        let launcher = Launcher::start(command).unwrap();
        let start = Start {
            folder: std::env::temp_dir(),
            input: File::open("/dev/null").unwrap(),
        };
        let followed = launcher
            .follow(start, |_| {}, std::future::pending(), LONG)
            .await;
        assert_eq!(followed.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
