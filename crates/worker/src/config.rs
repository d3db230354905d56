//! What a worker needs to know before it starts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use filejobs_blobs::Blobs;
use filejobs_core::retry::RetryPolicy;
use filejobs_core::{Limits, Sources, WorkerId};
use filejobs_queue::Queue;
use filejobs_store::Store;

/// What a worker works with.
#[derive(Debug, Clone)]
pub struct Backends {
    /// The record of every job.
    pub store: Arc<dyn Store>,
    /// Where tickets come from.
    pub queue: Arc<dyn Queue>,
    /// Where files and results lie.
    pub blobs: Blobs,
    /// Time, ids and jitter.
    pub sources: Sources,
}

/// The program that reads files.
#[derive(Debug, Clone)]
pub struct EngineCommand {
    /// The executable, by its full path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl EngineCommand {
    /// `engine` of the program that runs now.
    pub fn current() -> std::io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: vec!["engine".into()],
        })
    }
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name, new with every start.
    pub id: WorkerId,
    /// The program's version, as `GET /api/workers` shows it.
    pub version: String,
    /// Engines that run at a time.
    pub slots: u32,
    /// Processors that engines may keep busy together.
    pub cores: u32,
    /// Folder for scratch folders, created when absent; several workers may share it.
    pub scratch: PathBuf,
    /// The program that reads files.
    pub engine: EngineCommand,
    /// How big anything may grow.
    pub limits: Limits,
    /// How often a task is tried.
    pub retry: RetryPolicy,
    /// How long a task stays this worker's without a sign of life.
    pub lease: Duration,
    /// Pause between two signs of life with progress.
    pub heartbeat: Duration,
    /// Pause between two entries in the list of workers.
    pub beat: Duration,
    /// How long back ends may stay out of reach before an attempt counts as failed.
    pub patience: Duration,
    /// How long running tasks may go on after the worker was told to stop.
    pub grace: Duration,
    /// Whether an uploaded file is removed as soon as its job is completed.
    pub delete_completed: bool,
}

impl Config {
    /// The defaults: a slot for each processor, four at most.
    #[must_use]
    pub fn new(id: WorkerId, scratch: PathBuf, engine: EngineCommand) -> Self {
        let cores = std::thread::available_parallelism()
            .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        Self {
            id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: cores.min(4),
            cores,
            scratch,
            engine,
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(1),
            beat: Duration::from_secs(5),
            patience: Duration::from_mins(1),
            grace: Duration::from_secs(25),
            delete_completed: false,
        }
    }

    /// A name for this process: host, process id and an end that is new with every start.
    #[must_use]
    pub fn worker_id(sources: &Sources) -> WorkerId {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let unique = sources.ids.uuid(sources.now()).simple().to_string();
        // The first half of such an id is time; its end is random.
        let end = &unique[unique.len() - 8..];
        WorkerId::new(format!("{host}-{}-{end}", std::process::id()))
    }
}
