//! The Kubernetes cluster whose objects are looked after.

use std::time::Duration;

use clap::Args;
use filejobs_controller::{Config, Election, Stores, Watched};
use filejobs_core::{Limits, Namespace, SchedulerId};
use filejobs_scheduler::guard::Allowed;
use url::Url;

use super::{Problems, given, source_stores, web_address};

/// Which objects of which cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kubernetes")]
pub(crate) struct ClusterArgs {
    /// Look after the objects of this namespace only [default: all namespaces]
    #[arg(long, env = "FILEJOBS_WATCH_NAMESPACE", value_name = "NAMESPACE")]
    watch_namespace: Option<String>,

    /// Where the Lease is by which one controller of several is chosen [default: the pod's own namespace]
    #[arg(long, env = "FILEJOBS_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,

    /// Name of that Lease: several installations in one namespace need one each
    #[arg(
        long,
        env = "FILEJOBS_LEASE_NAME",
        default_value = Election::NAME,
        value_name = "NAME"
    )]
    lease_name: String,

    /// How long a controller that says nothing still counts as the one that works; then another one goes on. It has two
    /// thirds of it to say so again: longer where the API server is slow
    #[arg(
        long,
        env = "FILEJOBS_LEASE_DURATION",
        default_value = "15s",
        value_name = "TIME"
    )]
    lease_duration: String,

    /// Where the API is reached from outside, for links in statuses, such as `https://files.example.org`
    #[arg(long, env = "FILEJOBS_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,

    /// Private hosts or networks that files may be fetched from by `url` sources; public ones always may
    #[arg(
        long,
        env = "FILEJOBS_SOURCE_ALLOW",
        value_delimiter = ',',
        value_name = "HOST|NET"
    )]
    source_allow: Vec<String>,

    /// S3-compatible storages that `store` sources may name, as JSON, or the path of a file with it: by name an object
    /// with `bucket`, `namespaces` (a list; `["*"]` for all) and, where needed, `endpoint`, `region`, `prefix`,
    /// `pathStyle`, `accessKeyId`, `secretAccessKey` and `sessionToken`, the last three as `{"env": "VARIABLE"}` or
    /// `{"file": "/PATH"}`
    #[arg(long, env = "FILEJOBS_SOURCE_STORES", value_name = "JSON|FILE")]
    source_stores: Option<String>,
}

/// Which objects of which cluster, read.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    watched: Watched,
    lease_namespace: Option<String>,
    lease_name: String,
    lease_duration: Duration,
    public_url: Option<Url>,
    allowed: Vec<Allowed>,
    stores: Stores,
}

impl ClusterArgs {
    pub(crate) fn read(&self, problems: &mut Problems) -> Cluster {
        let watched = watched(self.watch_namespace.as_deref(), problems);
        let lease = "FILEJOBS_LEASE_NAMESPACE (--lease-namespace)";
        let lease_namespace = namespace(lease, self.lease_namespace.as_deref(), problems);
        let source_allow = "FILEJOBS_SOURCE_ALLOW (--source-allow)";
        let allowed = super::allowed(source_allow, &self.source_allow, problems);
        Cluster {
            watched,
            lease_namespace,
            lease_name: self.lease_name(problems),
            lease_duration: self.lease_duration(problems),
            public_url: self.public_url(problems),
            allowed,
            stores: source_stores::read(
                given(self.source_stores.as_deref()),
                &|name| std::env::var(name).ok(),
                problems,
            ),
        }
    }

    fn lease_name(&self, problems: &mut Problems) -> String {
        let name = given(Some(&self.lease_name)).unwrap_or(Election::NAME);
        // A label, as a namespace's name is: that fits wherever the cluster wants a name.
        let read: Option<Namespace> = problems.parsed(
            "FILEJOBS_LEASE_NAME (--lease-name)",
            name,
            "a name of 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-',",
        );
        read.unwrap_or_default().into()
    }

