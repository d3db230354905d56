//! A `filejobs dev` of our own, for commands that talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::run::{cargo, run};
use crate::tools;

/// How long the service may take to say that it is healthy.
const START: Duration = Duration::from_secs(30);

/// A running service; ends with the value.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
    /// Holds its files until it has ended.
    _data: tempfile::TempDir,
}

impl Service {
    /// Builds the binary, starts it on a free port and waits until it is healthy.
    pub(crate) fn start() -> anyhow::Result<Self> {
        run(&mut cargo([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "filejobs-cli",
        ]))?;
        let data = tempfile::tempdir()?;
        let address = free_address()?;
        let child = Command::new(binary())
            .arg("dev")
            .args(["--listen", &address.to_string(), "--data-dir"])
            .arg(data.path())
            .stdin(Stdio::null())
            .spawn()
            .context("`filejobs dev` could not be started")?;
        let mut service = Self {
            child,
            address,
            _data: data,
        };
        service.wait_until_healthy()?;
        Ok(service)
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Fails when the service has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("`filejobs dev` has ended with {status}"),
        }
    }

    fn wait_until_healthy(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < START {
            self.still_runs()?;
            if status_of(self.address, "/api/health").is_some_and(|status| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!(
            "`filejobs dev` was not healthy within {} s",
            START.as_secs()
        )
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A service that has ended already is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The debug binary.
fn binary() -> PathBuf {
    tools::target_dir().join("debug/filejobs")
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The status of one GET, when there is an answer: as much HTTP as a health check needs.
fn status_of(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(1024))
        .read_line(&mut line)
        .ok()?;
    line.split(' ').nth(1)?.parse().ok()
}
