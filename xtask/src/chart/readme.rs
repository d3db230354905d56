//! The chart's README: a text with a table of every setting.

use std::fmt::Write as _;

use serde_json::Value;

use super::values::Setting;

/// What stands before the table.
const TEXT: &str = include_str!("readme.md");

/// The whole page.
pub(super) fn page(settings: &[Setting]) -> String {
    let mut page = String::from(TEXT);
    let mut group = String::new();
    for setting in settings {
        let of = match &*setting.path {
            [first, _, ..] => format!("`{first}`"),
            // What stands alone shares a table with what stands beside it.
            _ => "General".to_owned(),
        };
        if of != group {
            // Writing to a string cannot fail.
            let _ = write!(
                page,
                "\n### {of}\n\n| value | default | what it is for |\n|---|---|---|\n"
            );
            group = of;
        }
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            setting.path.join("."),
            shown(&setting.default),
            setting.about.replace('|', "\\|")
        );
    }
    page
}

fn shown(default: &Value) -> String {
    match default {
        Value::String(text) if text.is_empty() => String::new(),
        Value::Array(list) if list.is_empty() => String::new(),
        Value::Object(map) if map.is_empty() => String::new(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}
