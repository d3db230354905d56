//! Every call of the HTTP contract answers as the design says.

use filejobs_testkit::http::{self, Upload};
use filejobs_testkit::processes;
use filejobs_testkit::wait::{self, DEADLINE};
use serde_json::{Value, json};

use crate::topology::{Stage, Topology, Way};
use crate::{SMALL, sample_upload, small_upload};

run_on! {[dev, processes, s3] [
    an_upload_is_answered_with_the_place_of_its_job,
    a_job_tells_all_about_itself,
    findings_come_in_pages_in_the_order_of_rows,
    a_finding_has_its_exact_place_and_reason,
    valid_rows_come_as_json_csv_and_parquet,
    rejected_rows_report_and_schema_can_be_fetched,
    an_inferred_schema_can_be_sent_back,
    jobs_are_listed_newest_first_and_filtered,
    whatever_cannot_be_used_is_refused_with_its_name,
    unknown_and_malformed_ids_are_not_found,
    states_allow_what_the_contract_says,
    a_deleted_job_leaves_nothing,
    the_same_key_and_body_give_the_same_job,
    the_service_tells_how_it_is,
    a_file_goes_when_its_job_is_completed_if_that_is_wanted,
]}
// What lies where makes no difference to these.
run_on! {[dev, processes] [a_held_back_job_goes_on_where_it_is_let]}

const UNKNOWN: &str = "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b";

/// A service with one finished job: three rows, one of them bad.
async fn with_small_job(on: Topology) -> (Stage, String) {
    let service = on.start().await;
    let id = service.submit(&small_upload()).await.unwrap();
    let job = service.finished(&id).await.unwrap();
    assert_eq!(job["status"], "COMPLETED", "{job}");
    (service, id)
}

async fn an_upload_is_answered_with_the_place_of_its_job(on: Topology) {
    let service = on.start().await;
    let answer = service.upload(&small_upload()).await.unwrap();
    answer.assert_status(202);
    let id = http::job_id(&answer).unwrap();
    assert_eq!(answer.header("location"), format!("/api/jobs/{id}"));
    assert!(
        ["QUEUED", "PROCESSING", "COMPLETED"].contains(&answer.json()["status"].as_str().unwrap())
    );
    assert!(!answer.header("x-request-id").is_empty());
}

async fn a_job_tells_all_about_itself(on: Topology) {
    let (service, id) = with_small_job(on).await;
    let answer = service.get(&format!("/api/jobs/{id}")).await.unwrap();
    let job = answer.json();
    let expected = json!({
        "id": id, "filename": "small.csv", "file_size": SMALL.len(), "file_type": "csv", "status": "COMPLETED",
        "outcome": "completed_with_errors", "failure_class": null, "rows_total": 3, "rows_processed": 3,
        "rows_failed": 1, "errors_by_code": {"type-error": 1}, "errors_truncated": false, "error_message": null,
        "webhook_url": null, "priority": 0, "namespace": service.namespace, "generation": 0,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&job[name], value, "{name} of {job}");
    }
    assert_eq!(job["progress"].as_f64(), Some(100.0));
    assert_eq!(job["tasks"]["done"], job["tasks"]["total"]);
    assert_eq!(job["sha256"].as_str().map(str::len), Some(64));
    let fields = "processor attempt rows_per_second eta_seconds created_at queued_at started_at completed_at links";
    for name in fields.split(' ') {
        assert!(job.get(name).is_some(), "`{name}` is missing: {job}");
    }
    let tag = answer.header("etag");
    assert!(tag.starts_with("W/\""), "{tag}");
    let request = service
        .client
        .get(format!("{}/api/jobs/{id}", service.url()));
    let again = http::answer(request.header("if-none-match", tag))
        .await
        .unwrap();
    again.assert_status(304);
}

