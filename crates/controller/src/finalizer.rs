//! The finalizer of an object: put there before anything is made for it, taken away once nothing is left.
//!
//! kube's own helper puts one on every object before it is looked at; ours stands only while there is something to
//! clean, so that an object that was rejected, or whose job is gone, can be deleted without us.

use filejobs_crd::{FIELD_MANAGER, FINALIZER};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::error::{Error, is_absent};
use crate::object::Object;

/// Puts it there. Fails with a conflict when the object has changed since it was seen, or is another one by now.
pub(crate) async fn add(context: &Context, object: &Object) -> Result<(), Error> {
    let mut finalizers = finalizers(object);
    finalizers.push(FINALIZER.to_owned());
    set(context, object, &finalizers).await
}

/// Takes it away; an object that is gone already is fine.
pub(crate) async fn remove(context: &Context, object: &Object) -> Result<(), Error> {
    match set(context, object, &finalizers(object)).await {
        Err(Error::Cluster { source, .. }) if is_absent(&source) => Ok(()),
        done => done,
    }
}

/// Everybody else's.
fn finalizers(object: &Object) -> Vec<String> {
    let all = object.job.metadata.finalizers.iter().flatten();
    all.filter(|one| *one != FINALIZER).cloned().collect()
}

async fn set(context: &Context, object: &Object, finalizers: &[String]) -> Result<(), Error> {
    // With the version that was seen, so that nobody's change is taken back; with the uid, so that no namesake is met.
    let patch = Patch::Merge(json!({"metadata": {
        "uid": object.reference.uid,
        "resourceVersion": object.job.metadata.resource_version,
        "finalizers": finalizers,
    }}));
    let api = context.api(&object.reference.namespace);
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let set = api.patch_metadata(&object.reference.name, &parameters, &patch);
    set.await
        .map(drop)
        .map_err(Error::cluster("to change finalizers"))
}
