//! Uploads through the router.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use tokio::sync::oneshot;

use crate::tests::{Form, Request, Service, eventually};

const SMALL: &str = "id,name\n1,a\n";

#[tokio::test]
async fn a_file_becomes_a_job() {
    let service = Service::start().await;
    let form = Form::file("orders.csv", SMALL)
        .field("priority", "7")
        .field("namespace", "team-a")
        .field("webhook_url", "https://example.org/hook")
        .field("options", r#"{"delimiter": ",", "max_errors": 3}"#);
    let answer = service.send(form.request()).await;
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.header("location"),
        format!("/api/jobs/{}", answer.job())
    );
    insta::assert_json_snapshot!(answer.json());
    let shown = service.get(&answer.header("location")).await.json();
    assert_eq!(shown["sha256"], answer.json()["sha256"]);
}

/// Not every database can keep the text as it came.
#[tokio::test]
async fn a_webhook_is_kept_in_its_normal_form() {
    let service = Service::start().await;
    let form = Form::file("a.csv", SMALL).field("webhook_url", "HTTPS://Example.org/a\0b");
    let answer = service.send(form.request()).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["webhook_url"], "https://example.org/a%00b");
}

#[tokio::test]
async fn the_parts_of_a_form_come_in_any_order() {
    let service = Service::start().await;
    let before = Form::new().field("priority", "3").and_file("a.csv", SMALL);
    let after = Form::file("a.csv", SMALL).field("priority", "3");
    for form in [before, after] {
        let answer = service.send(form.request()).await;
        assert_eq!(
            (answer.status, &answer.json()["priority"]),
            (202, &3.into())
        );
    }
}

#[tokio::test]
async fn an_empty_file_is_taken_and_fields_left_blank_are_as_good_as_none() {
    let service = Service::start().await;
    let form = Form::file("empty.csv", "")
        .field("priority", "")
        .field("schema", " ")
        .field("webhook_url", "")
        .field("namespace", "");
    let answer = service.send(form.request()).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["file_size"], 0);
    assert_eq!(answer.json()["namespace"], "default");
}

