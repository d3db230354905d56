//! `values.yaml` with what its comments say: what the chart's README and the schema of its values are made of.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

/// A value that can be set.
#[derive(Debug, PartialEq)]
pub(super) struct Setting {
    /// Where it stands, from the outermost key.
    pub(super) path: Vec<String>,
    /// What it is for.
    pub(super) about: String,
    /// What it is when nobody sets it.
    pub(super) default: Value,
    /// What narrows it beyond the type of its default.
    narrowed: Map<String, Value>,
}

/// The comments above a key.
#[derive(Debug, Default)]
struct Comments {
    about: Vec<String>,
    narrowed: Map<String, Value>,
}

/// Every setting in the order of the file; an error names those that nobody describes.
pub(super) fn read(text: &str) -> anyhow::Result<Vec<Setting>> {
    let comments = comments(text)?;
    let values: Value = serde_saphyr::from_str(text)?;
    let mut settings = Vec::new();
    collect(&mut Vec::new(), &values, &comments, &mut settings)?;
    Ok(settings)
}

/// Comments by the path of the key below them. The file is indented by two blanks, and a list stands on one line.
fn comments(text: &str) -> anyhow::Result<BTreeMap<Vec<String>, Comments>> {
    let mut all = BTreeMap::new();
    let mut path: Vec<String> = Vec::new();
    let mut above = Comments::default();
    for line in text.lines() {
        let content = line.trim_start();
        if let Some(comment) = content.strip_prefix("# -- ") {
            above.about.push(comment.to_owned());
        } else if let Some(schema) = content.strip_prefix("# @schema ") {
            above.narrowed = serde_json::from_str(schema)
                .with_context(|| format!("values.yaml: `{schema}` is no JSON object"))?;
        } else if let Some((key, _)) = content.split_once(':')
            && !content.starts_with('#')
        {
            path.truncate((line.len() - content.len()) / 2);
            path.push(key.to_owned());
            all.insert(path.clone(), std::mem::take(&mut above));
        }
    }
    Ok(all)
}

fn collect(
    path: &mut Vec<String>,
    value: &Value,
    comments: &BTreeMap<Vec<String>, Comments>,
    settings: &mut Vec<Setting>,
) -> anyhow::Result<()> {
    let above = comments.get(path).filter(|above| !above.about.is_empty());
    match (value, above) {
        (_, Some(above)) => settings.push(Setting {
            path: path.clone(),
            about: above.about.join(" "),
            default: value.clone(),
            narrowed: above.narrowed.clone(),
        }),
        (Value::Object(group), None) if !group.is_empty() => {
            for (key, value) in group {
                path.push(key.clone());
                collect(path, value, comments, settings)?;
                path.pop();
            }
        }
        _ => bail!("values.yaml: {} has no description", path.join(".")),
    }
    Ok(())
}

impl Setting {
    /// Its own part of the schema.
    fn schema(&self) -> Value {
        let kind = match &self.default {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let mut schema = Map::new();
        schema.insert("description".to_owned(), json!(self.about));
        schema.insert("type".to_owned(), json!(kind));
        schema.extend(self.narrowed.clone());
        Value::Object(schema)
    }
}

/// A schema that takes nothing but the settings: a misspelt one is an error, not ignored.
pub(super) fn schema(settings: &[Setting]) -> Value {
    let mut top = group();
    top["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    top["title"] = json!("Values of the chart filejobs");
    // Helm puts it there for charts within charts.
    top["properties"]["global"] = json!({ "type": "object" });
    for setting in settings {
        let mut place = &mut top;
        let (last, groups) = setting.path.split_last().unzip();
        for name in groups.into_iter().flatten() {
            let properties = &mut place["properties"];
            if properties.get(name).is_none() {
                properties[name] = group();
            }
            place = &mut properties[name];
        }
        if let Some(last) = last {
            place["properties"][last] = setting.schema();
        }
    }
    top
}

fn group() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = "# About the file\nimage:\n  # -- Its tag,\n  # -- or none\n  tag: \"\"\n  # -- When\n  \
                          # @schema {\"enum\": [\"Always\", \"Never\"]}\n  pull: Never\n# -- Whatever\nresources:\n  \
                          limits: { cpu: 1 }\n";

    #[test]
    fn a_setting_has_the_comments_above_it() {
        let settings = read(VALUES).unwrap();
        let told: Vec<_> = settings
            .iter()
            .map(|s| (s.path.join("."), s.about.as_str(), s.default.to_string()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "image.tag".to_owned(),
                    "Its tag, or none",
                    "\"\"".to_owned()
                ),
                ("image.pull".to_owned(), "When", "\"Never\"".to_owned()),
                (
                    "resources".to_owned(),
                    "Whatever",
                    "{\"limits\":{\"cpu\":1}}".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn a_setting_without_a_description_is_an_error_that_names_it() {
        let error = read("image:\n  # -- There\n  tag: a\n  pull: b\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "values.yaml: image.pull has no description"
        );
    }

    #[test]
    fn the_schema_takes_nothing_but_the_settings() {
        let schema = schema(&read(VALUES).unwrap());
        assert_eq!(schema["additionalProperties"], false);
        let image = &schema["properties"]["image"];
        assert_eq!(image["additionalProperties"], false);
        assert_eq!(
            image["properties"]["pull"]["enum"],
            json!(["Always", "Never"])
        );
        assert_eq!(image["properties"]["tag"]["type"], "string");
        assert!(
            schema["properties"]["resources"]
                .get("additionalProperties")
                .is_none()
        );
    }
}
