//! `docker-compose.yml`: no engine runs here, so its processes are started as they stand in the file, on servers of the
//! test's own. Its form is held against the schema of compose by `cargo xtask check`.

use std::collections::BTreeMap;

use filejobs_testkit::cluster::{Cluster, Member};
use filejobs_testkit::http;
use filejobs_testkit::postgres::PostgresServer;
use filejobs_testkit::redis::RedisServer;
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::Value;

use crate::{BINARY, small_upload};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{name}")).unwrap()
}

fn document() -> Value {
    serde_saphyr::from_str(&file("docker-compose.yml")).unwrap()
}

/// What stands for `${…}`, as compose has it; an error names what must be set.
fn interpolate(text: &str, set: &BTreeMap<&str, &str>) -> Result<String, String> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, behind) = after.split_once('}').expect("a closing brace");
        let end = inside.find([':', '?', '-']).unwrap_or(inside.len());
        let (name, rule) = inside.split_at(end);
        let value = set.get(name).filter(|value| !value.is_empty());
        whole.push_str(before);
        match (value, rule.get(..2)) {
            (Some(value), _) => whole.push_str(value),
            (None, Some(":-")) => whole.push_str(&rule[2..]),
            (None, Some(":?")) => return Err(format!("{name}: {}", &rule[2..])),
            (None, _) => unreachable!("{inside} is not written so in this file"),
        }
        rest = behind;
    }
    Ok(whole + rest)
}

fn environment(service: &Value, set: &BTreeMap<&str, &str>) -> Vec<(String, String)> {
    let all = service["environment"].as_object().unwrap().iter();
    all.map(|(name, value)| {
        let value = interpolate(value.as_str().unwrap(), set).unwrap();
        (name.clone(), value)
    })
    .collect()
}

fn words(list: &Value) -> Vec<&str> {
    let words = list.as_array().unwrap().iter();
    words.map(|word| word.as_str().unwrap()).collect()
}

const KEY: &str = "fj_compose1_0123456789abcdef0123456789abcdef";

/// What an operator has to set, and what leads to the test's own servers.
fn settings() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("POSTGRES_PASSWORD", "p4ss"),
        ("FILEJOBS_BOOTSTRAP_KEY", KEY),
    ])
}

/// Starts a service's command with its variables, but for those that lead to the servers' containers.
async fn start(cluster: &Cluster, document: &Value, name: &str) -> Member {
    let service = &document["services"][name];
    let mut command = cluster.command(&words(&service["command"]));
    for (name, value) in environment(service, &settings()) {
        let here = [
            "DATABASE_URL",
            "REDIS_URL",
            "UPLOAD_DIR",
            "FILEJOBS_SCRATCH_DIR",
            "FILEJOBS_LISTEN",
            "FILEJOBS_OPS_LISTEN",
        ];
        if !here.contains(&name.as_str()) {
            command.env(name, value);
        }
    }
    let mut member = cluster.launch(command).unwrap();
    member.until_ready().await.unwrap();
    member
}

#[tokio::test]
async fn what_the_file_starts_takes_a_file_and_checks_it() {
    let document = document();
    let mut cluster = Cluster::empty(BINARY, PostgresServer::shared()).unwrap();
    let redis = words(&document["services"]["redis"]["command"]);
    assert_eq!(redis[0], "redis-server");
    cluster.redis = RedisServer::start_with(&redis[1..]).unwrap();
    cluster.redis_url = cluster.redis.url();
    let migrate = words(&document["services"]["migrate"]["command"]);
    assert!(cluster.run(&migrate).unwrap().status.success());
    let mut members = Vec::new();
    // Two of each, as `--scale` gives.
    for name in ["api", "api", "worker", "worker", "scheduler", "scheduler"] {
        members.push(start(&cluster, &document, name).await);
    }
    let api = &members[0];
    let request = small_upload().request(&cluster.client, api.url());
    let refused = small_upload().request(&cluster.client, api.url());
    http::answer(refused).await.unwrap().assert_problem(401);
    let taken = http::answer(request.bearer_auth(KEY)).await.unwrap();
    let id = http::job_id(&taken).unwrap();
    let job = cluster.finished(&members[1], KEY, &id).await.unwrap();
    assert_eq!(job["status"], "COMPLETED", "{job}");
    for member in &members {
        let test = words(&document["services"]["api"]["healthcheck"]["test"]);
        assert_eq!(test[..2], ["CMD", "filejobs"]);
        let mut check = cluster.command(&test[2..]);
        let check = check.env("FILEJOBS_PROBE_URL", format!("{}/readyz", member.ops()));
        let healthy = wait::until("its health check to pass", DEADLINE, async || {
            Ok(check.status()?.success().then_some(()))
        });
        healthy.await.unwrap();
        // As log pipelines want them.
        for line in member.log().lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
    }
    for member in &mut members {
        let (status, _) = member.terminate().await.unwrap();
        assert!(status.success(), "{status}");
    }
}

