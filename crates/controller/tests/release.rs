//! Letting go of objects, on a real API server.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

use filejobs_controller::{Watched, release};
use filejobs_crd::{FINALIZER, FileJob, definition};
use filejobs_testkit::kube::client::define;
use filejobs_testkit::kube::{ADMIN_TOKEN, KubeServer};
use filejobs_testkit::names;
use filejobs_testkit::wait::{self, DEADLINE};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// A namespace of the test's own on the shared control plane, which knows `FileJob`.
struct Place {
    client: Client,
    watched: Watched,
    objects: Api<FileJob>,
}

async fn place() -> Place {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let server = tokio::task::spawn_blocking(KubeServer::shared);
    let server = server.await.unwrap();
    let namespace = names::unique("release");
    let client = server.client(ADMIN_TOKEN, &namespace).await.unwrap();
    let define = async || define(client.clone(), &definition()).await.unwrap();
    DEFINED.get_or_init(define).await;
    let made = json!({"metadata": {"name": namespace}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    create(&namespaces, made).await;
    Place {
        objects: Api::namespaced(client.clone(), &namespace),
        client,
        watched: Watched::Namespace(namespace),
    }
}

async fn create<K>(api: &Api<K>, object: Value)
where
    K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

impl Place {
    async fn object(&self, name: &str, finalizers: &[&str]) {
        let object = json!({
            "apiVersion": "filejobs.dev/v1alpha1", "kind": "FileJob",
            "metadata": {"name": name, "finalizers": finalizers},
            "spec": {"source": {"configMap": {"name": "orders", "key": "orders.csv"}}},
        });
        create(&self.objects, object).await;
    }

    async fn finalizers(&self, name: &str) -> Vec<String> {
        let object = self.objects.get_metadata(name).await.unwrap();
        object.finalizers().to_vec()
    }
}

#[tokio::test]
async fn no_object_waits_for_a_controller_any_more_and_others_keep_theirs() {
    let place = place().await;
    place.object("ours", &[FINALIZER]).await;
    place
        .object("shared", &["example.org/other", FINALIZER])
        .await;
    place.object("free", &[]).await;
    // Deleted, and held by nothing but us.
    place.object("deleted", &[FINALIZER]).await;
    let parameters = DeleteParams::default();
    place.objects.delete("deleted", &parameters).await.unwrap();
    let freed = release(&place.client, &place.watched, None).await.unwrap();
    assert_eq!(freed, 3);
    assert!(place.finalizers("ours").await.is_empty());
    assert_eq!(place.finalizers("shared").await, ["example.org/other"]);
    assert!(
        place
            .objects
            .get_metadata_opt("deleted")
            .await
            .unwrap()
            .is_none()
    );
    let again = release(&place.client, &place.watched, None).await.unwrap();
    assert_eq!(again, 0);
}

#[tokio::test]
async fn objects_are_let_go_of_once_the_controllers_are_gone() {
    let place = place().await;
    place.object("ours", &[FINALIZER]).await;
    let labels = json!({"app": "controllers"});
    let deployments: Api<Deployment> = Api::default_namespaced(place.client.clone());
    let deployment = json!({
        "metadata": {"name": "controllers"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "controller", "image": "controller"}]},
            },
        },
    });
    create(&deployments, deployment).await;
    let (client, watched) = (place.client.clone(), place.watched.clone());
    let released =
        tokio::spawn(async move { release(&client, &watched, Some("controllers")).await });
    wait::until("the Deployment to be deleted", DEADLINE, async || {
        let found = deployments.get_metadata("controllers").await?;
        Ok(found.metadata.deletion_timestamp.map(drop))
    })
    .await
    .unwrap();
    // Its pods still run: nobody garbage-collects here.
    assert!(!released.is_finished());
    assert_eq!(place.finalizers("ours").await, [FINALIZER]);
    let gone = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let parameters = PatchParams::default();
    let patched = deployments
        .patch_metadata("controllers", &parameters, &gone)
        .await;
    patched.unwrap();
    assert_eq!(released.await.unwrap().unwrap(), 1);
    assert!(place.finalizers("ours").await.is_empty());
}
