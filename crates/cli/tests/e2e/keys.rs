//! API keys: every route times every kind of key, over HTTP, against the built program; and the commands that make,
//! list and revoke keys.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use filejobs_testkit::http::{self, Answer};
use filejobs_testkit::service::Service;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::{BINARY, SMALL, service, small_upload};

fn keys(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    let command = command.arg("keys").args(arguments).env_clear();
    command.env("FILEJOBS_DATA_DIR", data).output().unwrap()
}

/// Makes a key and gives it back.
#[track_caller]
fn create(data: &Path, arguments: &[&str]) -> String {
    let mut all = vec!["create", "--name", "test"];
    all.extend(arguments);
    let made = keys(data, &all);
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// The part of a key that names it.
fn prefix(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

async fn with_keys() -> Service {
    service().arg("--auth=keys").start().await.unwrap()
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Read,
    Write,
    Admin,
}

/// What a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// One job: it does not exist for another namespace.
    Job,
    /// A list, or something new.
    Own,
    /// Nobody's.
    All,
}

use About::{All, Job, Own};
use Need::{Admin, Nothing, Read, Write};

/// Every route: what it asks for, what it is about, and how it answers somebody who may, about a completed job
/// without a webhook.
const ROUTES: &[(&str, &str, Need, About, u16)] = &[
    ("POST", "/api/files/upload", Write, Own, 202),
    ("GET", "/api/jobs", Read, Own, 200),
    ("GET", "/api/jobs/{id}", Read, Job, 200),
    ("PATCH", "/api/jobs/{id}", Write, Job, 409),
    ("DELETE", "/api/jobs/{id}", Write, Job, 204),
    ("GET", "/api/jobs/{id}/errors", Read, Job, 200),
    ("GET", "/api/jobs/{id}/results", Read, Job, 200),
    ("GET", "/api/jobs/{id}/rejected.csv", Read, Job, 200),
    ("GET", "/api/jobs/{id}/report", Read, Job, 200),
    ("GET", "/api/jobs/{id}/schema", Read, Job, 200),
    ("GET", "/api/jobs/{id}/events", Read, Job, 200),
    ("GET", "/api/jobs/{id}/webhooks", Read, Job, 200),
    ("POST", "/api/jobs/{id}/webhooks/resend", Write, Job, 409),
    ("POST", "/api/jobs/{id}/cancel", Write, Job, 409),
    ("POST", "/api/jobs/{id}/retry", Write, Job, 400),
    ("POST", "/api/jobs/{id}/suspend", Write, Job, 409),
    ("POST", "/api/jobs/{id}/resume", Write, Job, 409),
    ("GET", "/api/queues/stats", Admin, All, 200),
    ("GET", "/api/queues/dead-letters", Admin, All, 200),
    (
        "POST",
        "/api/queues/dead-letters/{task}/replay",
        Admin,
        All,
        404,
    ),
    ("GET", "/api/workers", Admin, All, 200),
    ("GET", "/api/health", Nothing, All, 200),
    ("GET", "/api/limits", Nothing, All, 200),
    ("GET", "/api/openapi.json", Nothing, All, 200),
    ("GET", "/api/docs", Nothing, All, 200),
    ("GET", "/api/docs/docs.js", Nothing, All, 200),
    ("GET", "/api/docs/docs.css", Nothing, All, 200),
    ("GET", "/", Read, Own, 200),
    ("GET", "/jobs/{id}", Read, Job, 200),
    ("GET", "/jobs/{id}/results.csv", Read, Job, 200),
    ("GET", "/jobs/{id}/results.parquet", Read, Job, 200),
    ("GET", "/jobs/{id}/errors.csv", Read, Job, 200),
    ("GET", "/assets/{name}", Nothing, All, 200),
    ("GET", "/sign-in", Nothing, All, 200),
    // Without a key in its form.
    ("POST", "/sign-in", Nothing, All, 401),
    ("POST", "/sign-out", Nothing, All, 303),
];

#[test]
fn the_table_of_routes_is_complete() {
    let known: BTreeSet<_> = filejobs_api::routes().collect();
    let tested: BTreeSet<_> = ROUTES.iter().map(|route| (route.0, route.1)).collect();
    assert_eq!(tested, known);
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Garbage,
    Unknown,
    WrongSecret,
    Expired,
    Revoked,
    Reader,
    Writer,
    Both,
    Elsewhere,
    Admin,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::None,
        Self::Garbage,
        Self::Unknown,
        Self::WrongSecret,
        Self::Expired,
        Self::Revoked,
        Self::Reader,
        Self::Writer,
        Self::Both,
        Self::Elsewhere,
        Self::Admin,
    ];

    fn make(self, data: &Path) -> String {
        let good = || create(data, &["--scope", "admin"]);
        match self {
            Self::None => String::new(),
            Self::Garbage => "hush".to_owned(),
            Self::Unknown => {
                let made = keys(data, &["generate"]);
                String::from_utf8(made.stdout).unwrap().trim().to_owned()
            }
            Self::WrongSecret => format!("fj_{}_{}", prefix(&good()), "0".repeat(32)),
            Self::Expired => create(data, &["--scope", "admin", "--expires-in", "0"]),
            Self::Revoked => {
                let key = good();
                assert!(keys(data, &["revoke", prefix(&key)]).status.success());
                key
            }
            Self::Reader => create(data, &["--scope", "jobs:read"]),
            Self::Writer => create(data, &["--scope", "jobs:write"]),
            Self::Both => create(data, &[]),
            Self::Elsewhere => create(data, &["--namespace", "elsewhere"]),
            Self::Admin => good(),
        }
    }

    /// The status that this kind is answered with.
    fn expect(self, need: Need, about: About, allowed: u16) -> u16 {
        match (self, need, about) {
            (_, Nothing, _)
            | (Self::Admin, _, _)
            | (Self::Reader | Self::Both, Read, _)
            | (Self::Writer | Self::Both, Write, _)
            | (Self::Elsewhere, Read | Write, Own) => allowed,
            (
                Self::None
                | Self::Garbage
                | Self::Unknown
                | Self::WrongSecret
                | Self::Expired
                | Self::Revoked,
                _,
                _,
            ) => 401,
            (Self::Elsewhere, Read | Write, Job | All) => 404,
            (Self::Reader, Write, _)
            | (Self::Writer, Read, _)
            | (Self::Reader | Self::Writer | Self::Both | Self::Elsewhere, Admin, _) => 403,
        }
    }
}

