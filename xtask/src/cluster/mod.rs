//! `cargo xtask cluster`: a real Kubernetes cluster of one node on this machine, without Docker.
//!
//! etcd, kube-apiserver, controller-manager, scheduler, kubelet, kube-proxy, `CoreDNS` and Helm are built from their
//! sources, containerd and runc are Debian's. Everything that runs, its state and its logs lie in one folder of the
//! cache; what is ended is ended by the process ids written there. Needs root and Go. Also works where a machine has
//! only the old cgroup hierarchy and no `CAP_SYS_RESOURCE`, such as inside of a container.

mod binaries;
mod control_plane;
mod faults;
mod image;
mod images;
mod node;
mod process;
mod rootfs;
mod test;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::run::say;
use crate::tools;

pub(crate) use binaries::{
    KUBERNETES, chart_tools, control_plane as control_plane_binaries, whole_cluster,
};
pub(crate) use test::{Args as TestArgs, run_test};

/// What to do with the cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Installs and builds what a cluster needs: some ten minutes, once.
    Build,
    /// Starts etcd and kube-apiserver alone, which is all that a controller needs.
    ControlPlane,
    /// Starts the whole node: what Helm and pods need. A running cluster is ended first.
    Up,
    /// Puts images of Filejobs, Postgres and Redis on the node.
    Load {
        /// The binary of Filejobs; the debug build when absent.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
    /// Installs the chart on a cluster of its own and does with it what users do.
    Test(test::Args),
    /// Ends everything and deletes all state.
    Down,
    /// Prints what a shell needs: eval "$(cargo xtask cluster env)".
    Env,
}

/// The subcommand.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let cluster = Cluster::open()?;
    match &args.action {
        Action::Build => whole_cluster(),
        Action::ControlPlane => cluster.control_plane(),
        Action::Up => cluster.up(),
        Action::Load { binary } => images::load(&cluster, binary.as_deref()),
        Action::Test(args) => test::run_test(args),
        Action::Down => cluster.end(),
        Action::Env => cluster.print_environment(),
    }
}

/// Where the cluster's programs and its state lie.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// Built programs, of one version of Kubernetes.
    bin: PathBuf,
    /// Whatever a running cluster has: gone after `down`.
    run: PathBuf,
}

impl Cluster {
    /// The one of this machine and user.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let home = tools::cache()?
            .parent()
            .context("the cache folder has no parent")?
            .join("k8s-cluster");
        Ok(Self {
            bin: home.join(format!("bin-{}", binaries::KUBERNETES)),
            run: home.join("run"),
        })
    }

    /// Builds and installs what is missing, ends what runs, starts etcd and kube-apiserver.
    pub(crate) fn control_plane(&self) -> anyhow::Result<()> {
        binaries::control_plane_in(&self.bin)?;
        control_plane::dependencies()?;
        node::down(self)?;
        control_plane::up(self)
    }

    /// Builds and installs what is missing, ends what runs, starts the whole node.
    pub(crate) fn up(&self) -> anyhow::Result<()> {
        node::dependencies()?;
        binaries::all(&self.bin)?;
        node::down(self)?;
        node::up(self)
    }

    /// Ends what runs, and deletes its state.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        node::down(self)
    }

    /// A built program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The access of a cluster's admin.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.run.join("admin.kubeconfig")
    }

    /// Where containerd listens.
    fn socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    /// A program that talks to the cluster, by its name.
    pub(crate) fn client<S: AsRef<OsStr>>(
        &self,
        name: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(self.program(name));
        command
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::null());
        command
    }

    /// Writes one of the files that are part of this program, with what `@NAME@` stands for filled in.
    fn write(&self, to: &Path, text: &str, names: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut text = text.replace("@RUN@", &self.run.to_string_lossy());
        for (name, value) in names {
            text = text.replace(&format!("@{name}@"), value);
        }
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(to, text).with_context(|| format!("{} cannot be written", to.display()))
    }

    #[expect(clippy::print_stdout, reason = "a shell reads it from standard output")]
    fn print_environment(&self) -> anyhow::Result<()> {
        if !self.kubeconfig().exists() {
            bail!("no cluster is up: `cargo xtask cluster up`");
        }
        println!(
            "export KUBECONFIG='{}' KUBEBUILDER_ASSETS='{1}' PATH='{1}':\"$PATH\"",
            self.kubeconfig().display(),
            self.bin.display()
        );
        Ok(())
    }
}

/// Asks again and again until it is so; past the limit an error that says what was waited for.
pub(crate) fn wait_for(
    what: &str,
    limit: Duration,
    mut is_so: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    say(format_args!(
        "{what}: after {:.1} s",
        started.elapsed().as_secs_f32()
    ));
    Ok(())
}

/// Whether a command ends well; what it prints is not of interest.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
