//! A Redis server of the test's own.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::kept;
use crate::tethered::{Tethered, free_port};

/// Longest wait for the server to answer after a start.
const START: Duration = Duration::from_mins(1);

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A port can be taken between the look and the start.
const START_TRIES: usize = 5;

/// A running `redis-server` with a folder of its own, or one that was killed and can be started again.
///
/// It writes an append-only file and evicts nothing, as production must. All calls block for milliseconds.
#[derive(Debug)]
pub struct RedisServer {
    home: TempDir,
    port: u16,
    settings: Vec<String>,
    process: Option<Tethered>,
}

impl RedisServer {
    /// Starts a server.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with further settings: pairs of `--NAME` and `VALUE`, which win over ours.
    pub fn start_with(settings: &[&str]) -> anyhow::Result<Self> {
        Self::start_below(&std::env::temp_dir(), settings)
    }

    /// The same, in a folder of its own below another one.
    pub fn start_below(parent: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let mut server = Self {
            home: tempfile::tempdir_in(parent)?,
            port: 0,
            settings: settings.iter().map(|&s| s.to_owned()).collect(),
            process: None,
        };
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

    /// The one server that the tests of a binary share; each uses keys of its own ([`names::unique`](crate::names::unique)).
    ///
    /// # Panics
    /// When no server can be started: tests without it mean nothing.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(|| match Self::start_below(kept::folder(), &[]) {
            Ok(server) => server,
            #[expect(clippy::panic, reason = "there is no test without the server")]
            Err(error) => panic!("{error:#}"),
        })
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--appendonly", "yes", "--maxmemory-policy", "noeviction"])
            // What is written survives a kill; only the machine would take it along, and a busy disk holds up nobody.
            .args(["--appendfsync", "no"])
            .args(["--save", "", "--daemonize", "no", "--dir"])
            .arg(self.home.path())
            .args(&self.settings)
            .current_dir(self.home.path());
        let process = Tethered::start(&command, &self.home.path().join("log"))?;
        let ready = process.until("the server to answer", START, || {
            Ok(self.command(&["PING"]).is_ok_and(|said| said == "PONG"))
        });
        ready.context(
            "redis-server could not be started; `cargo xtask test rust` installs it (on Debian: apt-get install redis-server)",
        )?;
        self.process = Some(process);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Its process id; 0 when it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Tethered::pid)
    }

    /// Runs a command on a connection of its own and gives its answer as text, the items of a list one a line.
    pub fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address(), ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            let _ = write!(request, "${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(request.as_bytes())?;
        answer(&mut BufReader::new(stream))
    }

    /// Forgets all keys.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.command(&["FLUSHALL"]).map(drop)
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => process.end("KILL"),
            None => Ok(()),
        }
    }

    /// Has the system stop (`STOP`) or go on with (`CONT`) its process, or sends any other signal.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the server does not run")?;
        process.signal(name)
    }

    /// Starts it again on the same port, with all that it had written.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.launch()
    }

    /// Starts it again on the same port, with nothing: its disk was lost, or it never had one.
    pub fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        let written = self.home.path().join("appendonlydir");
        if written.exists() {
            std::fs::remove_dir_all(written)?;
        }
        self.launch()
    }
}

/// Reads one answer of the protocol.
fn answer(reader: &mut BufReader<TcpStream>) -> anyhow::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).context("no answer")?;
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "-" => bail!("{rest}"),
        "$" => {
            let Ok(length) = rest.parse::<usize>() else {
                return Ok(String::new());
            };
            let mut bytes = vec![0; length + 2];
            reader.read_exact(&mut bytes)?;
            bytes.truncate(length);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        "*" => {
            let items = rest.parse().unwrap_or(0);
            let items: anyhow::Result<Vec<_>> = (0..items).map(|_| answer(reader)).collect();
            Ok(items?.join("\n"))
        }
        _ => bail!("not understood: {line}"),
    }
}
