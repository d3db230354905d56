//! The images that tests need, made of programs of this machine: no registry and no Docker are asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::Cluster;
use super::image::{Layer, Start};
use crate::run::run;
use crate::tools;

/// Filejobs' image on the node.
pub(crate) const FILEJOBS: &str = "registry.local/filejobs:test";
/// Postgres' image on the node: takes what that of Docker's library takes.
pub(crate) const POSTGRES: &str = "registry.local/postgres:test";
/// Redis' image on the node: takes what that of Docker's library takes.
pub(crate) const REDIS: &str = "registry.local/redis:test";

/// Who everything runs as: whoever the chart's pods run as.
const USER: u32 = 65532;
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What the node itself needs.
pub(super) fn load_system(cluster: &Cluster) -> anyhow::Result<()> {
    for name in ["pause", "coredns"] {
        let mut layer = Layer::new()?;
        let place = format!("/{name}");
        layer.file(&cluster.program(name), &place, 0o755)?;
        let start = Start {
            entrypoint: &place,
            path: "/",
            user: "",
        };
        layer.load(cluster, &format!("registry.local/{name}:1"), &start)?;
    }
    Ok(())
}

/// Filejobs and what it stands on. The debug binary, if none is named.
pub(crate) fn load(cluster: &Cluster, binary: Option<&Path>) -> anyhow::Result<()> {
    tools::postgres()?;
    tools::redis()?;
    filejobs(cluster, binary)?;
    postgres(cluster)?;
    redis(cluster)
}

fn filejobs(cluster: &Cluster, binary: Option<&Path>) -> anyhow::Result<()> {
    let binary = binary.map_or_else(tools::filejobs, |path| Ok(path.to_owned()))?;
    let folder = tempfile::tempdir()?;
    let small = folder.path().join("filejobs");
    // What a debugger would read is most of a debug build.
    run(Command::new("strip").arg("-o").arg(&small).arg(&binary))?;
    let mut layer = Layer::new()?;
    layer.program(&small, "/usr/local/bin/filejobs")?;
    let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if certificates.exists() {
        layer.file(certificates, &certificates.to_string_lossy(), 0o644)?;
    }
    layer.users("nonroot", USER)?;
    let start = Start {
        entrypoint: "/usr/local/bin/filejobs",
        path: PATH,
        user: &user(),
    };
    layer.load(cluster, FILEJOBS, &start)
}

fn postgres(cluster: &Cluster) -> anyhow::Result<()> {
    let home = debian_postgres()?;
    let bin = home.join("bin");
    let mut layer = Layer::new()?;
    let programs = ["postgres", "initdb", "pg_ctl", "pg_isready", "psql"];
    layer.programs(&programs.map(|name| bin.join(name)))?;
    for library in fs::read_dir(home.join("lib"))? {
        let library = library?.path();
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        // The compiler for queries is larger than all the rest.
        if name.ends_with(".so") && !name.starts_with("llvmjit") {
            layer.programs(&[library])?;
        }
    }
    // initdb and pg_ctl call a shell.
    layer.program(Path::new("/bin/dash"), "/bin/sh")?;
    let version = home.file_name().unwrap_or_default();
    let skip = ["man", "right", "posix"];
    layer.tree(&Path::new("/usr/share/postgresql").join(version), &skip)?;
    // Debian's Postgres takes the system's.
    layer.tree(Path::new("/usr/share/zoneinfo"), &skip)?;
    layer.tree(Path::new("/usr/lib/locale/C.utf8"), &skip)?;
    layer.folder("/var/run/postgresql", 0o1777)?;
    // initdb asks for the name of who runs it.
    layer.users("postgres", USER)?;
    layer.text("/entrypoint.sh", include_str!("files/postgres.sh"), 0o755)?;
    let start = Start {
        entrypoint: "/entrypoint.sh",
        path: &format!("{}:{PATH}", bin.display()),
        user: &user(),
    };
    layer.load(cluster, POSTGRES, &start)
}

fn user() -> String {
    format!("{USER}:{USER}")
}

/// The newest Postgres server of Debian's packages.
fn debian_postgres() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let folders = versions.flatten().map(|version| version.path());
    let servers = folders.filter(|folder| folder.join("bin/initdb").exists());
    let number = |folder: &PathBuf| -> u32 {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.parse().unwrap_or_default()
    };
    servers
        .max_by_key(number)
        .context("the image of Postgres is made of Debian's packages: apt-get install postgresql")
}

fn redis(cluster: &Cluster) -> anyhow::Result<()> {
    let mut layer = Layer::new()?;
    layer.programs(&["/usr/bin/redis-server", "/usr/bin/redis-cli"].map(PathBuf::from))?;
    layer.users("redis", USER)?;
    let start = Start {
        entrypoint: "/usr/bin/redis-server",
        path: PATH,
        user: &user(),
    };
    layer.load(cluster, REDIS, &start)
}
