//! House rules that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::run::{output, say};

/// A broken rule: where, and what.
type Broken = Vec<String>;

/// Longest Rust file.
const MAX_LINES: usize = 800;

/// Our crates that must not see some others, however far down the tree.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("filejobs-core", IO),
    ("filejobs-engine", IO),
    (
        "filejobs-crd",
        &["tokio", "kube-client", "sqlx", "axum", "redis"],
    ),
    (
        "filejobs-api",
        &["filejobs-worker", "filejobs-controller", "filejobs-engine"],
    ),
    (
        "filejobs-worker",
        &["filejobs-api", "filejobs-controller", "axum"],
    ),
    (
        "filejobs-controller",
        &["filejobs-api", "filejobs-worker", "axum"],
    ),
    (
        "filejobs-scheduler",
        &["filejobs-api", "filejobs-worker", "filejobs-engine"],
    ),
];

/// What reads networks, databases or clusters.
const IO: &[&str] = &["tokio", "kube", "sqlx", "axum", "redis", "hyper", "reqwest"];

/// The two commands that the README must show.
const README_COMMANDS: &[&str] = &[
    "cargo run --release -- dev examples/orders.csv",
    "cargo xtask test",
];

/// The subcommand: every rule, and every breach of it.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new()
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .context("`cargo metadata` failed")?;
    let mut broken = dependencies(&metadata);
    for file in tracked()? {
        let path = Path::new(&file);
        // Pictures and fuzz inputs are no text, and a file may be deleted but not yet committed.
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        broken.extend(file_rules(&file, &text));
    }
    broken.extend(readme());
    if broken.is_empty() {
        say("tidy: no rule is broken");
        return Ok(());
    }
    for line in &broken {
        say(format_args!("tidy: {line}"));
    }
    bail!("{} house rules are broken", broken.len())
}

/// Files under version control, and those that are about to be.
fn tracked() -> anyhow::Result<Vec<String>> {
    let mut list = Command::new("git");
    list.args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]);
    Ok(output(&mut list)?
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

fn dependencies(metadata: &Metadata) -> Broken {
    let names: BTreeMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.as_str()))
        .collect();
    let mut broken = Broken::new();
    for (package, forbidden) in FORBIDDEN {
        let Some((id, _)) = names.iter().find(|(_, name)| *name == package) else {
            continue;
        };
        let seen = reachable(metadata, id);
        for other in *forbidden {
            if seen.iter().any(|id| names.get(id) == Some(other)) {
                broken.push(format!(
                    "{package} must not depend on {other}, not even through others"
                ));
            }
        }
    }
    broken
}

/// Everything that `from` needs to run: build scripts and tests may need more.
fn reachable<'a>(metadata: &'a Metadata, from: &'a PackageId) -> BTreeSet<&'a PackageId> {
    let nodes: BTreeMap<_, _> = metadata
        .resolve
        .iter()
        .flat_map(|resolve| &resolve.nodes)
        .map(|node| (&node.id, node))
        .collect();
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(id) = next.pop() {
        let needed = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let needed = needed.filter(|dep| {
            dep.dep_kinds
                .iter()
                .any(|k| k.kind == DependencyKind::Normal)
        });
        for dep in needed {
            if seen.insert(&dep.pkg) {
                next.push(&dep.pkg);
            }
        }
    }
    seen
}

fn file_rules(file: &str, text: &str) -> Broken {
    let mut broken = Broken::new();
    let extension = Path::new(file).extension().unwrap_or_default();
    if extension == "rs" {
        broken.extend(rust_rules(file, text));
    }
    if file.ends_with("Cargo.toml") && file != "Cargo.toml" && !file.starts_with("fuzz/") {
        broken.extend(manifest_rules(file, text));
    }
    if extension != "lock" && !file.starts_with("fuzz/corpus/") {
        broken.extend(machine_rules(file, text));
    }
    broken
}

fn rust_rules(file: &str, text: &str) -> Broken {
    let mut broken = Broken::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        broken.push(format!(
            "{file}: {lines} lines, at most {MAX_LINES}: split it"
        ));
    }
    let name = Path::new(file)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    if ["utils", "util", "helpers", "helper", "common", "misc"].contains(&&*name) {
        broken.push(format!("{file}: a file is named after the thing in it"));
    }
    // Written in two parts, so that this file does not find itself.
    for unfinished in [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
    ] {
        for (number, line) in text.lines().enumerate() {
            if line.contains(unfinished) {
                broken.push(format!("{file}:{}: `{unfinished}`", number + 1));
            }
        }
    }
    broken
}

/// Versions stand in the workspace's manifest only.
fn manifest_rules(file: &str, text: &str) -> Broken {
    let mut broken = Broken::new();
    let mut in_dependencies = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies
            && !line.is_empty()
            && !line.starts_with('#')
            && !line.contains("workspace = true")
        {
            broken.push(format!(
                "{file}:{}: versions stand in [workspace.dependencies] only",
                number + 1
            ));
        }
    }
    if !text.contains("[lints]\nworkspace = true") {
        broken.push(format!("{file}: must take the workspace's lints"));
    }
    broken
}

/// Nothing names the machine it was written on, nor a registry's mirror.
fn machine_rules(file: &str, text: &str) -> Broken {
    let mut broken = Broken::new();
    for (number, line) in text.lines().enumerate() {
        let folders = [
            concat!("/ro", "ot/"),
            concat!("/wo", "rk/"),
            concat!("/ho", "me/"),
        ];
        let hosts = [
            concat!("arti", "factory"),
            concat!("index.cra", "tes.io"),
            concat!("pypi.", "org"),
        ];
        for path in folders {
            if names_path(line, path) {
                broken.push(format!(
                    "{file}:{}: names a path of a machine ({path}…)",
                    number + 1
                ));
            }
        }
        for host in hosts {
            if line.contains(host) {
                broken.push(format!(
                    "{file}:{}: names a registry's host ({host})",
                    number + 1
                ));
            }
        }
    }
    broken
}

/// Whether `line` has an absolute path that begins with `path`, not one that merely contains it.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        before.is_none_or(|c| !c.is_ascii_alphanumeric() && !"._-}>/".contains(c))
            && after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.')
    })
}

fn readme() -> Broken {
    let text = std::fs::read_to_string("README.md").unwrap_or_default();
    let absent = README_COMMANDS
        .iter()
        .filter(|command| !text.contains(**command));
    absent
        .map(|command| format!("README.md: must show `{command}`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_outside_the_workspace_manifest_is_found() {
        let manifest =
            "[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\nrand = \"0.9\"\n";
        assert_eq!(manifest_rules("crates/x/Cargo.toml", manifest).len(), 1);
    }

    #[test]
    fn unfinished_code_is_found() {
        let line = format!("fn f() {{ {}) }}", concat!("to", "do!("));
        assert_eq!(rust_rules("a.rs", &line).len(), 1);
    }

    #[test]
    fn paths_of_a_machine_are_found_and_paths_of_the_project_are_not() {
        let wo = concat!("/wo", "rk/");
        for (line, found) in [
            (format!("see {wo}main/a"), true),
            (format!("`{wo}x`"), true),
            (format!("target{wo}x"), false),
            (format!("../{wo}x"), false),
            (format!("crates{wo}src"), false),
        ] {
            assert_eq!(names_path(&line, wo), found, "{line}");
        }
    }
}
