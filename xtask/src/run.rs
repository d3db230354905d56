//! Starts other programs.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    manifest
        .as_deref()
        .and_then(Path::parent)
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Whether this is a CI run: nothing may be skipped there.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|v| v == "true" || v == "1")
}

/// Says on standard error what happens now.
pub(crate) fn say(text: impl std::fmt::Display) {
    eprintln!("xtask: {text}");
}

/// The cargo that runs us, with the toolchain of `rust-toolchain.toml`.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// A cargo of another toolchain. What cargo sets for us would otherwise hold it to ours.
pub(crate) fn cargo_of<S: AsRef<OsStr>>(
    toolchain: &str,
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]).args(args);
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

/// Runs to the end; an error names the command.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    say(format_args!("$ {shown}"));
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("`{shown}` could not be started"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs to the end and gives what it printed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{shown}` could not be started"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no UTF-8"))
}

/// Runs with a deadline for the whole, handing its standard output over line by line. A run that takes longer is
/// ended with everything that it started.
pub(crate) fn run_within(
    command: &mut Command,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> anyhow::Result<()> {
    let shown = show(command);
    say(format_args!("$ {shown}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("`{shown}` could not be started"))?;
    let stdout = child.stdout.take().context("standard output is piped")?;
    let watched = watch(child, limit);
    for text in BufReader::new(stdout).lines() {
        let Ok(text) = text else { break };
        line(&text);
    }
    ended(watched, &shown, limit)
}

/// Who waits for a child: see [`watch`].
pub(crate) type Watched =
    std::thread::JoinHandle<std::io::Result<Option<std::process::ExitStatus>>>;

/// Waits for the child, the leader of a process group, on a thread of its own, so that its output can be read
/// meanwhile. `None` past the limit.
pub(crate) fn watch(mut child: Child, limit: Duration) -> Watched {
    std::thread::spawn(move || {
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if started.elapsed() > limit {
                end_group(&child);
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    })
}

/// What became of the child.
pub(crate) fn ended(watched: Watched, shown: &str, limit: Duration) -> anyhow::Result<()> {
    match watched.join() {
        Ok(Ok(Some(status))) if status.success() => Ok(()),
        Ok(Ok(Some(status))) => bail!("`{shown}` ended with {status}"),
        Ok(Ok(None)) => bail!("`{shown}` was ended after {} s", limit.as_secs()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => bail!("the watch over `{shown}` ended early"),
    }
}

/// Ends a child that leads a process group, and the group.
fn end_group(child: &Child) {
    let group = format!("-{}", child.id());
    let sent = Command::new("kill").args(["-KILL", "--", &group]).status();
    if sent.is_err() {
        say("`kill` could not be started; processes may be left behind");
    }
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    let program = Path::new(&*words[0]).file_name().unwrap_or_default();
    let mut shown = program.to_string_lossy().into_owned();
    for word in &words[1..] {
        shown.push(' ');
        shown.push_str(word);
    }
    shown
}
