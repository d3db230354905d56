//! The `FileJob`: a file to be checked, as Kubernetes users state it, and how far the work on it is.
//!
//! Types and their schema, no client: what a cluster installs is [`yaml`], generated into `crds/`. Whatever a single
//! object can be refused for stands in the schema or in its rules (CEL), where its author is looking: at `kubectl
//! apply`. Every text, list and number has a bound, so that no object can grow beyond what a cluster should keep.

mod reason;
mod schema;
mod source;
mod spec;
mod status;

pub use reason::{ConditionType, EventReason, Reason};
pub use source::{ConfigMapSource, Format, Source, StoreSource, UploadSource};
pub use spec::{
    FileJob, FileJobSpec, MAX_PRIORITY, Options, Processor, WEBHOOK_SECRET_TYPE, Webhook,
    WebhookSecret,
};
pub use status::{FileJobStatus, MAX_CODES, MAX_MESSAGE, Phase, Rows, Tasks};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt as _;

/// Label of an object that a file handed in by HTTP has made, and of its job: the job's id.
pub const JOB_ID_LABEL: &str = "filejobs.dev/job-id";

/// Finalizer of an object that has a job: stands only while there is something to clean.
pub const FINALIZER: &str = "filejobs.dev/job";

/// Who writes status and finalizers.
pub const FIELD_MANAGER: &str = "filejobs-controller";

/// The definition that a cluster installs.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    let mut definition = FileJob::crd();
    let versions = definition.spec.versions.iter_mut();
    let schemas =
        versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    schemas.for_each(schema::with_known_formats);
    definition
}

/// The definition as YAML.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    // By way of JSON values, which leave out what is absent and keep the order of keys.
    let value = serde_json::to_value(definition()).unwrap_or_default();
    serde_saphyr::to_string(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_what_was_reviewed() {
        insta::assert_snapshot!(yaml().unwrap());
    }

    /// Walks a schema and tells what has no bound.
    fn unbounded(path: &str, schema: &serde_json::Value, found: &mut Vec<String>) {
        let has = |key: &str| schema.get(key).is_some();
        match schema["type"].as_str() {
            Some("string") if !has("maxLength") && !has("enum") && !has("format") => {
                found.push(format!("{path}: maxLength"));
            }
            Some("array") if !has("maxItems") => found.push(format!("{path}: maxItems")),
            Some("integer" | "number") if !has("maximum") || !has("minimum") => {
                found.push(format!("{path}: minimum and maximum"));
            }
            _ => {}
        }
        if has("additionalProperties") && !has("maxProperties") {
            found.push(format!("{path}: maxProperties"));
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            unbounded(&format!("{path}.{name}"), property, found);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(schema) = schema.get(inner) {
                unbounded(&format!("{path}[]"), schema, found);
            }
        }
    }

    #[test]
    fn no_format_makes_an_api_server_warn() {
        let yaml = yaml().unwrap();
        let formats = yaml
            .lines()
            .filter_map(|line| line.trim().strip_prefix("format: "));
        let formats: Vec<_> = formats.filter(|format| *format != "string").collect();
        assert!(formats.len() > 10, "{formats:?}");
        for format in formats {
            assert!(
                ["int64", "double", "date-time"].contains(&format),
                "{format}"
            );
        }
    }

    #[test]
    fn every_text_list_and_number_has_a_bound() {
        let definition = serde_json::to_value(definition()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            unbounded(part, &schema["properties"][part], &mut found);
        }
        assert!(found.is_empty(), "without bounds: {found:#?}");
    }
}
