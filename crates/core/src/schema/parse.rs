//! Reads a schema from JSON by hand, so that every problem is found and told with its place.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    Constraints, Field, FieldType, SchemaProblem, TableSchema, missing_values_default, rules,
};
use crate::limits::Limits;

/// Problems that one schema is told of; more do not help anyone.
const PROBLEMS_MAX: usize = 200;

/// Keys that would change the meaning of the schema if they were passed over.
const REFUSED_OF_TABLE: [(&str, &str); 3] = [
    (
        "foreignKeys",
        "references to other tables are not supported; remove the key",
    ),
    (
        "uniqueKeys",
        "not supported; use `primaryKey`, or `unique` among a field's constraints",
    ),
    (
        "fieldsMatch",
        "not supported; columns match fields by name, in any order",
    ),
];

const TABLE_KEYS: [&str; 3] = ["fields", "primaryKey", "missingValues"];

const FIELD_KEYS: [&str; 10] = [
    "name",
    "type",
    "format",
    "constraints",
    "trueValues",
    "falseValues",
    "decimalChar",
    "groupChar",
    "bareNumber",
    "allowNonFinite",
];

const CONSTRAINTS: [&str; 8] = [
    "required",
    "unique",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "pattern",
    "enum",
];

/// Collects problems while it hands out what is right.
pub(super) struct Problems(Vec<SchemaProblem>);

impl Problems {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(&mut self, pointer: impl Into<String>, problem: impl Into<String>) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(SchemaProblem {
                pointer: pointer.into(),
                problem: problem.into(),
            });
        }
    }

    pub(super) fn done<T>(self, value: T) -> Result<T, Vec<SchemaProblem>> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self.0)
        }
    }
}

/// Reads and checks `text`.
pub(super) fn table_schema(text: &str, limits: &Limits) -> Result<TableSchema, Vec<SchemaProblem>> {
    let mut problems = Problems::new();
    // Nesting beyond 128 levels is refused by the parser itself, before it could exhaust the stack.
    let value: Value = match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(value) => value,
        Err(cause) => {
            problems.add("", format!("not a JSON document: {cause}"));
            return problems.done(TableSchema::default());
        }
    };
    let Value::Object(table) = value else {
        problems.add("", format!("an object is taken, this is {}", kind(&value)));
        return problems.done(TableSchema::default());
    };
    for (key, why) in REFUSED_OF_TABLE {
        if table.get(key).is_some_and(|v| !is_nothing(v)) {
            problems.add(pointer("", key), why);
        }
    }
    refuse_misspelt(&table, "", &TABLE_KEYS, &mut problems);
    let (fields, unusable) = fields(&table, limits, &mut problems);
    let schema = TableSchema {
        primary_key: primary_key(&table, &fields, &mut problems),
        missing_values: match table.get("missingValues") {
            None => missing_values_default(),
            Some(value) => {
                texts(value, "/missingValues", limits, &mut problems).unwrap_or_default()
            }
        },
        fields,
    };
    rules::check(&schema, &unusable, limits, &mut problems);
    problems.done(schema)
}

