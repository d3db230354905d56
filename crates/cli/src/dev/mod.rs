//! `dev`: the whole service in one process. Database, queue and files are local; nothing else has to run.

mod config;
mod demo;
mod listen;
mod lock;
mod services;
mod stop;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use reqwest::Url;
use tokio_util::sync::CancellationToken;

use crate::config::{Access, AuthMode};
use crate::exit::{Exit, Outcome, Stop};
use crate::options::FileOptions;
use crate::terminal;

use config::{Processing, Storage, Webhooks};
use lock::Lock;
use services::Services;

/// Run the whole service in one process; with FILE hand it in and show what came of it
#[derive(Debug, Clone, Args)]
pub(crate) struct Dev {
    /// A file to hand in; a schema beside it (orders.schema.json for orders.csv) is used
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Where to listen [default: 127.0.0.1:8080, or a free port when that is taken]
    #[arg(long, env = "FILEJOBS_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Write address and process id into this file, as JSON, once requests are answered
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// End when standard input does: for programs that start this one
    #[arg(long)]
    until_stdin_closes: bool,

    #[command(flatten)]
    storage: Storage,

    #[command(flatten)]
    processing: Processing,

    #[command(flatten)]
    webhooks: Webhooks,

    #[command(flatten)]
    access: Access,

    #[command(flatten)]
    options: FileOptions,
}

impl Dev {
    pub(crate) fn run(self) -> Outcome {
        let mut problems = config::problems(&self.storage, &self.processing, &self.webhooks);
        problems.extend(self.options.options().err().unwrap_or_default());
        problems.extend(self.access.bootstrap().err());
        if let Some(file) = self.file.as_ref().filter(|file| !file.is_file()) {
            problems.push(format!("{}: no such file", file.display()));
        }
        if !problems.is_empty() {
            return Err(Stop::usage(&problems));
        }
        let data = &self.storage.data_dir;
        std::fs::create_dir_all(data)
            .with_context(|| format!("{} cannot be made", data.display()))?;
        let lock = Lock::take(data)?;
        // One thread for each core: what waits for disks has threads of its own.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(self.serve(lock));
        // Whatever still runs has had its time; the next start goes on with it.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        outcome
    }

    async fn serve(self, mut lock: Lock) -> Outcome {
        let (listener, moved) = listen::bind(self.listen).await?;
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
        let auth = self.access.mode(usual);
        let settings = services::Settings {
            auth,
            bootstrap: self.access.bootstrap().unwrap_or_default(),
            storage: &self.storage,
            processing: &self.processing,
            webhooks: &self.webhooks,
        };
        let services = Services::start(settings, listener, &stop).await?;
        if let Some(path) = &self.ready_file {
            write_ready(path, &base)?;
        }
        self.greet(&base, address, moved, auth)?;
        if let Some(file) = &self.file {
            let options = self.options.clone();
            let demo = async {
                let guest = services.guest(auth).await?;
                let shown = demo::run(&base, guest.key(), file, options).await;
                guest.leave().await;
                shown
            };
            let shown = tokio::select! {
                shown = demo => shown,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(stopped) = shown {
                // The service is well; what is wrong with the file is told, and the service goes on.
                eprintln!("error: {:#}", stopped.error);
            }
        }
        if !stop.is_cancelled() {
            terminal::line("Serving until Ctrl-C.")?;
        }
        services.until_stopped(&stop).await?;
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
            eprintln!(
                "note: port {wanted} is taken, so this is port {} (--listen chooses)",
                address.port()
            );
        }
        match auth {
            AuthMode::None if !address.ip().is_loopback() => eprintln!(
                "note: {address} can be reached from other machines, and nobody is asked who they are"
            ),
            AuthMode::None => {}
            AuthMode::Keys => eprintln!(
                "note: callers need an API key; `filejobs keys create --name NAME --data-dir {}` makes one",
                self.storage.data_dir.display()
            ),
        }
        let at = |path| base.join(path).map(|url| url.to_string());
        let places = [
            ("Filejobs", at("/")?),
            ("API", at("/api/jobs")?),
            ("API docs", at("/api/docs")?),
            ("data", self.storage.data_dir.display().to_string()),
        ];
        terminal::line(terminal::pairs(&places))?;
        terminal::line("")?;
        Ok(())
    }
}

/// Writes the ready file in one step: whoever waits for it reads all of it.
fn write_ready(path: &Path, base: &Url) -> anyhow::Result<()> {
    let unwritable = || format!("{} cannot be written", path.display());
    let ready = serde_json::json!({
        "url": base.as_str().trim_end_matches('/'),
        "pid": std::process::id(),
    });
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let part = tempfile::NamedTempFile::new_in(folder).with_context(unwritable)?;
    serde_json::to_writer(&part, &ready).with_context(unwritable)?;
    part.persist(path).with_context(unwritable)?;
    Ok(())
}
