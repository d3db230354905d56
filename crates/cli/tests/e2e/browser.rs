//! The pages, in a real browser, served by the real program.

use std::path::PathBuf;

use filejobs_testkit::browser::{self, Browser, Settings};
use filejobs_testkit::http::Upload;
use filejobs_testkit::processes;
use filejobs_testkit::service::{Builder, Service};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sample_upload;

/// Row 2 has a bad number, row 3 an empty cell.
const ORDERS: &str = "id,name,price\n1,anvil,10.5\n2,rope,twelve\n3,,7\n4,tnt,2.25\n";

const SCHEMA: &str = r#"{"fields": [
    {"name": "id", "type": "integer"},
    {"name": "name", "type": "string", "constraints": {"required": true}},
    {"name": "price", "type": "number"}
]}"#;

/// A service, a browser, and a folder for files to hand in.
struct Stage {
    service: Service,
    browser: Browser,
    files: TempDir,
}

impl Stage {
    /// `None` where no browser is installed, which only a developer's machine may lack.
    async fn set(settings: Settings) -> anyhow::Result<Option<Self>> {
        Self::set_with(settings, crate::service()).await
    }

    async fn set_with(settings: Settings, service: Builder) -> anyhow::Result<Option<Self>> {
        if !browser::is_installed() {
            let ci = std::env::var("CI").unwrap_or_default();
            anyhow::ensure!(
                ci != "true",
                "chromedriver is missing; `cargo xtask test rust` installs it"
            );
            eprintln!("skipped: chromedriver is missing; `cargo xtask test rust` installs it");
            return Ok(None);
        }
        Ok(Some(Self {
            browser: Browser::start(&settings).await?,
            service: service.start().await?,
            files: tempfile::tempdir()?,
        }))
    }

    async fn open(&self, path: &str) -> anyhow::Result<()> {
        self.browser
            .open(&format!("{}{path}", self.service.url()))
            .await
    }

    fn file(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.files.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// Nothing was asked for elsewhere, and nothing was said on the console.
    async fn assert_quiet(&self) -> anyhow::Result<()> {
        let foreign: Vec<_> = self
            .browser
            .requests()
            .await?
            .into_iter()
            .filter(|url| !url.starts_with(self.service.url()))
            .collect();
        assert_eq!(foreign, [""; 0]);
        assert_eq!(self.browser.console().await?, [""; 0]);
        Ok(())
    }

    /// Texts of all elements that a selector finds.
    async fn texts(&self, selector: &str) -> anyhow::Result<Vec<String>> {
        let script =
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())";
        let texts = self.browser.run(script, &[json!(selector)]).await?;
        let texts = texts.as_array().into_iter().flatten();
        Ok(texts.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    async fn wait_for_text(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let script = format!(
            "return document.querySelector({})?.innerText.includes({}) ?? false",
            json!(selector),
            json!(text)
        );
        self.browser
            .wait_for(&format!("`{selector}` to say `{text}`"), &script)
            .await
    }
}

#[tokio::test]
async fn a_file_is_handed_in_followed_and_its_findings_are_shown() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    stage.open("/").await?;
    let file = stage.file("orders.csv", ORDERS)?;
    stage.browser.click("summary").await?;
    stage.browser.type_into("#schema", SCHEMA).await?;
    stage.browser.choose("#file", &file).await?;
    stage.wait_for_text("#chosen", "orders.csv").await?;
    stage.browser.click("#upload button[type=submit]").await?;

    stage
        .wait_for_text("#job .badge", "Completed with errors")
        .await?;
    assert!(stage.browser.address().await?.contains("/jobs/"));
    assert_eq!(stage.browser.text("h1").await?, "orders.csv");
    let figures = stage.texts("#job dd").await?;
    assert_eq!(figures[..4], ["4", "2", "2", "2"]);
    assert_eq!(
        stage.texts("#findings tbody tr td:first-child").await?,
        ["2", "3"]
    );
    assert_eq!(
        stage.texts("#findings tbody code").await?,
        ["type-error", "constraint-error"]
    );
    assert_eq!(
        stage.texts("#findings td.value").await?,
        ["twelve", "empty"]
    );

    // Only one of the codes.
    stage
        .browser
        .click("#findings .chips li:nth-child(2) a")
        .await?;
    stage
        .browser
        .wait_for(
            "one row",
            "return document.querySelectorAll('#findings tbody tr').length === 1",
        )
        .await?;
    stage.assert_quiet().await
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_before_it_is_sent() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    stage.open("/").await?;
    stage
        .browser
        .choose("#file", &stage.file("picture.png", "x")?)
        .await?;
    stage.wait_for_text("#page-error", "picture.png").await?;
    stage.browser.click("#upload button[type=submit]").await?;
    stage
        .wait_for_text("#page-error", "cannot be taken")
        .await?;
    let sent = stage.browser.requests().await?;
    assert!(!sent.iter().any(|url| url.contains("/upload")), "{sent:?}");

    // A right name with the wrong content is the service's to refuse, and its sentence is shown.
    stage
        .browser
        .choose(
            "#file",
            &stage.file("page.csv", "<!doctype html><html></html>")?,
        )
        .await?;
    stage.browser.click("#upload button[type=submit]").await?;
    stage
        .browser
        .wait_for(
            "the refusal",
            "return !document.querySelector('#page-error').hidden",
        )
        .await?;
    Ok(())
}

/// Takes away the answer to the next upload, which the service has taken by then.
const LOST: &str = "
    const listen = XMLHttpRequest.prototype.addEventListener;
    window.lost = true;
    XMLHttpRequest.prototype.addEventListener = function (kind, listener) {
        if (!window.lost || kind !== 'load') return listen.call(this, kind, listener);
        listen.call(this, 'load', () => {
            window.lost = false;
            this.dispatchEvent(new ProgressEvent('error'));
        });
    };";

#[tokio::test]
async fn a_file_whose_answer_was_lost_is_sent_again_and_makes_one_job() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    stage.open("/").await?;
    stage.browser.run(LOST, &[]).await?;
    let file = stage.file("orders.csv", ORDERS)?;
    stage.browser.choose("#file", &file).await?;
    stage.browser.click("#upload button[type=submit]").await?;
    stage
        .wait_for_text("#page-error", "its job is in the list")
        .await?;
    stage.browser.click("#upload button[type=submit]").await?;
    stage.wait_for_text("#job .badge", "Completed").await?;
    let jobs = stage.service.get("/api/jobs").await?.json();
    assert_eq!(jobs["total"], 1);