/// Forms that cannot be used, with what they are answered with.
fn unusable() -> Vec<(Form, u16, &'static str)> {
    let file = || Form::file("a.csv", SMALL);
    let long = "x".repeat(1_001);
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let named = |disposition: &str| Form::new().part(disposition, SMALL.as_bytes());
    vec![
        (Form::new(), 400, "invalid_form"),
        (Form::new().field("priority", "1"), 400, "invalid_form"),
        (file().and_file("b.csv", SMALL), 400, "invalid_form"),
        (Form::new().field("file", SMALL), 400, "invalid_form"),
        (
            named("form-data; name=\"file\"; filename=\"\""),
            400,
            "invalid_form",
        ),
        (
            named("form-data; filename=\"a.csv\""),
            400,
            "malformed_form",
        ),
        (named("attachment"), 400, "malformed_form"),
        (file().field("colour", "red"), 400, "invalid_form"),
        (
            file().field("priority", "1").field("priority", "1"),
            400,
            "invalid_form",
        ),
        (file().field("priority", "11"), 400, "invalid_form"),
        (file().field("priority", "-1"), 400, "invalid_form"),
        (file().field("priority", "high"), 400, "invalid_form"),
        (file().field("namespace", "Team A"), 400, "invalid_form"),
        (
            file().field("webhook_url", "ftp://example.org"),
            400,
            "invalid_form",
        ),
        (
            file().field("webhook_url", "not a url"),
            400,
            "invalid_form",
        ),
        (file().field("options", "{"), 400, "invalid_form"),
        (file().field("options", "[]"), 400, "invalid_form"),
        (
            file().field("options", r#"{"delimeter": ","}"#),
            400,
            "invalid_form",
        ),
        (
            file().field("options", r#"{"delimiter": "ab"}"#),
            400,
            "invalid_form",
        ),
        (file().field("schema", "{"), 400, "invalid_form"),
        (
            file().field(
                "schema",
                r#"{"fields": [{"name": "id", "type": "colour"}]}"#,
            ),
            400,
            "invalid_form",
        ),
        (file().field("namespace", b"\xff"), 400, "invalid_form"),
        (file().field("schema", &long), 413, "body_too_large"),
        (Form::file("a", SMALL), 400, "unsupported_file"),
        (Form::file("a.txt", SMALL), 400, "unsupported_file"),
        (Form::file("a.csv.exe", SMALL), 400, "unsupported_file"),
        (Form::file("a.ods", SMALL), 400, "unsupported_file"),
        (Form::file("a.xlsb", SMALL), 400, "unsupported_file"),
        (Form::file("a.csv", png), 400, "unsupported_file"),
        (
            Form::file("a.csv", b"\x7fELF\x02\x01\x01"),
            400,
            "unsupported_file",
        ),
        (Form::file("a.csv", "%PDF-1.7"), 400, "unsupported_file"),
        (
            Form::file("a.csv", "<!doctype html><p>"),
            400,
            "unsupported_file",
        ),
        (
            Form::file("a.csv", "PK\x03\x04rest"),
            400,
            "unsupported_file",
        ),
        (Form::file("a.xlsx", SMALL), 400, "unsupported_file"),
        (
            Form::file("a.xls", "PK\x03\x04rest"),
            400,
            "unsupported_file",
        ),
        (
            Form::file("a.csv", "x\n".repeat(1_000_001)),
            413,
            "body_too_large",
        ),
    ]
}

#[tokio::test]
async fn a_form_that_cannot_be_used_is_refused_and_leaves_nothing() {
    let service = Service::start_with(|limits| {
        limits.upload_bytes = 2_000_000;
        limits.form_field_bytes = 1_000;
    })
    .await;
    for (form, status, code) in unusable() {
        let shown = String::from_utf8_lossy(&form.clone().bytes())[..]
            .chars()
            .take(300)
            .collect::<String>();
        let answer = service.send(form.request()).await;
        assert_eq!(
            answer.problem(),
            (status, code.to_owned()),
            "{shown}\n{}",
            answer.text()
        );
    }
    assert_eq!(service.get("/api/jobs").await.json()["total"], 0);
    eventually("nothing is left", || async { service.files() == 0 }).await;
}

#[tokio::test]
async fn a_problem_with_a_field_says_where_and_what_is_taken() {
    let service = Service::start().await;
    let schema = r#"{"fields": [{"name": "id", "type": "colour"}, {"type": "integer"}]}"#;
    let form = Form::file("a.csv", SMALL)
        .field("schema", schema)
        .field("options", r#"{"sheet": 0, "max_error_ratio": 2}"#)
        .field("priority", "99");
    let answer = service.send(form.request()).await;
    insta::assert_json_snapshot!(answer.json());
    let wrong = service
        .send(Form::file("photo.csv", b"\x89PNG\r\n\x1a\n").request())
        .await;
    insta::assert_json_snapshot!(wrong.json());
}

#[tokio::test]
async fn bytes_that_are_no_form_are_refused() {
    let service = Service::start().await;
    let whole = Form::file("a.csv", SMALL).bytes();
    let cut = |at: usize| whole[..at].to_vec();
    let junk = vec![b'x'; 200_000];
    let endless = [
        b"----".to_vec(),
        Form::content_type().into_bytes(),
        junk.clone(),
    ]
    .concat();
    for body in [
        Vec::new(),
        junk,
        endless,
        cut(10),
        cut(60),
        cut(whole.len() - 4),
        cut(whole.len() - 40),
    ] {
        let answer = service.send(Form::request_of(body.clone())).await;
        assert_eq!(
            answer.problem(),
            (400, "malformed_form".to_owned()),
            "{} bytes",
            body.len()
        );
    }
    for (media, status, code) in [
        ("application/json", 415, "unsupported_media_type"),
        ("text/csv", 415, "unsupported_media_type"),
        ("multipart/mixed; boundary=x", 415, "unsupported_media_type"),
        ("multipart/form-data", 400, "malformed_form"),
        ("multipart/form-data; boundary=", 400, "malformed_form"),
        (
            &format!("multipart/form-data; boundary={}", "b".repeat(71)),
            400,
            "malformed_form",
        ),
    ] {
        let request = Form::request_of(whole.clone()).header("content-type", media);
        assert_eq!(
            service.send(request).await.problem(),
            (status, code.to_owned()),
            "{media}"
        );
    }
    let bare = Form::request_of(whole).without("content-type");
    assert_eq!(
        service.send(bare).await.problem(),
        (415, "unsupported_media_type".to_owned())
    );
    eventually("nothing is left", || async { service.files() == 0 }).await;
}

#[tokio::test]
async fn hostile_names_are_stored_safely_and_shown_escaped() {
    let service = Service::start().await;
    for (raw, shown) in [
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\temp\\a.csv", "a.csv"),
        ("x\u{202e}vsc.csv", "x\\u{202e}vsc.csv"),
        ("\"; rm -rf.csv", "\"; rm -rf.csv"),
    ] {
        let answer = service.send(Form::file(raw, SMALL).request()).await;
        assert_eq!(
            (answer.status, &answer.json()["filename"]),
            (202, &shown.into())
        );
    }
    let long = format!("{}.csv", "n".repeat(4096));
    let answer = service.send(Form::file(&long, SMALL).request()).await;
    assert_eq!(answer.json()["filename"].as_str().unwrap().len(), 255);
}

#[tokio::test]
async fn an_announced_length_above_the_limit_is_refused_unread() {
    let service = Service::start_with(|limits| limits.upload_bytes = 1_000).await;
    let never = stream::pending::<Result<Bytes, Infallible>>();
    let request = Form::request_of(Vec::new())
        .body(&Form::content_type(), Body::from_stream(never))
        .header("content-length", "1000000");
    let answer = service.send(request).await;
    assert_eq!(answer.problem(), (413, "body_too_large".to_owned()));
    insta::assert_json_snapshot!(answer.json());
}

#[tokio::test]
async fn the_limit_is_told_as_soon_as_it_is_passed() {
    let service = Service::start_with(|limits| limits.upload_bytes = 100_000).await;
    let mut begin = Form::file("a.csv", "id\n".repeat(40_000)).bytes();
    begin.truncate(begin.len() - 100);
    // The rest never comes.
    let chunks = vec![Ok::<_, Infallible>(Bytes::from(begin))];
    let body = futures::StreamExt::chain(stream::iter(chunks), stream::pending());
    let request = Form::request_of(Vec::new()).body(&Form::content_type(), Body::from_stream(body));
    let answer = service.send(request).await;
    assert_eq!(answer.problem(), (413, "body_too_large".to_owned()));
}

/// An upload whose last part waits for a signal.
fn slow(form: Form) -> (Request, oneshot::Sender<()>) {
    let (go, wait) = oneshot::channel();
    let bytes = form.bytes();
    let (first, last) = bytes.split_at(bytes.len() - 10);
    let (first, last) = (Bytes::copy_from_slice(first), Bytes::copy_from_slice(last));
    let body = stream::unfold(
        (Some(first), Some(last), Some(wait)),
        |(a, b, w)| async move {
            if let Some(first) = a {
                return Some((Ok::<_, std::io::Error>(first), (None, b, w)));
            }
            let last = b?;
            match w?.await {
                Ok(()) => Some((Ok(last), (None, None, None))),
                Err(_) => Some((
                    Err(std::io::ErrorKind::ConnectionReset.into()),
                    (None, None, None),
                )),
            }
        },
    );
    let request = Form::request_of(Vec::new()).body(&Form::content_type(), Body::from_stream(body));
    (request, go)
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let service = Service::start().await;
    let (request, go) = slow(Form::file("a.csv", "id\n".repeat(200_000)));
    drop(go);
    let answer = service.send(request.header("idempotency-key", "k")).await;
    assert_eq!(answer.problem(), (400, "malformed_form".to_owned()));
    eventually("the part is gone", || async { service.files() == 0 }).await;
    assert_eq!(service.get("/api/jobs").await.json()["total"], 0);
    // The key is free again.
    eventually("the key is free", || async {
        let again = Form::file("a.csv", SMALL)
            .request()
            .header("idempotency-key", "k");
        service.send(again).await.status == 202
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_nothing() {
    let service = Service::start().await;
    let (request, go) = slow(Form::file("a.csv", "id\n".repeat(200_000)));
    {
        let mut upload = std::pin::pin!(service.open(request));
        let staged = eventually("the part is there", || async { service.files() > 0 });
        // Dropped half way, as the server does with a connection that is gone.
        tokio::select! {
            _ = &mut upload => panic!("the rest has not come"),
            () = staged => {}
        }
    }
    eventually("the part is gone", || async { service.files() == 0 }).await;
    drop(go);
}

#[tokio::test]
async fn the_same_key_and_form_give_the_same_job() {
    let service = Service::start().await;
    let form = || Form::file("a.csv", SMALL).field("priority", "1");
    let send = |form: Form| service.send(form.request().header("idempotency-key", "key-1"));
    let first = send(form()).await;
    assert_eq!(
        (first.status, first.try_header("idempotent-replayed")),
        (202, None)
    );
    let again = send(form()).await;
    assert_eq!((again.status, again.job()), (202, first.job()));
    assert_eq!(again.header("idempotent-replayed"), "true");

    for other in [
        Form::file("a.csv", "id,name\n2,b\n").field("priority", "1"),
        Form::file("b.csv", SMALL).field("priority", "1"),
        Form::file("a.csv", SMALL).field("priority", "2"),
        Form::file("a.csv", SMALL),
    ] {
        let answer = send(other).await;
        assert_eq!(answer.problem(), (422, "idempotency_key_reused".to_owned()));
    }
    let elsewhere = form().field("namespace", "other");
    let elsewhere = send(elsewhere).await;
    assert_eq!(elsewhere.status, 202);
    assert_ne!(elsewhere.job(), first.job());
    assert_eq!(service.get("/api/jobs").await.json()["total"], 2);

    service
        .send(Request::delete(&format!("/api/jobs/{}", first.job())))
        .await;
    let anew = send(form()).await;
    assert_eq!((anew.status, anew.job() != first.job()), (202, true));
}

#[tokio::test]
async fn a_key_in_flight_is_told() {
    let service = Service::start().await;
    let (request, go) = slow(Form::file("a.csv", SMALL));
    let first = service.send(request.header("idempotency-key", "k"));
    let second = async {
        let send = || {
            service.send(
                Form::file("a.csv", SMALL)
                    .request()
                    .header("idempotency-key", "k"),
            )
        };
        eventually("the first holds the key", || async { service.files() > 0 }).await;
        let answer = send().await;
        assert_eq!(
            answer.problem(),
            (409, "idempotency_key_in_flight".to_owned())
        );
        go.send(()).unwrap();
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!(first.status, 202);
    let again = Form::file("a.csv", SMALL)
        .request()
        .header("idempotency-key", "k");
    assert_eq!(service.send(again).await.job(), first.job());
}

#[tokio::test]
async fn a_key_is_one_short_visible_text() {
    let service = Service::start().await;
    for bad in ["", "é", &"k".repeat(256)] {
        let request = Form::file("a.csv", SMALL)
            .request()
            .header("idempotency-key", bad);
        let answer = service.send(request).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid_header".to_owned()),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_namespace_with_enough_jobs_takes_no_more() {
    let service = Service::start_with(|limits| limits.queued_jobs = 1).await;
    service.upload("a.csv", SMALL).await;
    let full = service.send(Form::file("b.csv", SMALL).request()).await;
    assert_eq!(full.problem(), (429, "queue_full".to_owned()));
    assert_eq!(full.header("retry-after"), "5");
    let elsewhere = Form::file("c.csv", SMALL).field("namespace", "other");
    assert_eq!(service.send(elsewhere.request()).await.status, 202);
    eventually("the refused file is gone", || async {
        service.files() == 2
    })
    .await;
}

#[tokio::test]
async fn a_file_for_a_namespace_that_is_full_is_refused_before_it_has_come() {
    let service = Service::start_with(|limits| limits.queued_jobs = 1).await;
    service.upload("a.csv", SMALL).await;
    let form = Form::new()
        .field("namespace", "default")
        .and_file("b.csv", SMALL);
    // Its end never comes.
    let (request, _go) = slow(form);
    let full = service.send(request).await;
    assert_eq!(full.problem(), (429, "queue_full".to_owned()));
    assert_eq!(full.header("retry-after"), "5");
    assert_eq!(service.files(), 1);
}

#[tokio::test]
async fn a_key_that_has_made_a_job_finds_it_though_its_namespace_is_full() {
    let service = Service::start_with(|limits| limits.queued_jobs = 1).await;
    let send = |name: &str, key: &str| {
        let form = Form::new()
            .field("namespace", "default")
            .and_file(name, SMALL);
        service.send(form.request().header("idempotency-key", key))
    };
    let first = send("a.csv", "one").await;
    assert_eq!(first.status, 202);
    let again = send("a.csv", "one").await;
    assert_eq!((again.status, again.job()), (202, first.job()));
    // A key that was refused is free once there is room.
    assert_eq!(send("b.csv", "two").await.status, 429);
    let path = format!("/api/jobs/{}/cancel", first.job());
    assert_eq!(service.post(&path).await.status, 200);
    assert_eq!(send("b.csv", "two").await.status, 202);
}

#[tokio::test]
async fn an_upload_that_is_given_up_at_any_moment_leaves_its_key_free_or_used() {
    let service = Service::start().await;
    let request = |key: &str| {
        let request = Form::file("a.csv", SMALL).request();
        request.header("idempotency-key", key)
    };
    // The clock stands still: a reservation that nobody gives back lasts for ever.
    for looks in 1..40 {
        let key = format!("key-{looks}");
        let mut call = Box::pin(service.send(request(&key)));
        for _ in 0..looks {
            let answered = futures::poll!(call.as_mut()).is_ready();
            if answered {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        eventually("the same upload is taken", async || {
            service.send(request(&key)).await.status == 202
        })
        .await;
    }
}
