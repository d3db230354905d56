//! `cargo xtask cluster test`: the chart on a whole cluster, from the installation to the last object gone.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{Cluster, faults, images, succeeds, wait_for};
use crate::chart::CHART;
use crate::run::{output, run, say};
use crate::tools;

/// A file with 65 rows, 10 of them bad.
pub(super) const EXAMPLE: &str = "examples/orders.csv";
/// What its rows must keep.
pub(super) const SCHEMA: &str = "examples/orders.schema.json";
/// A `FileJob` with its file in a ConfigMap: 3 rows, one of them bad.
const OBJECT: &str = "examples/filejob.yaml";
pub(super) const NAMESPACE: &str = "filejobs";
pub(super) const RELEASE: &str = "filejobs";
/// Who the chart's pods run as.
const USER: u32 = 65532;
/// How long a step may take on a busy machine.
pub(super) const PATIENCE: &str = "5m";
/// An upload whose object is not there after this gets none: the promise is a second, the machine may be busy, and the
/// next controller waits for the Lease of the one before.
const SHOWN: Duration = Duration::from_mins(2);
/// A namespace that still is there after this hangs on something.
const GONE: Duration = Duration::from_mins(2);

/// How to run it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Leave the cluster up.
    #[arg(long)]
    keep: bool,
    /// The binary to try; the debug build when absent.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// A step and what it is called.
type Step = (&'static str, fn(&Installed) -> anyhow::Result<()>);

/// What users do, in their order, and what happens to them.
const STEPS: &[Step] = &[
    ("helm install", Installed::install),
    ("helm test", Installed::test),
    (
        "another release that watches everything",
        Installed::refuses_another,
    ),
    (
        "an upload through the Service, and its results",
        Installed::upload,
    ),
    ("kubectl apply of a FileJob, to its end", Installed::apply),
    ("kubectl filejobs", Installed::plugin),
    ("helm upgrade", Installed::upgrade),
    (
        "workers lost in the middle of a file",
        Installed::lose_workers,
    ),
    ("Redis in a new pod, empty", Installed::empty_redis),
    (
        "new pods of everything while files come in",
        Installed::restart,
    ),
    ("helm uninstall", Installed::uninstall),
];

/// The subcommand.
pub(crate) fn run_test(args: &Args) -> anyhow::Result<()> {
    let cluster = Cluster::open()?;
    tools::debian(&[("curl", "curl")])?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => tools::filejobs()?,
    };
    cluster.up()?;
    let tested = images::load(&cluster, Some(&binary)).and_then(|()| steps(&cluster, binary));
    if !args.keep {
        cluster.end()?;
    }
    tested
}

fn steps(cluster: &Cluster, binary: PathBuf) -> anyhow::Result<()> {
    let installed = Installed {
        cluster: cluster.clone(),
        binary,
    };
    for (name, step) in STEPS {
        let started = Instant::now();
        let result = step(&installed);
        if result.is_err() {
            installed.dump();
        }
        result.with_context(|| format!("{name} on the whole cluster"))?;
        let seconds = started.elapsed().as_secs_f32();
        say(format_args!("cluster: {name}: {seconds:.1} s"));
    }
    Ok(())
}

/// The chart on the cluster.
pub(super) struct Installed {
    pub(super) cluster: Cluster,
    /// Also the client.
    pub(super) binary: PathBuf,
}

impl Installed {
    fn install(&self) -> anyhow::Result<()> {
        let files = self.cluster.run.join("files");
        fs::create_dir_all(&files)?;
        // Kubernetes gives folders of a machine to nobody.
        chown(&files, Some(USER), Some(USER))?;
        let manifest = self.cluster.run.join("files.yaml");
        let text = include_str!("files/files.yaml");
        self.cluster
            .write(&manifest, text, &[("NAMESPACE", NAMESPACE)])?;
        output(
            self.cluster
                .client("kubectl", ["apply", "--filename"])
                .arg(&manifest),
        )?;
        self.helm(&["install", RELEASE, CHART, "--wait"])
    }

