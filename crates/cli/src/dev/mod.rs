//! `dev`: the whole service in one process. Database, queue and files are local; nothing else has to run.

mod demo;
mod guest;
mod listen;
mod lock;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use filejobs_api::App;
use filejobs_core::retry::RetryPolicy;
use filejobs_core::{Limits, Quotas};
use filejobs_metrics::Process;
use filejobs_scheduler::webhook;
use reqwest::Url;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{
    Access, AuthMode, DataArgs, Door, LimitArgs, Place, Problems, Processing, ProcessingArgs,
    QuotaArgs, RetentionArgs, RetryArgs, StorageArgs, WebhookArgs, given,
};
use crate::exit::{Exit, Outcome};
use crate::options::FileOptions;
use crate::services::backends::Backends;
use crate::services::ops::{Needs, Ops, OpsServer};
use crate::services::{self, Running, open_files, ready, stop, worker_config};
use crate::terminal;

use guest::Guest;
use lock::Lock;

/// How long engines and requests under way may go on after the service was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Run the whole service in one process; with FILE hand it in and show what came of it
#[derive(Debug, Clone, Args)]
pub(crate) struct Dev {
    /// A file to hand in; a schema beside it (orders.schema.json for orders.csv) is used
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Where to listen [default: 127.0.0.1:8080, or a free port when that is taken]
    #[arg(long, env = "FILEJOBS_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// Where `/livez`, `/readyz` and `/metrics` are answered, without keys [default: nowhere]
    #[arg(long, env = "FILEJOBS_OPS_LISTEN", value_name = "ADDRESS:PORT")]
    ops_listen: Option<String>,

    /// Write address and process id into this file, as JSON, once requests are answered
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// End when standard input does: for programs that start this one
    #[arg(long)]
    until_stdin_closes: bool,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    storage: StorageArgs,

    #[command(flatten)]
    processing: ProcessingArgs,

    #[command(flatten)]
    retry: RetryArgs,

    #[command(flatten)]
    quotas: QuotaArgs,

    #[command(flatten)]
    retention: RetentionArgs,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    webhooks: WebhookArgs,

    #[command(flatten)]
    access: Access,

    #[command(flatten)]
    options: FileOptions,
}

/// What the arguments come to.
struct Settings {
    listen: Option<SocketAddr>,
    ops: Option<SocketAddr>,
    place: Place,
    processing: Processing,
    retry: RetryPolicy,
    quotas: Quotas,
    keep: Option<Duration>,
    keep_orphans: Option<Duration>,
    limits: Limits,
    webhooks: webhook::Config,
    door: Door,
}

impl Dev {
    pub(crate) fn run(self) -> Outcome {
        let settings = self.read()?;
        let data = &self.data.data_dir;
        std::fs::create_dir_all(data)
            .with_context(|| format!("{} cannot be made", data.display()))?;
        let lock = Lock::take(data)?;
        open_files::raise_limit();
        // One thread for each core: what waits for disks has threads of its own.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(self.serve(settings, lock));
        // Whatever still runs has had its time; the next start goes on with it.
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    }

    fn read(&self) -> Outcome<Settings> {
        let mut problems = Problems::default();
        let listen = given(self.listen.as_deref());
        let listen = listen.and_then(|text| problems.address("FILEJOBS_LISTEN (--listen)", text));
        let ops = given(self.ops_listen.as_deref()).filter(|text| *text != "none");
        let ops = ops.and_then(|text| problems.address("FILEJOBS_OPS_LISTEN (--ops-listen)", text));
        self.data.check(&mut problems);
        let files = self.data.data_dir.join("files");
        let place = self.storage.read(Some(files.clone()), &mut problems);
        let settings = Settings {
            listen,
            ops,
            place: place.unwrap_or(Place::Folder {
                path: files,
                may_be_new: false,
            }),
            processing: self.processing.read(self.data.scratch(), &mut problems),
            retry: self.retry.read(&mut problems),
            quotas: self.quotas.read(&mut problems),
            keep: self.retention.read(None, &mut problems),
            keep_orphans: self.retention.orphans(&mut problems),
            limits: self.limits.read(&mut problems),
            webhooks: self.webhooks.read(&mut problems),
            door: self.access.read(&mut problems),
        };
        problems.extend(self.options.options().err().unwrap_or_default());
        if let Some(file) = self.file.as_ref().filter(|file| !file.is_file()) {
            problems.add(&file.display().to_string(), "no such file");
        }
        problems.finish()?;
        Ok(settings)
    }

