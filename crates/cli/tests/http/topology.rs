//! The ways to run the service. A test gets one of them, says how it wants it set up, and calls what comes back.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use filejobs_testkit::caller::Caller;
use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::disk::files_below;
use filejobs_testkit::names;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::processes::{descendants, hold_engine};
use filejobs_testkit::raw;
use filejobs_testkit::s3::{self, S3Server};
use filejobs_testkit::service::Service;
use tokio::sync::OnceCell;

use crate::BINARY;

/// A way to run the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// `filejobs dev`: one process, SQLite, a folder.
    Dev,
    /// Two `api`, a `worker` and a `scheduler`, on Postgres, Redis and a folder.
    Processes,
    /// The same with an S3-compatible storage.
    S3,
}

/// How a test wants the service.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    pub(crate) way: Way,
    variables: Vec<(&'static str, String)>,
    alone: bool,
}

pub(crate) fn dev() -> Topology {
    Topology::of(Way::Dev)
}

pub(crate) fn processes() -> Topology {
    Topology::of(Way::Processes)
}

pub(crate) fn s3() -> Topology {
    Topology::of(Way::S3)
}

impl Topology {
    fn of(way: Way) -> Self {
        Self {
            way,
            variables: Vec::new(),
            alone: false,
        }
    }

    /// Sets a variable of every process' environment.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Shares the service with no other test: for those that look at all that it has.
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Starts it, or takes the one that other tests have started so.
    pub(crate) async fn start(self) -> Stage {
        let running = match self.way {
            Way::Dev => {
                let builder = Service::builder(BINARY);
                let variables = self.variables.iter();
                let builder = variables.fold(builder, |b, (name, value)| b.env(name, value));
                Running::One(Box::new(builder.start().await.unwrap()))
            }
            _ if self.alone => Running::Many(Arc::new(Many::start(&self).await)),
            _ => Running::Many(shared(&self).await),
        };
        Stage::new(running)
    }
}

/// The processes that tests with the same settings share. They cost more than most tests do, and each test has a
/// namespace of its own.
async fn shared(topology: &Topology) -> Arc<Many> {
    type Settings = (Way, Vec<(&'static str, String)>);
    type Started = Arc<OnceCell<Arc<Many>>>;
    static STARTED: Mutex<Option<HashMap<Settings, Started>>> = Mutex::new(None);

    let settings = (topology.way, topology.variables.clone());
    let cell = {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        let started = started.get_or_insert_default();
        started.entry(settings).or_default().clone()
    };
    let many = cell.get_or_init(async || Arc::new(Many::start(topology).await));
    many.await.clone()
}

/// The service as many processes.
#[derive(Debug)]
struct Many {
    members: Vec<Member>,
    cluster: Cluster,
    bucket: Option<PathBuf>,
    admin: String,
}

impl Many {
    async fn start(topology: &Topology) -> Self {
        let mut cluster = Cluster::kept(BINARY, PostgresServer::shared()).unwrap();
        let mut bucket = None;
        if topology.way == Way::S3 {
            let storage = S3Server::shared();
            let name = storage.bucket().unwrap();
            bucket = Some(storage.folder(&name));
            cluster.environment = vec![
                ("FILEJOBS_S3_BUCKET".to_owned(), name),
                ("FILEJOBS_S3_ENDPOINT".to_owned(), storage.endpoint()),
                ("AWS_ACCESS_KEY_ID".to_owned(), s3::KEY_ID.to_owned()),
                ("AWS_SECRET_ACCESS_KEY".to_owned(), s3::SECRET.to_owned()),
            ];
        }
        let variables = topology.variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), value.clone()));
        cluster.environment.extend(variables);
        let migrated = cluster.run(&["migrate"]).unwrap();
        assert!(migrated.status.success(), "{migrated:?}");
        let members = tokio::try_join!(
            cluster.spawn(&["api"]),
            cluster.spawn(&["api"]),
            cluster.spawn(&["worker"]),
            cluster.spawn(&["scheduler"]),
        );
        let (first, second, worker, scheduler) = members.unwrap();
        Self {
            members: vec![first, second, worker, scheduler],
            bucket,
            admin: cluster.admin_key().unwrap(),
            cluster,
        }
    }

    fn caller(&self, key: Option<&str>) -> Caller {
        let apis = self.members.iter().map(Member::url);
        let apis = apis.filter(|url| !url.is_empty()).map(str::to_owned);
        Caller::new(apis.collect(), key).unwrap()
    }
}

#[derive(Debug)]
enum Running {
    One(Box<Service>),
    Many(Arc<Many>),
}

