//! One run of the engine outside of any job: `filejobs check`.

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use filejobs_engine::child;
use filejobs_engine::task::{Progress, Request};

use crate::config::EngineCommand;
use crate::ending::{self, Ending};
use crate::outputs;
use crate::process::{Followed, Launcher, Start};

/// Runs the engine in a child process over `input`, under the same limits and the same judgement as a worker does.
///
/// `folder` exists, is empty, and is the caller's to remove; the outputs lie in its [`child::OUT`]. `None` when
/// `stop` came first. No process is left in any case.
pub async fn run_once(
    engine: &EngineCommand,
    folder: &Path,
    request: &Request,
    input: File,
    progress: impl Fn(Progress),
    stop: impl Future<Output = ()>,
) -> io::Result<Option<Ending>> {
    let out = folder.join(child::OUT);
    std::fs::create_dir(&out)?;
    std::fs::write(folder.join(child::REQUEST), serde_json::to_vec(request)?)?;
    let launcher = Launcher::start(engine.clone())?;
    let start = Start {
        folder: folder.to_owned(),
        input,
    };
    let limits = &request.limits;
    let at_most = Duration::from_secs(limits.engine_cpu_seconds.saturating_mul(4) + 60);
    Ok(
        match launcher.follow(start, progress, stop, at_most).await? {
            Followed::Ended(ended) => {
                let result = outputs::read_result(&out).ok().flatten();
                if result.is_none() {
                    let said = String::from_utf8_lossy(&ended.stderr);
                    tracing::warn!(status = %ended.status, said = %said.trim_end(), "the engine left no result");
                }
                Some(ending::judge(ended.status, &ended.stderr, result, limits))
            }
            Followed::Killed => None,
            Followed::TimedOut => Some(ending::took_too_long(at_most.as_secs())),
        },
    )
}
