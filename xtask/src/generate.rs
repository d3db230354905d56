//! Committed files that are made from code, so that a review shows what users will get.

use std::path::Path;

use anyhow::{Context, bail};

use crate::run::{cargo, output, say};

/// What to do with the files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when a file is not what the code gives.
    #[arg(long)]
    check: bool,
}

/// A committed file and the arguments of `filejobs` that print it.
const FILES: &[(&str, &[&str])] = &[("docs/openapi.json", &["openapi"])];

/// The subcommand.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.check {
        return check();
    }
    for (path, arguments) in FILES {
        let text = print(arguments)?;
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

/// Fails when a file is not what the code gives.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (path, arguments) in FILES {
        let text = print(arguments)?;
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

fn print(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = cargo(["run", "--quiet", "--locked", "-p", "filejobs-cli", "--"]);
    let mut text = output(command.args(arguments))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
