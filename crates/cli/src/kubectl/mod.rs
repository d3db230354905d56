//! `kubectl filejobs`: the client commands against a service in a cluster, by way of its API server.
//!
//! kubectl starts a plugin by its name; this binary under the name `kubectl-filejobs` is one. It asks kubectl for all
//! that has to do with the cluster, so that every way to log in that kubectl knows works here as well.

mod forward;
mod service;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::{Args, Parser};

use crate::args::{Cli, Command as Verb};
use crate::config::Secret;
use crate::exit::{Outcome, Stop};

/// The name under which kubectl finds this binary.
const PLUGIN: &str = "kubectl-filejobs";

/// Run a client command against the service in a Kubernetes cluster, by way of kubectl
///
/// With this binary on the path as `kubectl-filejobs`, the same is `kubectl filejobs`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Commands: submit, list, get, watch, wait, errors, results, cancel, retry, suspend, resume, \
                        delete"
)]
pub(crate) struct Kubectl {
    #[command(flatten)]
    cluster: Cluster,

    /// API key [default: the first key of the installation, if its Secret can be read]
    #[arg(
        long,
        env = "FILEJOBS_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    api_key: Option<Secret>,

    /// The command and its arguments, such as `submit orders.csv --wait`
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

/// Which cluster, and where in it the service is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
struct Cluster {
    /// The kubeconfig file [default: kubectl's own]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context in it [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// The Service of the API [default: the only one of its kind that can be seen]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = service::parse)]
    service: Option<service::Name>,
}

/// The command line, as it means when kubectl starts the plugin.
pub(crate) fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = given.into_iter().collect();
    let name = arguments.first().map(PathBuf::from);
    if name.is_some_and(|name| name.file_stem().is_some_and(|stem| stem == PLUGIN)) {
        arguments.insert(1, "kubectl".into());
    }
    arguments
}

impl Kubectl {
    pub(crate) fn run(&self) -> Outcome {
        // Help and mistakes need no cluster.
        self.verb(&[])?;
        let service = self.cluster.service()?;
        let key = match &self.api_key {
            Some(key) => Some(key.reveal().to_owned()),
            None => self.cluster.first_key(&service),
        };
        let forward = forward::Forward::open(&self.cluster, &service)?;
        let mut way = vec!["--server".to_owned(), forward.url()];
        if let Some(key) = key {
            way.extend(["--api-key".to_owned(), key]);
        }
        self.verb(&way)?.run()
    }

    /// The command that was named, with more arguments.
    fn verb(&self, more: &[String]) -> Outcome<Verb> {
        let words = ["filejobs".to_owned()]
            .into_iter()
            .chain(self.command.iter().cloned());
        let words = words.chain(more.iter().cloned());
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| error.exit());
        let verb = cli.into_command();
        if verb.talks_to_a_service() {
            return Ok(verb);
        }
        let problem = format!("`{}` does not talk to a service", self.command[0]);
        Err(Stop::usage(&[problem]))
    }
}

impl Cluster {
    /// kubectl, asked about the right cluster.
    fn kubectl(&self, words: &[&str]) -> Command {
        let mut kubectl = Command::new("kubectl");
        if let Some(file) = &self.kubeconfig {
            kubectl.arg("--kubeconfig").arg(file);
        }
        if let Some(context) = &self.context {
            kubectl.args(["--context", context]);
        }
        kubectl.args(words).stdin(Stdio::null());
        kubectl
    }

    /// What kubectl prints; what it complains of is the error.
    fn ask(&self, words: &[&str]) -> anyhow::Result<String> {
        let answered = self
            .kubectl(words)
            .output()
            .context("kubectl could not be started; is it on the path?")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        anyhow::ensure!(
            answered.status.success(),
            "kubectl says: {}",
            text(&answered.stderr)
        );
        Ok(text(&answered.stdout))
    }

    /// The first key of an installation, where the caller may read it.
    fn first_key(&self, service: &service::Name) -> Option<String> {
        let secret = format!("{}-api-key", service.name);
        let key = self.ask(&[
            "--namespace",
            &service.namespace,
            "get",
            "secret",
            &secret,
            "--output",
            "go-template={{index .data \"api-key\" | base64decode}}",
        ]);
        match key {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::info!(%error, "no API key from the cluster; FILEJOBS_API_KEY takes one");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn arguments_of(words: &[&str]) -> Vec<String> {
        let given = words.iter().map(OsString::from);
        let meant = arguments(given);
        meant
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_name_of_the_plugin_is_its_command() {
        let plugin = arguments_of(&["/usr/local/bin/kubectl-filejobs", "list"]);
        assert_eq!(plugin[1..], ["kubectl", "list"]);
        assert_eq!(arguments_of(&["filejobs", "list"])[1..], ["list"]);
        assert!(arguments_of(&[]).is_empty());
    }

    #[test]
    fn only_commands_that_talk_to_a_service_are_run_in_a_cluster() {
        let command = |words: &str| {
            let words = format!("filejobs kubectl {words}");
            let cli = Cli::try_parse_from(words.split(' ')).unwrap();
            match cli.into_command() {
                Verb::Kubectl(kubectl) => kubectl.verb(&[]).map(drop),
                other => panic!("{other:?}"),
            }
        };
        command("--context dev submit a.csv --wait --priority 3").unwrap();
        let refused = command("worker").unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
    }
}
