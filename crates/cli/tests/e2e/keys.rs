//! The commands that make, list and revoke keys, and when a service asks for them.

use std::path::Path;
use std::process::{Command, Output};

use filejobs_testkit::http;
use reqwest::Method;
use serde_json::Value;

use crate::{BINARY, SMALL, service};

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

#[tokio::test]
async fn keys_are_listed_with_what_became_of_them_and_never_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let reader = create(data, &["--scope", "jobs:read", "--namespace", "team-a"]);
    let admin = create(data, &["--scope", "admin", "--expires-in", "0"]);
    // By the whole key, too, and by what of it may be shown.
    for name in [reader.clone(), format!("fj_{}", prefix(&reader))] {
        let revoked = keys(data, &["revoke", &name]);
        assert!(revoked.status.success(), "{revoked:?}");
    }
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
async fn a_first_key_that_is_there_with_fewer_rights_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let fewer = ["--scope", "jobs:read"];
    let expired = ["--scope", "admin", "--expires-in", "0"];
    for (arguments, lack) in [
        (&fewer[..], "allows only jobs:read"),
        (&expired[..], "is refused from"),
    ] {
        let key = create(data, arguments);
        let service = service().arg("--auth=keys").data(data);
        let service = service.env("FILEJOBS_BOOTSTRAP_KEY", &key).start().await;
        let log = service.unwrap().log();
        let mut lines = log.lines();
        let told = lines.find(|line| line.contains("FILEJOBS_BOOTSTRAP_KEY"));
        assert!(told.is_some_and(|told| told.contains(lack)), "{log}");
        assert!(!log.contains(&key), "{log}");
    }
}

#[tokio::test]
async fn commands_send_the_key_of_their_environment() {
    let service = service().arg("--auth=keys").start().await.unwrap();
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