/// A running service as one test sees it, and who calls it for that: somebody of the test's own namespace.
#[derive(Debug)]
pub(crate) struct Stage {
    running: Running,
    caller: Caller,
    /// Somebody who looks after all namespaces.
    pub(crate) admin: Caller,
    /// Who holds no key.
    pub(crate) stranger: Caller,
    /// Where the test's jobs are.
    pub(crate) namespace: String,
    key: Option<String>,
}

impl Deref for Stage {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Stage {
    fn new(running: Running) -> Self {
        match &running {
            // Loopback is not asked for keys.
            Running::One(service) => {
                let caller = || Caller::new(vec![service.url().to_owned()], None).unwrap();
                Self {
                    caller: caller(),
                    admin: caller(),
                    stranger: caller(),
                    namespace: "default".to_owned(),
                    key: None,
                    running,
                }
            }
            Running::Many(many) => {
                let namespace = names::unique("test");
                let key = create_key(
                    many.cluster.command(&["keys", "create"]),
                    &["--namespace", &namespace],
                );
                Self {
                    caller: many.caller(Some(&key)),
                    admin: many.caller(Some(&many.admin)),
                    stranger: many.caller(None),
                    namespace,
                    key: Some(key),
                    running,
                }
            }
        }
    }

    /// A command of the program that works on the service's own database.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        match &self.running {
            Running::Many(many) => many.cluster.command(arguments),
            Running::One(service) => {
                let mut command = Command::new(BINARY);
                command.args(arguments).env_clear();
                command.env("FILEJOBS_DATA_DIR", service.data());
                command
            }
        }
    }

    /// A command of the program that calls the service.
    pub(crate) fn client_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).env_clear();
        command.env("FILEJOBS_URL", self.url());
        if let Some(key) = &self.key {
            command.env("FILEJOBS_API_KEY", key);
        }
        command
    }

    /// The beginning of an upload by hand, as [`raw::upload_head`] makes it, with the key that it needs.
    pub(crate) fn upload_head(&self, length: Option<u64>, name: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut head, part) = raw::upload_head(length, name);
        if let Some(key) = &self.key {
            head.truncate(head.len() - "\r\n".len());
            head.extend_from_slice(format!("X-API-Key: {key}\r\n\r\n").as_bytes());
        }
        (head, part)
    }

    /// Every file of the storage: uploads, parts of them, results.
    pub(crate) fn stored(&self) -> Vec<PathBuf> {
        let folder = match &self.running {
            Running::One(service) => service.data().join("files"),
            Running::Many(many) => many.bucket.clone().unwrap_or_else(|| many.cluster.files()),
        };
        let mut files = files_below(&folder);
        // What a look at the storage's health has written.
        files.retain(|path| !path.ends_with("staging/ping"));
        files
    }

    /// Whether anything of a job is in the storage.
    pub(crate) fn stores(&self, job: &str) -> bool {
        let holds = |path: &Path| path.to_string_lossy().contains(job);
        self.stored().iter().any(|path| holds(path))
    }

    /// Every file that an engine has written and a worker has not stored yet.
    pub(crate) fn scratch(&self) -> Vec<PathBuf> {
        let folder = match &self.running {
            Running::One(service) => service.data().join("scratch"),
            Running::Many(many) => many.cluster.scratch(),
        };
        let mut files = files_below(&folder);
        // The lock of a living worker.
        files.retain(|path| !path.ends_with("lock"));
        files
    }

    /// The living engines.
    pub(crate) fn engines(&self) -> Vec<u32> {
        match &self.running {
            Running::One(service) => service.children(),
            Running::Many(many) => {
                let members = many.members.iter();
                members
                    .flat_map(|member| descendants(member.pid()))
                    .collect()
            }
        }
    }

    /// Waits until one of its processes has an engine at work, and has that stand still from then on.
    pub(crate) async fn hold_engine(&self) -> anyhow::Result<u32> {
        match &self.running {
            Running::One(service) => hold_engine(service.pid()).await,
            Running::Many(many) => {
                let members = many.members.iter();
                let held = members.map(|member| Box::pin(hold_engine(member.pid())));
                Ok(futures::future::select_ok(held).await?.0)
            }
        }
    }

    /// All that its processes said so far.
    pub(crate) fn log(&self) -> String {
        match &self.running {
            Running::One(service) => service.log(),
            Running::Many(many) => many.members.iter().map(Member::log).collect(),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Processes that are shared outlive the test, and would not tell.
        if let (true, Running::Many(many)) = (std::thread::panicking(), &self.running) {
            for member in &many.members {
                eprintln!("a process' log ends with:\n{}", member.log_tail());
            }
        }
    }
}

/// Makes an API key by `filejobs keys create`.
#[track_caller]
pub(crate) fn create_key(mut create: Command, arguments: &[&str]) -> String {
    let made = create.args(["--name", "test"]).args(arguments);
    let made = made.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}
