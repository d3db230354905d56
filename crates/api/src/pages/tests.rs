use crate::tests::{Request, Service};

const BAD: &str = "id,name\n1,a\nx,<b>\n3,\n";

#[tokio::test]
async fn every_page_forbids_foreign_content_and_inline_code() {
    let service = Service::start().await;
    let job = service.completed("bad.csv", BAD).await;
    for path in [
        "/".to_owned(),
        format!("/jobs/{job}"),
        "/jobs/none".to_owned(),
        "/assets/app.js".to_owned(),
    ] {
        let answer = service.get(&path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        let text = answer.text();
        for inline in ["<script>", "<style", " style=", " onclick="] {
            assert!(!text.contains(inline), "{path} has {inline}");
        }
    }
}

#[tokio::test]
async fn a_page_that_has_not_changed_is_not_sent_again() {
    let service = Service::start().await;
    let job = service.completed("bad.csv", BAD).await;
    let path = format!("/jobs/{job}");
    let first = service.get(&path).await;
    let again = Request::get(&path).header("if-none-match", &first.header("etag"));
    let again = service.send(again).await;
    assert_eq!((again.status, again.text().len()), (304, 0));
}

#[tokio::test]
async fn assets_are_kept_for_good_only_under_the_address_of_their_content() {
    let service = Service::start().await;
    let page = service.get("/").await.text();
    let link = page
        .split('"')
        .find(|part| part.starts_with("/assets/app.css"))
        .unwrap();
    assert!(
        service
            .get(link)
            .await
            .header("cache-control")
            .contains("immutable")
    );
    let bare = service.get("/assets/app.css").await;
    assert_eq!(bare.header("cache-control"), "public, no-cache");
    assert_eq!(bare.header("content-type"), "text/css; charset=utf-8");
    assert_eq!(service.get("/assets/other.css").await.status, 404);
}

#[tokio::test]
async fn findings_are_escaped_and_can_be_narrowed() {
    let service = Service::start().await;
    let job = service.completed("<i>.csv", BAD).await;
    let page = service.get(&format!("/jobs/{job}")).await.text();
    assert!(!page.contains("<i>"), "{page}");
    let narrowed = service
        .get(&format!("/jobs/{job}?code=constraint-error"))
        .await
        .text();
    assert!(
        narrowed.contains("aria-current=\"true\">constraint-error"),
        "{narrowed}"
    );
    // A code that does not exist narrows nothing.
    let all = service.get(&format!("/jobs/{job}?code=none&page=0")).await;
    assert_eq!(all.status, 200);
}

#[tokio::test]
async fn links_that_stand_for_an_accept_header_give_files() {
    let service = Service::start().await;
    let job = service.completed("bad.csv", BAD).await;
    for (path, media) in [
        ("results.csv", "text/csv; charset=utf-8"),
        ("results.parquet", "application/vnd.apache.parquet"),
        ("errors.csv", "text/csv; charset=utf-8"),
    ] {
        let answer = service.get(&format!("/jobs/{job}/{path}")).await;
        assert_eq!(
            (answer.status, answer.header("content-type").as_str()),
            (200, media),
            "{path}"
        );
        assert!(
            answer
                .header("content-disposition")
                .starts_with("attachment"),
            "{path}"
        );
    }
}

/// Its history tells of an end, which must not be taken for the one that is still to come.
#[tokio::test]
async fn the_page_of_a_job_that_starts_over_follows_what_is_new() {
    let service = Service::start().await;
    let job = service.upload("a.csv", "id\n1\n").await;
    for action in ["cancel", "retry"] {
        service.post(&format!("/api/jobs/{job}/{action}")).await;
    }
    let page = service.get(&format!("/jobs/{job}")).await.text();
    let stream = page
        .split('"')
        .find(|part| part.starts_with(&format!("/api/jobs/{job}/events")))
        .expect("a job that waits is followed")
        .to_owned();
    let history = Request::get(&stream).header("accept", "application/json");
    let told = service.send(history).await.json();
    assert_eq!(told["events"], serde_json::json!([]), "{stream}: {told}");
}

#[tokio::test]
async fn a_job_that_does_not_exist_has_a_page_that_says_so() {
    let service = Service::start().await;
    for id in ["none", "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b"] {
        let answer = service.get(&format!("/jobs/{id}")).await;
        assert_eq!(answer.status, 404, "{id}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert!(answer.text().contains("No such job"), "{id}");
    }
}
