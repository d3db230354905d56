//! The form's text fields and what they mean.

use std::collections::BTreeMap;

use filejobs_core::{Limits, Namespace, Options, TableSchema, WebhookUrl};

use crate::problem::{Code, FieldError, Place, Problem};

/// Bytes of a field that holds a word, a number or an address.
const SHORT: u64 = 4 * 1024;
/// The highest priority.
pub(crate) const MAX_PRIORITY: u8 = 10;

/// A text field of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Namespace,
    Options,
    Priority,
    Schema,
    WebhookUrl,
}

impl Name {
    const ALL: [Self; 5] = [
        Self::WebhookUrl,
        Self::Priority,
        Self::Schema,
        Self::Options,
        Self::Namespace,
    ];

    /// The field with this name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|n| n.as_str() == text)
    }

    /// The field's name in the form.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Options => "options",
            Self::Priority => "priority",
            Self::Schema => "schema",
            Self::WebhookUrl => "webhook_url",
        }
    }

    /// Bytes that it may have.
    pub(crate) fn max_bytes(self, limits: &Limits) -> u64 {
        match self {
            Self::Schema | Self::Options => limits.form_field_bytes,
            Self::Namespace | Self::Priority | Self::WebhookUrl => SHORT,
        }
    }
}

/// The text fields that have come so far. A field left blank is like one left out: browsers send those, too.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// As they came, for the idempotency key's fingerprint.
    pub(crate) texts: BTreeMap<Name, String>,
    /// `None` until it came.
    pub(crate) namespace: Option<Namespace>,
    pub(crate) options: Options,
    pub(crate) priority: u8,
    pub(crate) schema: Option<TableSchema>,
    pub(crate) webhook_url: Option<WebhookUrl>,
    seen: Vec<Name>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Notes that a field begins; a second one of the same name is refused.
    pub(crate) fn begin(&mut self, name: Name) -> Result<(), Problem> {
        if self.seen.contains(&name) {
            return Err(twice(name.as_str()));
        }
        self.seen.push(name);
        Ok(())
    }

    /// Takes a field's text. What is wrong with it is kept for [`Fields::check`].
    pub(crate) async fn add(
        &mut self,
        name: Name,
        text: String,
        limits: &Limits,
    ) -> Result<(), Problem> {
        let value = text.trim();
        if value.is_empty() {
            return Ok(());
        }
        match name {
            Name::Namespace => match value.parse() {
                Ok(namespace) => self.namespace = Some(namespace),
                Err(_) => self.refuse(
                    name,
                    "must be 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-'",
                ),
            },
            Name::Priority => match value.parse() {
                Ok(priority) if priority <= MAX_PRIORITY => self.priority = priority,
                _ => self.refuse(name, "must be a whole number from 0 to 10"),
            },
            // Only what the address itself says: where it leads is checked where the connection is made.
            Name::WebhookUrl => match value.parse::<WebhookUrl>() {
                Ok(url) => self.webhook_url = Some(url),
                Err(invalid) => self.refuse(name, invalid.to_string()),
            },
            Name::Options => self.options(value),
            Name::Schema => self.schema(value.to_owned(), limits).await?,
        }
        self.texts.insert(name, text);
        Ok(())
    }

    /// Tells what is wrong with the fields so far.
    pub(crate) fn check(&mut self) -> Result<(), Problem> {
        let errors = std::mem::take(&mut self.errors);
        let Some(first) = errors.first() else {
            return Ok(());
        };
        let same = errors.iter().all(|e| e.name == first.name);
        let detail = match &errors[..] {
            [only] => format!(
                "The field `{}` cannot be used: it {}.",
                only.name, only.detail
            ),
            _ if same => format!(
                "The field `{}` cannot be used; `errors` says where and why.",
                first.name
            ),
            _ => "Fields of the form cannot be used; `errors` says what each takes.".to_owned(),
        };
        Err(Problem::fields(Code::InvalidForm, detail, errors))
    }

    fn refuse(&mut self, name: Name, detail: impl Into<String>) {
        let error = FieldError::new(Place::Form, name.as_str(), detail);
        self.errors.push(error);
    }

    fn options(&mut self, text: &str) {
        // A list would fill the options by their order; nobody means that.
        if !text.starts_with('{') {
            return self.refuse(
                Name::Options,
                "must be a JSON object such as {\"delimiter\": \";\"}",
            );
        }
        let options = match serde_json::from_str::<Options>(text) {
            Ok(options) => options,
            Err(e) => return self.refuse(Name::Options, format!("is no usable JSON object: {e}")),
        };
        for problem in options.problems() {
            let error = FieldError::new(Place::Form, Name::Options.as_str(), problem.problem);
            self.errors.push(error.at(format!("/{}", problem.option)));
        }
        self.options = options;
    }

    /// A schema can hold thousands of patterns to compile: not work for a thread that serves others.
    async fn schema(&mut self, text: String, limits: &Limits) -> Result<(), Problem> {
        let limits = limits.clone();
        let read = tokio::task::spawn_blocking(move || TableSchema::from_json(&text, &limits));
        match read.await.map_err(Problem::internal)? {
            Ok(schema) => self.schema = Some(schema),
            Err(problems) => {
                for problem in problems {
                    let error =
                        FieldError::new(Place::Form, Name::Schema.as_str(), problem.problem);
                    self.errors.push(error.at(problem.pointer));
                }
            }
        }
        Ok(())
    }
}

/// A part of the form stands there more than once.
pub(crate) fn twice(name: &str) -> Problem {
    Problem::fields(
        Code::InvalidForm,
        format!(
            "The form has more than one part `{name}`. Send exactly one; send several files as several uploads."
        ),
        vec![FieldError::new(
            Place::Form,
            name,
            "stands there more than once",
        )],
    )
}
