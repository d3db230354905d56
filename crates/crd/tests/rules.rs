//! The schema and its rules as a real API server applies them.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

use filejobs_crd::{FileJob, definition};
use filejobs_testkit::kube::client::define;
use filejobs_testkit::kube::{ADMIN_TOKEN, KubeServer};
use filejobs_testkit::names;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// A namespace of the test's own on the shared control plane, which knows `FileJob`.
struct Place {
    client: Client,
    namespace: String,
}

async fn place() -> Place {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let server = tokio::task::spawn_blocking(KubeServer::shared)
        .await
        .unwrap();
    let client = server.client(ADMIN_TOKEN, "default").await.unwrap();
    let define = async || define(client.clone(), &definition()).await.unwrap();
    DEFINED.get_or_init(define).await;
    let namespace = names::unique("rules");
    let made = json!({"metadata": {"name": namespace}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = serde_json::from_value(made).unwrap();
    namespaces
        .create(&PostParams::default(), &made)
        .await
        .unwrap();
    Place { client, namespace }
}

impl Place {
    /// Objects as they are sent, not as our types would have them.
    fn objects(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<FileJob>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// What the server says to a spec: `Ok`, or its message.
    async fn create(&self, name: &str, spec: Value) -> Result<(), String> {
        let object = json!({
            "apiVersion": "filejobs.dev/v1alpha1", "kind": "FileJob", "metadata": {"name": name}, "spec": spec
        });
        let object = serde_json::from_value(object).unwrap();
        let made = self.objects().create(&PostParams::default(), &object).await;
        made.map(drop).map_err(|error| error.to_string())
    }

    /// What the server says to a change of a spec.
    async fn change(&self, name: &str, spec: Value) -> Result<(), String> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let changed = self
            .objects()
            .patch(name, &PatchParams::default(), &patch)
            .await;
        changed.map(drop).map_err(|error| error.to_string())
    }
}

fn config_map() -> Value {
    json!({"configMap": {"name": "orders", "key": "orders.csv"}})
}

#[track_caller]
fn assert_refused(said: Result<(), String>, with: &str) {
    let said = said.expect_err("it must be refused");
    assert!(said.contains(with), "{said:?} does not say {with:?}");
}

#[tokio::test]
async fn a_minimal_object_gets_its_defaults() {
    let place = place().await;
    place
        .create("minimal", json!({"source": config_map()}))
        .await
        .unwrap();
    let jobs: Api<FileJob> = Api::namespaced(place.client.clone(), &place.namespace);
    let stored = place.objects().get("minimal").await.unwrap();
    let spec = &stored.data["spec"];
    let defaults = ["format", "priority", "suspend", "cancel", "retryGeneration"];
    let defaults = defaults.map(|name| spec[name].clone());
    assert_eq!(
        defaults,
        [
            json!("auto"),
            json!(0),
            json!(false),
            json!(false),
            json!(0)
        ]
    );
    assert_eq!(jobs.get("minimal").await.unwrap().spec.retry_generation, 0);
}

#[tokio::test]
async fn exactly_one_source_is_taken() {
    let place = place().await;
    let one = "exactly one of upload, configMap, url and store is taken";
    assert_refused(place.create("none", json!({"source": {}})).await, one);
    let mut two = config_map();
    two["url"] = json!("https://example.org/a.csv");
    assert_refused(place.create("two", json!({"source": two})).await, one);
    let id = "0190f5a4-7c2e-7d3a-9b1c-2f6e8a4d5c6b";
    let upload = json!({"upload": {"id": id}, "sha256": "0".repeat(64)});
    assert_refused(
        place.create("sum", json!({"source": upload})).await,
        "sha256 is not taken beside upload",
    );
    for (field, value) in [
        ("schema", json!({"fields": [{"name": "a"}]})),
        ("options", json!({"header": false})),
        ("processor", json!({"type": "import"})),
        ("webhook", json!({"url": "https://example.org"})),
    ] {
        let spec = json!({"source": {"upload": {"id": id}}, field: value});
        assert_refused(
            place.create("beside", spec).await,
            "are not taken beside upload",
        );
    }
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_with_the_field() {
    let place = place().await;
    let source = config_map();
    let with = |name: &str, value: Value| {
        let mut spec = json!({"source": source});
        spec[name] = value;
        spec
    };
    let fields = |n: usize| {
        (0..n)
            .map(|n| json!({"name": format!("c{n}")}))
            .collect::<Vec<_>>()
    };
    for (spec, field) in [
        (with("priority", json!(11)), "spec.priority"),
        (with("priority", json!(-1)), "spec.priority"),
        (with("format", json!("pdf")), "spec.format"),
        (with("retryGeneration", json!(-1)), "spec.retryGeneration"),
        (
            with("activeDeadlineSeconds", json!(0)),
            "spec.activeDeadlineSeconds",
        ),
        (
            with("queueDeadlineSeconds", json!(40_000_000)),
            "spec.queueDeadlineSeconds",
        ),
        (
            with("ttlSecondsAfterFinished", json!(-1)),
            "spec.ttlSecondsAfterFinished",
        ),
        (
            with("options", json!({"delimiter": ";;"})),
            "spec.options.delimiter",
        ),
        (
            with("options", json!({"sheet": true})),
            "spec.options.sheet",
        ),
        (
            with("options", json!({"maxErrorRatio": 1.5})),
            "spec.options.maxErrorRatio",
        ),
        (with("schema", json!({"fields": []})), "spec.schema.fields"),
        (
            with("schema", json!({"fields": fields(257)})),
            "spec.schema.fields",
        ),
        (
            with(
                "schema",
                json!({"fields": [{"name": "a", "type": "money"}]}),
            ),
            "spec.schema.fields[0].type",
        ),
        (
            json!({"source": {"url": "http://example.org/a.csv"}}),
            "spec.source.url",
        ),
        (
            json!({"source": {"url": "https://me@example.org/a.csv"}}),
            "spec.source.url",
        ),
        (
            json!({"source": {"url": "file:///etc/passwd"}}),
            "spec.source.url",
        ),
        (
            json!({"source": {"configMap": {"name": "../x", "key": "a"}}}),
            "spec.source.configMap.name",
        ),
        (
            json!({"source": {"configMap": {"name": "x", "key": "a/b"}}}),
            "spec.source.configMap.key",
        ),
        (
            json!({"source": {"store": {"name": "X", "key": "a"}}}),
            "spec.source.store.name",
        ),
        (
            json!({"source": {"upload": {"id": "1"}}}),
            "spec.source.upload.id",
        ),
        (json!({}), "spec.source"),
    ] {
        assert_refused(place.create("refused", spec).await, field);
    }
}

#[tokio::test]
async fn a_webhook_that_is_out_of_bounds_is_refused_with_the_field() {
    let place = place().await;
    let url = "https://example.org";
    for (webhook, field) in [
        (json!({"url": "ftp://example.org"}), "url"),
        (json!({"url": "https://me:secret@example.org"}), "url"),
        (json!({"secretRef": {"name": "hook", "key": "a"}}), "url"),
        (
            json!({"url": url, "secretRef": {"name": "Hook", "key": "a"}}),
            "secretRef.name",
        ),
        (
            json!({"url": url, "secretRef": {"name": "hook", "key": "../a"}}),
            "secretRef.key",
        ),
        (
            json!({"url": url, "secretRef": {"name": "hook"}}),
            "secretRef.key",
        ),
    ] {
        let spec = json!({"source": config_map(), "webhook": webhook});
        let field = format!("spec.webhook.{field}");
        assert_refused(place.create("refused", spec).await, &field);
    }
}

#[tokio::test]
async fn a_full_spec_is_taken_and_read_back_by_our_types() {
    let place = place().await;
    let spec = json!({
        "source": {"url": "https://example.org/a.csv?x=1", "sha256": "0".repeat(64)},
        "format": "csv",
        "schema": {
            "fields": [
                {"name": "amount", "type": "number", "constraints": {"minimum": 0.5, "enum": [1, "2", 3.5], "required": true}},
                {"name": "day", "type": "date", "constraints": {"maximum": "2030-01-01"}}
            ],
            "primaryKey": ["day"], "missingValues": ["", "n/a"]
        },
        "options": {"delimiter": ";", "encoding": "utf-8", "header": true, "sheet": 2, "maxErrors": 10, "maxErrorRatio": 0.5},
        "processor": {"type": "import"},
        "priority": 10,
        "activeDeadlineSeconds": 60, "queueDeadlineSeconds": 60, "ttlSecondsAfterFinished": 0,
        "webhook": {"url": "https://example.org/hook", "secretRef": {"name": "hook", "key": "signing"}}
    });
    place.create("full", spec.clone()).await.unwrap();
    let jobs: Api<FileJob> = Api::namespaced(place.client.clone(), &place.namespace);
    let read = jobs.get("full").await.unwrap();
    let mut back = serde_json::to_value(&read.spec).unwrap();
    for default in ["suspend", "cancel", "retryGeneration"] {
        back.as_object_mut().unwrap().remove(default);
    }
    assert_eq!(back, spec);
}

#[tokio::test]
async fn what_the_job_was_made_of_cannot_be_changed() {
    let place = place().await;
    let schema = json!({"fields": [{"name": "a"}]});
    let spec = json!({"source": config_map(), "schema": schema, "options": {"header": true}});
    place.create("fixed", spec).await.unwrap();
    for (change, field) in [
        (
            json!({"source": {"configMap": {"key": "other.csv"}}}),
            "source cannot be changed",
        ),
        (json!({"format": "csv"}), "format cannot be changed"),
        (
            json!({"options": {"header": false}}),
            "options cannot be changed",
        ),
        (json!({"options": null}), "options cannot be changed"),
        (
            json!({"schema": {"fields": [{"name": "b"}]}}),
            "schema cannot be changed",
        ),
        (
            json!({"processor": {"type": "import"}}),
            "processor cannot be changed",
        ),
        (
            json!({"webhook": {"url": "https://example.org"}}),
            "webhook cannot be changed",
        ),
    ] {
        assert_refused(place.change("fixed", change).await, field);
    }
    let allowed = json!({"priority": 7, "suspend": true, "ttlSecondsAfterFinished": 5});
    place.change("fixed", allowed).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_job_goes_on_only_with_a_retry() {
    let place = place().await;
    place
        .create("steered", json!({"source": config_map()}))
        .await
        .unwrap();
    assert_refused(
        place
            .change("steered", json!({"cancel": true, "retryGeneration": 1}))
            .await,
        "retryGeneration cannot be raised while cancel is true",
    );
    place
        .change("steered", json!({"cancel": true}))
        .await
        .unwrap();
    assert_refused(
        place.change("steered", json!({"cancel": false})).await,
        "raise it together with cancel: false",
    );
    place
        .change("steered", json!({"cancel": false, "retryGeneration": 1}))
        .await
        .unwrap();
    assert_refused(
        place.change("steered", json!({"retryGeneration": 0})).await,
        "retryGeneration can only be raised",
    );
}

#[tokio::test]
async fn objects_are_found_by_phase_and_shown_in_columns() {
    let place = place().await;
    place
        .create("shown", json!({"source": config_map(), "priority": 3}))
        .await
        .unwrap();
    let status = json!({"status": {"phase": "Processing", "progress": "42%", "rows": {"processed": 7, "valid": 6, "failed": 1}}});
    let patch = Patch::Merge(status);
    place
        .objects()
        .patch_status("shown", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let by_phase = |phase| ListParams::default().fields(&format!("status.phase={phase}"));
    let found = place.objects().list(&by_phase("Processing")).await.unwrap();
    assert_eq!(found.items.len(), 1);
    assert!(
        place
            .objects()
            .list(&by_phase("Failed"))
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let url = format!(
        "/apis/filejobs.dev/v1alpha1/namespaces/{}/filejobs",
        place.namespace
    );
    let request = http::Request::get(url)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = place.client.request(request).await.unwrap();
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        columns,
        [
            "Name", "Status", "Progress", "Rows", "Failed", "Priority", "Age", "Reason", "Attempt",
            "File", "Job-Id"
        ]
    );
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(
        cells[1..6],
        [
            json!("Processing"),
            json!("42%"),
            json!(7),
            json!(1),
            json!(3)
        ]
    );
}