    async fn serve(self, settings: Settings, mut lock: Lock) -> Outcome {
        let (listener, moved) = listen::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let base = Url::parse(&format!("http://{address}"))?;
        lock.sign(base.as_str().trim_end_matches('/'))?;
        let stop = CancellationToken::new();
        stop::on_signals(&stop)?;
        if self.until_stdin_closes {
            stop::when_stdin_closes(&stop)?;
        }
        let usual = if address.ip().is_loopback() {
            AuthMode::None
        } else {
            AuthMode::Keys
        };
        let auth = settings.door.mode.unwrap_or(usual);
        let mut facts = vec![("url", base.as_str().trim_end_matches('/').to_owned())];
        let ops = match settings.ops {
            Some(address) => Some(watch(address, &stop, &mut facts).await?),
            None => None,
        };
        let backends = Backends::embedded(&self.data, &settings.place).await?;
        let running = start(&backends, settings, auth, listener, &stop).await?;
        if let Some((ops, _)) = &ops {
            ops.started(&backends);
        }
        if let Some(path) = &self.ready_file {
            ready::write(path, &facts)?;
        }
        self.greet(&base, address, moved, auth)?;
        if let Some(file) = &self.file {
            let demo = async {
                let guest = Guest::invite(&backends, auth).await?;
                let shown = demo::run(&base, guest.key(), file, self.options.clone()).await;
                guest.leave().await;
                shown
            };
            let shown = tokio::select! {
                shown = demo => shown,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(stopped) = shown {
                // The service is well; what is wrong with the file is told, and the service goes on.
                terminal::note(format_args!("error: {:#}", stopped.error));
            }
        }
        if !stop.is_cancelled() {
            // The service is well without anybody who reads this.
            let _ = terminal::line("Serving until Ctrl-C.");
        }
        let ran = running.until_stopped(GRACE, &stop).await;
        if let Some((_, server)) = ops {
            server.end().await;
        }
        ran?;
        Ok(Exit::Clean)
    }

    fn greet(
        &self,
        base: &Url,
        address: SocketAddr,
        moved: bool,
        auth: AuthMode,
    ) -> anyhow::Result<()> {
        if moved {
            let wanted = listen::DEFAULT.port();
            terminal::note(format_args!(
                "note: port {wanted} is taken, so this is port {} (--listen chooses)",
                address.port()
            ));
        }
        match auth {
            AuthMode::None if !address.ip().is_loopback() => terminal::note(format_args!(
                "note: {address} can be reached from other machines, and nobody is asked who they are"
            )),
            AuthMode::None => {}
            AuthMode::Keys => terminal::note(format_args!(
                "note: callers need an API key; `filejobs keys create --name NAME --data-dir {}` makes one",
                self.data.data_dir.display()
            )),
        }
        let at = |path| base.join(path).map(|url| url.to_string());
        let places = [
            ("Filejobs", at("/")?),
            ("API", at("/api/jobs")?),
            ("API docs", at("/api/docs")?),
            ("data", self.data.data_dir.display().to_string()),
        ];
        // The service is well without anybody who reads this.
        let _ = terminal::line(format_args!("{}\n", terminal::pairs(&places)));
        Ok(())
    }
}

/// Listens for probes, and records metrics from here on.
async fn watch(
    address: SocketAddr,
    stop: &CancellationToken,
    facts: &mut Vec<(&'static str, String)>,
) -> anyhow::Result<(Arc<Ops>, OpsServer)> {
    let needs = Needs {
        redis: true,
        storage: true,
    };
    let ops = Ops::new(needs, stop.clone());
    // The one scheduler there is.
    ops.tell_leader(Arc::new(AtomicBool::new(true)));
    let processes = [Process::Api, Process::Worker, Process::Scheduler];
    let (address, server) = ops.listen(address, &processes).await?;
    facts.push(("ops", format!("http://{address}")));
    Ok((ops, server))
}

/// Starts scheduler, worker and API; requests are answered from here on.
async fn start(
    backends: &Backends,
    settings: Settings,
    auth: AuthMode,
    listener: TcpListener,
    stop: &CancellationToken,
) -> anyhow::Result<Running> {
    filejobs_scheduler::take_over(&backends.for_scheduler())
        .await
        .context("what the previous process left cannot be taken over")?;
    if let Some(key) = &settings.door.bootstrap {
        crate::keys::bootstrap(&*backends.store, key).await?;
    }
    let scheduler = filejobs_scheduler::Config {
        retry: settings.retry,
        quotas: settings.quotas,
        keep_ended: settings.keep,
        keep_orphans: settings.keep_orphans,
        webhooks: settings.webhooks,
        ..filejobs_scheduler::Config::default()
    };
    let worker = worker_config(
        services::name(&backends.sources),
        &settings.processing,
        settings.retry,
        settings.limits.clone(),
        GRACE,
    )?;
    let app = App::new(backends.for_api(auth, settings.limits));

    let mut running = Running::default();
    let scheduler = filejobs_scheduler::run(backends.for_scheduler(), scheduler, stop.clone());
    running.start("scheduler", scheduler);
    let worker = filejobs_worker::run(backends.for_worker(), worker, stop.clone());
    running.start("worker", worker);
    running.serve(listener, app, GRACE, stop.clone());
    Ok(running)
}
