//! Queries that cannot be used: each is told with the parameter's name.

use super::Service;

#[tokio::test]
async fn a_query_that_cannot_be_used_names_its_parameter() {
    let service = Service::start().await;
    let job = service.upload("a.csv", "id\n1\n").await;
    let errors = format!("/api/jobs/{job}/errors");
    let results = format!("/api/jobs/{job}/results");
    let events = format!("/api/jobs/{job}/events");
    let jobs = "/api/jobs".to_owned();
    let dead = "/api/queues/dead-letters".to_owned();
    for (path, query, name) in [
        (&jobs, "page=0", "page"),
        (&jobs, "page=-1", "page"),
        (&jobs, "page=1e3", "page"),
        (&jobs, "page=18446744073709551616", "page"),
        (&jobs, "page=1&page=2", "page"),
        (&jobs, "page_size=0", "page_size"),
        (&jobs, "page_size=501", "page_size"),
        (&jobs, "page_size=", "page_size"),
        (&jobs, "page_size=ten", "page_size"),
        (&jobs, "status=DONE", "status"),
        (&jobs, "status=queued", "status"),
        (&jobs, "status=", "status"),
        (&jobs, "from_date=yesterday", "from_date"),
        (&jobs, "from_date=2026-13-01", "from_date"),
        (&jobs, "to_date=2026-02-30", "to_date"),
        (&jobs, "to_date=2026-01-31T12:00:00", "to_date"),
        (&jobs, "namespace=Team_A", "namespace"),
        (&jobs, "cursor=x", "cursor"),
        (&jobs, "cursor=7b7d", "cursor"),
        (&errors, "page_size=501", "page_size"),
        (&errors, "code=no-such-code", "code"),
        (&errors, "cursor=zz", "cursor"),
        (&results, "limit=0", "limit"),
        (&results, "limit=10001", "limit"),
        (&results, "offset=-1", "offset"),
        (&events, "after=x", "after"),
        (&dead, "cursor=00", "cursor"),
        (&dead, "page_size=0", "page_size"),
    ] {
        let answer = service.get(&format!("{path}?{query}")).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid_parameter".to_owned()),
            "{query}"
        );
        let errors = &answer.json()["errors"];
        assert_eq!(
            (&errors[0]["in"], &errors[0]["name"]),
            (&"query".into(), &name.into())
        );
        assert!(
            answer.json()["detail"].as_str().unwrap().contains(name),
            "{query}"
        );
    }
}

#[tokio::test]
async fn every_parameter_at_fault_is_told_at_once() {
    let service = Service::start().await;
    let answer = service
        .get("/api/jobs?page=0&page_size=501&status=DONE&from_date=x&unknown=1")
        .await;
    insta::assert_json_snapshot!(answer.json());
}
