//! `cargo xtask kind`: the chart on a cluster in Docker, for people who have both kind and Docker.

use std::process::Command;

use anyhow::Context;
use clap::Subcommand;

use crate::chart::CHART;
use crate::run::{run, say};
use crate::tools::on_path;

/// The cluster's name in `kind-config.yaml`.
const NAME: &str = "filejobs";
/// The image that is built; the chart's own tag would be asked for in a registry.
const IMAGE: &str = "filejobs:kind";

/// What to do with the cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes the cluster, builds the image and installs the chart; on one that is there, brings it up to date.
    Up,
    /// Removes the cluster.
    Down,
}

/// The subcommand.
pub(crate) fn run_kind(args: &Args) -> anyhow::Result<()> {
    for program in ["docker", "kind", "helm"] {
        on_path(program).with_context(|| {
            format!("missing: {program}; without Docker there is `cargo xtask cluster up`")
        })?;
    }
    match args.action {
        Action::Up => up(),
        Action::Down => run(Command::new("kind").args(["delete", "cluster", "--name", NAME])),
    }
}

fn up() -> anyhow::Result<()> {
    let clusters = crate::run::output(Command::new("kind").args(["get", "clusters"]))?;
    if !clusters.lines().any(|name| name == NAME) {
        run(Command::new("kind").args([
            "create",
            "cluster",
            "--config",
            "kind-config.yaml",
            "--wait",
            "2m",
        ]))?;
    }
    run(Command::new("docker").args(["build", "--tag", IMAGE, "."]))?;
    run(Command::new("kind").args(["load", "docker-image", IMAGE, "--name", NAME]))?;
    run(Command::new("helm")
        .args([
            "upgrade",
            "--install",
            "filejobs",
            CHART,
            "--kube-context",
            "kind-filejobs",
        ])
        .args([
            "--namespace",
            "filejobs",
            "--create-namespace",
            "--wait",
            "--timeout",
            "10m",
        ])
        .args(["--set", "image.repository=filejobs,image.tag=kind"])
        .args([
            "--set",
            "bundled.postgresql.enabled=true,bundled.redis.enabled=true",
        ])
        .args([
            "--set",
            "api.service.type=NodePort,api.service.nodePort=30080",
        ]))?;
    say("the API answers at http://127.0.0.1:8080");
    Ok(())
}
