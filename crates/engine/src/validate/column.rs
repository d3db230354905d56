//! One column of the file: its rules and the sentences about it.

use filejobs_core::report::ColumnLayout;
use filejobs_core::schema::value::TextSet;
use filejobs_core::schema::value::number::NumberText;
use filejobs_core::schema::value::temporal::TemporalFormat;
use filejobs_core::schema::value::text::StringFormat;
use filejobs_core::schema::{Field, FieldType, Kind, Rules};

use super::problem::What;
use super::render::{letters, push_json};

/// Characters of a schema's own text (a pattern, an enum value) that a message repeats.
const QUOTED_CHARS: usize = 80;
/// Values of an `enum` that a message lists.
const LISTED_VALUES: usize = 10;

/// One column of the file.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name in the results.
    pub(crate) name: String,
    /// Rules by the schema; absent for a column that it does not know.
    pub(crate) rules: Option<Rules>,
    /// Texts that mean "no value".
    pub(crate) missing: TextSet,
    /// `"column_name":…,"column_number":…,"cell":"C`: what findings of this column share.
    pub(crate) json_place: Vec<u8>,
    /// What can be wrong with its values, as a sentence.
    messages: Vec<Message>,
}

/// A sentence, plain and as a JSON string without its quotes.
#[derive(Debug)]
pub(crate) struct Message {
    what: What,
    pub(crate) text: String,
    pub(crate) json: Vec<u8>,
}

impl Message {
    fn new(what: What, text: String) -> Self {
        let mut json = Vec::with_capacity(text.len());
        push_json(&mut json, &text);
        Self { what, text, json }
    }
}

impl Column {
    /// The column at `index` (from 0), `sheet_column` as a spreadsheet counts.
    pub(crate) fn new(
        layout: &ColumnLayout,
        index: usize,
        sheet_column: u32,
        rules: Option<Rules>,
        missing: &TextSet,
    ) -> Self {
        let mut json_place = b"\"column_name\":\"".to_vec();
        push_json(&mut json_place, &layout.name);
        json_place.extend_from_slice(b"\",\"column_number\":");
        json_place.extend_from_slice((index + 1).to_string().as_bytes());
        json_place.extend_from_slice(b",\"cell\":\"");
        letters(&mut json_place, sheet_column);
        Self {
            name: layout.name.clone(),
            messages: rules.as_ref().map(messages).unwrap_or_default(),
            missing: missing.clone(),
            rules,
            json_place,
        }
    }

    /// Whether an empty cell is a finding.
    pub(crate) fn required(&self) -> bool {
        self.rules
            .as_ref()
            .is_some_and(|r| r.field.constraints.required)
    }

    /// The sentence for what is wrong with a value.
    pub(crate) fn message(&self, what: What) -> Option<&Message> {
        self.messages.iter().find(|m| m.what == what)
    }
}

/// The sentences for everything that the rules can refuse.
fn messages(rules: &Rules) -> Vec<Message> {
    let field = &rules.field;
    let c = &field.constraints;
    let mut messages = Vec::new();
    let mut add = |what, text: Option<String>| {
        messages.extend(text.map(|text| Message::new(what, text)));
    };
    add(What::Type, type_message(&rules.kind, field));
    add(
        What::Required,
        c.required.then(|| "a value is required".to_owned()),
    );
    let characters = |n: u64| if n == 1 { "character" } else { "characters" };
    add(
        What::MinLength,
        c.min_length
            .map(|n| format!("expected at least {n} {}", characters(n))),
    );
    add(
        What::MaxLength,
        c.max_length
            .map(|n| format!("expected at most {n} {}", characters(n))),
    );
    let bound = |words: &str, value: &Option<serde_json::Value>| {
        value
            .as_ref()
            .map(|v| format!("expected {words} {}", shown(v)))
    };
    let (least, most) = match field.kind {
        FieldType::Date | FieldType::Time | FieldType::Datetime => ("not before", "not after"),
        _ => ("at least", "at most"),
    };
    add(What::Minimum, bound(least, &c.minimum));
    add(What::Maximum, bound(most, &c.maximum));
    add(
        What::Pattern,
        c.pattern
            .as_ref()
            .map(|p| format!("expected text that matches the pattern {}", cut(p))),
    );
    add(
        What::Enum,
        c.one_of.as_ref().map(|values| enum_message(values)),
    );
    messages
}