/// Puts a key where a program may put it.
fn present(request: RequestBuilder, key: &str, way: usize) -> RequestBuilder {
    match way % 3 {
        _ if key.is_empty() => request,
        0 => request.header("x-api-key", key),
        1 => request.bearer_auth(key),
        // A cookie that holds no key is somebody else's: as good as none.
        _ => request.header("cookie", format!("filejobs_key={key}")),
    }
}

async fn send(service: &Service, route: (&str, &str), job: &str, key: &str, way: usize) -> Answer {
    let (method, path) = route;
    let path = path
        .replace("{id}", job)
        .replace("{task}", job)
        .replace("{name}", "app.css");
    let url = format!("{}{path}", service.url());
    let request = match (method, path.as_str()) {
        ("POST", "/api/files/upload") => small_upload().request(&service.client, service.url()),
        ("PATCH", _) => {
            let request = service.client.patch(url);
            request.json(&serde_json::json!({"priority": 1}))
        }
        _ => service
            .client
            .request(method.parse::<Method>().unwrap(), url),
    };
    http::answer(present(request, key, way)).await.unwrap()
}

async fn completed(service: &Service, key: &str) -> String {
    let upload = small_upload().request(&service.client, service.url());
    let answer = http::answer(upload.header("x-api-key", key)).await.unwrap();
    let id = http::job_id(&answer).unwrap();
    let events = format!("{}/api/jobs/{id}/events", service.url());
    // The stream ends with the job.
    let events = service.client.get(events).header("x-api-key", key);
    http::answer(events).await.unwrap().assert_status(200);
    id
}