    // The same file once more, after an answer, is another upload.
    stage.open("/").await?;
    stage.browser.choose("#file", &file).await?;
    stage.browser.click("#upload button[type=submit]").await?;
    stage.wait_for_text("#job .badge", "Completed").await?;
    let jobs = stage.service.get("/api/jobs").await?.json();
    assert_eq!(jobs["total"], 2);
    stage.assert_quiet().await
}

#[tokio::test]
async fn a_file_can_be_dropped_anywhere_on_the_page() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    stage.open("/").await?;
    let orders = stage.file("orders.csv", ORDERS)?;
    let picture = stage.file("picture.png", "x")?;
    stage
        .browser
        .drop_files("#jobs", &[orders.as_path(), picture.as_path()])
        .await?;
    stage
        .wait_for_text("#page-error", "one file at a time")
        .await?;
    assert_eq!(stage.browser.text("#chosen").await?, "");
    stage
        .browser
        .drop_files("#jobs", &[picture.as_path()])
        .await?;
    stage.wait_for_text("#page-error", "picture.png").await?;

    stage
        .browser
        .drop_files(".drop", &[orders.as_path()])
        .await?;
    stage.wait_for_text("#chosen", "orders.csv").await?;
    let told = "return !document.querySelector('#page-error').hidden";
    assert_eq!(stage.browser.run(told, &[]).await?, false);
    stage.browser.click("#upload button[type=submit]").await?;
    stage.wait_for_text("#job .badge", "Completed").await?;
    assert_eq!(stage.browser.text("h1").await?, "orders.csv");
    stage.assert_quiet().await
}

/// Waits until a job's page offers exactly these buttons: they follow its state.
async fn offered(stage: &Stage, buttons: &[&str]) -> anyhow::Result<()> {
    let script = format!(
        "return JSON.stringify([...document.querySelectorAll('#job button')].map((b) => b.dataset.key)) === {}",
        json!(json!(buttons).to_string())
    );
    let what = format!("the buttons to be {buttons:?}");
    stage.browser.wait_for(&what, &script).await
}

async fn press(stage: &Stage, button: &str) -> anyhow::Result<()> {
    let button = format!("#job button[data-key='{button}']");
    stage.browser.click(&button).await
}