    /// Two would work on the same objects. One that keeps to a namespace of its own is fine.
    fn refuses_another(&self) -> anyhow::Result<()> {
        let set = "crds.install=false,bundled.postgresql.enabled=true,bundled.redis.enabled=true";
        let install = [
            "install",
            "another",
            CHART,
            "--dry-run=server",
            "--set",
            set,
        ];
        let refused = self.helm_command(&install).output()?;
        let told = String::from_utf8_lossy(&refused.stderr);
        ensure!(
            !refused.status.success() && told.contains("looks after FileJobs as well"),
            "Helm said: {told}"
        );
        let own = "controller.watchNamespace=team-a";
        quietly(self.helm_command(&install).args(["--set", own]))
    }

    fn test(&self) -> anyhow::Result<()> {
        self.helm_without_values(&["test", RELEASE, "--timeout", PATIENCE])
    }

    fn upload(&self) -> anyhow::Result<()> {
        let job = self.submit()?;
        ensure!(job["status"] == "COMPLETED", "the job ended as {job}");
        ensure!(
            job["rows_processed"] == 65 && job["rows_failed"] == 10,
            "the example has 65 rows, 10 of them bad: {job}"
        );
        let id = job["id"].as_str().context("a job has an id")?;
        let results = output(self.client()?.args(["results", id]))?;
        ensure!(
            results.contains("ORD-"),
            "the results hold no order: {results}"
        );
        self.shows(&job)
    }

    /// An upload's object, in the namespace of its job.
    fn shows(&self, job: &Value) -> anyhow::Result<()> {
        let id = job["id"].as_str().context("a job has an id")?;
        let namespace = job["namespace"].as_str().context("a job has a namespace")?;
        wait_for("the upload's FileJob to have ended", SHOWN, || {
            let shown = output(
                self.cluster
                    .client("kubectl", ["--namespace", namespace, "get", "fj"])
                    .args(["--selector", &format!("filejobs.dev/job-id={id}")])
                    .args(["--output", "jsonpath={.items[*].status.phase}"]),
            );
            shown.is_ok_and(|phase| phase.trim() == "Completed")
        })
    }

    fn apply(&self) -> anyhow::Result<()> {
        self.kubectl(&["apply", "--filename", OBJECT])?;
        let timeout = format!("--timeout={PATIENCE}");
        let finished = "--for=condition=Finished";
        self.kubectl(&["wait", finished, "filejob/orders", &timeout])?;
        let told = "{.status.phase} {.status.reason} {.status.rows.valid} {.status.rows.failed}";
        let told = self.get("filejob", "orders", told)?;
        ensure!(
            told == "Completed CompletedWithErrors 2 1",
            "the example has 3 rows, one of them bad: {told}"
        );
        say(self.kubectl(&["get", "fj", "--output", "wide"])?.trim());
        Ok(())
    }

    /// kubectl finds the binary by its other name, and the binary finds Service and key by kubectl.
    fn plugin(&self) -> anyhow::Result<()> {
        let folder = self.cluster.run.join("plugins");
        fs::create_dir_all(&folder)?;
        symlink(&self.binary, folder.join("kubectl-filejobs"))?;
        let mut path = vec![folder, self.cluster.bin.clone()];
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        let path = std::env::join_paths(path)?;
        let job = output(
            self.cluster
                .client("kubectl", ["filejobs", "submit", EXAMPLE])
                .env("PATH", &path),
        )?;
        let listed = output(
            self.cluster
                .client("kubectl", ["filejobs", "list", "--json"])
                .env("PATH", &path),
        )?;
        ensure!(
            listed.contains(job.trim()),
            "the job {job} is not listed: {listed}"
        );
        Ok(())
    }

    fn upgrade(&self) -> anyhow::Result<()> {
        let before = self.submit()?;
        self.helm(&[
            "upgrade",
            RELEASE,
            CHART,
            "--wait",
            "--set",
            faults::SETTINGS,
        ])?;
        let id = before["id"].as_str().context("a job has an id")?;
        let after = output(self.client()?.args(["get", id, "--json"]))?;
        let after: Value = serde_json::from_str(&after)?;
        ensure!(after["status"] == "COMPLETED", "after the upgrade: {after}");
        self.upload()
    }

