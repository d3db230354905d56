//! Compiles what a schema's author wrote into what a column is checked by.

use std::collections::{HashMap, HashSet};

use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value as Json;

use super::parse::Problems;
use super::value::boolean::BooleanText;
use super::value::number::{IntegerText, NumberText, float, integer};
use super::value::temporal::{
    DateText, DatetimeText, TemporalFormat, TimeText, check_pattern, iso_date, iso_datetime,
    iso_time,
};
use super::value::text::StringFormat;
use super::value::{Parse, TextSet, Value};
use super::{Field, FieldType, SchemaProblem, TableSchema};
use crate::limits::Limits;

/// What all patterns of one schema may take compiled, together. Each may take
/// [`Limits::pattern_bytes`] KiB, or its share of this where there are many.
const PATTERNS_BYTES: usize = 32 * 1024 * 1024;
/// What the matcher of one pattern may cache while it runs.
const PATTERN_CACHE_BYTES: usize = 256 * 1024;

/// What one column is checked by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The field as its author wrote it.
    pub field: Field,
    /// Texts that mean "no value".
    pub missing: TextSet,
    /// How its text is read, and what must hold for its values.
    pub kind: Kind,
}

impl Rules {
    /// Refuses text that its value would not keep, such as `007`: what the schema was inferred from were only the first
    /// cells of a column, and nobody has said that those further down are numbers, too.
    #[must_use]
    pub fn only_kept(mut self) -> Self {
        match &mut self.kind {
            Kind::Integer(typed) => typed.text.0 = typed.text.0.clone().only_kept(),
            Kind::Number(typed) => typed.text = typed.text.clone().only_kept(),
            Kind::Time(typed) => typed.text.0 = TemporalFormat::IsoKept,
            Kind::Datetime(typed) => typed.text.0 = TemporalFormat::IsoKept,
            Kind::Text(_) | Kind::Boolean(_) | Kind::Date(_) => {}
        }
        self
    }
}

/// How a column's text is read and what must hold for its values, by type.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `string` and `any`.
    Text(TextRules),
    /// `integer`.
    Integer(Typed<IntegerText>),
    /// `number`.
    Number(Typed<NumberText>),
    /// `boolean`.
    Boolean(Typed<BooleanText>),
    /// `date`.
    Date(Typed<DateText>),
    /// `time`.
    Time(Typed<TimeText>),
    /// `datetime`.
    Datetime(Typed<DatetimeText>),
}

/// What must hold for text.
#[derive(Debug, Clone, Default)]
pub struct TextRules {
    /// What it looks like.
    pub format: StringFormat,
    /// Characters at least.
    pub min_length: Option<u64>,
    /// Characters at most.
    pub max_length: Option<u64>,
    /// Matches the whole cell.
    pub pattern: Option<Regex>,
    /// The only texts allowed.
    pub one_of: Option<TextSet>,
}

impl TextRules {
    /// Whether every text that is not missing is fine.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.format == StringFormat::Default
            && self.min_length.is_none()
            && self.max_length.is_none()
            && self.pattern.is_none()
            && self.one_of.is_none()
    }
}

/// What must hold for values of a type that is not text.
#[derive(Debug, Clone, Default)]
pub struct Typed<P: Parse> {
    /// How the text is read.
    pub text: P,
    /// The smallest value allowed.
    pub minimum: Option<P::Value>,
    /// The largest value allowed.
    pub maximum: Option<P::Value>,
    /// The only values allowed, sorted.
    pub one_of: Option<Vec<P::Value>>,
}

impl<P: Parse> Typed<P> {
    /// Whether every value of the type is fine.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.minimum.is_none() && self.maximum.is_none() && self.one_of.is_none()
    }

    /// Whether `value` is smaller than allowed. NaN is not: no bound can be told from it.
    #[inline]
    pub fn too_small(&self, value: P::Value) -> bool {
        self.minimum.is_some_and(|m| value.order(&m).is_lt())
    }

    /// Whether `value` is larger than allowed; NaN is, as it comes after every number.
    #[inline]
    pub fn too_large(&self, value: P::Value) -> bool {
        self.maximum.is_some_and(|m| value.order(&m).is_gt())
    }

    /// Whether `value` is not among those allowed.
    #[inline]
    pub fn unlisted(&self, value: P::Value) -> bool {
        self.one_of
            .as_ref()
            .is_some_and(|list| list.binary_search_by(|v| v.order(&value)).is_err())
    }
}