#[tokio::test]
async fn a_job_can_be_held_back_cancelled_and_tried_again_from_its_page() -> anyhow::Result<()> {
    let builder = crate::service().arg("--max-concurrency").arg(1);
    let Some(stage) = Stage::set_with(Settings::default(), builder).await? else {
        return Ok(());
    };
    // A job whose engine stands still keeps the only slot busy for as long as that is wanted.
    let (_, upload) = sample_upload(2_000_000, 0.0);
    let busy = stage.service.submit(&upload).await?;
    processes::hold_engine(stage.service.pid()).await?;
    let id = stage
        .service
        .submit(&Upload::new("orders.csv", ORDERS))
        .await?;

    let waiting = ["Suspend", "Cancel job", "Delete"];
    stage.open(&format!("/jobs/{id}")).await?;
    offered(&stage, &waiting).await?;
    press(&stage, "Suspend").await?;
    offered(&stage, &["Resume", "Cancel job", "Delete"]).await?;
    assert_eq!(stage.service.job(&id).await?["status"], "SUSPENDED");
    press(&stage, "Resume").await?;
    offered(&stage, &waiting).await?;
    press(&stage, "Cancel job").await?;
    stage.wait_for_text("#confirm", "Cancel this job?").await?;
    stage.browser.click("#confirm button[value=no]").await?;
    assert_eq!(stage.service.job(&id).await?["status"], "QUEUED");
    press(&stage, "Cancel job").await?;
    stage.browser.click("#confirm button[value=yes]").await?;
    offered(&stage, &["Retry", "Delete"]).await?;
    assert_eq!(stage.service.job(&id).await?["status"], "CANCELLED");
    press(&stage, "Retry").await?;
    offered(&stage, &waiting).await?;

    // One that is being processed; its end is seen without a hand.
    stage.open(&format!("/jobs/{busy}")).await?;
    offered(&stage, &["Suspend", "Cancel job"]).await?;
    press(&stage, "Cancel job").await?;
    stage.browser.click("#confirm button[value=yes]").await?;
    offered(&stage, &["Retry", "Delete"]).await?;
    stage.open(&format!("/jobs/{id}")).await?;
    stage.wait_for_text("#job .badge", "Completed").await?;
    assert_eq!(stage.service.job(&id).await?["generation"], 1);
    stage.assert_quiet().await
}

/// Opens the page of a job that goes on until it is cancelled: an engine that stands still does not end its job.
async fn standing_job(stage: &Stage) -> anyhow::Result<String> {
    let (_, upload) = sample_upload(2_000_000, 0.0);
    let id = stage.service.submit(&upload).await?;
    processes::hold_engine(stage.service.pid()).await?;
    stage.open(&format!("/jobs/{id}")).await?;
    offered(stage, &["Suspend", "Cancel job"]).await?;
    Ok(id)
}

/// Makes the page's requests fail until it is told to let them pass, and counts those after the end of the job's events.
const AWAY: &str = "
    window.away = true;
    window.refused = 0;
    const close = EventSource.prototype.close;
    EventSource.prototype.close = function () { window.ended = true; close.call(this); };
    const ask = window.fetch;
    window.fetch = (...request) => {
        if (!window.away) return ask(...request);
        if (window.ended) window.refused += 1;
        return Promise.reject(new TypeError('away'));
    };";

#[tokio::test]
async fn the_end_of_a_job_is_shown_once_the_service_answers_again() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    let id = standing_job(&stage).await?;
    stage.browser.run(AWAY, &[]).await?;
    let cancelled = stage
        .service
        .post(&format!("/api/jobs/{id}/cancel"))
        .await?;
    cancelled.assert_status(200);
    let refused = "return window.refused > 0";
    stage
        .browser
        .wait_for("the last look to fail", refused)
        .await?;
    stage.browser.run("window.away = false", &[]).await?;
    stage.wait_for_text("#job .badge", "Cancelled").await?;
    stage.assert_quiet().await
}

/// Starts the page's script anew where every event stream is refused; the stream of the first one is closed.
const REFUSED: &str = "
    dispatchEvent(new Event('pagehide'));
    window.EventSource = class extends EventTarget {
        static CLOSED = 2;
        readyState = 2;
        constructor() {
            super();
            setTimeout(() => this.dispatchEvent(new Event('error')));
        }
        close() {}
    };
    const script = document.createElement('script');
    script.type = 'module';
    script.src = '/assets/app.js';
    document.body.append(script);";

