//! The rest of the node: controllers, scheduler, container runtime, kubelet, Services and names.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::control_plane::{self, BRIDGE, NODE_IP};
use super::{Cluster, images, succeeds, wait_for};
use crate::run::{output, run, say};
use crate::tools;

/// Addresses of pods.
const PODS: &str = "10.88.0.0/16";
/// Where names are asked for; `files/coredns.yaml` has it, too.
const DNS_IP: &str = "10.96.0.10";
/// How long a part may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Programs of Debian that a node needs.
pub(super) fn dependencies() -> anyhow::Result<()> {
    control_plane::dependencies()?;
    tools::debian(&[
        ("containerd", "containerd"),
        ("runc", "runc"),
        ("/usr/lib/cni/bridge", "containernetworking-plugins"),
        ("nft", "nftables"),
        ("iptables", "iptables"),
        ("conntrack", "conntrack"),
    ])
}

/// Starts all of it and waits until pods can run.
pub(super) fn up(cluster: &Cluster) -> anyhow::Result<()> {
    control_plane::up(cluster)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    // Machines without this module have nothing to be told.
    let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
    controllers(cluster)?;
    runtime(cluster)?;
    images::load_system(cluster)?;
    kubelet(cluster)?;
    names(cluster)
}

fn controllers(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.spawn(
        "kube-controller-manager",
        &cluster.program("kube-controller-manager"),
        [
            "--kubeconfig=kcm.kubeconfig",
            "--service-account-private-key-file=pki/sa.key",
            "--root-ca-file=pki/ca.crt",
            "--use-service-account-credentials",
            "--leader-elect=false",
        ],
    )?;
    cluster.spawn(
        "kube-scheduler",
        &cluster.program("kube-scheduler"),
        ["--kubeconfig=scheduler.kubeconfig", "--leader-elect=false"],
    )
}

fn runtime(cluster: &Cluster) -> anyhow::Result<()> {
    let file = |name: &str| cluster.run.join(name);
    cluster.write(
        &file("cni/10-bridge.conflist"),
        include_str!("files/pods.conflist"),
        &[("POD_CIDR", PODS)],
    )?;
    cluster.write(
        &file("containerd.toml"),
        include_str!("files/containerd.toml"),
        &[],
    )?;
    let containerd = tools::on_path("containerd").unwrap_or_else(|| "containerd".into());
    cluster.spawn("containerd", &containerd, ["-c", "containerd.toml"])?;
    wait_for("containerd", PATIENCE, || {
        succeeds(cluster.ctr().arg("version"))
    })
}

fn kubelet(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.write(
        &cluster.run.join("kubelet.yaml"),
        include_str!("files/kubelet.yaml"),
        &[("NODE_IP", NODE_IP), ("DNS_IP", DNS_IP)],
    )?;
    cluster.spawn(
        "kubelet",
        &cluster.program("kubelet"),
        [
            "--config=kubelet.yaml",
            "--kubeconfig=node.kubeconfig",
            "--hostname-override=node1",
            &format!("--node-ip={NODE_IP}"),
            &format!("--root-dir={}", cluster.run.join("kubelet").display()),
        ],
    )?;
    let words = "create clusterrolebinding kube-proxy --clusterrole=system:node-proxier --user=system:kube-proxy";
    output(&mut cluster.client("kubectl", words.split(' ')))?;
    cluster.spawn(
        "kube-proxy",
        &cluster.program("kube-proxy"),
        [
            "--kubeconfig=proxy.kubeconfig",
            "--hostname-override=node1",
            "--proxy-mode=nftables",
            &format!("--cluster-cidr={PODS}"),
            // What a container may not change.
            "--conntrack-max-per-core=0",
        ],
    )?;
    wait_for("the node", PATIENCE, || {
        succeeds(&mut cluster.client(
            "kubectl",
            [
                "wait",
                "--for=condition=Ready",
                "node/node1",
                "--timeout=1s",
            ],
        ))
    })
}

fn names(cluster: &Cluster) -> anyhow::Result<()> {
    let path = cluster.run.join("coredns.yaml");
    cluster.write(&path, include_str!("files/coredns.yaml"), &[])?;
    output(cluster.client("kubectl", ["apply", "-f"]).arg(&path))?;
    let words = "-n kube-system rollout status deploy/coredns --timeout=180s";
    run(&mut cluster.client("kubectl", words.split(' ')))
}

impl Cluster {
    /// containerd's own client.
    pub(super) fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"]);
        ctr
    }
}

/// Ends the cluster of this machine, if there is one, and deletes its state.
pub(super) fn down(cluster: &Cluster) -> anyhow::Result<()> {
    if !cluster.run.exists() {
        return Ok(());
    }
    cluster.stop(&[
        "kubelet",
        "kube-proxy",
        "kube-scheduler",
        "kube-controller-manager",
    ])?;
    if cluster.runs("containerd") {
        end_containers(cluster)?;
    }
    cluster.stop(&["containerd", "kube-apiserver", "etcd"])?;
    unmount(&cluster.run)?;
    for bridge in ["cni0", BRIDGE] {
        succeeds(Command::new("ip").args(["link", "del", bridge]));
    }
    for family in ["ip", "ip6"] {
        succeeds(Command::new("nft").args(["delete", "table", family, "kube-proxy"]));
    }
    fs::remove_dir_all(&cluster.run)?;
    say("no cluster is up");
    Ok(())
}

/// Their processes are containerd's, not ours: it ends them.
fn end_containers(cluster: &Cluster) -> anyhow::Result<()> {
    let listed = |what: &str| output(cluster.ctr().args([what, "ls", "-q"]));
    for task in listed("tasks")?.lines() {
        succeeds(cluster.ctr().args(["tasks", "kill", "-s", "9", "-a", task]));
    }
    wait_for("the containers to end", PATIENCE, || {
        listed("tasks").is_ok_and(|tasks| {
            for task in tasks.lines() {
                succeeds(cluster.ctr().args(["tasks", "rm", "-f", task]));
            }
            tasks.is_empty()
        })
    })?;
    for container in listed("containers")?.lines() {
        succeeds(cluster.ctr().args(["containers", "rm", container]));
    }
    Ok(())
}

/// Lets go of what is mounted below a folder, innermost first.
fn unmount(folder: &Path) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let below = format!("{}/", folder.display());
    let mut places: Vec<_> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|place| place.starts_with(&below))
        .collect();
    places.sort_unstable();
    for place in places.iter().rev() {
        succeeds(Command::new("umount").args(["--lazy", place]));
    }
    Ok(())
}
