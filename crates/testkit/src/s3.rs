//! An S3-compatible storage of the test's own: versitygw over a local folder.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::kept;
use crate::names;
use crate::tethered::{Tethered, free_port};

/// The id of the only key pair that the storage knows.
pub const KEY_ID: &str = "test";
/// The secret of that key pair.
pub const SECRET: &str = "test-secret";

/// Names the program, where it is not in the cache folder.
const PROGRAM: &str = "FILEJOBS_VERSITYGW";

/// Longest wait for the server to answer after a start.
const START: Duration = Duration::from_mins(1);

/// A port can be taken between the look and the start.
const START_TRIES: usize = 5;

/// A running storage, or one that was killed and can be started again.
///
/// An object with the key `a/b` of a bucket is the file `a/b` in the bucket's folder: a test can damage it there.
#[derive(Debug)]
pub struct S3Server {
    home: TempDir,
    port: u16,
    process: Option<Tethered>,
}

impl S3Server {
    /// Starts a storage.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_below(&std::env::temp_dir())
    }

    /// The same, in a folder of its own below another one.
    fn start_below(parent: &Path) -> anyhow::Result<Self> {
        let mut server = Self {
            home: tempfile::tempdir_in(parent)?,
            port: 0,
            process: None,
        };
        for folder in ["buckets", "notes"] {
            std::fs::create_dir(server.home.path().join(folder))?;
        }
        for _ in 1..START_TRIES {
            server.port = free_port()?;
            if server.launch().is_ok() {
                return Ok(server);
            }
        }
        server.port = free_port()?;
        server.launch()?;
        Ok(server)
    }

    /// The one storage that the tests of a binary share; each uses a bucket of its own.
    ///
    /// # Panics
    /// When no storage can be started: tests without it mean nothing.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<S3Server> = OnceLock::new();
        SHARED.get_or_init(|| match Self::start_below(kept::folder()) {
            Ok(server) => server,
            #[expect(clippy::panic, reason = "there is no test without the storage")]
            Err(error) => panic!("{error:#}"),
        })
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let program = program().context(
            "versitygw is not in the cache folder; `cargo xtask test rust` builds it there",
        )?;
        let mut command = Command::new(program);
        command
            .args([
                "--port",
                &self.address().to_string(),
                "--keep-alive",
                "--quiet",
            ])
            .args(["posix", "--sidecar"])
            // Beside the objects, because not every file system has room for them in itself.
            .arg(self.home.path().join("notes"))
            .arg(self.home.path().join("buckets"))
            .env("ROOT_ACCESS_KEY", KEY_ID)
            .env("ROOT_SECRET_KEY", SECRET);
        let process = Tethered::start(&command, &self.home.path().join("log"))?;
        process.until("the storage to answer", START, || {
            Ok(TcpStream::connect_timeout(&self.address(), START).is_ok())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Makes a bucket that no other test has, and gives its name.
    pub fn bucket(&self) -> anyhow::Result<String> {
        let name = names::unique("bucket");
        std::fs::create_dir(self.folder(&name))?;
        Ok(name)
    }

    /// The folder with a bucket's objects.
    #[must_use]
    pub fn folder(&self, bucket: &str) -> PathBuf {
        self.home.path().join("buckets").join(bucket)
    }

    /// Its process id; 0 when it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Tethered::pid)
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => process.end("KILL"),
            None => Ok(()),
        }
    }

    /// Starts it again on the same port, with all that it has stored.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.launch()
    }
}

/// The program: where a variable says, or the one that `cargo xtask test` has built.
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os(PROGRAM) {
        return Some(program.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|cache| !cache.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    let tools = std::fs::read_dir(cache.join("filejobs")).ok()?.flatten();
    let builds = tools.filter(|tool| {
        let name = tool.file_name();
        name.to_string_lossy().starts_with("versitygw-")
    });
    let programs = builds.map(|build| build.path().join("versitygw"));
    programs.filter(|program| program.is_file()).max()
}