fn enum_message(values: &[serde_json::Value]) -> String {
    let listed: Vec<_> = values.iter().take(LISTED_VALUES).map(shown).collect();
    let more = match values.len().saturating_sub(LISTED_VALUES) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("expected one of {}{more}", listed.join(", "))
}

fn type_message(kind: &Kind, field: &Field) -> Option<String> {
    let text = match kind {
        Kind::Text(text) => match text.format {
            StringFormat::Default => return None,
            StringFormat::Email => "expected an e-mail address, such as a@example.org".to_owned(),
            StringFormat::Uri => "expected a URI, such as https://example.org/a".to_owned(),
            StringFormat::Uuid => {
                "expected a UUID, such as 123e4567-e89b-12d3-a456-426614174000".to_owned()
            }
            StringFormat::Binary => "expected Base64 text".to_owned(),
        },
        Kind::Integer(typed) if typed.text.0.takes_only_kept() => format!(
            "expected a whole number of at most 64 bits without leading zeros or plus sign, such as 42; {INFERRED}"
        ),
        Kind::Integer(_) => "expected a whole number of at most 64 bits, such as 42".to_owned(),
        Kind::Number(typed) => number_message(&typed.text, field),
        Kind::Boolean(typed) => {
            let list = |set: &TextSet| {
                let texts: Vec<_> = set.iter().take(LISTED_VALUES).map(quoted).collect();
                texts.join(", ")
            };
            format!(
                "expected true ({}) or false ({})",
                list(&typed.text.true_values),
                list(&typed.text.false_values)
            )
        }
        Kind::Date(typed) => temporal_message("a date", "2024-12-31", &typed.text.0),
        Kind::Time(typed) => temporal_message("a time", "23:59:59", &typed.text.0),
        Kind::Datetime(typed) => {
            temporal_message("a date and time", "2024-12-31T23:59:59Z", &typed.text.0)
        }
    };
    Some(text)
}

/// Why text is refused that the same type takes where a schema asks for it.
const INFERRED: &str = "the type was inferred from the first rows; send a schema if it is another";

fn number_message(text: &NumberText, field: &Field) -> String {
    if text.takes_only_kept() {
        return format!(
            "expected a number that 64 bits keep, without leading zeros or plus sign, such as 12.5; {INFERRED}"
        );
    }
    let decimal = field.decimal_char.as_deref().unwrap_or(".");
    let others = if text.takes_non_finite() {
        ", NaN, INF or -INF"
    } else {
        ""
    };
    format!("expected a number of at most 64 bits, such as 12{decimal}5{others}")
}

fn temporal_message(what: &str, example: &str, format: &TemporalFormat) -> String {
    match format {
        TemporalFormat::Iso => format!("expected {what} that exists, written as {example}"),
        TemporalFormat::IsoKept => format!(
            "expected {what} that exists, no finer than microseconds, written as {example}; {INFERRED}"
        ),
        TemporalFormat::Any => {
            format!(
                "expected {what} that exists, in a notation that cannot be misread, such as {example}"
            )
        }
        TemporalFormat::Pattern(pattern) => {
            format!(
                "expected {what} that exists, in the format {}",
                cut(pattern)
            )
        }
    }
}

fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => cut(text),
        other => other.to_string(),
    }
}

fn quoted(text: &[u8]) -> String {
    cut(&String::from_utf8_lossy(text))
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{short}`")
}
