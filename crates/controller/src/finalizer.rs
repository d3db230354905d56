//! The finalizer of an object: put there before anything is made for it, taken away once nothing is left.
//!
//! kube's own helper puts one on every object before it is looked at; ours stands only while there is something to
//! clean, so that an object that was rejected, or whose job is gone, can be deleted without us.

use filejobs_crd::{FIELD_MANAGER, FINALIZER, FileJob};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::error::{Error, is_absent};
use crate::object::Object;

/// Whether it is there.
pub(crate) fn is_on(metadata: &ObjectMeta) -> bool {
    let mut finalizers = metadata.finalizers.iter().flatten();
    finalizers.any(|one| one == FINALIZER)
}

/// Puts it there. Fails with a conflict when the object has changed since it was seen, or is another one by now.
pub(crate) async fn add(context: &Context, object: &Object) -> Result<(), Error> {
    let (metadata, name) = (&object.job.metadata, &object.reference.name);
    let mut finalizers = others(metadata);
    finalizers.push(FINALIZER);
    let set = set(&api(context, object), name, metadata, &finalizers).await;
    set.map_err(Error::cluster(CHANGE))
}

/// Takes it away; an object that is gone already is fine.
pub(crate) async fn remove(context: &Context, object: &Object) -> Result<(), Error> {
    let (metadata, name) = (&object.job.metadata, &object.reference.name);
    match take_off(&api(context, object), name, metadata).await {
        Err(error) if is_absent(&error) => Ok(()),
        done => done.map_err(Error::cluster(CHANGE)),
    }
}

/// Takes it off an object as it was seen. Fails with a conflict when that has changed since.
pub(crate) async fn take_off(
    api: &Api<FileJob>,
    name: &str,
    seen: &ObjectMeta,
) -> Result<(), kube::Error> {
    set(api, name, seen, &others(seen)).await
}

/// What errors say was being done.
pub(crate) const CHANGE: &str = "to change finalizers";

fn api(context: &Context, object: &Object) -> Api<FileJob> {
    context.api(&object.reference.namespace)
}

/// Everybody else's.
fn others(metadata: &ObjectMeta) -> Vec<&str> {
    let all = metadata.finalizers.iter().flatten();
    all.map(String::as_str)
        .filter(|one| *one != FINALIZER)
        .collect()
}

async fn set(
    api: &Api<FileJob>,
    name: &str,
    seen: &ObjectMeta,
    finalizers: &[&str],
) -> Result<(), kube::Error> {
    // With the version that was seen, so that nobody's change is taken back; with the uid, so that no namesake is met.
    let patch = Patch::Merge(json!({"metadata": {
        "uid": seen.uid, "resourceVersion": seen.resource_version, "finalizers": finalizers,
    }}));
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch_metadata(name, &parameters, &patch)
        .await
        .map(drop)
}
