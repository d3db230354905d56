//! `submit`: a file goes up once, however often the line breaks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::TryStreamExt as _;
use indicatif::ProgressBar;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Url};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::Server;
use super::api::{self, Api, Pulse};
use super::follow::follow;
use crate::exit::{Exit, Outcome, Stop};
use crate::options::FileOptions;
use crate::terminal::{self, Progress};

/// Bytes read from the file at a time.
const CHUNK: usize = 256 * 1024;

/// Hand in a file; prints the id of its job
#[derive(Debug, Clone, Args)]
pub(crate) struct Submit {
    /// A CSV, XLSX or XLS file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name to hand it in under, instead of its own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Tell this address when the job has ended
    #[arg(long, value_name = "URL")]
    webhook: Option<Url>,

    /// 0 to 10, 10 first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=10))]
    priority: Option<u8>,

    /// Namespace that the job counts against
    #[arg(long, short = 'n', value_name = "NAME")]
    namespace: Option<String>,

    /// Key under which this upload is taken at most once; made up when absent
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Wait until the job has ended; the exit code says how
    #[arg(long)]
    wait: bool,

    /// With --wait: give up after this time, such as `90s` or `10m`
    #[arg(long, value_name = "TIME", value_parser = crate::time::duration, requires = "wait")]
    timeout: Option<Duration>,

    #[command(flatten)]
    options: FileOptions,

    #[command(flatten)]
    server: Server,
}

impl Submit {
    pub(crate) async fn run(&self) -> Outcome {
        let api = self.server.api()?;
        let key = self.idempotency_key.clone();
        let key = key.unwrap_or_else(|| api.new_key());
        let upload = Upload {
            file: &self.file,
            name: self.name.as_deref(),
            options: &self.options,
            webhook: self.webhook.as_ref(),
            priority: self.priority,
            namespace: self.namespace.as_deref(),
            key: Some(key.clone()),
        };
        let (answer, id) = upload
            .send(&api, self.server.json)
            .await
            .map_err(|stop| with_key(stop, &key))?;
        if !self.wait {
            if self.server.json {
                terminal::json(&answer)?;
            } else {
                terminal::line(&id)?;
            }
            return Ok(Exit::Clean);
        }
        // Whoever stops waiting can still find the job.
        terminal::note(format_args!("job {}", terminal::shown(&id, 80)));
        let mut progress = Progress::percent("processing", self.server.json);
        let (answer, job) = follow(&api, &id, &mut progress, self.timeout, |_, _| Ok(())).await?;
        if self.server.json {
            terminal::json(&answer)?;
        } else {
            terminal::line(job.describe())?;
        }
        Ok(job.exit())
    }
}

/// Adds to a failure that may have left a job behind how to find that, instead of making a second one.
fn with_key(stop: Stop, key: &str) -> Stop {
    let cause = stop.error.downcast_ref::<api::Error>();
    if !cause.is_some_and(api::Error::is_open) {
        return stop;
    }
    let error = anyhow::anyhow!(
        "{:#}\n       the file may have arrived: send it again with --idempotency-key {key}, and it is taken once",
        stop.error
    );
    Stop { error, ..stop }
}

/// A file with all that is said about it.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    pub(crate) file: &'a Path,
    pub(crate) name: Option<&'a str>,
    pub(crate) options: &'a FileOptions,
    pub(crate) webhook: Option<&'a Url>,
    pub(crate) priority: Option<u8>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) key: Option<String>,
}

impl Upload<'_> {
    /// Sends the file and gives back the answer and the job's id.
    ///
    /// Every attempt carries the same idempotency key: a repeated upload finds the job of the first.
    pub(crate) async fn send(&self, api: &Api, quiet: bool) -> Outcome<(Value, String)> {
        let options = self
            .options
            .options()
            .map_err(|problems| Stop::usage(&problems))?;
        let options = serde_json::to_value(options)?;
        let schema = self.options.schema_text()?;
        let name = match self.name {
            Some(name) => name.to_owned(),
            None => file_name(self.file)?,
        };
        let (_, size) = self.open()?;
        let progress = Progress::bytes(size, "uploading", quiet);
        let bar = progress.bar();
        let key = self.key.clone().unwrap_or_else(|| api.new_key());

        let build = |pulse| {
            let (file, size) = self.open()?;
            let part = Part::stream_with_length(body(file, bar.clone(), pulse), size)
                .file_name(name.clone())
                .mime_str("application/octet-stream")?;
            let mut form = Form::new();
            // The file comes last: the service knows all about it before the first of its bytes.
            for (field, value) in self.fields(&options, schema.as_deref()) {
                form = form.text(field, value);
            }
            let request = api
                .post(&["api", "files", "upload"])
                .header("idempotency-key", &key);
            anyhow::Ok(request.multipart(form.part("file", part)))
        };
        let answer = api.submit(build).await?;
        progress.finish();
        let id = answer
            .get("job_id")
            .and_then(Value::as_str)
            .context("the answer names no job")?;
        let id = id.to_owned();
        Ok((answer, id))
    }

    fn open(&self) -> anyhow::Result<(std::fs::File, u64)> {
        let unreadable = || format!("{} cannot be read", self.file.display());
        let file = std::fs::File::open(self.file).with_context(unreadable)?;
        let about = file.metadata().with_context(unreadable)?;
        anyhow::ensure!(
            about.is_file(),
            "{} is no regular file",
            self.file.display()
        );
        Ok((file, about.len()))
    }

    fn fields(&self, options: &Value, schema: Option<&str>) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        if options.as_object().is_some_and(|o| !o.is_empty()) {
            fields.push(("options", options.to_string()));
        }
        if let Some(schema) = schema {
            fields.push(("schema", schema.to_owned()));
        }
        if let Some(url) = self.webhook {
            fields.push(("webhook_url", url.to_string()));
        }
        if let Some(priority) = self.priority {
            fields.push(("priority", priority.to_string()));
        }
        if let Some(namespace) = self.namespace {
            fields.push(("namespace", namespace.to_owned()));
        }
        fields
    }
}

fn file_name(path: &Path) -> anyhow::Result<String> {
    let name = path
        .file_name()
        .with_context(|| format!("{} names no file", path.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

fn body(file: std::fs::File, bar: Option<ProgressBar>, pulse: Pulse) -> Body {
    if let Some(bar) = &bar {
        bar.set_position(0);
    }
    let chunks = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
    Body::wrap_stream(chunks.inspect_ok(move |chunk| {
        pulse.beat();
        if let Some(bar) = &bar {
            bar.inc(chunk.len() as u64);
        }
    }))
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    /// What a hand-in under the key `k` says that is answered with this status.
    async fn refused(status: u16) -> String {
        let server = MockServer::start().await;
        let refusal = ResponseTemplate::new(status);
        Mock::given(any())
            .respond_with(refusal)
            .mount(&server)
            .await;
        let api = Api::new(server.uri().parse().unwrap(), None, 0).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let upload = Upload {
            file: file.path(),
            name: None,
            options: &FileOptions::default(),
            webhook: None,
            priority: None,
            namespace: None,
            key: Some("k".to_owned()),
        };
        let stop = upload.send(&api, true).await.unwrap_err();
        with_key(stop, "k").error.to_string()
    }

    #[tokio::test]
    async fn the_key_is_told_where_a_job_may_be_left_behind() {
        assert!(refused(502).await.contains("--idempotency-key k"));
        assert!(!refused(400).await.contains("--idempotency-key"));
    }
}
