//! `FileJob` objects as the controller has them: those that cannot be read are among them, and stop nobody else.

use std::sync::Arc;

use filejobs_core::{JobId, Namespace};
use filejobs_crd::{ConditionType, FileJob, JOB_ID_LABEL, Phase, Reason};
use filejobs_store_postgres::objects::ObjectRef;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::reflector;

use crate::error::Error;
use crate::ids;
use crate::validate::Rejection;

/// An object that may not be readable.
pub(crate) type Guarded = DeserializeGuard<FileJob>;

/// Names an object to the controller's queue.
pub(crate) type Key = reflector::ObjectRef<Guarded>;

/// All objects, as the watch has left them.
pub(crate) type Reader = reflector::Store<Guarded>;

/// An object with what every object has.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) job: Arc<FileJob>,
    pub(crate) reference: ObjectRef,
    pub(crate) namespace: Namespace,
    /// The id that its job has, or will have.
    pub(crate) id: JobId,
}

impl Object {
    pub(crate) fn new(job: FileJob) -> Result<Self, Error> {
        let reference = reference(&job.metadata)?;
        let namespace = reference.namespace.parse();
        let namespace = namespace.map_err(|_| Error::Nameless("metadata.namespace"))?;
        let id = match &job.spec.source.upload {
            Some(upload) => upload
                .id
                .parse()
                .map_err(|_| Error::Nameless("spec.source.upload.id"))?,
            None => ids::of_object(&job.metadata),
        };
        Ok(Self {
            job: Arc::new(job),
            reference,
            namespace,
            id,
        })
    }

    pub(crate) fn key(&self) -> Key {
        key(&self.reference)
    }

    /// Whether a file handed in by HTTP has made it.
    pub(crate) fn is_made_by_upload(&self) -> bool {
        let labels = self.job.metadata.labels.as_ref();
        let label = labels.and_then(|labels| labels.get(JOB_ID_LABEL));
        self.job.spec.source.upload.is_some() && label == Some(&self.id.to_string())
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.job.metadata.deletion_timestamp.is_some()
    }

    /// What its status says of itself, as long as it tells of the spec as it is now.
    fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        let status = self.job.status.as_ref()?;
        let is_of_now = status.observed_generation == Some(self.generation());
        status.condition(kind).filter(|_| is_of_now)
    }

    /// Why there will be no job for the spec as it is now, where that was found out before: a file that was refused is
    /// not asked for again, whoever leads.
    pub(crate) fn rejection(&self) -> Option<Rejection> {
        let rejected = self.job.status.as_ref()?.phase == Some(Phase::Rejected);
        let accepted = self.condition(ConditionType::Accepted)?;
        let reason = Reason::named(&accepted.reason)?;
        (rejected && accepted.status == "False")
            .then(|| Rejection::new(reason, accepted.message.clone()))
    }

    /// Since when it shows that it has ended.
    pub(crate) fn ended(&self) -> Option<Timestamp> {
        let finished = self.condition(ConditionType::Finished)?;
        (finished.status == "True").then_some(finished.last_transition_time.0)
    }

    pub(crate) fn generation(&self) -> i64 {
        self.job.metadata.generation.unwrap_or_default()
    }
}

/// Names an object to the controller's queue.
pub(crate) fn key(reference: &ObjectRef) -> Key {
    reflector::ObjectRef::new(&reference.name).within(&reference.namespace)
}

/// What names an object beyond doubt.
pub(crate) fn reference(metadata: &ObjectMeta) -> Result<ObjectRef, Error> {
    let have = |what: &Option<String>, name| what.clone().ok_or(Error::Nameless(name));
    Ok(ObjectRef {
        uid: have(&metadata.uid, "metadata.uid")?,
        namespace: have(&metadata.namespace, "metadata.namespace")?,
        name: have(&metadata.name, "metadata.name")?,
    })
}

/// The metadata of an object that may not be readable.
pub(crate) fn metadata(guarded: &Guarded) -> &ObjectMeta {
    match &guarded.0 {
        Ok(object) => &object.metadata,
        Err(invalid) => &invalid.metadata,
    }
}

/// Whether an object's status says that nothing more will happen by itself.
pub(crate) fn is_settled(guarded: &Guarded) -> bool {
    let Ok(object) = &guarded.0 else { return true };
    let phase = object.status.as_ref().and_then(|status| status.phase);
    match phase {
        Some(Phase::Completed | Phase::Failed | Phase::Cancelled | Phase::Rejected) => true,
        None | Some(Phase::Pending | Phase::Queued | Phase::Processing | Phase::Suspended) => false,
    }
}