    /// With objects that the controller still holds.
    fn uninstall(&self) -> anyhow::Result<()> {
        let finalizers = self.get("filejob", "orders", "{.metadata.finalizers[*]}")?;
        ensure!(
            finalizers == "filejobs.dev/job",
            "an object with a job has its finalizer: {finalizers}"
        );
        self.helm_without_values(&["uninstall", RELEASE, "--wait", "--timeout", PATIENCE])?;
        let words = "delete namespace --wait=false";
        output(
            self.cluster
                .client("kubectl", words.split(' '))
                .arg(NAMESPACE),
        )?;
        wait_for("the namespace to be gone", GONE, || {
            !succeeds(
                &mut self
                    .cluster
                    .client("kubectl", ["get", "namespace", NAMESPACE]),
            )
        })
    }

    /// Hands the example in through the Service and waits for the end of its job.
    fn submit(&self) -> anyhow::Result<Value> {
        let mut submit = self.client()?;
        submit.args(["submit", EXAMPLE, "--schema", SCHEMA]).args([
            "--wait",
            "--timeout",
            PATIENCE,
            "--json",
        ]);
        let ended = submit
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        // A file with bad rows is done, too, and says so by its exit code.
        match ended.status.code() {
            Some(0 | 1) => Ok(serde_json::from_slice(&ended.stdout)?),
            _ => bail!("`filejobs submit` ended with {}", ended.status),
        }
    }

    /// The client, on its way to the Service.
    fn client(&self) -> anyhow::Result<Command> {
        let (url, key) = self.access()?;
        let mut client = Command::new(&self.binary);
        client.env("FILEJOBS_URL", url).env("FILEJOBS_API_KEY", key);
        Ok(client)
    }

    /// Where the Service is, and the first key.
    pub(super) fn access(&self) -> anyhow::Result<(String, String)> {
        let address = self.get("service", RELEASE, "{.spec.clusterIP}")?;
        let key = self.get("secret", &format!("{RELEASE}-api-key"), "{.data.api-key}")?;
        let mut decode = Command::new("base64");
        let from = tempfile::NamedTempFile::new()?;
        fs::write(from.path(), key)?;
        let key = output(decode.arg("--decode").arg(from.path()))?;
        Ok((format!("http://{address}"), key))
    }

    fn get(&self, kind: &str, name: &str, path: &str) -> anyhow::Result<String> {
        let path = format!("jsonpath={path}");
        self.kubectl(&["get", kind, name, "--output", &path])
    }

    /// In the chart's namespace.
    pub(super) fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut kubectl = self.cluster.client("kubectl", ["--namespace", NAMESPACE]);
        output(kubectl.args(words))
    }

    fn helm(&self, words: &[&str]) -> anyhow::Result<()> {
        let values = Path::new(CHART).join("ci/one-node-values.yaml");
        let mut helm = self.helm_command(words);
        helm.args(["--timeout", PATIENCE, "--values"]).arg(values);
        quietly(&mut helm)
    }

    fn helm_without_values(&self, words: &[&str]) -> anyhow::Result<()> {
        run(&mut self.helm_command(words))
    }

    fn helm_command(&self, words: &[&str]) -> Command {
        let mut helm = self.cluster.client("helm", ["--namespace", NAMESPACE]);
        helm.args(words);
        helm
    }

    /// Tells what there is to see of a failure.
    fn dump(&self) {
        let show = |words: &str| {
            let mut kubectl = self.cluster.client("kubectl", words.split(' '));
            // It is told as well as it can be.
            let _ = run(kubectl.args(["--namespace", NAMESPACE]));
        };
        show("get all,pvc --output wide");
        show("get fj --output yaml");
        show("describe pods");
        show("get events --sort-by .lastTimestamp");
        show(
            "logs --all-containers --prefix --tail 200 --ignore-errors --selector app.kubernetes.io/part-of=filejobs",
        );
    }
}

/// The notes of an installation would hide the rest.
fn quietly(command: &mut Command) -> anyhow::Result<()> {
    run(command.stdout(Stdio::null()))
}
