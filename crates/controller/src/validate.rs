//! Whether a spec can be carried out, and as what. What the schema of the object and its rules say already is not
//! repeated.

use filejobs_core::options::Sheet;
use filejobs_core::{Limits, Options, TableSchema, WebhookUrl};
use filejobs_crd::{FileJobSpec, Reason};
use filejobs_store_postgres::objects::{Applied, WebhookSecret};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

/// The processors that there are, by name.
const PROCESSORS: [&str; 1] = ["import"];

/// Problems that a message names; the rest is counted.
const TOLD: usize = 3;

/// What a job is made of, but for its file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) options: Options,
    pub(crate) schema: Option<TableSchema>,
    pub(crate) processor: Value,
    pub(crate) webhook_url: Option<String>,
    pub(crate) webhook_secret: Option<WebhookSecret>,
}

/// There will be no job, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Rejection {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// What the author wants done with the job.
pub(crate) fn steering(spec: &FileJobSpec) -> Applied {
    Applied {
        suspend: spec.suspend,
        cancel: spec.cancel,
        priority: spec.priority.min(filejobs_crd::MAX_PRIORITY),
        retries: spec.retry_generation,
    }
}

/// Reads a spec.
pub(crate) fn validate(spec: &FileJobSpec, limits: &Limits) -> Result<Wanted, Rejection> {
    let processor = spec.processor.as_ref().map_or("import", |p| &p.kind);
    if !PROCESSORS.contains(&processor) {
        let known = PROCESSORS.join(", ");
        return Err(Rejection::new(
            Reason::UnknownProcessor,
            format!("There is no processor `{processor}`; known: {known}."),
        ));
    }
    Ok(Wanted {
        options: options(spec)?,
        schema: schema(spec, limits)?,
        processor: json!({ "type": processor }),
        webhook_url: webhook(spec)?,
        webhook_secret: webhook_secret(spec),
    })
}

fn options(spec: &FileJobSpec) -> Result<Options, Rejection> {
    let Some(given) = &spec.options else {
        return Ok(Options::default());
    };
    let invalid = |what: String| Rejection::new(Reason::InvalidOptions, what);
    let sheet = match &given.sheet {
        None => None,
        Some(IntOrString::Int(number)) => {
            let number = u32::try_from(*number);
            Some(Sheet::Number(number.map_err(|_| {
                invalid("`sheet`: sheets are numbered from 1.".to_owned())
            })?))
        }
        Some(IntOrString::String(name)) => Some(Sheet::Name(name.clone())),
    };
    let one = |text: &Option<String>| text.as_ref().and_then(|text| text.chars().next());
    let options = Options {
        delimiter: one(&given.delimiter),
        quote: one(&given.quote),
        encoding: given.encoding.clone(),
        header: given.header,
        sheet,
        max_errors: given.max_errors,
        max_error_ratio: given.max_error_ratio,
    };
    let problems: Vec<_> = options.problems().iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        Ok(options)
    } else {
        Err(invalid(told(&problems)))
    }
}

fn schema(spec: &FileJobSpec, limits: &Limits) -> Result<Option<TableSchema>, Rejection> {
    let Some(schema) = &spec.schema else {
        return Ok(None);
    };
    let text = Value::Object(schema.clone()).to_string();
    TableSchema::from_json(&text, limits)
        .map(Some)
        .map_err(|problems| {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Rejection::new(Reason::InvalidSchema, told(&problems))
        })
}

fn webhook(spec: &FileJobSpec) -> Result<Option<String>, Rejection> {
    let Some(webhook) = &spec.webhook else {
        return Ok(None);
    };
    let url = webhook.url.parse::<WebhookUrl>();
    let url = url.map_err(|problem| {
        Rejection::new(Reason::InvalidWebhook, format!("`webhook.url` {problem}."))
    })?;
    Ok(Some(url.as_str().to_owned()))
}

fn webhook_secret(spec: &FileJobSpec) -> Option<WebhookSecret> {
    let of = spec.webhook.as_ref()?.secret_ref.as_ref()?;
    Some(WebhookSecret {
        name: of.name.clone(),
        key: of.key.clone(),
    })
}

/// The first problems, and how many more there are.
fn told(problems: &[String]) -> String {
    let text = problems[..problems.len().min(TOLD)].join("; ");
    match problems.len().saturating_sub(TOLD) {
        0 => format!("{text}."),
        more => format!("{text}; and {more} more."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn rejected(spec: Value) -> (&'static str, String) {
        let spec = fixtures::object(spec, false).spec;
        let rejection = validate(&spec, &Limits::default()).unwrap_err();
        (rejection.reason.as_str(), rejection.message)
    }

    #[test]
    fn what_cannot_be_carried_out_is_told_with_reason_and_place() {
        let fields =
            json!({"fields": [{"name": "a", "type": "integer", "constraints": {"pattern": "("}}]});
        let told = [
            rejected(json!({"processor": {"type": "shred"}})),
            rejected(json!({"options": {"delimiter": "a", "sheet": 0}})),
            rejected(json!({"options": {"sheet": -1}})),
            rejected(json!({"schema": fields})),
            rejected(json!({"schema": {"fields": [{"name": "a"}, {"name": "a"}]}})),
            rejected(json!({"webhook": {"url": "https://"}})),
        ];
        insta::assert_debug_snapshot!(told);
    }

    #[test]
    fn a_spec_becomes_what_an_upload_would_have_said() {
        let spec = json!({
            "source": {"configMap": {"name": "a", "key": "a.csv"}},
            "options": {"delimiter": ";", "sheet": "Orders", "maxErrors": 3, "maxErrorRatio": 0.5},
            "schema": {"fields": [{"name": "amount", "type": "number", "constraints": {"minimum": 0.5}}]},
            "webhook": {"url": "https://example.org/hook", "secretRef": {"name": "hook", "key": "signing"}},
            "suspend": true, "priority": 7, "retryGeneration": 2
        });
        let spec: FileJobSpec = serde_json::from_value(spec).unwrap();
        let wanted = validate(&spec, &Limits::default()).unwrap();
        insta::assert_debug_snapshot!((wanted, steering(&spec)));
    }
}
