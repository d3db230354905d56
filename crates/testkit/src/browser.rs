//! A headless Chromium, driven through chromedriver by as much WebDriver as our pages need.
//!
//! <https://www.w3.org/TR/webdriver2/>; the logs are chromedriver's own extension.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wait::{self, DEADLINE};
use crate::{http, processes};

/// The key of an element in WebDriver's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Errors of a step on a page that changes by itself: the element has been replaced since it was found, or has not come
/// yet.
const NOT_YET: [&str; 2] = ["stale element reference", "no such element"];

/// What the browser must not do by itself: nothing but our pages may be asked for.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
];

/// How to start a browser.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Width and height of its window.
    pub window: (u32, u32),
    /// Whether pages are asked to be dark.
    pub dark: bool,
    /// Whether scripts run.
    pub script: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: (1280, 960),
            dark: false,
            script: true,
        }
    }
}

/// A running browser with one window. It ends with the value.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    /// Address of the session.
    session: String,
    client: Client,
    /// Its profile and scratch files, new for each browser.
    profile: TempDir,
}

/// Whether this machine has what a browser test needs.
#[must_use]
pub fn is_installed() -> bool {
    let found = Command::new("chromedriver")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

impl Browser {
    /// Starts driver and browser.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", profile.path())
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver could not be started; `cargo xtask test rust` installs it")?;
        let base = match port(&mut driver) {
            Ok(port) => format!("http://127.0.0.1:{port}"),
            Err(error) => {
                driver.kill()?;
                driver.wait()?;
                return Err(error);
            }
        };
        let mut browser = Self {
            driver,
            session: base,
            client: http::client()?,
            profile,
        };
        let capabilities = browser.capabilities(settings);
        let made = browser.post("/session", &capabilities).await?;
        let id = made["sessionId"]
            .as_str()
            .context("the driver names no session")?;
        browser.session = format!("{}/session/{id}", browser.session);
        Ok(browser)
    }

    fn capabilities(&self, settings: &Settings) -> Value {
        let (width, height) = settings.window;
        let mut arguments: Vec<_> = ARGUMENTS.iter().map(|a| (*a).to_owned()).collect();
        arguments.push(format!("--window-size={width},{height}"));
        arguments.push(format!(
            "--user-data-dir={}",
            self.profile.path().join("profile").display()
        ));
        if settings.dark {
            arguments.push("--force-dark-mode".to_owned());
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let scripts = if settings.script { 1 } else { 2 };
        json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": { "profile.managed_default_content_settings.javascript": scripts },
            },
        }}})
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .post(format!("{}{path}", self.session))
            .json(body);
        value(&http::answer(request).await?, path)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}{path}", self.session));
        value(&http::answer(request).await?, path)
    }

    /// Goes to a page and waits until it is loaded.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        self.post("/url", &json!({ "url": url })).await.map(drop)
    }

    /// The address that is shown.
    pub async fn address(&self) -> anyhow::Result<String> {
        let address = self.get("/url").await?;
        Ok(address.as_str().unwrap_or_default().to_owned())
    }

    /// Runs the body of a function in the page and gives what it returns.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> anyhow::Result<Value> {
        self.post(
            "/execute/sync",
            &json!({ "script": script, "args": arguments }),
        )
        .await
    }

    /// Waits until the body of a function returns true.
    pub async fn wait_for(&self, what: &str, script: &str) -> anyhow::Result<()> {
        let seen = wait::until(what, DEADLINE, async || {
            Ok((self.run(script, &[]).await? == Value::Bool(true)).then_some(()))
        });
        if let Err(error) = seen.await {
            let shown = self.text("main").await.unwrap_or_default();
            return Err(error.context(format!("the page shows: {shown}")));
        }
        Ok(())
    }

    /// The text of an element, as a person sees it.
    pub async fn text(&self, selector: &str) -> anyhow::Result<String> {
        let text = self
            .on(selector, async |element| {
                self.get(&format!("{element}/text")).await
            })
            .await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Clicks on an element.
    pub async fn click(&self, selector: &str) -> anyhow::Result<()> {
        let click =
            async |element: String| self.post(&format!("{element}/click"), &json!({})).await;
        self.on(selector, click).await.map(drop)
    }

    /// Types into an element.
    pub async fn type_into(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let keys = json!({ "text": text });
        let send = async |element: String| self.post(&format!("{element}/value"), &keys).await;
        self.on(selector, send).await.map(drop)
    }

    /// Moves the pointer onto an element and presses its main button there.
    pub async fn press(&self, selector: &str) -> anyhow::Result<()> {
        let press = async |element: String| {
            let id = element.trim_start_matches("/element/");
            self.point(&json!([
                { "type": "pointerMove", "x": 0, "y": 0, "origin": { ELEMENT: id } },
                { "type": "pointerDown", "button": 0 },
            ]))
            .await
        };
        self.on(selector, press).await.map(drop)
    }

    /// Lets go of what [`press`](Self::press) holds.
    pub async fn let_go(&self) -> anyhow::Result<()> {
        let up = json!([{ "type": "pointerUp", "button": 0 }]);
        self.point(&up).await.map(drop)
    }

    async fn point(&self, actions: &Value) -> anyhow::Result<Value> {
        let mouse = json!({ "type": "pointer", "id": "mouse", "actions": actions });
        self.post("/actions", &json!({ "actions": [mouse] })).await
    }

    /// Does something with an element, given the path of it, as a person would: who waits for one that comes, and
    /// takes that which the page has put in its place.
    async fn on(
        &self,
        selector: &str,
        act: impl AsyncFn(String) -> anyhow::Result<Value>,
    ) -> anyhow::Result<Value> {
        let what = format!("`{selector}` to be on the page");
        wait::until(&what, DEADLINE, async || {
            let done = async { act(format!("/element/{}", self.find(selector).await?)).await };
            match done.await {
                Err(error) if is_not_yet(&error) => Ok(None),
                done => done.map(Some),
            }
        })
        .await
    }

    /// Chooses a file in a file field.
    pub async fn choose(&self, selector: &str, file: &Path) -> anyhow::Result<()> {
        let path = file.to_str().context("the path is UTF-8")?;
        self.type_into(selector, path).await
    }

    /// Drags files from the desktop onto an element and lets go of them there.
    pub async fn drop_files(&self, selector: &str, files: &[&Path]) -> anyhow::Result<()> {
        let middle = "const box = document.querySelector(arguments[0]).getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]";
        let at = self.run(middle, &[json!(selector)]).await?;
        for step in ["dragEnter", "dragOver", "drop"] {
            let parameters = json!({
                "type": step, "x": at[0], "y": at[1],
                "data": { "items": [], "files": files, "dragOperationsMask": 1 },
            });
            let command = json!({ "cmd": "Input.dispatchDragEvent", "params": parameters });
            self.post("/goog/cdp/execute", &command).await?;
        }
        Ok(())
    }

    async fn find(&self, selector: &str) -> anyhow::Result<String> {
        let using = json!({ "using": "css selector", "value": selector });
        let found = self.post("/element", &using).await;
        let found = found.with_context(|| format!("nothing on the page is `{selector}`"))?;
        let id = found[ELEMENT]
            .as_str()
            .context("the driver names no element")?;
        Ok(id.to_owned())
    }

    /// What was said on the console since the last look: refused loads and script errors, too.
    pub async fn console(&self) -> anyhow::Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({ "type": "browser" })).await?;
        let entries = entries.as_array().context("the log is a list")?;
        let lines = entries
            .iter()
            .map(|e| format!("{}: {}", e["level"], e["message"]));
        Ok(lines.collect())
    }

    /// Addresses of everything that was asked for since the last look, the browser's own pages and inline data
    /// left out.
    pub async fn requests(&self) -> anyhow::Result<Vec<String>> {
        let entries = self
            .post("/se/log", &json!({ "type": "performance" }))
            .await?;
        let mut urls = Vec::new();
        for entry in entries.as_array().context("the log is a list")? {
            let text = entry["message"].as_str().unwrap_or_default();
            let event: Value = serde_json::from_str(text)?;
            if event["message"]["method"] == "Network.requestWillBeSent" {
                let url = event["message"]["params"]["request"]["url"].as_str();
                let own = ["about:", "chrome://", "data:"];
                let asked = url.filter(|url| !own.iter().any(|scheme| url.starts_with(scheme)));
                urls.extend(asked.map(str::to_owned));
            }
        }
        Ok(urls)
    }
}