async fn findings_come_in_pages_in_the_order_of_rows(on: Topology) {
    let service = on.start().await;
    let (sample, upload) = sample_upload(2_000, 10.0);
    let job = service.run(&upload).await.unwrap();
    let id = job["id"].as_str().unwrap();
    let mut rows = Vec::new();
    for page in 1..=4 {
        let path = format!("/api/jobs/{id}/errors?page={page}&page_size=60");
        let answer = service.get(&path).await.unwrap();
        answer.assert_status(200);
        let list = answer.json();
        assert_eq!(list["total"], sample.bad_rows());
        assert_eq!(
            (&list["page"], &list["page_size"], &list["total_pages"]),
            (&json!(page), &json!(60), &json!(4))
        );
        rows.extend(
            list["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["row_number"].as_u64().unwrap()),
        );
    }
    assert_eq!(rows.len() as u64, sample.bad_rows());
    assert!(rows.is_sorted_by(|a, b| a < b));

    let filtered = service
        .get(&format!("/api/jobs/{id}/errors?code=type-error&column=id"))
        .await
        .unwrap()
        .json();
    assert_eq!(filtered["total"], 40, "{filtered}");
    for error in filtered["errors"].as_array().unwrap() {
        assert_eq!(
            (&error["error_type"], &error["column_name"]),
            (&json!("type-error"), &json!("id"))
        );
    }
}

async fn a_finding_has_its_exact_place_and_reason(on: Topology) {
    let (service, id) = with_small_job(on).await;
    let list = service
        .get(&format!("/api/jobs/{id}/errors"))
        .await
        .unwrap()
        .json();
    let finding = &list["errors"][0];
    let expected = json!({
        "row_number": 2, "line": 3, "byte_offset": 26, "column_name": "id", "column_number": 1, "cell": "A3",
        "error_type": "type-error", "raw_value": "x",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&finding[name], value, "{name} of {finding}");
    }
    for name in ["id", "error_message", "created_at"] {
        assert!(finding[name].is_string(), "{finding}");
    }
    let path = format!("/api/jobs/{id}/errors");
    let csv = service.get_as(&path, "text/csv").await.unwrap();
    csv.assert_status(200);
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert_eq!(csv.text().lines().count(), 2, "{}", csv.text());
}

async fn valid_rows_come_as_json_csv_and_parquet(on: Topology) {
    let (service, id) = with_small_job(on).await;
    let path = format!("/api/jobs/{id}/results");
    let list = service.get(&path).await.unwrap().json();
    assert_eq!(
        list,
        json!({"total": 2, "limit": 100, "offset": 0, "items": [
            {"row_number": 1, "task_index": 0, "data": {"id": 1, "name": "Amara", "value": 1.5}},
            {"row_number": 3, "task_index": 0, "data": {"id": 3, "name": "Chen", "value": 3.5}},
        ]})
    );
    let second = service
        .get(&format!("{path}?limit=1&offset=1"))
        .await
        .unwrap()
        .json();
    assert_eq!(second["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["items"][0]["row_number"], 3);
    let csv = service.get_as(&path, "text/csv").await.unwrap();
    assert_eq!(
        csv.text().replace("\r\n", "\n"),
        "id,name,value\n1,Amara,1.5\n3,Chen,3.5\n"
    );
    let parquet = service
        .get_as(&path, "application/vnd.apache.parquet")
        .await
        .unwrap();
    parquet.assert_status(200);
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
}

async fn rejected_rows_report_and_schema_can_be_fetched(on: Topology) {
    let (service, id) = with_small_job(on).await;
    let rejected = service
        .get(&format!("/api/jobs/{id}/rejected.csv"))
        .await
        .unwrap();
    rejected.assert_status(200);
    let text = rejected.text();
    assert!(
        text.starts_with("id,name,value,") && text.contains("_row") && text.contains("_reasons"),
        "{text}"
    );
    assert!(text.contains("x,Bjarne,2.5"), "{text}");
    let report = service
        .get(&format!("/api/jobs/{id}/report"))
        .await
        .unwrap()
        .json();
    assert_eq!(report["rows_processed"], 3);
    assert_eq!(report["rows_valid"], 2);
    assert_eq!(report["rows_failed"], 1);
    let schema = service
        .get(&format!("/api/jobs/{id}/schema"))
        .await
        .unwrap()
        .json();
    assert_eq!(schema["fields"].as_array().map(Vec::len), Some(3));
}

async fn an_inferred_schema_can_be_sent_back(on: Topology) {
    let service = on.start().await;
    let job = service
        .run(&Upload::new("a.csv", "id,at\n1,2026-01-02\n2,2026-01-03\n"))
        .await
        .unwrap();
    assert_eq!(job["outcome"], "completed", "{job}");
    let id = job["id"].as_str().unwrap();
    let schema = service
        .get(&format!("/api/jobs/{id}/schema"))
        .await
        .unwrap()
        .json();
    let again = Upload::new("b.csv", "id,at\n1,2026-01-02\n2,yesterday\n").field("schema", &schema);
    let job = service.run(&again).await.unwrap();
    assert_eq!(
        (&job["rows_processed"], &job["rows_failed"]),
        (&json!(2), &json!(1)),
        "{job}"
    );
}

async fn jobs_are_listed_newest_first_and_filtered(on: Topology) {
    let service = on.start().await;
    let own = &service.namespace;
    let other = format!("{own}-other");
    let mut ids = Vec::new();
    for n in 0..5 {
        let id = service.submit(&small_upload()).await.unwrap();
        service.finished(&id).await.unwrap();
        ids.push(id);
        if n < 2 {
            let upload = small_upload().field("namespace", &other);
            service.admin.run(&upload).await.unwrap();
        }
    }
    ids.reverse();
    let list = async |parameters: &str| {
        let path = format!("/api/jobs?namespace={own}&{parameters}");
        let answer = service.get(&path).await.unwrap();
        answer.assert_status(200);
        answer
    };
    let first = list("page=1&page_size=2").await;
    let page = first.json();
    assert_eq!(
        (&page["total"], &page["total_pages"]),
        (&json!(5), &json!(3))
    );
    assert_eq!(ids_of(&page), ids[..2]);
    let link = first.header("link");
    assert!(link.contains("rel=\"next\""), "{link}");
    assert_eq!(ids_of(&list("page=3&page_size=2").await.json()), ids[4..]);
    let others = format!("/api/jobs?namespace={other}");
    let others = service.admin.get(&others).await.unwrap().json();
    assert_eq!(others["total"], 2);
    for (filter, total) in [
        ("status=COMPLETED", 5),
        ("status=QUEUED", 0),
        ("from_date=2999-01-01", 0),
        ("to_date=2999-01-01", 5),
    ] {
        let page = list(filter).await.json();
        assert_eq!(page["total"], total, "{filter}");
        assert_eq!(page["total_pages"], total.min(1), "{filter}");
    }

    let mut seen = Vec::new();
    let mut next = Some(format!("/api/jobs?namespace={own}&page_size=2"));
    while let Some(path) = next {
        let answer = service.get(&path).await.unwrap();
        answer.assert_status(200);
        seen.extend(ids_of(&answer.json()));
        next = next_link(answer.header("link"));
    }
    assert_eq!(seen, ids);
}

fn ids_of(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The path of the next page in a `Link` header.
fn next_link(header: &str) -> Option<String> {
    let link = header
        .split(',')
        .find(|link| link.contains("rel=\"next\""))?;
    let address = link.split(['<', '>']).nth(1)?;
    let path = address.find("/api/").map_or(address, |at| &address[at..]);
    Some(path.to_owned())
}

async fn whatever_cannot_be_used_is_refused_with_its_name(on: Topology) {
    let (service, id) = with_small_job(on).await;
    let cases = [
        ("/api/jobs?status=DONE", "status"),
        ("/api/jobs?page_size=501", "page_size"),
        ("/api/jobs?page_size=0", "page_size"),
        ("/api/jobs?page=0", "page"),
        ("/api/jobs?from_date=yesterday", "from_date"),
        ("/api/jobs?to_date=2026-02-30", "to_date"),
        ("/api/jobs?cursor=nonsense", "cursor"),
    ];
    for (path, name) in cases {
        let answer = service.get(path).await.unwrap();
        answer.assert_problem(400);
        assert!(answer.text().contains(name), "{path}: {}", answer.text());
    }
    let path = format!("/api/jobs/{id}/errors?page_size=501");
    service.get(&path).await.unwrap().assert_problem(400);
}

/// What a job cannot be made to do is refused.
async fn refuses(service: &Stage, id: &str, verb: &str, status: u16) {
    let answer = service.post(&format!("/api/jobs/{id}/{verb}")).await;
    answer.unwrap().assert_problem(status);
}

async fn unknown_and_malformed_ids_are_not_found(on: Topology) {
    let service = on.start().await;
    for id in [
        UNKNOWN,
        "1",
        "..%2f..%2fetc%2fpasswd",
        "0190F5A4-7C2E-7D3A-9B1C-2F6E8A4D5C6B",
    ] {
        for path in [
            "",
            "/errors",
            "/results",
            "/rejected.csv",
            "/report",
            "/schema",
            "/webhooks",
            "/events",
        ] {
            let answer = service.get(&format!("/api/jobs/{id}{path}")).await;
            answer.unwrap().assert_problem(404);
        }
        for verb in ["cancel", "retry", "suspend", "resume"] {
            refuses(&service, id, verb, 404).await;
        }
        let job = format!("/api/jobs/{id}");
        let deleted = service.delete(&job).await;
        deleted.unwrap().assert_problem(404);
        let raised = service.patch(&job, &json!({"priority": 1})).await;
        raised.unwrap().assert_problem(404);
    }
    let nothing = service.get("/api/nothing").await;
    nothing.unwrap().assert_problem(404);
    // For anybody else a call that is not known is one that only they may make.
    let unknown = service.admin.delete("/api/jobs").await;
    unknown.unwrap().assert_problem(405);
}

async fn states_allow_what_the_contract_says(on: Topology) {
    let (service, id) = with_small_job(on).await;
    for (verb, status) in [("cancel", 409), ("suspend", 409), ("retry", 400)] {
        refuses(&service, &id, verb, status).await;
    }
    let job = format!("/api/jobs/{id}");
    let raised = service.patch(&job, &json!({"priority": 5})).await;
    raised.unwrap().assert_problem(409);

    let failed = service.run(&Upload::new("empty.csv", "")).await.unwrap();
    assert_eq!(
        (&failed["status"], &failed["failure_class"]),
        (&json!("FAILED"), &json!("validation"))
    );
    let id = failed["id"].as_str().unwrap();
    refuses(&service, id, "cancel", 409).await;
    let retried = service
        .post(&format!("/api/jobs/{id}/retry"))
        .await
        .unwrap();
    retried.assert_status(200);
    assert_eq!(retried.json()["generation"], 1);
    let again = service.finished(id).await.unwrap();
    assert_eq!(again["status"], "FAILED");
}

async fn a_held_back_job_goes_on_where_it_is_let(on: Topology) {
    let service = on.with("MAX_CONCURRENCY", "1").alone().start().await;
    let (sample, upload) = sample_upload(2_000_000, 1.0);
    let busy = service.submit(&upload).await.unwrap();
    // Its engine stands still, so that the only slot is not free before that is wanted.
    let engine = service.hold_engine().await.unwrap();
    let held = service.submit(&small_upload()).await.unwrap();
    let answer = service
        .post(&format!("/api/jobs/{held}/suspend"))
        .await
        .unwrap();
    answer.assert_status(200);
    assert_eq!(answer.json()["status"], "SUSPENDED");
    let raised = service
        .patch(&format!("/api/jobs/{held}"), &json!({"priority": 9}))
        .await
        .unwrap();
    raised.assert_status(200);
    assert_eq!(raised.json()["priority"], 9);
    service
        .patch(&format!("/api/jobs/{held}"), &json!({"priority": 11}))
        .await
        .unwrap()
        .assert_problem(400);
    processes::signal(engine, "CONT").unwrap();
    let first = service.finished(&busy).await.unwrap();
    assert_eq!(first["rows_failed"], sample.bad_rows());
    assert_eq!(service.job(&held).await.unwrap()["status"], "SUSPENDED");
    let resumed = service
        .post(&format!("/api/jobs/{held}/resume"))
        .await
        .unwrap();
    resumed.assert_status(200);
    assert_eq!(service.finished(&held).await.unwrap()["rows_processed"], 3);
}

async fn a_deleted_job_leaves_nothing(on: Topology) {
    let (service, id) = with_small_job(on).await;
    let job = format!("/api/jobs/{id}");
    let answer = service.delete(&job).await.unwrap();
    answer.assert_status(204);
    for again in [service.get(&job).await, service.delete(&job).await] {
        again.unwrap().assert_problem(404);
    }
    wait::until("the files to go", DEADLINE, async || {
        Ok((!service.stores(&id)).then_some(()))
    })
    .await
    .unwrap();
}

async fn the_same_key_and_body_give_the_same_job(on: Topology) {
    let service = on.start().await;
    let upload = small_upload().key("order-17");
    let first = service.submit(&upload).await.unwrap();
    let second = service.submit(&upload).await.unwrap();
    assert_eq!(first, second);
    let other = Upload::new("small.csv", "id\n1\n").key("order-17");
    service.upload(&other).await.unwrap().assert_problem(422);
    service.finished(&first).await.unwrap();
    service
        .delete(&format!("/api/jobs/{first}"))
        .await
        .unwrap()
        .assert_status(204);
    let third = service.submit(&upload).await.unwrap();
    assert_ne!(first, third);
}

async fn the_service_tells_how_it_is(on: Topology) {
    let way = on.way;
    let service = on.start().await;
    let health = service.healthy().await.unwrap();
    let parts = if way == Way::Dev { "embedded" } else { "up" };
    let healthy = json!({"status": "healthy", "db": parts, "redis": parts, "storage": parts});
    assert_eq!(health, healthy);
    let limits = service.get("/api/limits").await.unwrap().json();
    assert_eq!(limits["upload_bytes"], 500 << 20);
    assert_eq!(limits["page_size"], 500);
    let admin = &service.admin;
    let stats = admin.get("/api/queues/stats").await.unwrap().json();
    for name in ["depth", "oldest_age_seconds", "rows_per_second"] {
        assert!(stats[name].is_number(), "{stats}");
    }
    let letters = admin.get("/api/queues/dead-letters").await.unwrap();
    letters.assert_status(200);
    let workers = admin.get("/api/workers").await.unwrap().json();
    for name in ["id", "slots", "busy", "last_seen"] {
        assert!(workers["workers"][0].get(name).is_some(), "{workers}");
    }
    let document = service.get("/api/openapi.json").await.unwrap().json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let docs = service.get("/api/docs").await.unwrap();
    docs.assert_status(200);
    assert!(docs.header("content-type").starts_with("text/html"));
}

async fn a_file_goes_when_its_job_is_completed_if_that_is_wanted(on: Topology) {
    let service = on.with("DELETE_FILE_ON_COMPLETE", "true").start().await;
    let uploaded = |id: &str| {
        let paths = service.stored().into_iter();
        let mut paths = paths.map(|path| path.to_string_lossy().into_owned());
        paths.any(|path| path.contains("/uploads/") && path.contains(id))
    };
    let job = service.run(&small_upload()).await.unwrap();
    assert_eq!(job["status"], "COMPLETED");
    let id = job["id"].as_str().unwrap();
    wait::until("the file to go", DEADLINE, async || {
        Ok((!uploaded(id)).then_some(()))
    })
    .await
    .unwrap();
    let results = service
        .get(&format!("/api/jobs/{id}/results"))
        .await
        .unwrap();
    assert_eq!(results.json()["total"], 2);
    let failed = service.run(&Upload::new("empty.csv", "")).await.unwrap();
    let id = failed["id"].as_str().unwrap();
    assert!(uploaded(id), "a failed job may be tried again");
}