/// Tells of keys that must mean one of `known`, such as `primary_key`: what they say would be passed over.
fn refuse_misspelt(object: &Map<String, Value>, at: &str, known: &[&str], problems: &mut Problems) {
    let plain = |key: &str| key.replace(['_', '-', ' '], "").to_lowercase();
    let unknown = object
        .iter()
        .filter(|(key, value)| !value.is_null() && !known.contains(&key.as_str()));
    for (key, _) in unknown {
        let written = plain(key);
        let meant = known.iter().find(|known| {
            let known = plain(known);
            // Short words have neighbours that mean something else.
            written == known || (known.len() > 5 && strsim::osa_distance(&written, &known) == 1)
        });
        if let Some(meant) = meant {
            problems.add(pointer(at, key), format!("the key is `{meant}`"));
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The fields, and the places of those whose type is not known: nothing more can be said about them.
fn fields(
    table: &Map<String, Value>,
    limits: &Limits,
    problems: &mut Problems,
) -> (Vec<Field>, HashSet<usize>) {
    let mut unusable = HashSet::new();
    let items = match table.get("fields") {
        Some(Value::Array(items)) if !items.is_empty() => items,
        Some(Value::Array(_)) => {
            problems.add("/fields", "at least one field is needed");
            return (Vec::new(), unusable);
        }
        Some(other) => {
            problems.add(
                "/fields",
                format!("a list of fields is taken, this is {}", kind(other)),
            );
            return (Vec::new(), unusable);
        }
        None => {
            problems.add("", "`fields`, the list of columns, is missing");
            return (Vec::new(), unusable);
        }
    };
    if items.len() > limits.schema_fields as usize {
        problems.add(
            "/fields",
            format!(
                "{} fields, at most {} are taken",
                items.len(),
                limits.schema_fields
            ),
        );
        return (Vec::new(), unusable);
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut fields = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let at = format!("/fields/{i}");
        let Value::Object(object) = item else {
            problems.add(at, format!("an object is taken, this is {}", kind(item)));
            unusable.insert(i);
            fields.push(Field::default());
            continue;
        };
        let Some(field) = field(object, &at, limits, problems) else {
            unusable.insert(i);
            fields.push(Field::default());
            continue;
        };
        if !field.name.is_empty()
            && let Some(first) = seen.insert(field.name.clone(), i)
        {
            problems.add(
                format!("{at}/name"),
                format!(
                    "field {first} has the name `{}` already",
                    shown(&field.name)
                ),
            );
        }
        fields.push(field);
    }
    (fields, unusable)
}

fn field(
    object: &Map<String, Value>,
    at: &str,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Field> {
    refuse_misspelt(object, at, &FIELD_KEYS, problems);
    let mut reader = Reader {
        object,
        at,
        problems,
    };
    for name in CONSTRAINTS {
        reader.refuse(name, &format!("`{name}` belongs into `constraints`"));
    }
    reader.refuse(
        "categories",
        "not supported; use `enum` among the constraints",
    );
    reader.refuse(
        "missingValues",
        "taken for the whole table only: `/missingValues`",
    );
    let name = match reader.text("name") {
        Some(name) if name.trim().is_empty() => {
            reader.problem("name", "a name that is not blank is needed");
            String::new()
        }
        Some(name) => name,
        None => {
            if reader.get("name").is_none() {
                reader.problems.add(at, "`name` is missing");
            }
            String::new()
        }
    };
    let kind = match reader.text("type") {
        None => reader.get("type").is_none().then(FieldType::default),
        Some(name) => {
            let known = FieldType::ALL.iter().find(|(n, _)| *n == name);
            if known.is_none() {
                let names: Vec<_> = FieldType::ALL.iter().map(|(n, _)| *n).collect();
                let problem = format!(
                    "unknown type `{}`; {} are taken",
                    shown(&name),
                    names.join(", ")
                );
                reader.problem("type", problem);
            }
            known.map(|(_, kind)| *kind)
        }
    };
    let field = Field {
        name,
        kind: kind.unwrap_or_default(),
        format: reader.text("format"),
        constraints: Constraints::default(),
        true_values: reader.texts("trueValues", limits),
        false_values: reader.texts("falseValues", limits),
        decimal_char: reader.text("decimalChar"),
        group_char: reader.text("groupChar"),
        bare_number: reader.flag("bareNumber"),
        allow_non_finite: reader.flag("allowNonFinite"),
        title: reader.text("title"),
        description: reader.text("description"),
    };
    let constraints = match object.get("constraints") {
        None | Some(Value::Null) => Constraints::default(),
        Some(Value::Object(object)) => {
            let at = format!("{at}/constraints");
            constraints(object, &at, limits, problems)
        }
        Some(other) => {
            problems.add(
                format!("{at}/constraints"),
                format!("an object is taken, this is {}", self::kind(other)),
            );
            Constraints::default()
        }
    };
    kind.map(|_| Field {
        constraints,
        ..field
    })
}

fn constraints(
    object: &Map<String, Value>,
    at: &str,
    limits: &Limits,
    problems: &mut Problems,
) -> Constraints {
    for key in object.keys() {
        if !CONSTRAINTS.contains(&key.as_str()) {
            problems.add(
                pointer(at, key),
                format!("unknown constraint; {} are taken", CONSTRAINTS.join(", ")),
            );
        }
    }
    let mut reader = Reader {
        object,
        at,
        problems,
    };
    Constraints {
        required: reader.flag("required").unwrap_or_default(),
        unique: reader.flag("unique").unwrap_or_default(),
        min_length: reader.count("minLength"),
        max_length: reader.count("maxLength"),
        minimum: reader.scalar("minimum"),
        maximum: reader.scalar("maximum"),
        pattern: reader.text("pattern"),
        one_of: reader.values("enum", limits),
    }
}

fn primary_key(
    table: &Map<String, Value>,
    fields: &[Field],
    problems: &mut Problems,
) -> Vec<String> {
    let names: Vec<(String, &Value)> = match table.get("primaryKey") {
        None | Some(Value::Null) => return Vec::new(),
        Some(name @ Value::String(_)) => vec![("/primaryKey".to_owned(), name)],
        Some(Value::Array(names)) => names
            .iter()
            .enumerate()
            .map(|(i, name)| (format!("/primaryKey/{i}"), name))
            .collect(),
        Some(other) => {
            problems.add(
                "/primaryKey",
                format!(
                    "a field's name or a list of them is taken, this is {}",
                    kind(other)
                ),
            );
            return Vec::new();
        }
    };
    let mut key: Vec<String> = Vec::with_capacity(names.len().min(fields.len()));
    let known: HashSet<&str> = fields.iter().map(|f| f.name.as_str()).collect();
    let mut seen: HashSet<&str> = HashSet::new();
    for (at, name) in names {
        match name {
            Value::String(name) if !known.contains(name.as_str()) => {
                problems.add(at, format!("no field has the name `{}`", shown(name)));
            }
            Value::String(name) if !seen.insert(name.as_str()) => {
                problems.add(at, format!("`{}` stands here twice", shown(name)));
            }
            Value::String(name) => key.push(name.clone()),
            other => problems.add(
                at,
                format!("a field's name is taken, this is {}", kind(other)),
            ),
        }
    }
    key
}

/// Reads the keys of one object and tells what is wrong with them.
struct Reader<'a> {
    object: &'a Map<String, Value>,
    at: &'a str,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.add(pointer(self.at, key), problem);
    }

    fn refuse(&mut self, key: &str, why: &str) {
        if self.object.contains_key(key) {
            self.problem(key, why);
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => {
                let problem = format!("a text is taken, this is {}", kind(other));
                self.problem(key, problem);
                None
            }
        }
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            other => {
                let problem = format!("true or false is taken, this is {}", kind(other));
                self.problem(key, problem);
                None
            }
        }
    }

    fn count(&mut self, key: &str) -> Option<u64> {
        let value = self.get(key)?;
        let count = value.as_u64();
        if count.is_none() {
            let problem = format!("a whole number from 0 is taken, this is {}", kind(value));
            self.problem(key, problem);
        }
        count
    }

    fn scalar(&mut self, key: &str) -> Option<Value> {
        match self.get(key)? {
            value @ (Value::Number(_) | Value::String(_)) => Some(value.clone()),
            other => {
                let problem = format!("a number or a text is taken, this is {}", kind(other));
                self.problem(key, problem);
                None
            }
        }
    }

    fn texts(&mut self, key: &str, limits: &Limits) -> Option<Vec<String>> {
        let value = self.get(key)?;
        texts(value, &pointer(self.at, key), limits, self.problems)
    }

    fn values(&mut self, key: &str, limits: &Limits) -> Option<Vec<Value>> {
        let at = pointer(self.at, key);
        let items = match self.get(key)? {
            Value::Array(items) if items.is_empty() => {
                self.problems.add(at, "at least one value is needed");
                return None;
            }
            Value::Array(items) => items,
            other => {
                self.problems.add(
                    at,
                    format!("a list of values is taken, this is {}", kind(other)),
                );
                return None;
            }
        };
        if too_many(items.len(), &at, limits, self.problems) {
            return None;
        }
        Some(items.clone())
    }
}

fn texts(value: &Value, at: &str, limits: &Limits, problems: &mut Problems) -> Option<Vec<String>> {
    let Value::Array(items) = value else {
        problems.add(
            at,
            format!("a list of texts is taken, this is {}", kind(value)),
        );
        return None;
    };
    if too_many(items.len(), at, limits, problems) {
        return None;
    }
    let mut texts = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        match item {
            Value::String(text) => texts.push(text.clone()),
            other => problems.add(
                format!("{at}/{i}"),
                format!("a text is taken, this is {}", kind(other)),
            ),
        }
    }
    Some(texts)
}

fn too_many(count: usize, at: &str, limits: &Limits, problems: &mut Problems) -> bool {
    let many = count > limits.enum_values as usize;
    if many {
        problems.add(
            at,
            format!("{count} values, at most {} are taken", limits.enum_values),
        );
    }
    many
}

/// A JSON pointer to `key` below `at` (RFC 6901).
fn pointer(at: &str, key: &str) -> String {
    format!("{at}/{}", shown(key).replace('~', "~0").replace('/', "~1"))
}

/// A name from the schema, short enough for a sentence.
fn shown(text: &str) -> String {
    const CHARS: usize = 80;
    let mut short: String = text.chars().take(CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