    fn lease_duration(&self, problems: &mut Problems) -> Duration {
        let Some(text) = given(Some(&self.lease_duration)) else {
            return Election::DURATION;
        };
        let name = "FILEJOBS_LEASE_DURATION (--lease-duration)";
        let duration = problems.time(name, text, Election::SHORTEST);
        if duration > Election::LONGEST {
            let most = crate::terminal::duration(Election::LONGEST);
            problems.add(name, format_args!("at most {most} is taken"));
            return Election::LONGEST;
        }
        duration
    }

    fn public_url(&self, problems: &mut Problems) -> Option<Url> {
        let text = given(self.public_url.as_deref())?;
        // Links are joined to it: its path is a folder.
        let url = web_address(&format!("{}/", text.trim_end_matches('/')));
        if url.is_none() {
            problems.add(
                "FILEJOBS_PUBLIC_URL (--public-url)",
                "an http or https address is taken",
            );
        }
        url
    }
}

/// Which objects `FILEJOBS_WATCH_NAMESPACE` means.
pub(crate) fn watched(text: Option<&str>, problems: &mut Problems) -> Watched {
    let name = "FILEJOBS_WATCH_NAMESPACE (--watch-namespace)";
    namespace(name, text, problems).map_or(Watched::All, Watched::Namespace)
}

fn namespace(name: &str, text: Option<&str>, problems: &mut Problems) -> Option<String> {
    match given(text)?.parse::<Namespace>() {
        Ok(namespace) => Some(namespace.as_str().to_owned()),
        Err(problem) => {
            problems.add(name, problem);
            None
        }
    }
}

impl Cluster {
    /// As the controller takes it; `own` is the namespace of the pod.
    pub(crate) fn config(&self, holder: SchedulerId, own: &str, limits: Limits) -> Config {
        let lease_namespace = self.lease_namespace.as_deref().unwrap_or(own);
        let election = Election {
            name: self.lease_name.clone(),
            ..Election::new(lease_namespace, self.lease_duration)
        };
        Config {
            watched: self.watched.clone(),
            public_url: self.public_url.clone(),
            allowed: self.allowed.clone(),
            stores: self.stores.clone(),
            limits,
            ..Config::new(holder, election)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    /// What these words make of it, and how many problems they have.
    fn read(words: &[&str]) -> (Config, usize) {
        let mut problems = Problems::default();
        let line = Line::parse_from(["x"].iter().chain(words));
        let cluster = line.cluster.read(&mut problems);
        let config = cluster.config(SchedulerId::new("me"), "own", Limits::default());
        (config, problems.told().len())
    }

    /// The Lease's name by these words, and how many problems they have.
    fn lease(words: &[&str]) -> (String, usize) {
        let (config, problems) = read(words);
        (config.election.name, problems)
    }

    #[test]
    fn a_lease_is_named_as_it_is_said() {
        let common = "filejobs-controller".to_owned();
        assert_eq!(lease(&[]), (common.clone(), 0));
        // As charts and compose pass on what is not set.
        assert_eq!(lease(&["--lease-name", ""]), (common, 0));
        let own = "import-controller".to_owned();
        assert_eq!(lease(&["--lease-name", "import-controller"]), (own, 0));
        for bad in ["Import", "a_b", "a.b", "-a"] {
            assert_eq!(lease(&[&format!("--lease-name={bad}")]).1, 1, "{bad}");
        }
    }

    #[test]
    fn a_lease_lasts_as_long_as_is_said_and_is_renewed_well_before() {
        let lasts = |text: &str| {
            let (config, problems) = read(&["--lease-duration", text]);
            let election = config.election;
            let times = [election.duration, election.renew_deadline, election.retry];
            (times.map(|time| time.as_secs()), problems)
        };
        assert_eq!(lasts(""), ([15, 10, 3], 0));
        assert_eq!(lasts("15s"), ([15, 10, 3], 0));
        assert_eq!(lasts("1m"), ([60, 40, 12], 0));
        for bad in ["4s", "11m", "1000000000000000000s", "soon"] {
            assert_eq!(lasts(bad).1, 1, "{bad}");
        }
    }
}
