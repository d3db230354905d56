//! Finds the programs that the tests need, and installs those that are missing into a cache outside the clone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, bail};

use crate::cluster;
use crate::run::{cargo, cargo_of, run, say};

/// `cargo-deny`, pinned: a newer release may know more licences or rules, and CI must not change by itself.
const CARGO_DENY: Pin = Pin {
    name: "cargo-deny",
    version: "0.20.2",
};
/// `cargo-fuzz`, pinned for the same reason.
const CARGO_FUZZ: Pin = Pin {
    name: "cargo-fuzz",
    version: "0.13.2",
};
/// The S3-compatible storage of the tests.
const VERSITYGW: Pin = Pin {
    name: "versitygw",
    version: "1.8.0",
};
/// The toolchain of the fuzzers: coverage and sanitizers are not on stable.
pub(crate) const NIGHTLY: &str = "nightly";

/// A tool at one version.
#[derive(Debug, Clone, Copy)]
struct Pin {
    name: &'static str,
    version: &'static str,
}

/// Where tools and downloads are kept between runs.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let cache = base.join("filejobs");
    std::fs::create_dir_all(&cache)
        .with_context(|| format!("the cache folder {} cannot be made", cache.display()))?;
    Ok(cache)
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || crate::run::root().join("target"),
        |dir| std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
    )
}

/// The path of `cargo-deny`.
pub(crate) fn cargo_deny() -> anyhow::Result<PathBuf> {
    cargo_tool(CARGO_DENY)
}

/// The path of `cargo-fuzz`.
pub(crate) fn cargo_fuzz() -> anyhow::Result<PathBuf> {
    cargo_tool(CARGO_FUZZ)
}

/// Fails with what to do when the nightly toolchain is not there.
pub(crate) fn nightly() -> anyhow::Result<()> {
    let there = Command::new("rustup")
        .args(["run", NIGHTLY, "rustc", "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if there.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    say("the nightly toolchain is missing; installing it");
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]);
    run(&mut install)
        .context("fuzzing needs a nightly toolchain: `rustup toolchain install nightly`")
}

/// Builds without optimisation: these tools run for seconds, an optimised build takes minutes more.
fn cargo_tool(pin: Pin) -> anyhow::Result<PathBuf> {
    let root = cache()?.join(format!("{}-{}", pin.name, pin.version));
    let binary = root.join("bin").join(pin.name);
    if !binary.exists() {
        say(format_args!(
            "{} {} is missing; building it",
            pin.name, pin.version
        ));
        let mut install = cargo_of("stable", ["install", "--locked", "--debug", "--quiet"]);
        install
            .args([pin.name, "--version", pin.version, "--root"])
            .arg(&root)
            .env_remove("CARGO_TARGET_DIR");
        run(&mut install)?;
    }
    Ok(binary)
}

/// Makes sure that a browser and its driver are there.
pub(crate) fn browser() -> anyhow::Result<()> {
    debian(&[
        ("chromium", "chromium"),
        ("chromedriver", "chromium-driver"),
    ])
}

/// Makes sure that a Redis server is there, and what makes certificates for it.
pub(crate) fn redis() -> anyhow::Result<()> {
    debian(&[("redis-server", "redis-server"), ("openssl", "openssl")])
}

/// Makes sure that a Postgres server is there. Debian has its programs outside of the path, so it is found by its folder.
pub(crate) fn postgres() -> anyhow::Result<()> {
    let in_debian = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let mut folders = versions.flatten().map(|version| version.path().join("bin"));
        folders.any(|folder| folder.join("initdb").exists())
    };
    if in_debian() {
        return Ok(());
    }
    debian(&[("initdb", "postgresql")])
        .or_else(|error| if in_debian() { Ok(()) } else { Err(error) })
}

/// The path of versitygw, the S3-compatible storage that tests start. Built from its sources, in a minute.
pub(crate) fn versitygw() -> anyhow::Result<PathBuf> {
    let Pin { name, version } = VERSITYGW;
    let folder = cache()?.join(format!("{name}-{version}"));
    let binary = folder.join(name);
    if !binary.exists() {
        say(format_args!("{name} {version} is missing; building it"));
        on_path("go")
            .context("missing: Go, 1.25 or newer, to build versitygw; install it from go.dev")?;
        let mut install = Command::new("go");
        install
            .arg("install")
            .arg(format!(
                "github.com/versity/versitygw/cmd/{name}@v{version}"
            ))
            .env("GOBIN", &folder);
        run(&mut install)?;
    }
    Ok(binary)
}

/// Makes sure that the shell of `SQLite` is there.
pub(crate) fn sqlite() -> anyhow::Result<()> {
    debian(&[("sqlite3", "sqlite3")])
}

/// The folder of etcd, kube-apiserver and kubectl: a control plane for tests, built from its sources in some minutes.
pub(crate) fn kubernetes() -> anyhow::Result<PathBuf> {
    cluster::control_plane_binaries()
}

/// Makes sure that programs are there: pairs of a program, by its name on the path or its whole path, and the Debian
/// package that has it.
pub(crate) fn debian(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing = |list: &[(&str, &str)]| -> Vec<String> {
        let absent = list
            .iter()
            .filter(|(program, _)| on_path(program).is_none());
        absent.map(|(_, package)| (*package).to_owned()).collect()
    };
    let packages = missing(wanted);
    if packages.is_empty() {
        return Ok(());
    }
    if on_path("apt-get").is_none() || !is_root() {
        bail!(
            "missing: {0}; install them (on Debian, as root: apt-get install {0})",
            packages.join(" ")
        );
    }
    apt_update()?;
    let mut install = apt_get(&["install", "-y", "--no-install-recommends", "-qq"]);
    run(install.args(&packages))?;
    let left = missing(wanted);
    if !left.is_empty() {
        bail!("still missing after the installation: {}", left.join(" "));
    }
    Ok(())
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdout(Stdio::null());
    command
}

/// Once a run is enough, and only when something is missing.
fn apt_update() -> anyhow::Result<()> {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_none() {
        run(&mut apt_get(&["update", "-qq"]))?;
        let _ = DONE.set(());
    }
    Ok(())
}

/// A Python environment with `package` at `version`, under the cache; gives its `bin` folder.
pub(crate) fn python_env(package: &str, version: &str) -> anyhow::Result<PathBuf> {
    let env = cache()?.join(format!("{package}-{version}"));
    let (bin, stamp) = (env.join("bin"), env.join("complete"));
    if stamp.exists() {
        return Ok(bin);
    }
    say(format_args!(
        "{package} {version} is missing; installing it"
    ));
    // A half-made environment of an interrupted run is of no use.
    if env.exists() {
        std::fs::remove_dir_all(&env)?;
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&env));
    if made.is_err() {
        debian(&[("python3", "python3")])?;
        apt_update()?;
        run(&mut apt_get(&["install", "-y", "-qq", "python3-venv"]))?;
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&env))?;
    }
    let mut install = Command::new(bin.join("python"));
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .arg(format!("{package}=={version}"));
    run(&mut install)?;
    std::fs::write(stamp, version)?;
    Ok(bin)
}

/// Where a program is.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0)
}

/// Builds the debug binary, as the tests build it, and says where it is.
///
/// Built alone it would get other features of the same dependencies, and all of them would be compiled twice.
pub(crate) fn filejobs() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(binary) = BUILT.get() {
        return Ok(binary.clone());
    }
    run(&mut cargo([
        "test",
        "--workspace",
        "--no-run",
        "--locked",
        "--quiet",
    ]))?;
    let binary = target_dir().join("debug/filejobs");
    Ok(BUILT.get_or_init(|| binary).clone())
}
