//! Committed files that are made from code, so that a review shows what users will get.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::run::{output, run as run_command, say};
use crate::{chart, tools};

/// What to do with the files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when a file is not what the code gives.
    #[arg(long)]
    check: bool,
    /// Only these files; all of them, and the queries of the stores, when none is named.
    only: Vec<String>,
}

/// A committed file and what makes its text.
type Generated = (&'static str, fn() -> anyhow::Result<String>);

const FILES: &[Generated] = &[
    ("docs/openapi.json", || print(&["openapi"])),
    ("docs/configuration.md", configuration),
    ("charts/filejobs/values.schema.json", chart::schema),
    ("charts/filejobs/README.md", chart::readme),
    ("docs/metrics.md", || print(&["metrics"])),
    ("crds/filejobs.dev_filejobs.yaml", || print(&["crd"])),
    // A chart reads no file but its own.
    ("charts/filejobs/files/filejobs.dev_filejobs.yaml", || {
        print(&["crd"])
    }),
    ("charts/filejobs/files/alerts.yaml", || {
        monitoring("alerts.yaml")
    }),
    ("charts/filejobs/files/dashboard.json", || {
        monitoring("dashboard.json")
    }),
];

/// Each writes what the checked queries of a store mean to its database, so that the crate builds without one.
const QUERIES: &[&str] = &[
    "crates/store/postgres/prepare",
    "crates/store/sqlite/prepare",
];

/// What Prometheus and Grafana are given.
fn monitoring(name: &str) -> anyhow::Result<String> {
    let path = Path::new("monitoring").join(name);
    std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The subcommand.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.check {
        check_queries()?;
        return check();
    }
    let wanted = |path: &str| args.only.is_empty() || args.only.iter().any(|only| only == path);
    if args.only.is_empty() {
        tools::sqlite()?;
        tools::postgres()?;
        for queries in QUERIES {
            run_command(&mut Command::new(queries))?;
        }
    }
    for (path, make) in FILES.iter().filter(|(path, _)| wanted(path)) {
        let text = make()?;
        if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
            continue;
        }
        if let Some(folder) = Path::new(path).parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text).with_context(|| format!("{path} cannot be written"))?;
        say(format_args!("wrote {path}"));
    }
    Ok(())
}

/// Fails when the stored meaning of the queries is not what migrations and queries give.
pub(crate) fn check_queries() -> anyhow::Result<()> {
    tools::sqlite()?;
    tools::postgres()?;
    for queries in QUERIES {
        run_command(Command::new(queries).arg("--check"))?;
    }
    Ok(())
}

/// Fails when a file is not what the code gives.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (path, make) in FILES {
        let text = make()?;
        if std::fs::read_to_string(path).ok().as_deref() != Some(&*text) {
            stale.push(*path);
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "not what the code gives: {}; run `cargo xtask generate` and commit",
        stale.join(", ")
    )
}

/// Every subcommand's help: options with their environment variables and defaults.
fn configuration() -> anyhow::Result<String> {
    let overview = print(&["--help"])?;
    let mut page = String::from(
        "# Configuration\n\nEvery option is a flag with, where it makes sense, an environment variable; there is no \
         configuration file. This page is what `filejobs --help` and `filejobs COMMAND --help` print; \
         `cargo xtask generate` writes it.\n",
    );
    section(&mut page, "filejobs", &overview);
    for command in commands(&overview) {
        let help = print(&[command, "--help"])?;
        section(&mut page, &format!("filejobs {command}"), &help);
        for part in commands(&help) {
            let help = print(&[command, part, "--help"])?;
            section(&mut page, &format!("filejobs {command} {part}"), &help);
        }
    }
    Ok(page)
}

fn section(page: &mut String, title: &str, help: &str) {
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    let help = help.join("\n");
    // Writing to a string cannot fail.
    let _ = write!(page, "\n## `{title}`\n\n```text\n{}\n```\n", help.trim());
}

/// Names of the commands in the overview.
fn commands(overview: &str) -> impl Iterator<Item = &str> {
    let listed = overview
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    // Continued descriptions stand further in than names.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
}

fn print(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(tools::filejobs()?);
    // Help shows what the environment sets: nothing of the developer's own gets into the page.
    let kept = [
        "CARGO",
        "HOME",
        "PATH",
        "RUSTUP",
        "TMPDIR",
        "XDG_CACHE_HOME",
    ];
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            kept.iter().any(|prefix| name.starts_with(prefix))
        }));
    let mut text = output(command.args(arguments))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_off_the_overview() {
        let help = "Does things\n\nCommands:\n  dev    Serve\n         more\n  check  Check\n  help   Print\n\nOptions:\n  -h";
        assert_eq!(commands(help).collect::<Vec<_>>(), ["dev", "check"]);
    }
}
