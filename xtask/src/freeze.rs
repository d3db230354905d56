//! What a release sends to Postgres, noted down when it is made: its processes still run while those of the next one
//! start, on the schema of the next one. `crates/store/postgres/tests/previous` holds every later schema against it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::run::say;

/// The store whose database several versions share. That of `filejobs dev` belongs to one process.
const STORE: &str = "crates/store/postgres";

/// Writes the statements, with what they take and give, and the names of the migrations that they were made for.
pub(crate) fn run() -> anyhow::Result<()> {
    let store = Path::new(STORE);
    let migrations = json!(migrations(&store.join("migrations"))?);
    let statements = statements(&store.join(".sqlx"))?;
    let statements: Vec<_> = statements.iter().map(Value::to_string).collect();
    // A statement a line, so that a review shows what has changed from release to release.
    let statements = statements.join(",\n");
    let text =
        format!("{{\n\"migrations\": {migrations},\n\"statements\": [\n{statements}\n]\n}}\n");
    let path = store.join("previous/release.json");
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    say(format_args!("wrote {}", path.display()));
    Ok(())
}

fn migrations(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Every checked statement, in the order of its text.
fn statements(folder: &Path) -> anyhow::Result<Vec<Value>> {
    let mut statements = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let meaning: Value = serde_json::from_str(&text)?;
        let (query, meaning) = statement(&meaning)
            .with_context(|| format!("{} is not what sqlx writes", path.display()))?;
        statements.insert(query, meaning);
    }
    Ok(statements.into_values().collect())
}

fn statement(meaning: &Value) -> Option<(String, Value)> {
    let query = meaning["query"].as_str()?;
    let described = &meaning["describe"];
    let columns = described["columns"].as_array()?.iter();
    let columns: Option<Vec<_>> = columns
        .map(|column| {
            Some(json!([
                column["name"].as_str()?,
                name(&column["type_info"])?
            ]))
        })
        .collect();
    let parameters = described["parameters"]["Left"].as_array()?.iter().map(name);
    let parameters: Option<Vec<_>> = parameters.collect();
    let meaning = json!({"query": query, "parameters": parameters?, "columns": columns?});
    Some((query.to_owned(), meaning))
}

/// A type's name as the database has it: `UuidArray` is `UUID[]`.
fn name(type_info: &Value) -> Option<String> {
    let name = type_info.as_str()?.to_uppercase();
    Some(match name.strip_suffix("ARRAY") {
        Some(element) => format!("{element}[]"),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_noted_with_what_it_takes_and_gives() {
        let meaning = json!({"query": "SELECT id FROM jobs WHERE id = ANY($1)", "describe": {
            "columns": [{"ordinal": 0, "name": "id", "type_info": "Uuid"}],
            "parameters": {"Left": ["UuidArray"]}, "nullable": [false],
        }});
        let (_, noted) = statement(&meaning).unwrap();
        assert_eq!(noted["parameters"], json!(["UUID[]"]));
        assert_eq!(noted["columns"], json!([["id", "UUID"]]));
        assert!(statement(&json!({"query": "SELECT 1"})).is_none());
    }
}
