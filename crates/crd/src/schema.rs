//! Parts of the schema that no derive writes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{Schema, SchemaGenerator, json_schema};

/// Columns of a schema in an object: more belong into an upload, where the schema does not fill etcd.
const FIELDS: u32 = 256;

/// The name of a ConfigMap or a Secret (RFC 1123, subdomain), and a key in it.
pub(crate) const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
pub(crate) const DATA_KEY: &str = r"^[-._a-zA-Z0-9]+$";

/// A sheet: its name or its number.
pub(crate) fn sheet(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "A sheet's name, or its number from 1; the first visible sheet with data when left out.",
        "x-kubernetes-int-or-string": true,
        "maxLength": 255,
        "minimum": 1,
        "maximum": 10_000
    })
}

/// A Table Schema. Values of constraints are what the type of their column says: the cluster keeps them as they are.
pub(crate) fn table_schema(_: &mut SchemaGenerator) -> Schema {
    let text = |max: u32| json_schema!({"type": "string", "maxLength": max});
    let texts = |items: u32| {
        json_schema!({
            "type": "array", "maxItems": items, "items": {"type": "string", "maxLength": 255}
        })
    };
    let length = || json_schema!({"type": "integer", "format": "int64", "minimum": 0, "maximum": 1_000_000_000});
    let any = || json_schema!({"x-kubernetes-preserve-unknown-fields": true});
    let constraints = json_schema!({
        "type": "object",
        "description": "What else must hold for a value.",
        "properties": {
            "required": {"type": "boolean"},
            "unique": {"type": "boolean"},
            "minLength": length(),
            "maxLength": length(),
            "minimum": any(),
            "maximum": any(),
            "pattern": text(1024),
            "enum": {"type": "array", "maxItems": 256, "items": any()}
        }
    });
    let field = json_schema!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 255},
            "type": {"type": "string", "enum": ["string", "integer", "number", "boolean", "date", "time", "datetime", "any"]},
            "format": text(255),
            "constraints": constraints,
            "trueValues": texts(32),
            "falseValues": texts(32),
            "decimalChar": text(4),
            "groupChar": text(4),
            "bareNumber": {"type": "boolean"},
            "allowNonFinite": {"type": "boolean"},
            "title": text(255),
            "description": text(1024)
        }
    });
    json_schema!({
        "type": "object",
        "description": "The Table Schema that rows are checked against; inferred when left out.",
        "required": ["fields"],
        "properties": {
            "fields": {"type": "array", "minItems": 1, "maxItems": FIELDS, "items": field},
            "primaryKey": texts(32),
            "missingValues": texts(64)
        }
    })
}

/// The conditions, one of each type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "What is true of the job.",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "maxLength": 63},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": {"type": "string", "maxLength": 63},
                "message": {"type": "string", "maxLength": 1024},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 9_007_199_254_740_991_i64}
            }
        }
    })
}

/// A moment.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Names numbers as clusters do: they have no unsigned ones, and warn whoever installs a schema that has. The bounds say
/// which numbers are meant.
pub(crate) fn with_known_formats(schema: &mut JSONSchemaProps) {
    let unsigned = |format: &String| format.starts_with("uint");
    if schema.format.as_ref().is_some_and(unsigned) {
        schema.format = Some("int64".to_owned());
    }
    let properties = schema.properties.iter_mut();
    properties
        .flat_map(|all| all.values_mut())
        .for_each(with_known_formats);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        with_known_formats(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        with_known_formats(values);
    }
}
