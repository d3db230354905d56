//! A Kubernetes control plane of the test's own: etcd and kube-apiserver, no nodes and no controllers.
//!
//! Objects are stored, defaulted, validated, watched and authorised as on any cluster; nothing else happens to them:
//! what garbage collection or the namespace controller would do, a test does itself.

#[cfg(feature = "kube-client")]
pub mod client;

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::tethered::{Tethered, free_port};

/// Names the folder of the programs, where they are not in the cache folder.
const PROGRAMS: &str = "KUBEBUILDER_ASSETS";

/// Where in the cache folder the programs are.
const CACHED: &str = "k8s-cluster/bin-1.36.3";

/// Longest wait for a server to answer after a start, on a busy machine.
const START: Duration = Duration::from_mins(2);

/// A port can be taken between the look and the start.
const START_TRIES: usize = 3;

/// The token of a user who may do everything.
pub const ADMIN_TOKEN: &str = "admin-token";

/// The token of the user `controller`, who may do what a test grants, and nothing else.
pub const CONTROLLER_TOKEN: &str = "controller-token";

/// Who the server knows: token, name, id, groups.
const TOKENS: &str =
    "admin-token,admin,admin,\"system:masters\"\ncontroller-token,controller,controller\n";

/// A running control plane. It ends with the value, and with the test even when that is killed.
#[derive(Debug)]
pub struct KubeServer {
    programs: PathBuf,
    home: TempDir,
    etcd_port: u16,
    port: u16,
    shared: bool,
    etcd: Option<Tethered>,
    server: Option<Tethered>,
}

impl KubeServer {
    /// Starts a control plane.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_as(false)
    }

    /// The one control plane that the tests of a binary share; each uses a namespace of its own.
    ///
    /// # Panics
    /// When no control plane can be started: tests without it mean nothing.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<KubeServer> = OnceLock::new();
        SHARED.get_or_init(|| match Self::start_as(true) {
            Ok(server) => server,
            #[expect(clippy::panic, reason = "there is no test without the control plane")]
            Err(error) => panic!("{error:#}"),
        })
    }

    fn start_as(shared: bool) -> anyhow::Result<Self> {
        let mut server = Self {
            programs: programs()?,
            home: tempfile::tempdir()?,
            etcd_port: 0,
            port: 0,
            shared,
            etcd: None,
            server: None,
        };
        std::fs::write(server.path("tokens.csv"), TOKENS)?;
        server.make_key()?;
        for _ in 1..START_TRIES {
            if server.launch().is_ok() {
                return Ok(server);
            }
        }
        server.launch()?;
        Ok(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The key that service accounts' tokens are signed with. Nobody here has such a token, but the server wants it.
    fn make_key(&self) -> anyhow::Result<()> {
        let made = Command::new("openssl")
            .args([
                "ecparam",
                "-name",
                "prime256v1",
                "-genkey",
                "-noout",
                "-out",
            ])
            .arg(self.path("accounts.key"))
            .stderr(Stdio::null())
            .status();
        let made = made.context("openssl is not installed")?;
        ensure!(made.success(), "openssl made no key");
        Ok(())
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        (self.server, self.etcd) = (None, None);
        (self.etcd_port, self.port) = (free_port()?, free_port()?);
        let peers = free_port()?;
        let mut etcd = Command::new(self.programs.join("etcd"));
        etcd.arg("--data-dir")
            .arg(self.path("etcd"))
            .arg("--unsafe-no-fsync")
            .args(["--listen-client-urls", &local(self.etcd_port)])
            .args(["--advertise-client-urls", &local(self.etcd_port)])
            .args(["--listen-peer-urls", &local(peers)])
            .args(["--log-level", "error"]);
        let etcd = self.begin(&etcd, "etcd.log")?;
        let address = SocketAddr::from(([127, 0, 0, 1], self.etcd_port));
        etcd.until("etcd to listen", START, || {
            Ok(TcpStream::connect_timeout(&address, START).is_ok())
        })?;
        self.etcd = Some(etcd);
        self.launch_server()
    }

    fn launch_server(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(self.programs.join("kube-apiserver"));
        command
            .args(["--etcd-servers", &local(self.etcd_port)])
            .args([
                "--bind-address",
                "127.0.0.1",
                "--advertise-address",
                "127.0.0.1",
            ])
            .args(["--secure-port", &self.port.to_string()])
            // It makes certificates of its own there.
            .arg("--cert-dir")
            .arg(self.path("certs"))
            .arg("--token-auth-file")
            .arg(self.path("tokens.csv"))
            .args(["--authorization-mode", "RBAC"])
            .args(["--service-cluster-ip-range", "10.96.0.0/24"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .arg("--service-account-key-file")
            .arg(self.path("accounts.key"))
            .arg("--service-account-signing-key-file")
            .arg(self.path("accounts.key"))
            // Needs a controller that makes accounts, which is not here.
            .args(["--disable-admission-plugins", "ServiceAccount"])
            // A watch that nothing comes over still ends within a test's patience.
            .args(["--min-request-timeout", "300"]);
        let server = self.begin(&command, "apiserver.log")?;
        server.until("the API server to be ready", START, || self.is_ready())?;
        self.server = Some(server);
        Ok(())
    }

    fn begin(&self, command: &Command, log: &str) -> anyhow::Result<Tethered> {
        let log = self.path(log);
        if self.shared {
            Tethered::start_in(command, &log, self.home.path())
        } else {
            Tethered::start(command, &log)
        }
    }

    fn is_ready(&self) -> anyhow::Result<bool> {
        let (Ok(_), true) = (self.authority(), self.listens()) else {
            return Ok(false);
        };
        let asked = Command::new("curl")
            .args(["--silent", "--fail", "--max-time", "5", "--cacert"])
            .arg(self.certificate())
            .args(["--header", &format!("Authorization: Bearer {ADMIN_TOKEN}")])
            .arg(format!("{}/readyz", self.url()))
            .stdout(Stdio::null())
            .status();
        Ok(asked.context("curl is not installed")?.success())
    }

    fn listens(&self) -> bool {
        TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)).is_ok()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    fn certificate(&self) -> PathBuf {
        self.path("certs").join("apiserver.crt")
    }

    /// The certificates that its own is to be checked with, as PEM.
    pub fn authority(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.certificate())?)
    }

    /// A kubeconfig for the holder of a token, for the server itself.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> String {
        let authority = self.certificate();
        kubeconfig(
            &format!(
                "{}, certificate-authority: {}",
                self.url(),
                authority.display()
            ),
            token,
        )
    }

    /// Ends etcd and the API server as a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        for process in [self.server.take(), self.etcd.take()].into_iter().flatten() {
            process.end("KILL")?;
        }
        Ok(())
    }
}

