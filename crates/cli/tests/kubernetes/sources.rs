//! Where files come from, and what becomes of objects whose files do not come.

use filejobs_crd::{FINALIZER, FileJob, Phase};
use filejobs_testkit::http::Upload;
use filejobs_testkit::tls::TlsFront;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::place::{Place, condition};
use crate::{ORDERS, schema};

/// The SHA-256 of [`ORDERS`].
pub(crate) const SHA256: &str = "7e6616f03a6f16d753e6653a57810960e97fa793ec8d4d09e1c7e675256b8949";

/// A place whose controller may fetch files from a server of this machine, which it trusts.
pub(crate) struct Web {
    pub(crate) place: Place,
    pub(crate) server: MockServer,
    pub(crate) front: TlsFront,
}

impl Web {
    pub(crate) async fn new() -> Self {
        let server = MockServer::start().await;
        let front = TlsFront::start(*server.address()).await.unwrap();
        let mut place = Place::new().await;
        place.environment("SSL_CERT_FILE", front.certificate().to_str().unwrap());
        place.environment("FILEJOBS_SOURCE_ALLOW", "127.0.0.1/32");
        place.environment("MAX_UPLOAD_MB", "1");
        Self {
            place,
            server,
            front,
        }
    }

    /// Has an address answer.
    pub(crate) async fn answer(&self, at: &str, answer: ResponseTemplate) {
        let mock = Mock::given(path(at)).respond_with(answer);
        mock.mount(&self.server).await;
    }

    /// Applies an object with its file at an address.
    pub(crate) async fn apply(&self, name: &str, at: &str) {
        let url = format!("{}{at}", self.front.url());
        self.place.file_job(name, of(json!({"url": url}))).await;
    }

    /// How often an address was asked.
    pub(crate) async fn asked(&self, at: &str) -> usize {
        let requests = self.server.received_requests().await.unwrap();
        let of_address = requests.iter().filter(|one| one.url.path() == at);
        of_address.count()
    }
}

pub(crate) fn file(text: impl Into<Vec<u8>>) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_bytes(text.into())
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
pub(crate) fn of(source: Value) -> Value {
    json!({"source": source, "schema": schema()})
}

/// Waits until an object shows that there will be no job, and why; what it says.
pub(crate) async fn rejected(place: &Place, name: &str, reason: &str) -> (FileJob, String) {
    let what = format!("{name} to be rejected as {reason}");
    // The finalizer goes once the rejection is written: nothing is to be cleaned.
    let object = place.until(name, &what, |object| {
        condition(object, "Accepted").1 == reason && object.finalizers().is_empty()
    });
    let object = object.await;
    let status = object.status.clone().unwrap();
    assert_eq!(status.phase, Some(Phase::Rejected), "{name}");
    for (kind, wanted, reason) in [
        ("Accepted", "False", reason),
        ("Finished", "True", "Rejected"),
        ("Succeeded", "False", "Rejected"),
        ("Stalled", "True", reason),
    ] {
        let found = condition(&object, kind);
        assert_eq!(
            found,
            (wanted.to_owned(), reason.to_owned()),
            "{name}: {kind}"
        );
    }
    (object, status.message.unwrap())
}

/// Waits until an object waits for its file, and why.
pub(crate) async fn pending(place: &Place, name: &str, reason: &str) -> FileJob {
    let what = format!("{name} to wait because of {reason}");
    let object = place.until(name, &what, |object| {
        condition(object, "Accepted") == ("False".to_owned(), reason.to_owned())
    });
    let object = object.await;
    let status = object.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(Phase::Pending), "{name}");
    assert_eq!(condition(&object, "Finished").0, "False", "{name}");
    assert_eq!(object.finalizers(), [FINALIZER], "{name}");
    object
}

pub(crate) async fn completed(place: &Place, name: &str) -> FileJob {
    let object = place.finished(name).await;
    assert_eq!(condition(&object, "Succeeded").0, "True", "{object:#?}");
    object
}

#[tokio::test]
async fn an_object_may_come_before_its_file() {
    let place = Place::new().await;
    let _crew = place.crew().await;
    place.config_map("there", "other.csv", ORDERS).await;
    for name in ["absent", "there"] {
        let from = json!({"configMap": {"name": name, "key": "orders.csv"}});
        place.file_job(name, of(from)).await;
    }
    let object = pending(&place, "absent", "SourceNotFound").await;
    let message = object.status.unwrap().message.unwrap();
    assert!(message.contains("no ConfigMap `absent`"), "{message}");
    let object = pending(&place, "there", "SourceNotFound").await;
    let message = object.status.unwrap().message.unwrap();
    assert!(message.contains("no key `orders.csv`"), "{message}");
    for name in ["absent", "there"] {
        place.config_map(name, "orders.csv", ORDERS).await;
        completed(&place, name).await;
    }
}