#[tokio::test]
async fn every_route_answers_every_kind_of_key_as_it_should() {
    let service = with_keys().await;
    let data = service.data();
    let admin = Kind::Admin.make(&data);
    let job = completed(&service, &admin).await;
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        let key = kind.make(&data);
        for (at, (method, path, need, about, allowed)) in ROUTES.iter().enumerate() {
            let job = if *method == "DELETE" {
                completed(&service, &admin).await
            } else {
                job.clone()
            };
            let wanted = kind.expect(*need, *about, *allowed);
            // Each kind meets each route in one of the three ways, and every way meets every kind.
            let answer = send(&service, (method, path), &job, &key, at).await;
            if answer.status != wanted {
                wrong.push(format!(
                    "{kind:?} {method} {path}: {} instead of {wanted}: {}",
                    answer.status,
                    answer.text()
                ));
            } else if path.starts_with("/api/") && answer.status >= 400 {
                answer.assert_problem(wanted);
                let challenged = !answer.header("www-authenticate").is_empty();
                assert_eq!(challenged, matches!(wanted, 401 | 403), "{method} {path}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let log = service.log();
    assert!(!log.contains(admin.rsplit('_').next().unwrap()), "{log}");
}

#[tokio::test]
async fn keys_are_listed_with_what_became_of_them_and_never_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let reader = create(data, &["--scope", "jobs:read", "--namespace", "team-a"]);
    let admin = create(data, &["--scope", "admin", "--expires-in", "0"]);
    // By the whole key, too.
    assert!(keys(data, &["revoke", &reader]).status.success());
    let shown = String::from_utf8(keys(data, &["list"]).stdout).unwrap();
    let json = String::from_utf8(keys(data, &["list", "--json"]).stdout).unwrap();
    for key in [&reader, &admin] {
        let secret = key.rsplit('_').next().unwrap();
        for text in [&shown, &json] {
            assert!(
                text.contains(prefix(key)) && !text.contains(secret),
                "{text}"
            );
        }
    }
    let listed: Value = serde_json::from_str(&json).unwrap();
    let by_prefix = |key: &str| {
        let all = listed["keys"].as_array().unwrap();
        all.iter()
            .find(|k| k["prefix"] == prefix(key))
            .unwrap()
            .clone()
    };
    let reader = by_prefix(&reader);
    assert_eq!(reader["state"], "revoked");
    assert_eq!(reader["namespace"], "team-a");
    assert_eq!(reader["scopes"], serde_json::json!(["jobs:read"]));
    let admin = by_prefix(&admin);
    assert_eq!(admin["state"], "expired");
    assert_eq!(admin["namespace"], Value::Null);

    let both = [
        "create",
        "--name",
        "x",
        "--scope",
        "admin",
        "--namespace",
        "a",
    ];
    for refused in [&both[..], &["revoke", "nothing9"], &["revoke", "%"]] {
        assert_eq!(keys(data, refused).status.code(), Some(2), "{refused:?}");
    }
}

#[tokio::test]
async fn the_first_key_is_handed_in_and_stays_revoked_once_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let made = keys(data, &["generate"]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let start = || {
        let service = service().arg("--auth=keys").data(data);
        service.env("FILEJOBS_BOOTSTRAP_KEY", &key).start()
    };
    for wanted in [200, 401] {
        let service = start().await.unwrap();
        let list = service.client.get(format!("{}/api/workers", service.url()));
        let answer = http::answer(list.bearer_auth(&key)).await.unwrap();
        answer.assert_status(wanted);
        assert!(keys(data, &["revoke", prefix(&key)]).status.success());
    }
}

#[tokio::test]
async fn commands_send_the_key_of_their_environment() {
    let service = with_keys().await;
    let key = create(&service.data(), &[]);
    let file = service.data().join("small.csv");
    std::fs::write(&file, SMALL).unwrap();
    let submit = |key: &str| {
        let mut command = Command::new(BINARY);
        let command = command.args(["submit", "--wait"]).arg(&file).env_clear();
        let command = command.env("FILEJOBS_URL", service.url());
        command.env("FILEJOBS_API_KEY", key).output().unwrap()
    };
    let done = submit(&key);
    assert!(matches!(done.status.code(), Some(0 | 1)), "{done:?}");
    let refused = submit("");
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("API key"), "{told}");
}

#[tokio::test]
async fn a_service_that_others_can_reach_asks_for_keys_unless_told_otherwise() {
    for (builder, wanted) in [
        (service().listen("0.0.0.0:0"), 401),
        (service().listen("0.0.0.0:0").arg("--auth=none"), 200),
        (service(), 200),
    ] {
        let service = builder.start().await.unwrap();
        let port = service.url().rsplit(':').next().unwrap();
        let list = format!("http://127.0.0.1:{port}/api/jobs");
        let answer = http::call(&service.client, Method::GET, list).await;
        answer.unwrap().assert_status(wanted);
    }
}