/// A kubeconfig for the holder of a token, by way of a proxy that speaks plain HTTP.
#[must_use]
pub fn kubeconfig_at(address: SocketAddr, token: &str) -> String {
    kubeconfig(&format!("http://{address}"), token)
}

fn kubeconfig(server: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: test, cluster: {{server: {server}}}}}]\n\
         users: [{{name: test, user: {{token: {token}}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\ncurrent-context: test\n"
    )
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The folder with the programs: where a variable says, or the one in the cache folder.
fn programs() -> anyhow::Result<PathBuf> {
    let cache = || {
        std::env::var_os("XDG_CACHE_HOME")
            .filter(|cache| !cache.is_empty())
            .map(PathBuf::from)
            .or_else(|| Some(std::env::home_dir()?.join(".cache")))
    };
    let folder = std::env::var_os(PROGRAMS)
        .map(PathBuf::from)
        .or_else(|| Some(cache()?.join(CACHED)));
    let complete = |folder: &Path| {
        let mut programs = ["etcd", "kube-apiserver"].iter();
        programs.all(|program| folder.join(program).is_file())
    };
    folder.filter(|folder| complete(folder)).with_context(|| {
        format!("neither {PROGRAMS} nor the cache folder has etcd and kube-apiserver; `cargo xtask cluster build` builds them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes;

    #[test]
    fn a_control_plane_answers_and_ends_with_its_value() {
        let server = KubeServer::start().unwrap();
        assert!(server.is_ready().unwrap());
        let pids = [&server.etcd, &server.server].map(|p| p.as_ref().unwrap().pid());
        drop(server);
        assert!(!pids.into_iter().any(processes::is_alive));
    }
}
