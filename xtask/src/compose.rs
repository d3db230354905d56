//! Holds `docker-compose.yml` against the schema of its format: no Docker engine is needed for that.

use std::process::Command;

use crate::run::run;
use crate::schemathesis::VERSION;
use crate::tools;

/// Reads YAML with its anchors, as compose does, with what schemathesis brings.
const CHECK: &str = r#"
import json, sys, yaml, jsonschema_rs
document = yaml.safe_load(open("docker-compose.yml", encoding="utf-8"))
schema = json.load(open("xtask/schemas/compose-spec.json", encoding="utf-8"))
errors = list(jsonschema_rs.validator_for(schema).iter_errors(document))
for error in errors:
    print("docker-compose.yml: %s: %s" % ("/".join(map(str, error.instance_path)), error.message))
services = document["services"]
for name, service in services.items():
    if "healthcheck" not in service:
        errors.append(name)
        print("docker-compose.yml: %s has no health check" % name)
sys.exit(1 if errors or not services else 0)
"#;

/// The check.
pub(crate) fn run_check() -> anyhow::Result<()> {
    let bin = tools::python_env("schemathesis", VERSION)?;
    run(Command::new(bin.join("python")).args(["-c", CHECK]))
}