#[tokio::test]
async fn a_spec_that_cannot_be_carried_out_is_rejected_with_its_reason() {
    let place = Place::new().await;
    let crew = place.crew().await;
    for key in ["orders.csv", "orders.txt", "page.csv"] {
        let text = if key == "page.csv" {
            "<html></html>"
        } else {
            ORDERS
        };
        let name = key.replace('.', "-");
        place.config_map(&name, key, text).await;
    }
    let uploaded = place.upload(&crew, Upload::new("first.csv", ORDERS)).await;
    let owner = format!("first-{}", &uploaded[24..]);
    completed(&place, &owner).await;
    let map = |name: &str, key: &str| json!({"configMap": {"name": name, "key": key}});
    let orders = || map("orders-csv", "orders.csv");
    let twice = json!({"fields": [{"name": "id"}, {"name": "id"}]});
    let hook = json!({"url": "https://127.0.0.1:port/"});
    let unknown = "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b";
    let mut other_sum = orders();
    other_sum["sha256"] = json!("0".repeat(64));
    for (reason, spec) in [
        (
            "UnknownStore",
            json!({"source": {"store": {"name": "lake", "key": "a.csv"}}}),
        ),
        (
            "SourceRefused",
            json!({"source": {"url": "https://169.254.169.254/latest/a.csv"}}),
        ),
        (
            "SourceRefused",
            json!({"source": {"url": "https://localhost/a.csv"}}),
        ),
        (
            "InvalidSchema",
            json!({"source": orders(), "schema": twice}),
        ),
        (
            "InvalidOptions",
            json!({"source": orders(), "options": {"delimiter": "a"}}),
        ),
        (
            "UnknownProcessor",
            json!({"source": orders(), "processor": {"type": "shred"}}),
        ),
        (
            "InvalidWebhook",
            json!({"source": orders(), "webhook": hook}),
        ),
        (
            "UnsupportedFile",
            json!({"source": map("orders-txt", "orders.txt")}),
        ),
        (
            "UnsupportedFile",
            json!({"source": map("page-csv", "page.csv")}),
        ),
        ("ChecksumMismatch", json!({"source": other_sum})),
        (
            "UploadNotFound",
            json!({"source": {"upload": {"id": unknown}}}),
        ),
        (
            "UploadTaken",
            json!({"source": {"upload": {"id": uploaded}}}),
        ),
    ] {
        let name = reason.to_lowercase();
        place.file_job(&name, spec.clone()).await;
        let (_, message) = rejected(&place, &name, reason).await;
        println!("{reason}: {message}");
        // Nothing holds it, with or without a controller.
        place.delete(&name).await;
    }
    // The job that was asked for by another object is still its owner's.
    let first = place.object(&owner).await.unwrap();
    assert_eq!(condition(&first, "Synced").0, "True");
}

#[tokio::test]
async fn a_file_is_fetched_from_an_address_and_checked() {
    let web = Web::new().await;
    let _crew = web.place.crew().await;
    web.answer("/q3/orders.csv", file(ORDERS)).await;
    web.apply("orders", "/q3/orders.csv?token=1").await;
    let object = completed(&web.place, "orders").await;
    let status = object.status.unwrap();
    assert_eq!(status.file.as_deref(), Some("orders.csv"));
    assert_eq!(
        status.rows.map(|rows| (rows.valid, rows.failed)),
        Some((2, 1))
    );
    // By name, too, and with what its bytes are to be.
    let url = format!("https://localhost:{}/q3/orders.csv", web.front.port());
    for (name, sha256) in [("same", SHA256), ("differs", &*"0".repeat(64))] {
        let source = json!({"url": url, "sha256": sha256});
        web.place.file_job(name, of(source)).await;
    }
    completed(&web.place, "same").await;
    rejected(&web.place, "differs", "ChecksumMismatch").await;
    assert_eq!(web.asked("/q3/orders.csv").await, 3);
}

#[tokio::test]
async fn an_address_that_does_not_give_its_file_is_told_apart() {
    let web = Web::new().await;
    let _crew = web.place.crew().await;
    let away = ResponseTemplate::new(302).insert_header("location", "/q3/orders.csv");
    web.answer("/away.csv", away).await;
    web.answer("/q3/orders.csv", file(ORDERS)).await;
    web.answer("/large.csv", file("id\n".repeat(400_000))).await;
    web.answer("/secret.csv", ResponseTemplate::new(403)).await;
    for (name, reason) in [
        ("away", "SourceRefused"),
        ("secret", "SourceRefused"),
        ("large", "SourceTooLarge"),
    ] {
        web.apply(name, &format!("/{name}.csv")).await;
        let (_, message) = rejected(&web.place, name, reason).await;
        println!("{reason}: {message}");
    }
    // Nobody followed.
    assert_eq!(web.asked("/q3/orders.csv").await, 0);
    web.place.nothing_stored().await;
    // What may come later is asked for again.
    for (code, reason) in [(404, "SourceNotFound"), (503, "SourceUnavailable")] {
        let name = reason.to_lowercase();
        let at = format!("/{name}.csv");
        let answer = ResponseTemplate::new(code);
        let not_yet = Mock::given(path(&*at)).respond_with(answer);
        let not_yet = not_yet.mount_as_scoped(&web.server).await;
        web.apply(&name, &at).await;
        pending(&web.place, &name, reason).await;
        drop(not_yet);
        web.answer(&at, file(ORDERS)).await;
        completed(&web.place, &name).await;
    }
}

#[tokio::test]
async fn a_refused_file_is_not_asked_for_again_when_another_controller_leads() {
    let web = Web::new().await;
    web.answer("/secret.csv", ResponseTemplate::new(403)).await;
    let mut first = web.place.controller().await;
    web.apply("secret", "/secret.csv").await;
    let (refused, _) = rejected(&web.place, "secret", "SourceRefused").await;
    first.terminate().await.unwrap();
    let _second = web.place.controller().await;
    // It comes to this one after all that were there before.
    web.place.orders("orders", json!({})).await;
    let admitted = |object: &FileJob| condition(object, "Admitted").1 == "NoWorkers";
    web.place.until("orders", "its job", admitted).await;
    assert_eq!(web.asked("/secret.csv").await, 1);
    let still = web.place.object("secret").await.unwrap();
    assert_eq!(still.resource_version(), refused.resource_version());
}
