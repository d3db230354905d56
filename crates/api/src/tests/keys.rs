//! API keys at the door. Every route times every kind of key is tested against the built program, over HTTP; here is
//! what can be said better from within.

use std::time::Duration;

use filejobs_core::{ApiKey, Grant, JobId, Namespace, Scope};
use filejobs_store::NewApiKey;
use http::Method;

use super::{Answer, Form, Request, Service, eventually};

impl Service {
    async fn key(&self, grant: Grant, lives: Option<Duration>) -> String {
        let key = ApiKey::generate(&*self.app.sources().randomness);
        let new = NewApiKey {
            prefix: key.prefix().clone(),
            hash: key.hash(),
            name: "test".parse().unwrap(),
            grant,
            expires_at: lives.map(|time| self.now() + time),
        };
        let created = self.store().create_api_key(new).await.unwrap();
        assert!(created.is_some());
        key.reveal().to_owned()
    }

    async fn both(&self, namespace: &str) -> String {
        let scopes = [Scope::JobsRead, Scope::JobsWrite];
        self.key(grant(&scopes, namespace), None).await
    }

    async fn get_with(&self, path: &str, key: &str) -> Answer {
        self.send(Request::get(path).header("x-api-key", key)).await
    }

    async fn upload_with(&self, form: Form, key: &str) -> Answer {
        self.send(form.request().header("x-api-key", key)).await
    }

    async fn upload_into(&self, key: &str) -> JobId {
        self.upload_with(csv(), key).await.job()
    }
}

fn grant(scopes: &[Scope], namespace: &str) -> Grant {
    let namespace: Namespace = namespace.parse().unwrap();
    Grant::new(scopes, Some(namespace)).unwrap()
}

fn csv() -> Form {
    Form::file("a.csv", "id\n1\n")
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_how_to_send_it() {
    let service = Service::with_keys().await;
    let none = service.get("/api/jobs").await;
    assert_eq!(none.problem(), (401, "missing_key".to_owned()));
    assert_eq!(none.header("www-authenticate"), "Bearer realm=\"filejobs\"");
    insta::assert_json_snapshot!(none.json());

    let wrong = ApiKey::generate(&*service.app.sources().randomness);
    let wrong = service.get_with("/api/jobs", wrong.reveal()).await;
    assert_eq!(wrong.problem(), (401, "invalid_key".to_owned()));
    assert!(wrong.header("www-authenticate").contains("invalid_token"));

    let reader = service
        .key(grant(&[Scope::JobsRead], "default"), None)
        .await;
    let refused = service.upload_with(csv(), &reader).await;
    assert_eq!(refused.problem(), (403, "missing_scope".to_owned()));
    assert!(
        refused
            .header("www-authenticate")
            .contains("scope=\"jobs:write\"")
    );
    insta::assert_json_snapshot!(refused.json());
}

#[tokio::test]
async fn a_key_ends_at_its_expiry_and_when_it_is_revoked() {
    let service = Service::with_keys().await;
    let hour = Duration::from_hours(1);
    let key = service.key(Grant::admin(), Some(hour)).await;
    let status = || async { service.get_with("/api/jobs", &key).await.status };
    service.advance(Duration::from_mins(59));
    assert_eq!(status().await, 200);
    service.advance(Duration::from_mins(1));
    assert_eq!(status().await, 401);

    let key = service.key(Grant::admin(), None).await;
    let prefix = key.parse::<ApiKey>().unwrap().prefix().clone();
    assert_eq!(service.get_with("/api/jobs", &key).await.status, 200);
    service.store().revoke_api_key(&prefix).await.unwrap();
    assert_eq!(service.get_with("/api/jobs", &key).await.status, 401);
}

#[tokio::test]
async fn a_key_lists_and_hands_in_within_its_namespace_only() {
    let service = Service::with_keys().await;
    let (ours, theirs) = (service.both("team-a").await, service.both("team-b").await);
    let admin = service.key(Grant::admin(), None).await;
    let own = service.upload_into(&ours).await.to_string();
    service.upload_into(&theirs).await;
    let ids = |answer: Answer| {
        let jobs = answer.json()["jobs"].as_array().unwrap().clone();
        jobs.iter()
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(service.get_with("/api/jobs", &ours).await),
        std::slice::from_ref(&own)
    );
    let named = "/api/jobs?namespace=team-a";
    assert_eq!(ids(service.get_with(named, &ours).await), [own]);
    assert_eq!(ids(service.get_with("/api/jobs", &admin).await).len(), 2);
    let other = service.get_with("/api/jobs?namespace=team-b", &ours).await;
    assert_eq!(other.problem(), (403, "other_namespace".to_owned()));

    let before = service.files();
    for form in [
        csv().field("namespace", "team-b"),
        Form::new()
            .field("namespace", "team-b")
            .and_file("a.csv", "id\n1\n"),
    ] {
        let refused = service.upload_with(form, &ours).await;
        assert_eq!(refused.problem(), (403, "other_namespace".to_owned()));
    }
    eventually("nothing of it is kept", || async {
        service.files() == before
    })
    .await;
    let elsewhere = service
        .upload_with(csv().field("namespace", "team-b"), &admin)
        .await;
    assert_eq!(elsewhere.json()["namespace"], "team-b");
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_the_namespace_of_the_api_key() {
    let service = Service::with_keys().await;
    let (ours, theirs) = (service.both("team-a").await, service.both("team-b").await);
    let send = |key: String| {
        let request = csv().request().header("x-api-key", &key);
        service.send(request.header("idempotency-key", "nightly"))
    };
    let first = send(ours.clone()).await.job();
    assert_ne!(send(theirs).await.job(), first);
    assert_eq!(send(ours).await.job(), first);
}

#[tokio::test]
async fn the_use_of_a_key_is_noted() {
    let service = Service::with_keys().await;
    let key = service.key(Grant::admin(), None).await;
    let used = || async { service.store().api_keys().await.unwrap()[0].last_used_at };
    assert_eq!(used().await, None);
    service.get_with("/api/jobs", &key).await;
    let first = Some(service.now());
    eventually("it is noted", || async { used().await == first }).await;
    service.advance(Duration::from_secs(59));
    service.get_with("/api/jobs", &key).await;
    service.advance(Duration::from_secs(1));
    service.get_with("/api/jobs", &key).await;
    let second = Some(service.now());
    eventually("it is noted again", || async { used().await == second }).await;
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(attribute), "{set}");
    }
    set.split(';').next().unwrap().to_owned()
}