fn is_not_yet(error: &anyhow::Error) -> bool {
    let told = error.root_cause().to_string();
    NOT_YET.iter().any(|code| told.contains(code))
}

/// The port that the driver has chosen.
fn port(driver: &mut Child) -> anyhow::Result<u16> {
    let stdout = driver.stdout.take().context("standard output is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let started = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let port = line.split("started successfully on port ").nth(1)?;
        port.trim_end_matches('.').parse().ok()
    });
    // The driver goes on writing; nobody may close the pipe on it.
    std::thread::spawn(move || lines.for_each(drop));
    started.context("chromedriver ended before it said on which port it listens")
}

fn value(answer: &http::Answer, path: &str) -> anyhow::Result<Value> {
    let mut body: Value = serde_json::from_slice(&answer.body)
        .with_context(|| format!("the driver's answer to {path} is no JSON"))?;
    ensure!(
        body.is_object(),
        "the driver's answer to {path} is no object"
    );
    if answer.status == 200 {
        return Ok(body["value"].take());
    }
    bail!(
        "{path}: {}: {}",
        body["value"]["error"],
        body["value"]["message"]
    )
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is the driver's child and would outlive it.
        let children = processes::descendants(self.driver.id());
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        for child in children {
            let _ = Command::new("kill")
                .args(["-KILL", &child.to_string()])
                .status();
        }
    }
}