/// Compiles every field.
pub(super) fn compile(
    schema: &TableSchema,
    limits: &Limits,
) -> Result<Vec<Rules>, Vec<SchemaProblem>> {
    let mut problems = Problems::new();
    let mut compiler = Compiler::new(schema, limits, &mut problems);
    let missing = TextSet::new(&schema.missing_values);
    let mut rules = Vec::with_capacity(schema.fields.len());
    for (i, field) in schema.fields.iter().enumerate() {
        compiler.at = format!("/fields/{i}");
        rules.push(Rules {
            kind: compiler.kind(field),
            field: field.clone(),
            missing: missing.clone(),
        });
    }
    problems.done(rules)
}

/// Finds what [`compile`] would find, without keeping compiled fields; passes over the `unusable` ones.
pub(super) fn check(
    schema: &TableSchema,
    unusable: &HashSet<usize>,
    limits: &Limits,
    problems: &mut Problems,
) {
    let mut compiler = Compiler::new(schema, limits, problems);
    for (i, field) in schema.fields.iter().enumerate() {
        if !unusable.contains(&i) {
            compiler.at = format!("/fields/{i}");
            compiler.kind(field);
        }
    }
}

struct Compiler<'a> {
    problems: &'a mut Problems,
    /// Where the present field stands.
    at: String,
    /// The same pattern in many columns is compiled once.
    patterns: HashMap<String, Option<Regex>>,
    pattern_source_bytes: usize,
    pattern_size_limit: usize,
}

impl<'a> Compiler<'a> {
    fn new(schema: &TableSchema, limits: &Limits, problems: &'a mut Problems) -> Self {
        let distinct: HashSet<&str> = schema
            .fields
            .iter()
            .filter_map(|f| f.constraints.pattern.as_deref())
            .collect();
        let share = PATTERNS_BYTES / distinct.len().max(1);
        Self {
            problems,
            at: String::new(),
            patterns: HashMap::new(),
            pattern_source_bytes: limits.pattern_bytes as usize,
            pattern_size_limit: share.min(limits.pattern_bytes as usize * 1024),
        }
    }

    fn problem(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.add(format!("{}/{key}", self.at), problem);
    }

    fn kind(&mut self, field: &Field) -> Kind {
        self.misplaced_keys(field);
        match field.kind {
            FieldType::String | FieldType::Any => Kind::Text(self.text(field)),
            FieldType::Integer => {
                let text = IntegerText(self.number_text(field));
                let read = |text: &IntegerText, value: &Json| match value {
                    Json::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
                    Json::String(s) => text
                        .parse(s.trim().as_bytes())
                        .or_else(|| integer(s.trim().as_bytes())),
                    _ => None,
                };
                Kind::Integer(self.typed(field, text, read))
            }
            FieldType::Number => {
                let text = self.number_text(field);
                let read = |text: &NumberText, value: &Json| match value {
                    Json::Number(number) => number.as_f64(),
                    Json::String(s) => text
                        .parse(s.trim().as_bytes())
                        .or_else(|| float(s.trim().as_bytes())),
                    _ => None,
                };
                Kind::Number(self.typed(field, text, read))
            }
            FieldType::Boolean => {
                let text = self.boolean_text(field);
                let read = |text: &BooleanText, value: &Json| match value {
                    Json::Bool(value) => Some(*value),
                    Json::String(s) => text.parse(s.as_bytes()),
                    _ => None,
                };
                Kind::Boolean(self.typed(field, text, read))
            }
            FieldType::Date => {
                let text = DateText(self.temporal(field, "date", |parts| parts.to_date().is_ok()));
                Kind::Date(self.typed(field, text, |text, value| {
                    let s = value.as_str()?.trim().as_bytes();
                    text.parse(s).or_else(|| iso_date(s))
                }))
            }
            FieldType::Time => {
                let reads = |parts: &jiff::fmt::strtime::BrokenDownTime| {
                    parts.hour().is_some() && parts.to_time().is_ok()
                };
                let text = TimeText(self.temporal(field, "time", reads));
                Kind::Time(self.typed(field, text, |text, value| {
                    let s = value.as_str()?.trim().as_bytes();
                    text.parse(s).or_else(|| iso_time(s))
                }))
            }
            FieldType::Datetime => {
                let reads = |parts: &jiff::fmt::strtime::BrokenDownTime| {
                    parts.timestamp().is_some() || parts.to_datetime().is_ok()
                };
                let text = DatetimeText(self.temporal(field, "datetime", reads));
                Kind::Datetime(self.typed(field, text, |text, value| {
                    let s = value.as_str()?.trim().as_bytes();
                    text.parse(s).or_else(|| iso_datetime(s))
                }))
            }
        }
    }

