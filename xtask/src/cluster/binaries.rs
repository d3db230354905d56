//! The programs of a cluster, built from their sources by Go.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::Cluster;
use crate::run::{output, run, say};
use crate::tools;

/// The version of Kubernetes.
pub(crate) const KUBERNETES: &str = "1.36.3";
/// What of Kubernetes itself is built.
const COMMANDS: &[&str] = &[
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];
/// What of it tests of a controller need; with etcd they are what `KUBEBUILDER_ASSETS` stands for.
const CONTROL_PLANE: &[&str] = &["kube-apiserver", "kubectl"];

/// A command of a Go module at one version.
struct Tool {
    name: &'static str,
    module: &'static str,
    version: &'static str,
    package: &'static str,
}

const ETCD: Tool = Tool {
    name: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    version: "3.7.3",
    package: "go.etcd.io/etcd/server/v3",
};
const HELM: Tool = Tool {
    name: "helm",
    module: "helm.sh/helm/v4",
    version: "4.3.1",
    package: "helm.sh/helm/v4/cmd/helm",
};
const COREDNS: Tool = Tool {
    name: "coredns",
    module: "github.com/coredns/coredns",
    version: "1.15.0",
    package: "github.com/coredns/coredns",
};
const KUBECONFORM: Tool = Tool {
    name: "kubeconform",
    module: "github.com/yannh/kubeconform",
    version: "0.8.0",
    package: "github.com/yannh/kubeconform/cmd/kubeconform",
};
const KUBE_SCORE: Tool = Tool {
    name: "kube-score",
    module: "github.com/zegl/kube-score",
    version: "1.20.0",
    package: "github.com/zegl/kube-score/cmd/kube-score",
};

/// The first process of every pod: it only waits.
const PAUSE: &str = r#"package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}
"#;

/// Builds what is missing of a whole cluster.
pub(super) fn all(bin: &Path) -> anyhow::Result<()> {
    kubernetes(bin, COMMANDS)?;
    for tool in [&ETCD, &HELM, &COREDNS] {
        tool.build(bin)?;
    }
    if !bin.join("pause").exists() {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("pause.go"), PAUSE)?;
        build(bin, folder.path(), "pause", &["pause.go"], "", &[])?;
    }
    Ok(())
}

/// Builds what is missing of a control plane; the folder of its programs, for `KUBEBUILDER_ASSETS`. One that is named
/// there already is taken as it is.
pub(crate) fn control_plane() -> anyhow::Result<std::path::PathBuf> {
    if let Some(named) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|v| !v.is_empty()) {
        return Ok(named.into());
    }
    let bin = Cluster::open()?.bin;
    control_plane_in(&bin)?;
    Ok(bin)
}

/// Builds what is missing of a control plane.
pub(super) fn control_plane_in(bin: &Path) -> anyhow::Result<()> {
    kubernetes(bin, CONTROL_PLANE)?;
    ETCD.build(bin)
}

/// Builds what is missing of this machine's cluster.
pub(crate) fn whole_cluster() -> anyhow::Result<()> {
    all(&Cluster::open()?.bin)
}

/// Builds what is missing to check the chart: Helm, and what knows Kubernetes' objects.
pub(crate) fn chart_tools() -> anyhow::Result<std::path::PathBuf> {
    let bin = Cluster::open()?.bin;
    for tool in [&HELM, &KUBECONFORM, &KUBE_SCORE] {
        tool.build(&bin)?;
    }
    Ok(bin)
}

/// Kubernetes names its own modules by local paths, which only its repository has: they are released as well, so the
/// build names their releases.
fn kubernetes(bin: &Path, wanted: &[&str]) -> anyhow::Result<()> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !bin.join(name).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|name| **name).collect();
    say(format_args!(
        "of Kubernetes {KUBERNETES} is missing: {}; building, which takes some minutes",
        names.join(", ")
    ));
    go_is_there()?;
    let folder = tempfile::tempdir()?;
    let packages: Vec<_> = names
        .iter()
        .map(|name| format!("k8s.io/kubernetes/cmd/{name}"))
        .collect();
    let module = kubernetes_module()?;
    fs::write(folder.path().join("go.mod"), requirements(&module)?)?;
    let mut imports = String::from("package tools\n\nimport (\n");
    for package in &packages {
        // Writing to a string cannot fail.
        let _ = writeln!(imports, "\t_ \"{package}\"");
    }
    fs::write(folder.path().join("tools.go"), imports + ")\n")?;
    // Tests of its modules need what is not released (`-e`); the programs do not.
    run(go(folder.path())
        .args(["mod", "tidy", "-e"])
        .env("GOFLAGS", "-mod=mod"))?;
    let minor = KUBERNETES.split('.').nth(1).unwrap_or_default();
    let version = "k8s.io/component-base/version.git";
    let flags =
        format!("-X {version}Version=v{KUBERNETES} -X {version}Major=1 -X {version}Minor={minor}");
    let packages: Vec<_> = packages.iter().map(String::as_str).collect();
    build(bin, folder.path(), "", &packages, &flags, &[])
}

