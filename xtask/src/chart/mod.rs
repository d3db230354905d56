//! The Helm chart: the files that are made of its values, and its checks.
//!
//! Each set of values in `charts/filejobs/ci` is rendered, compared with what the repository has, held against the
//! schemas of a real API server and against good practice, and its pods are shown to that API server, which admits them
//! under Pod Security `restricted` or not.

mod admission;
mod readme;
mod schemas;
mod values;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cluster::{self, Cluster};
use crate::run::{output, run as run_command, say};

/// The chart.
pub(crate) const CHART: &str = "charts/filejobs";

/// The set that switches off what kube-score asks for.
const BARE: &str = "minimal";

/// How to check it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Write what the chart renders to into `charts/filejobs/ci/rendered`, and check nothing.
    #[arg(long)]
    update: bool,
}

/// The text of the chart's README.
pub(crate) fn readme() -> anyhow::Result<String> {
    Ok(readme::page(&values::read(&values_file()?)?))
}

/// The text of the schema of its values.
pub(crate) fn schema() -> anyhow::Result<String> {
    let schema = values::schema(&values::read(&values_file()?)?);
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

fn values_file() -> anyhow::Result<String> {
    let path = Path::new(CHART).join("values.yaml");
    fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The subcommand.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let bin = cluster::chart_tools()?;
    let sets = sets()?;
    if args.update {
        return sets.iter().try_for_each(|set| set.update(&bin));
    }
    let mut failed = Vec::new();
    let mut check = |what: String, result: anyhow::Result<()>| {
        if let Err(error) = result {
            say(format_args!("failed: {what}: {error:#}"));
            failed.push(what);
        }
    };
    for set in &sets {
        check(format!("lint of {}", set.name), set.lint(&bin));
        check(format!("rendering of {}", set.name), set.compare(&bin));
        if set.name != BARE {
            check(format!("practice of {}", set.name), set.score(&bin));
        }
    }
    check("API server".to_owned(), with_api_server(&bin, &sets));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    say("the chart is sound");
    Ok(())
}

/// What needs an API server: one is started for it.
fn with_api_server(bin: &Path, sets: &[Set]) -> anyhow::Result<()> {
    let cluster = Cluster::open()?;
    cluster.control_plane()?;
    let checked = schemas::check(&cluster, bin, sets).and_then(|()| {
        sets.iter()
            .try_for_each(|set| admission::check(&cluster, bin, set))
    });
    cluster.end()?;
    checked
}

/// A set of values that people may have.
#[derive(Debug)]
struct Set {
    name: String,
    values: PathBuf,
}

/// The sets that the chart is tried with.
fn sets() -> anyhow::Result<Vec<Set>> {
    let mut sets = Vec::new();
    for file in fs::read_dir(Path::new(CHART).join("ci"))? {
        let values = file?.path();
        let name = values.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = name.strip_suffix("-values.yaml") {
            let name = name.to_owned();
            sets.push(Set { name, values });
        }
    }
    sets.sort_by(|a, b| a.name.cmp(&b.name));
    if sets.is_empty() {
        bail!("no set of values is in {CHART}/ci");
    }
    Ok(sets)
}

impl Set {
    fn lint(&self, bin: &Path) -> anyhow::Result<()> {
        let mut helm = Command::new(bin.join("helm"));
        helm.args(["lint", CHART, "--strict", "--quiet", "--values"])
            .arg(&self.values);
        run_command(&mut helm)
    }

    /// The objects as Helm would create them.
    fn render(&self, bin: &Path) -> anyhow::Result<String> {
        let mut helm = Command::new(bin.join("helm"));
        helm.args(["template", "filejobs", CHART, "--namespace", "filejobs"])
            .args(["--kube-version", cluster::KUBERNETES, "--values"])
            .arg(&self.values);
        output(&mut helm)
    }

    fn objects(&self, bin: &Path) -> anyhow::Result<Vec<Value>> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&self.render(bin)?)?;
        Ok(documents.into_iter().filter(|o| !o.is_null()).collect())
    }

    fn rendered(&self) -> PathBuf {
        Path::new(CHART).join(format!("ci/rendered/{}.yaml", self.name))
    }

    fn update(&self, bin: &Path) -> anyhow::Result<()> {
        let path = self.rendered();
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(&path, masked(&self.render(bin)?))?;
        say(format_args!("wrote {}", path.display()));
        Ok(())
    }

    fn compare(&self, bin: &Path) -> anyhow::Result<()> {
        let rendered = tempfile::NamedTempFile::new()?;
        fs::write(rendered.path(), masked(&self.render(bin)?))?;
        let mut diff = Command::new("diff");
        diff.arg("--unified")
            .arg(self.rendered())
            .arg(rendered.path());
        run_command(&mut diff).context(
            "what it renders to has changed; look, then `cargo xtask chart --update` and commit",
        )
    }

    fn score(&self, bin: &Path) -> anyhow::Result<()> {
        let rendered = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        fs::write(rendered.path(), self.render(bin)?)?;
        let scored = Command::new(bin.join("kube-score"))
            .args([
                "score",
                "--output-format",
                "ci",
                "--kubernetes-version",
                "v1.30",
            ])
            // Tags are never put on another image, and a node may have the image already.
            .args(["--ignore-test", "container-image-pull-policy"])
            .arg(rendered.path())
            .stdin(Stdio::null())
            .output()
            .context("kube-score could not be started")?;
        let said = String::from_utf8_lossy(&scored.stdout);
        let critical: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("[CRITICAL]"))
            .collect();
        if !critical.is_empty() || !scored.status.success() {
            let said = if critical.is_empty() {
                said.into_owned() + &String::from_utf8_lossy(&scored.stderr)
            } else {
                critical.join("\n")
            };
            bail!("kube-score says:\n{said}");
        }
        Ok(())
    }
}

/// Passwords and keys are drawn anew each time: long words are left out, and the short part of an API key.
fn masked(rendered: &str) -> String {
    const LONG: usize = 32;
    let mut text = String::with_capacity(rendered.len());
    let mut word = String::new();
    let end = |word: &mut String, text: &mut String| {
        let key = text.ends_with("fj_");
        text.push_str(if word.len() >= LONG || (key && !word.is_empty()) {
            "RANDOM"
        } else {
            word
        });
        word.clear();
    };
    for letter in rendered.chars() {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
        } else {
            end(&mut word, &mut text);
            text.push(letter);
        }
    }
    end(&mut word, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_anew_each_time_is_not_compared() {
        let rendered = "url: postgres://filejobs:aB3456789012345678901234567890Zz@db:5432/filejobs\nkey: \
                        fj_abcdefgh_aB3456789012345678901234567890Zz34567890\nname: filejobs-postgresql\n";
        assert_eq!(
            masked(rendered),
            "url: postgres://filejobs:RANDOM@db:5432/filejobs\nkey: fj_RANDOM_RANDOM\nname: filejobs-postgresql\n"
        );
    }
}