    /// Keys and constraints that the field's type does not have.
    fn misplaced_keys(&mut self, field: &Field) {
        use FieldType::{Boolean, Date, Datetime, Integer, Number, String, Time};
        let c = &field.constraints;
        let keys: [(&str, bool, &[FieldType]); 11] = [
            ("trueValues", field.true_values.is_some(), &[Boolean]),
            ("falseValues", field.false_values.is_some(), &[Boolean]),
            ("decimalChar", field.decimal_char.is_some(), &[Number]),
            ("groupChar", field.group_char.is_some(), &[Integer, Number]),
            (
                "bareNumber",
                field.bare_number.is_some(),
                &[Integer, Number],
            ),
            (
                "allowNonFinite",
                field.allow_non_finite.is_some(),
                &[Number],
            ),
            ("constraints/minLength", c.min_length.is_some(), &[String]),
            ("constraints/maxLength", c.max_length.is_some(), &[String]),
            ("constraints/pattern", c.pattern.is_some(), &[String]),
            (
                "constraints/minimum",
                c.minimum.is_some(),
                &[Integer, Number, Date, Time, Datetime],
            ),
            (
                "constraints/maximum",
                c.maximum.is_some(),
                &[Integer, Number, Date, Time, Datetime],
            ),
        ];
        for (key, present, kinds) in keys {
            if present && !kinds.contains(&field.kind) {
                let kinds: Vec<_> = kinds.iter().map(|k| k.as_str()).collect();
                let problem = format!(
                    "type {} does not have it; types that do: {}",
                    field.kind.as_str(),
                    kinds.join(", ")
                );
                self.problem(key, problem);
            }
        }
        let formatted = matches!(field.kind, String | Date | Time | Datetime);
        if !formatted && field.format.as_deref().is_some_and(|f| f != "default") {
            let problem = format!("type {} has only the format `default`", field.kind.as_str());
            self.problem("format", problem);
        }
    }

    fn typed<P: Parse>(
        &mut self,
        field: &Field,
        text: P,
        read: impl Fn(&P, &Json) -> Option<P::Value>,
    ) -> Typed<P> {
        let c = &field.constraints;
        let mut one = |key: &str, value: &Json| {
            let read = read(&text, value);
            if read.is_none() {
                let problem = format!("{} is no {}", shown(value), field.kind.as_str());
                self.problem(&format!("constraints/{key}"), problem);
            }
            read
        };
        let minimum = c.minimum.as_ref().and_then(|v| one("minimum", v));
        let maximum = c.maximum.as_ref().and_then(|v| one("maximum", v));
        let one_of = c.one_of.as_ref().map(|values| {
            let mut values: Vec<_> = values
                .iter()
                .enumerate()
                .filter_map(|(i, v)| one(&format!("enum/{i}"), v))
                .collect();
            values.sort_by(Value::order);
            values
        });
        if let (Some(low), Some(high)) = (minimum, maximum)
            && low.order(&high).is_gt()
        {
            self.problem(
                "constraints/minimum",
                "larger than `maximum`: no value could pass",
            );
        }
        Typed {
            text,
            minimum,
            maximum,
            one_of,
        }
    }

    fn text(&mut self, field: &Field) -> TextRules {
        let c = &field.constraints;
        let format = match field.format.as_deref() {
            Some(name) if field.kind == FieldType::String => StringFormat::named(name)
                .unwrap_or_else(|| {
                    let known: Vec<_> = StringFormat::ALL.iter().map(|(n, _)| *n).collect();
                    let problem = format!("unknown format; {} are taken", known.join(", "));
                    self.problem("format", problem);
                    StringFormat::Default
                }),
            _ => StringFormat::Default,
        };
        if let (Some(low), Some(high)) = (c.min_length, c.max_length)
            && low > high
        {
            self.problem(
                "constraints/minLength",
                "larger than `maxLength`: no value could pass",
            );
        }
        let one_of = c.one_of.as_ref().map(|values| {
            TextSet::new(
                values
                    .iter()
                    .enumerate()
                    .filter_map(|(i, value)| match value {
                        Json::String(text) => Some(text.clone()),
                        // Cells are text: the number 7 stands in a column of type `any` as `7`.
                        Json::Number(_) | Json::Bool(_) if field.kind == FieldType::Any => {
                            Some(value.to_string())
                        }
                        other => {
                            let problem = format!("{} is no {}", shown(other), field.kind.as_str());
                            self.problem(&format!("constraints/enum/{i}"), problem);
                            None
                        }
                    }),
            )
        });
        TextRules {
            format,
            min_length: c.min_length,
            max_length: c.max_length,
            pattern: c.pattern.as_ref().and_then(|p| self.pattern(p)),
            one_of,
        }
    }

