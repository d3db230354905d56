//! Table Schema: what a table's columns must hold.
//!
//! After <https://specs.frictionlessdata.io/table-schema/>, version 1, with the types that files hold:
//! `string integer number boolean date time datetime any`.

//!
//! [`TableSchema`] is what the author wrote; [`TableSchema::rules`] compiles it. What the specification
//! leaves open: a pattern must match the whole cell; `NaN`, `INF` and `-INF` are numbers only where a field
//! says `"allowNonFinite": true` or its `enum` names them; instants without an offset are UTC.

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

mod parse;
mod rules;
pub mod value;

pub use rules::{Kind, Rules, TextRules, Typed};

/// A schema that [`TableSchema::from_json`] has checked, or that was inferred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(description = "A Table Schema: what a table's columns must hold.")]
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

impl Default for TableSchema {
    fn default() -> Self {
        Self {
            fields: Vec::new(),
            primary_key: Vec::new(),
            missing_values: missing_values_default(),
        }
    }
}

fn missing_values_default() -> Vec<String> {
    vec![String::new()]
}

/// One column of a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// True makes `NaN`, `INF` and `-INF` values of a number column. Ours, not Table Schema's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_non_finite: Option<bool>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The type of a column's values.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
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

impl FieldType {
    /// Every type with its name in a schema.
    pub const ALL: [(&'static str, Self); 8] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("date", Self::Date),
        ("time", Self::Time),
        ("datetime", Self::Datetime),
        ("any", Self::Any),
    ];

    /// The name in a schema.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Time => "time",
            Self::Datetime => "datetime",
            Self::Any => "any",
        }
    }
}

/// What must hold for every value of a column. Bounds and enum values are kept as the schema's author
/// wrote them and read by the rules of the column's type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
        parse::table_schema(text, limits)
    }

    /// What each field asks of its column, ready to be applied; every problem otherwise.
    ///
    /// A schema from [`TableSchema::from_json`] with the same limits has no problems.
    pub fn rules(&self, limits: &Limits) -> Result<Vec<Rules>, Vec<SchemaProblem>> {
        rules::compile(self, limits)
    }
}

#[cfg(test)]
mod tests;
