//! etcd and kube-apiserver, with certificates and users of their own.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Cluster, succeeds, wait_for};
use crate::run::output;
use crate::tools;

/// The address of the node, on a bridge of its own: pods and machine reach each other there.
pub(super) const NODE_IP: &str = "10.99.0.1";
/// The bridge of that address.
pub(super) const BRIDGE: &str = "kb0";
/// Addresses of Services.
const SERVICES: &str = "10.96.0.0/16";
/// The API server's own Service: the first of them.
const API_IP: &str = "10.96.0.1";
/// Users beside the admin: with the group that Kubernetes' own roles are bound to.
const USERS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("kcm", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
    ("node", "system:node:node1", "system:nodes"),
];

/// Programs of Debian that the control plane needs.
pub(super) fn dependencies() -> anyhow::Result<()> {
    tools::debian(&[
        ("openssl", "openssl"),
        ("ip", "iproute2"),
        ("setsid", "util-linux"),
    ])
}

/// Starts both and waits until requests are answered.
pub(super) fn up(cluster: &Cluster) -> anyhow::Result<()> {
    fs::create_dir_all(cluster.run.join("pki"))?;
    certificates(cluster)?;
    users(cluster)?;
    if !succeeds(Command::new("ip").args(["link", "show", BRIDGE])) {
        for words in [
            format!("link add {BRIDGE} type bridge"),
            format!("addr add {NODE_IP}/24 dev {BRIDGE}"),
            format!("link set {BRIDGE} up"),
        ] {
            output(Command::new("ip").args(words.split(' ')))?;
        }
    }
    let client = "http://127.0.0.1:2379";
    cluster.spawn(
        "etcd",
        &cluster.program("etcd"),
        [
            "--data-dir=etcd",
            // Its state ends with the cluster.
            "--unsafe-no-fsync",
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            "--listen-peer-urls=http://127.0.0.1:2380",
        ],
    )?;
    cluster.spawn(
        "kube-apiserver",
        &cluster.program("kube-apiserver"),
        [
            &format!("--etcd-servers={client}"),
            "--secure-port=6443",
            &format!("--advertise-address={NODE_IP}"),
            "--tls-cert-file=pki/api.crt",
            "--tls-private-key-file=pki/api.key",
            "--token-auth-file=pki/tokens.csv",
            "--authorization-mode=Node,RBAC",
            &format!("--service-cluster-ip-range={SERVICES}"),
            "--service-account-key-file=pki/sa.pub",
            "--service-account-signing-key-file=pki/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
        ],
    )?;
    wait_for("kube-apiserver", Duration::from_mins(2), || {
        succeeds(&mut cluster.client("kubectl", ["get", "--raw", "/readyz"]))
    })
}

/// A CA, the API server's certificate, and the key that service accounts' tokens are signed with.
fn certificates(cluster: &Cluster) -> anyhow::Result<()> {
    let names = format!(
        "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,\
         IP:127.0.0.1,IP:{API_IP},IP:{NODE_IP}"
    );
    let steps = [
        "genrsa -out pki/sa.key 2048",
        "rsa -in pki/sa.key -pubout -out pki/sa.pub",
        "req -x509 -newkey rsa:2048 -nodes -keyout pki/ca.key -out pki/ca.crt -days 30 -subj /CN=local-ca",
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout pki/api.key -out pki/api.crt -days 30 -subj /CN=kube-apiserver \
             -CA pki/ca.crt -CAkey pki/ca.key -addext {names} -addext basicConstraints=critical,CA:FALSE"
        ),
    ];
    for step in steps {
        let made = Command::new("openssl")
            .args(step.split_whitespace())
            .current_dir(&cluster.run)
            .stdin(Stdio::null())
            .output()?;
        anyhow::ensure!(
            made.status.success(),
            "`openssl {step}`: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
    Ok(())
}

fn users(cluster: &Cluster) -> anyhow::Result<()> {
    let mut tokens = String::new();
    for (short, name, group) in USERS {
        // Writing to a string cannot fail.
        let _ = writeln!(tokens, "{short}-token,{name},{short},\"{group}\"");
        let path = cluster.run.join(format!("{short}.kubeconfig"));
        let text = include_str!("files/kubeconfig.yaml");
        cluster.write(&path, text, &[("USER", short)])?;
    }
    Ok(fs::write(cluster.run.join("pki/tokens.csv"), tokens)?)
}