#[tokio::test]
async fn a_job_whose_event_stream_is_refused_is_shown_to_its_end() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    let id = standing_job(&stage).await?;
    stage.browser.run(REFUSED, &[]).await?;
    let cancelled = stage
        .service
        .post(&format!("/api/jobs/{id}/cancel"))
        .await?;
    cancelled.assert_status(200);
    stage.wait_for_text("#job .badge", "Cancelled").await?;
    stage.assert_quiet().await
}

#[tokio::test]
async fn what_files_bring_along_is_shown_and_never_run() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    let hostile = "<img src=x onerror=\"document.title='run'\">";
    let table = format!("id,{hostile}\n1,a\nx{hostile},b\n3,c\n");
    let upload = Upload::new(format!("{hostile}.csv"), table.clone()).field(
        "schema",
        json!({ "fields": [{ "name": "id", "type": "integer" }, { "name": hostile }] }),
    );
    let id = stage.service.submit(&upload).await?;
    stage.service.finished(&id).await?;
    for path in [format!("/jobs/{id}"), "/".to_owned()] {
        stage.open(&path).await?;
        let shown = stage.browser.text("main").await?;
        assert!(shown.contains("<img src=x"), "{path}: {shown}");
        let images = stage
            .browser
            .run("return document.images.length", &[])
            .await?;
        assert_eq!(images, 0, "{path}");
    }
    stage.open(&format!("/jobs/{id}")).await?;
    assert_eq!(
        stage.texts("#findings td.value").await?,
        [format!("x{hostile}")]
    );
    stage.assert_quiet().await
}

#[tokio::test]
async fn the_list_shows_new_jobs_by_itself_and_a_job_can_be_deleted() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    stage.open("/").await?;
    stage
        .wait_for_text("#jobs", "Nothing has been handed in yet.")
        .await?;
    let id = stage
        .service
        .submit(&Upload::new("late.csv", ORDERS))
        .await?;
    stage.service.finished(&id).await?;
    stage.wait_for_text("#jobs tbody", "late.csv").await?;
    stage.browser.click("#jobs tbody a").await?;

    stage.browser.click("button[data-key=Delete]").await?;
    stage.wait_for_text("#confirm", "cannot be undone").await?;
    stage.browser.click("#confirm button[value=no]").await?;
    assert_eq!(stage.service.job(&id).await?["id"], json!(id));
    stage.browser.click("button[data-key=Delete]").await?;
    stage.browser.click("#confirm button[value=yes]").await?;
    stage
        .wait_for_text("#jobs", "Nothing has been handed in yet.")
        .await?;
    stage.assert_quiet().await
}

#[tokio::test]
async fn a_press_is_a_click_although_the_list_has_changed_meanwhile() -> anyhow::Result<()> {
    let Some(stage) = Stage::set(Settings::default()).await? else {
        return Ok(());
    };
    let ended = async |name: &str| stage.service.run(&Upload::new(name, ORDERS)).await;
    ended("first.csv").await?;
    stage.open("/").await?;
    stage.browser.press("#jobs tbody a").await?;
    ended("second.csv").await?;
    stage.browser.run("return refresh()", &[]).await?;
    // The link is still what was pressed, and where it was.
    assert_eq!(stage.texts("#jobs tbody a").await?, ["first.csv"]);
    stage.browser.let_go().await?;
    stage.wait_for_text("h1", "first.csv").await?;

    // What came during a press that is no click is shown after it.
    stage.open("/").await?;
    stage.browser.press("#hand-in").await?;
    ended("third.csv").await?;
    stage.browser.run("return refresh()", &[]).await?;
    stage.browser.let_go().await?;
    stage.wait_for_text("#jobs tbody", "third.csv").await?;
    stage.assert_quiet().await
}

#[tokio::test]
async fn without_script_everything_can_be_read() -> anyhow::Result<()> {
    let settings = Settings {
        script: false,
        dark: true,
        ..Settings::default()
    };
    let Some(stage) = Stage::set(settings).await? else {
        return Ok(());
    };
    let upload = Upload::new("orders.csv", ORDERS).field("schema", SCHEMA);
    let id = stage.service.submit(&upload).await?;
    stage.service.finished(&id).await?;
    stage.open("/").await?;
    assert!(stage.browser.text("#jobs").await?.contains("orders.csv"));
    stage.browser.click("#jobs tbody a").await?;
    let findings = stage.browser.text("#findings").await?;
    assert!(findings.contains("twelve"), "{findings}");
    // What only a script can do is not offered.
    assert!(!stage.browser.text("#job").await?.contains("Delete"));
    Ok(())
}
