//! API keys: every route times every kind of key, over HTTP, against the built program.

use std::collections::BTreeSet;

use filejobs_testkit::http::{self, Answer};
use reqwest::{Method, RequestBuilder};

use crate::small_upload;
use crate::topology::{Stage, Topology, create_key};

run_on! {[dev, processes] [every_route_answers_every_kind_of_key_as_it_should]}

/// The part of a key that names it.
fn prefix(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
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

    fn make(self, service: &Stage) -> String {
        let create =
            |arguments: &[&str]| create_key(service.command(&["keys", "create"]), arguments);
        let good = || create(&["--scope", "admin"]);
        match self {
            Self::None => String::new(),
            Self::Garbage => "hush".to_owned(),
            Self::Unknown => {
                let made = service.command(&["keys", "generate"]).output().unwrap();
                String::from_utf8(made.stdout).unwrap().trim().to_owned()
            }
            Self::WrongSecret => format!("fj_{}_{}", prefix(&good()), "0".repeat(32)),
            Self::Expired => create(&["--scope", "admin", "--expires-in", "0"]),
            Self::Revoked => {
                let key = good();
                let mut revoke = service.command(&["keys", "revoke", prefix(&key)]);
                assert!(revoke.status().unwrap().success());
                key
            }
            Self::Reader => create(&["--scope", "jobs:read"]),
            Self::Writer => create(&["--scope", "jobs:write"]),
            Self::Both => create(&[]),
            Self::Elsewhere => create(&["--namespace", "elsewhere"]),
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

async fn send(service: &Stage, route: (&str, &str), job: &str, key: &str, way: usize) -> Answer {
    let (method, path) = route;
    let path = path
        .replace("{id}", job)
        .replace("{task}", job)
        .replace("{name}", "app.css");
    let url = format!("{}{path}", service.url());
    let request = match (method, path.as_str()) {
        ("POST", "/api/files/upload") => {
            small_upload().request(&service.stranger.client, service.url())
        }
        ("PATCH", _) => {
            let request = service.stranger.client.patch(url);
            request.json(&serde_json::json!({"priority": 1}))
        }
        _ => service
            .stranger
            .client
            .request(method.parse::<Method>().unwrap(), url),
    };
    http::answer(present(request, key, way)).await.unwrap()
}

async fn completed(service: &Stage, key: &str) -> String {
    let upload = small_upload().request(&service.stranger.client, service.url());
    let answer = http::answer(upload.header("x-api-key", key)).await.unwrap();
    let id = http::job_id(&answer).unwrap();
    let events = format!("{}/api/jobs/{id}/events", service.url());
    // The stream ends with the job.
    let events = service.stranger.client.get(events).header("x-api-key", key);
    http::answer(events).await.unwrap().assert_status(200);
    id
}

async fn every_route_answers_every_kind_of_key_as_it_should(on: Topology) {
    let service = on.with("FILEJOBS_AUTH", "keys").start().await;
    let admin = Kind::Admin.make(&service);
    let job = completed(&service, &admin).await;
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        let key = kind.make(&service);
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
