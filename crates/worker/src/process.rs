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
