//! A port of this machine that leads to a Service, as long as it is held.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Cluster;
use super::service::Name;

/// How long kubectl may take to open the way.
const OPEN: Duration = Duration::from_secs(30);
/// Most that is read of what kubectl complains of.
const COMPLAINT: u64 = 64 * 1024;

/// The way; it closes with the value.
#[derive(Debug)]
pub(super) struct Forward {
    kubectl: Child,
    port: u16,
}

impl Forward {
    /// Opens one to the Service's port `http`, from a free port of this machine.
    pub(super) fn open(cluster: &Cluster, service: &Name) -> anyhow::Result<Self> {
        let target = format!("service/{}", service.name);
        let kubectl = cluster
            .kubectl(&["--namespace", &service.namespace, "port-forward"])
            .args(["--address", "127.0.0.1", &target, ":http"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl could not be started; is it on the path?")?;
        // From here on it ends with the value.
        let mut forward = Self { kubectl, port: 0 };
        forward.port = forward.read_port()?;
        Ok(forward)
    }

    /// `http://127.0.0.1:PORT`.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// kubectl says which port it took, and goes on talking of every connection, which somebody has to read.
    fn read_port(&mut self) -> anyhow::Result<u16> {
        let stdout = self.kubectl.stdout.take().context("its output is piped")?;
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(port) = port(&line) {
                    // Nobody waits any more: all the same.
                    let _ = tell.send(port);
                }
            }
        });
        match told.recv_timeout(OPEN) {
            Ok(port) => Ok(port),
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "kubectl opened no way to the Service within {} s",
                    OPEN.as_secs()
                )
            }
            Err(RecvTimeoutError::Disconnected) => {
                let mut said = String::new();
                if let Some(stderr) = self.kubectl.stderr.take() {
                    stderr.take(COMPLAINT).read_to_string(&mut said)?;
                }
                bail!("kubectl says: {}", said.trim())
            }
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

/// Reads `Forwarding from 127.0.0.1:41893 -> 8080`.
fn port(line: &str) -> Option<u16> {
    let address = line.strip_prefix("Forwarding from ")?.split(' ').next()?;
    address.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_off_what_kubectl_says() {
        assert_eq!(port("Forwarding from 127.0.0.1:41893 -> 8080"), Some(41893));
        assert_eq!(port("Handling connection for 41893"), None);
    }
}