fn sign_in(key: &str, next: &str) -> Request {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("key", key)
        .append_pair("next", next)
        .finish();
    Request::new(Method::POST, "/sign-in").body("application/x-www-form-urlencoded", form)
}

#[tokio::test]
async fn a_person_signs_in_with_a_key_sees_the_pages_and_signs_out() {
    let service = Service::with_keys().await;
    let key = service.both("team-a").await;
    let job = service.upload_into(&key).await;
    let path = format!("/jobs/{job}?code=type-error");

    let asked = service.get(&path).await;
    assert_eq!(asked.status, 401);
    assert_eq!(asked.header("content-type"), "text/html; charset=utf-8");
    assert!(
        asked.text().contains(&format!("value=\"{path}\"")),
        "{}",
        asked.text()
    );
    assert!(!asked.text().contains("http-equiv"));

    let wrong = service.send(sign_in("fj_wrong", "/")).await;
    assert_eq!((wrong.status, wrong.try_header("set-cookie")), (401, None));

    let entered = service.send(sign_in(&format!(" {key} "), &path)).await;
    assert_eq!(
        (entered.status, entered.header("location")),
        (303, path.clone())
    );
    let cookie = cookie(&entered);
    let with_cookie = |request: Request| service.send(request.header("cookie", &cookie));
    let page = with_cookie(Request::get(&path)).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Sign out"));
    let cancel = format!("/api/jobs/{job}/cancel");
    let sibling = Request::new(Method::POST, &cancel).header("sec-fetch-site", "same-site");
    assert_eq!(
        with_cookie(sibling).await.problem(),
        (403, "cross_site".to_owned())
    );
    let own = Request::new(Method::POST, &cancel).header("sec-fetch-site", "same-origin");
    assert_eq!(with_cookie(own).await.status, 200);

    let left = with_cookie(Request::new(Method::POST, "/sign-out")).await;
    assert!(left.header("set-cookie").starts_with("filejobs_key=;"));
    assert!(left.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn a_link_on_another_site_leads_to_the_page_after_one_more_request_of_our_own() {
    let service = Service::with_keys().await;
    let followed = Request::get("/")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "navigate");
    let page = service.send(followed).await;
    assert_eq!(page.status, 401);
    assert!(
        page.text().contains("http-equiv=\"refresh\""),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn the_cookie_is_for_tls_only_where_the_page_came_by_it() {
    let service = Service::with_keys().await;
    let key = service.key(Grant::admin(), None).await;
    for (origin, secure) in [
        ("https://jobs.example", true),
        ("http://127.0.0.1:8080", false),
    ] {
        let entered = service
            .send(sign_in(&key, "/").header("origin", origin))
            .await;
        assert_eq!(
            entered.header("set-cookie").contains("Secure"),
            secure,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn a_key_that_may_only_hand_in_sees_no_page() {
    let service = Service::with_keys().await;
    let key = service
        .key(grant(&[Scope::JobsWrite], "default"), None)
        .await;
    let page = service.get_with("/", &key).await;
    assert_eq!(page.status, 403);
    assert!(page.text().contains("jobs:read"), "{}", page.text());
}