    fn pattern(&mut self, pattern: &str) -> Option<Regex> {
        if pattern.len() > self.pattern_source_bytes {
            let problem = format!(
                "{} bytes, at most {} are taken",
                pattern.len(),
                self.pattern_source_bytes
            );
            self.problem("constraints/pattern", problem);
            return None;
        }
        if let Some(known) = self.patterns.get(pattern) {
            return known.clone();
        }
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(self.pattern_size_limit)
                .dfa_size_limit(PATTERN_CACHE_BYTES)
                .build()
        };
        // Alone first: `a)|(b` would be well-formed inside the group.
        let compiled = compile(pattern).and_then(|_| {
            compile(&format!(r"\A(?:{pattern})\z"))
                // With `(?x)` a comment at the end would swallow the parenthesis.
                .or_else(|_| compile(&format!("\\A(?:{pattern}\n)\\z")))
        });
        if let Err(cause) = &compiled {
            let problem = match cause {
                regex::Error::CompiledTooBig(limit) => format!(
                    "the compiled pattern is larger than {} KiB; make repetitions smaller",
                    limit / 1024
                ),
                other => {
                    // The last line says what; those before draw where.
                    let text = other.to_string();
                    let what = text.lines().last().unwrap_or_default();
                    format!(
                        "not a regular expression: {}",
                        what.trim_start_matches("error: ")
                    )
                }
            };
            self.problem("constraints/pattern", problem);
        }
        let compiled = compiled.ok();
        self.patterns.insert(pattern.to_owned(), compiled.clone());
        compiled
    }

    fn number_text(&mut self, field: &Field) -> NumberText {
        let mut character = |key: &str, text: &Option<String>, default: &'static str| -> String {
            let Some(text) = text else {
                return default.to_owned();
            };
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (None, _) if key == "groupChar" => String::new(),
                (Some(c), None) if !c.is_alphanumeric() && !matches!(c, '+' | '-') => text.clone(),
                _ => {
                    self.problem(
                        key,
                        "one character is taken that is no letter, digit or sign",
                    );
                    default.to_owned()
                }
            }
        };
        let decimal = character("decimalChar", &field.decimal_char, ".");
        let group = character("groupChar", &field.group_char, "");
        if decimal == group && field.kind == FieldType::Number {
            self.problem("groupChar", "must differ from `decimalChar`");
        }
        let listed = field.constraints.one_of.iter().flatten();
        let named = |v: &Json| matches!(v.as_str(), Some("NaN" | "INF" | "-INF"));
        let non_finite =
            field.allow_non_finite.unwrap_or_default() || listed.into_iter().any(named);
        NumberText::new(
            &decimal,
            &group,
            field.bare_number.unwrap_or(true),
            non_finite,
        )
    }

    fn boolean_text(&mut self, field: &Field) -> BooleanText {
        for (key, values) in [
            ("trueValues", &field.true_values),
            ("falseValues", &field.false_values),
        ] {
            if values.as_ref().is_some_and(Vec::is_empty) {
                self.problem(key, "at least one text is needed");
            }
        }
        let default = BooleanText::default();
        let text = BooleanText {
            true_values: field
                .true_values
                .as_ref()
                .map_or(default.true_values, TextSet::new),
            false_values: field
                .false_values
                .as_ref()
                .map_or(default.false_values, TextSet::new),
        };
        let both = text
            .true_values
            .iter()
            .find(|t| text.false_values.contains(t));
        if let Some(both) = both {
            let key = if field.false_values.is_some() {
                "falseValues"
            } else {
                "trueValues"
            };
            let problem = format!(
                "`{}` would be both true and false",
                String::from_utf8_lossy(both)
            );
            self.problem(key, problem);
        }
        text
    }

    fn temporal(
        &mut self,
        field: &Field,
        type_name: &str,
        reads: impl Fn(&jiff::fmt::strtime::BrokenDownTime) -> bool,
    ) -> TemporalFormat {
        match field.format.as_deref() {
            None | Some("default") => TemporalFormat::Iso,
            Some("any") => TemporalFormat::Any,
            Some(pattern) => match check_pattern(pattern, type_name, reads) {
                Ok(()) => TemporalFormat::Pattern(pattern.to_owned()),
                Err(problem) => {
                    self.problem("format", problem);
                    TemporalFormat::Iso
                }
            },
        }
    }
}

/// A float that is a whole number of 64 bits.
fn whole(value: f64) -> Option<i64> {
    // 2^63 itself is the first float past the range.
    const END: f64 = -(i64::MIN as f64);
    let fits = value.fract() == 0.0 && (-END..END).contains(&value);
    fits.then_some(value as i64)
}

/// A JSON value, short enough for a sentence.
fn shown(value: &Json) -> String {
    const CHARS: usize = 40;
    let text = match value {
        Json::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    if text.chars().count() > CHARS {
        text.chars().take(CHARS).chain(['…']).collect()
    } else {
        text
    }
}
