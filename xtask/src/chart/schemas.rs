//! The schemas of a real API server, as kubeconform reads them.
//!
//! kubeconform would fetch schemas from elsewhere, of whichever version: these are of the version that the tests run on,
//! with the kinds of KEDA and Prometheus' operator from the definitions of their releases, and need no network.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::Set;
use crate::cluster::{self, Cluster};
use crate::run::{output, run, say};

/// Definitions of others' kinds: a Go module and the folder in it.
const DEFINITIONS: &[(&str, &str, &[&str])] = &[
    (
        "github.com/kedacore/keda/v2@v2.21.0",
        "config/crd/bases",
        &[
            "keda.sh_scaledobjects.yaml",
            "keda.sh_triggerauthentications.yaml",
        ],
    ),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd",
        &[
            "monitoring.coreos.com_servicemonitors.yaml",
            "monitoring.coreos.com_prometheusrules.yaml",
        ],
    ),
];

/// Teaches the API server the kinds of others, and holds every set against what it then knows.
pub(super) fn check(cluster: &Cluster, bin: &Path, sets: &[Set]) -> anyhow::Result<()> {
    for file in definitions()? {
        output(
            cluster
                .client("kubectl", ["apply", "--server-side", "--filename"])
                .arg(file),
        )?;
    }
    let kinds = [
        "scaledobjects",
        "triggerauthentications",
        "servicemonitors",
        "prometheusrules",
    ];
    cluster::wait_for("others' kinds", Duration::from_mins(1), || {
        known(cluster).is_ok_and(|document| {
            kinds
                .iter()
                .all(|kind| document["paths"].to_string().contains(kind))
        })
    })?;
    let folder = tempfile::tempdir()?;
    let written = write(&known(cluster)?, folder.path())?;
    say(format_args!("{written} kinds have a schema"));
    for set in sets {
        let rendered = folder.path().join("objects.yaml");
        fs::write(&rendered, set.render(bin)?)?;
        let location = folder.path().join("{{.ResourceKind}}{{.KindSuffix}}.json");
        run(Command::new(bin.join("kubeconform"))
            .args(["-strict", "-summary", "-schema-location"])
            .arg(location)
            .arg(&rendered))
        .with_context(|| format!("the objects of {}", set.name))?;
    }
    super::admission::refuses_others(cluster)
}

/// The files of others' definitions, from the module cache of Go.
fn definitions() -> anyhow::Result<Vec<PathBuf>> {
    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (module, place, names) in DEFINITIONS {
        let said = output(
            Command::new("go")
                .args(["mod", "download", "-json", module])
                .current_dir(folder.path()),
        )?;
        let said: Value = serde_json::from_str(&said)?;
        let home = said["Dir"].as_str().context("Go names no folder")?;
        files.extend(
            names
                .iter()
                .map(|name| Path::new(home).join(place).join(name)),
        );
    }
    Ok(files)
}

/// The API server's own description of everything it takes.
fn known(cluster: &Cluster) -> anyhow::Result<Value> {
    let text = output(&mut cluster.client("kubectl", ["get", "--raw", "/openapi/v2"]))?;
    Ok(serde_json::from_str(&text)?)
}

/// Writes a schema for each kind, under the name that kubeconform looks for; how many.
fn write(document: &Value, folder: &Path) -> anyhow::Result<usize> {
    let definitions = document["definitions"]
        .as_object()
        .context("the API server describes nothing")?;
    let mut written = 0;
    for (name, definition) in definitions {
        let kinds = definition["x-kubernetes-group-version-kind"].as_array();
        for kind in kinds.into_iter().flatten() {
            let text = |field: &str| kind[field].as_str().unwrap_or_default().to_lowercase();
            let group = text("group");
            // As kubeconform shortens it.
            let group = group.split('.').next().unwrap_or_default();
            let (kind, version) = (text("kind"), text("version"));
            let parts = [&*kind, group, &*version];
            let file: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let schema = schema(name, definitions);
            fs::write(folder.join(file.join("-") + ".json"), schema.to_string())?;
            written += 1;
        }
    }
    if written == 0 {
        bail!("the API server describes no kinds");
    }
    Ok(written)
}

/// A definition with all that it refers to.
fn schema(name: &str, definitions: &Map<String, Value>) -> Value {
    let mut wanted = vec![name.to_owned()];
    let mut seen = BTreeSet::new();
    let mut parts = Map::new();
    while let Some(name) = wanted.pop() {
        if let Some(definition) = definitions.get(&name)
            && seen.insert(name.clone())
        {
            let mut definition = definition.clone();
            close(&name, &mut definition, &mut wanted);
            parts.insert(name, definition);
        }
    }
    json!({ "allOf": [{ "$ref": format!("#/definitions/{name}") }], "definitions": parts })
}

/// Lets nothing in that is not described, and notes what is referred to.
fn close(name: &str, schema: &mut Value, refers: &mut Vec<String>) {
    // Numbers of bytes and ports by name: the document calls them text.
    if name.ends_with(".Quantity") || name.ends_with(".IntOrString") {
        *schema = json!({ "type": ["string", "integer", "number"] });
        return;
    }
    match schema {
        Value::Object(map) => {
            let open = map.contains_key("additionalProperties")
                || map.contains_key("x-kubernetes-preserve-unknown-fields");
            if map.get("properties").is_some_and(Value::is_object) && !open {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
            if map.contains_key("x-kubernetes-int-or-string") {
                map.insert("type".to_owned(), json!(["string", "integer"]));
            }
            if let Some(part) = map.get("$ref").and_then(Value::as_str) {
                refers.extend(part.rsplit('/').next().map(str::to_owned));
            }
            for (key, part) in map {
                match part {
                    // Named by those who described the kind, who may call a property `type`: no schema itself.
                    Value::Object(properties) if key == "properties" => properties
                        .values_mut()
                        .for_each(|part| close("", part, refers)),
                    part => close("", part, refers),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|part| close("", part, refers)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_may_be_called_as_what_describes_them() {
        let names = json!({
            "x-kubernetes-int-or-string": { "type": "boolean" },
            "additionalProperties": { "type": "boolean" },
            "$ref": { "type": "string" },
            "type": { "$ref": "#/definitions/part" },
        });
        let mut schema = json!({ "properties": names });
        let mut refers = Vec::new();
        close("whole", &mut schema, &mut refers);
        let closed = json!({ "properties": names, "additionalProperties": false });
        assert_eq!((schema, refers), (closed, vec!["part".to_owned()]));
    }
}