#[test]
fn every_variable_of_the_file_leads_where_the_program_looks() {
    let document = document();
    let help = |command: &str| {
        let output = std::process::Command::new(BINARY)
            .args([command, "--help"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    for name in ["api", "worker", "scheduler", "migrate"] {
        let service = &document["services"][name];
        let known = help(words(&service["command"])[0]);
        for (variable, _) in environment(service, &settings()) {
            // Shared by all, and used by some.
            let shared = ["DATABASE_URL", "REDIS_URL", "UPLOAD_DIR", "FILEJOBS_GRACE"];
            assert!(
                known.contains(&format!("[env: {variable}")) || shared.contains(&&*variable),
                "{name}: {variable}"
            );
        }
        let url = environment(service, &settings());
        let url = url.iter().find(|(name, _)| name == "DATABASE_URL").unwrap();
        assert_eq!(url.1, "postgres://filejobs:p4ss@postgres:5432/filejobs");
    }
}

#[test]
fn a_secret_that_is_not_set_is_told_with_what_to_do() {
    let document = document();
    for (service, variable, name) in [
        ("postgres", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD"),
        ("migrate", "DATABASE_URL", "POSTGRES_PASSWORD"),
        ("api", "FILEJOBS_BOOTSTRAP_KEY", "FILEJOBS_BOOTSTRAP_KEY"),
    ] {
        let value = document["services"][service]["environment"][variable]
            .as_str()
            .unwrap();
        for set in [BTreeMap::new(), BTreeMap::from([(name, "")])] {
            let told = interpolate(value, &set).unwrap_err();
            assert!(told.starts_with(name) && told.contains(".env"), "{told}");
        }
        let example = file(".env.example");
        assert!(
            example.lines().any(|line| line == format!("{name}=")),
            "{name}"
        );
    }
}

#[test]
fn the_servers_are_set_up_as_the_service_needs_them() {
    let document = document();
    let services = document["services"].as_object().unwrap();
    let redis = words(&services["redis"]["command"]).join(" ");
    assert!(redis.contains("--appendonly yes"), "{redis}");
    assert!(redis.contains("--maxmemory-policy noeviction"), "{redis}");
    for (name, service) in services {
        assert!(
            service["healthcheck"].is_object(),
            "{name} has no health check"
        );
        assert!(
            service["restart"].is_string(),
            "{name} has no restart policy"
        );
    }
    for (name, _) in document["volumes"].as_object().unwrap() {
        let mounted = services.values().any(|service| {
            let volumes = service["volumes"].as_array().into_iter().flatten();
            volumes
                .filter_map(Value::as_str)
                .any(|v| v.starts_with(&format!("{name}:")))
        });
        assert!(mounted, "the volume {name} is mounted nowhere");
    }
}

#[test]
fn the_image_runs_the_program_as_nobody_in_particular() {
    let text = file("Dockerfile");
    let last = text.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("USER 65532:65532"), "{last}");
    assert!(
        last.contains("ENTRYPOINT [\"/usr/local/bin/filejobs\"]"),
        "{last}"
    );
    // What the program is built from must be in the context, and nothing of this machine.
    let context = file(".dockerignore");
    for needed in ["!crates", "!xtask", "!Cargo.toml", "!Cargo.lock"] {
        assert!(context.lines().any(|line| line == needed), "{needed}");
    }
    assert!(context.lines().any(|line| line == "*"));
}
