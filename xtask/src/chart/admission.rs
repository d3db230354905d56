//! Whether a real API server takes the objects, and admits their pods under Pod Security `restricted`.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Set;
use crate::cluster::Cluster;
use crate::run::say;

/// The namespace that the objects name.
const NAMESPACE: &str = "filejobs";

/// Shows a set's objects, and every pod that they would make, to the API server.
pub(super) fn check(cluster: &Cluster, bin: &Path, set: &Set) -> anyhow::Result<()> {
    let objects = set.objects(bin)?;
    let mut first = vec![namespace()];
    // No controller makes the account that every namespace has.
    first.push(account("default"));
    first.extend(
        objects
            .iter()
            .filter(|o| o["kind"] == "ServiceAccount")
            .cloned(),
    );
    send(cluster, &["apply", "--server-side"], &first)?;
    send(
        cluster,
        &[
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
        ],
        &objects,
    )?;
    let pods: Vec<_> = objects.iter().filter_map(pod).collect();
    if pods.is_empty() {
        bail!("{} makes no pods", set.name);
    }
    send(
        cluster,
        &["create", "--dry-run=server", "--validate=strict"],
        &pods,
    )?;
    say(format_args!(
        "{}: {} objects are taken, {} pods are admitted",
        set.name,
        objects.len(),
        pods.len()
    ));
    Ok(())
}

/// That a pod which is not `restricted` is refused: else the check would show nothing.
pub(super) fn refuses_others(cluster: &Cluster) -> anyhow::Result<()> {
    send(
        cluster,
        &["apply", "--server-side"],
        &[namespace(), account("default")],
    )?;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "root", "namespace": NAMESPACE },
        "spec": { "containers": [{ "name": "root", "image": "root:1" }] },
    });
    match send(cluster, &["create", "--dry-run=server"], &[pod]) {
        Err(error) if error.to_string().contains("violates PodSecurity") => Ok(()),
        Err(error) => Err(error),
        Ok(()) => bail!("a pod that runs as root was admitted"),
    }
}

fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
        },
    })
}

fn account(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": NAMESPACE },
    })
}

/// The pod that an object is, or has its controller make.
fn pod(object: &Value) -> Option<Value> {
    let name = object["metadata"]["name"].as_str()?;
    let mut spec = match object["kind"].as_str()? {
        "Pod" => object["spec"].clone(),
        "Deployment" | "StatefulSet" | "Job" => object["spec"]["template"]["spec"].clone(),
        _ => return None,
    };
    // The volumes that a StatefulSet gives to each of its pods.
    for claim in object["spec"]["volumeClaimTemplates"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let volume = &claim["metadata"]["name"];
        let volumes = spec["volumes"].as_array_mut()?;
        volumes.push(json!({ "name": volume, "persistentVolumeClaim": { "claimName": volume } }));
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": spec,
    }))
}

/// Hands objects to kubectl; an error says what the API server said.
fn send(cluster: &Cluster, words: &[&str], objects: &[Value]) -> anyhow::Result<()> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let mut kubectl = cluster
        .client("kubectl", words)
        .args(["--filename", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("kubectl could not be started")?;
    let mut stdin = kubectl.stdin.take().context("its input is piped")?;
    stdin.write_all(list.to_string().as_bytes())?;
    drop(stdin);
    let ended = kubectl.wait_with_output()?;
    if !ended.status.success() {
        bail!(
            "the API server says: {}",
            String::from_utf8_lossy(&ended.stderr).trim()
        );
    }
    Ok(())
}
