//! What every answer has, whatever was asked.

use http::Method;

use super::{Form, Request, Service};

#[tokio::test]
async fn a_request_keeps_its_name_or_gets_one() {
    let service = Service::start().await;
    let named = Request::get("/api/limits").header("x-request-id", "deploy-7");
    assert_eq!(service.send(named).await.header("x-request-id"), "deploy-7");
    for bad in ["a b", "<script>", "é"] {
        let request = Request::get("/api/nothing").header("x-request-id", bad);
        let answer = service.send(request).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{bad}");
        answer.problem();
    }
    let unnamed = Request::get("/api/limits").without("x-request-id");
    assert_eq!(service.send(unnamed).await.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn no_answer_is_taken_for_another_type() {
    let service = Service::start().await;
    for path in ["/api/limits", "/api/docs", "/api/nothing", "/nothing"] {
        let answer = service.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems() {
    let service = Service::start().await;
    for path in [
        "/nothing",
        "/api",
        "/api/",
        "/api/nothing",
        "/api/jobs/",
        "/api//jobs",
    ] {
        let answer = service.get(path).await;
        assert_eq!(
            answer.problem(),
            (404, "route_not_found".to_owned()),
            "{path}"
        );
    }
    let wrong = service.send(Request::delete("/api/jobs")).await;
    assert_eq!(wrong.problem(), (405, "method_not_allowed".to_owned()));
    assert_eq!(wrong.header("allow"), "GET,HEAD");
    insta::assert_json_snapshot!(wrong.json());
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let service = Service::start().await;
    let upload = || Form::file("a.csv", "id\n1\n").request();
    let foreign = upload().header("sec-fetch-site", "cross-site");
    let answer = service.send(foreign).await;
    assert_eq!(answer.problem(), (403, "cross_site".to_owned()));
    for own in ["same-origin", "same-site", "none"] {
        let answer = service.send(upload().header("sec-fetch-site", own)).await;
        assert_eq!(answer.status, 202, "{own}");
    }
    let link = Request::get("/api/jobs").header("sec-fetch-site", "cross-site");
    assert_eq!(service.send(link).await.status, 200);
}

#[tokio::test]
async fn head_is_get_without_its_body_and_options_tells_the_methods() {
    let service = Service::start().await;
    let head = service
        .send(Request::new(Method::HEAD, "/api/limits"))
        .await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-type"), "application/json");
    let options = Request::new(Method::OPTIONS, "/api/files/upload");
    let options = service.send(options).await;
    assert_eq!(
        (options.status, options.header("allow")),
        (204, "POST".to_owned())
    );
    let unknown = Request::new(Method::OPTIONS, "/api/nothing");
    assert_eq!(service.send(unknown).await.status, 404);
}

#[tokio::test]
async fn a_panic_is_a_problem_that_tells_nothing() {
    let service = Service::start().await;
    let inside = axum::Router::new()
        .route("/panic", axum::routing::get(panics))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(
            crate::layers::fallback::panicked,
        ));
    let router =
        axum::Router::new()
            .fallback_service(inside)
            .layer(axum::middleware::from_fn_with_state(
                service.app.clone(),
                crate::layers::envelope::envelope,
            ));
    let service = Service { router, ..service };
    let answer = service.get("/panic").await;
    assert_eq!(answer.problem(), (500, "internal".to_owned()));
    assert!(!answer.text().contains("secret"));
}

async fn panics() {
    panic!("secret");
}

#[tokio::test]
async fn a_full_or_absent_back_end_is_told_without_its_cause() {
    use crate::problem::Problem;
    let cause = || -> Box<dyn std::error::Error + Send + Sync> { "secret.host:5432".into() };
    for (error, status) in [
        (filejobs_store::Error::Full(cause()), 507),
        (
            filejobs_store::Error::Unavailable {
                step: "reading",
                source: cause(),
            },
            503,
        ),
        (
            filejobs_store::Error::Backend {
                step: "reading",
                source: cause(),
            },
            500,
        ),
    ] {
        let problem = Problem::from(error);
        assert_eq!(problem.code().status().as_u16(), status);
        let body = String::from_utf8(problem.to_json("/", "test")).unwrap();
        assert!(!body.contains("secret"), "{body}");
        assert!(problem.cause_chain().unwrap().contains("secret.host"));
    }
}