/// The text of Kubernetes' own `go.mod`.
fn kubernetes_module() -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let wanted = format!("k8s.io/kubernetes@v{KUBERNETES}");
    let said = output(go(folder.path()).args(["mod", "download", "-json", &wanted]))?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    let path = said["GoMod"].as_str().context("Go names no go.mod")?;
    fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))
}

/// A `go.mod` that requires Kubernetes, with a release in place of every local path.
fn requirements(kubernetes: &str) -> anyhow::Result<String> {
    let go = kubernetes
        .lines()
        .find(|line| line.starts_with("go "))
        .context("Kubernetes' go.mod names no version of Go")?;
    let staging = kubernetes
        .split_once("replace (")
        .map_or("", |(_, rest)| rest);
    let modules: Vec<_> = staging
        .lines()
        .filter_map(|line| line.trim().split_once(" => ./staging"))
        .map(|(module, _)| module)
        .collect();
    if modules.is_empty() {
        bail!("Kubernetes' go.mod names none of its own modules");
    }
    let release = format!("v0.{}", KUBERNETES.trim_start_matches("1."));
    let mut text =
        format!("module tools\n\n{go}\n\nrequire k8s.io/kubernetes v{KUBERNETES}\n\nreplace (\n");
    for module in modules {
        let _ = writeln!(text, "\t{module} => {module} {release}");
    }
    Ok(text + ")\n")
}

impl Tool {
    /// Builds it, unless it is there. Beside it stands which version it is, so that another pin builds anew.
    fn build(&self, bin: &Path) -> anyhow::Result<()> {
        let Self {
            name,
            module,
            version,
            package,
        } = self;
        let stamp = bin.join(format!("{name}.version"));
        let built = fs::read_to_string(&stamp).ok();
        if bin.join(name).exists() && built.is_none_or(|built| built == *version) {
            return Ok(());
        }
        say(format_args!("{name} {version} is missing; building it"));
        go_is_there()?;
        let folder = tempfile::tempdir()?;
        run(go(folder.path()).args(["mod", "init", "tools"]))?;
        run(go(folder.path()).args(["get", &format!("{module}@v{version}")]))?;
        // Go names a program by the last element of its package that is no version: etcd's would be `server`.
        build(bin, folder.path(), name, &[package], "", &["-mod=mod"])?;
        Ok(fs::write(stamp, version)?)
    }
}

/// Builds programs into a folder of their own first: half a program is none. One has the `name` that is given; several,
/// for which it is empty, those that Go gives them.
fn build(
    bin: &Path,
    sources: &Path,
    name: &str,
    packages: &[&str],
    linker: &str,
    flags: &[&str],
) -> anyhow::Result<()> {
    fs::create_dir_all(bin)?;
    let made = tempfile::tempdir_in(bin)?;
    let mut command = go(sources);
    command
        .args(["build", "-trimpath"])
        .args(flags)
        .args(["-ldflags", &format!("-s -w {linker}"), "-o"])
        .arg(made.path().join(name))
        .args(packages);
    run(&mut command)?;
    for program in fs::read_dir(made.path())? {
        let program = program?;
        fs::rename(program.path(), bin.join(program.file_name()))?;
    }
    Ok(())
}

fn go(folder: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(folder).env("CGO_ENABLED", "0");
    go
}

fn go_is_there() -> anyhow::Result<()> {
    tools::on_path("go").map(drop).context(
        "missing: Go, 1.26 or newer, to build the programs of a cluster; install it from go.dev",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_own_modules_are_taken_from_their_releases() {
        let module = "module k8s.io/kubernetes\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/api v0.0.0\n)\n\nreplace (\n\
                      \tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/kubectl => ./staging/src/k8s.io/kubectl\n)\n";
        assert_eq!(
            requirements(module).unwrap(),
            "module tools\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.36.3\n\nreplace (\n\
             \tk8s.io/api => k8s.io/api v0.36.3\n\tk8s.io/kubectl => k8s.io/kubectl v0.36.3\n)\n"
        );
        assert!(requirements("module other\n\ngo 1.26.0\n").is_err());
    }
}
