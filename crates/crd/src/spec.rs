//! What the author of a `FileJob` wants.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::schema;
use crate::source::{Format, Source};
use crate::status::FileJobStatus;

/// The highest priority.
pub const MAX_PRIORITY: u8 = 10;

/// What is wanted: a file, how it is to be checked, and what is to become of the job
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "filejobs.dev",
    version = "v1alpha1",
    kind = "FileJob",
    plural = "filejobs",
    shortname = "fj",
    category = "all",
    category = "filejobs",
    namespaced,
    status = "FileJobStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A file that is checked row by row: its good rows become typed data, every bad cell is kept with its place and reason",
    selectable = ".status.phase",
    selectable = ".status.jobId",
    printcolumn = r#"{"jsonPath": ".status.phase", "name": "Status", "type": "string"}"#,
    printcolumn = r#"{"jsonPath": ".status.progress", "name": "Progress", "type": "string"}"#,
    printcolumn = r#"{"jsonPath": ".status.rows.processed", "name": "Rows", "type": "integer"}"#,
    printcolumn = r#"{"jsonPath": ".status.rows.failed", "name": "Failed", "type": "integer"}"#,
    printcolumn = r#"{"jsonPath": ".spec.priority", "name": "Priority", "type": "integer"}"#,
    printcolumn = r#"{"jsonPath": ".metadata.creationTimestamp", "name": "Age", "type": "date"}"#,
    printcolumn = r#"{"jsonPath": ".status.reason", "name": "Reason", "type": "string", "priority": 1}"#,
    printcolumn = r#"{"jsonPath": ".status.attempt", "name": "Attempt", "type": "integer", "priority": 1}"#,
    printcolumn = r#"{"jsonPath": ".status.file", "name": "File", "type": "string", "priority": 1}"#,
    printcolumn = r#"{"jsonPath": ".status.jobId", "name": "Job-Id", "type": "string", "priority": 1}"#,
    crates(
        kube_core = "::kube_core",
        k8s_openapi = "::k8s_openapi",
        schemars = "::schemars",
        serde = "::serde",
        serde_json = "::serde_json"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.source == oldSelf.source",
        "message": "source cannot be changed; create another FileJob"
    },
    {
        "rule": "self.format == oldSelf.format",
        "message": "format cannot be changed; create another FileJob"
    },
    {
        "rule": "has(self.options) == has(oldSelf.options) && (!has(self.options) || self.options == oldSelf.options)",
        "message": "options cannot be changed; create another FileJob"
    },
    {
        "rule": "has(self.schema) == has(oldSelf.schema) && (!has(self.schema) || self.schema == oldSelf.schema)",
        "message": "schema cannot be changed; create another FileJob"
    },
    {
        "rule": "has(self.processor) == has(oldSelf.processor) && (!has(self.processor) || self.processor == oldSelf.processor)",
        "message": "processor cannot be changed; create another FileJob"
    },
    {
        "rule": "has(self.webhook) == has(oldSelf.webhook) && (!has(self.webhook) || self.webhook == oldSelf.webhook)",
        "message": "webhook cannot be changed; create another FileJob"
    },
    {
        "rule": "!has(self.source.upload) || !(has(self.schema) || has(self.options) || has(self.processor) || has(self.webhook))",
        "message": "schema, options, processor and webhook are not taken beside upload: the job has what it was handed in with"
    },
    {
        "rule": "self.retryGeneration >= oldSelf.retryGeneration",
        "message": "retryGeneration can only be raised"
    },
    {
        "rule": "!(oldSelf.cancel && !self.cancel) || self.retryGeneration > oldSelf.retryGeneration",
        "message": "a cancelled job goes on only with a higher retryGeneration: raise it together with cancel: false"
    },
    {
        "rule": "!(self.cancel && self.retryGeneration > oldSelf.retryGeneration)",
        "message": "retryGeneration cannot be raised while cancel is true"
    }
]))]
pub struct FileJobSpec {
    /// Where the file comes from.
    pub source: Source,
    /// What the file is; `auto` goes by the end of its name. The content must fit.
    #[serde(default)]
    pub format: Format,
    /// The Table Schema that rows are checked against; inferred when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::table_schema")]
    pub schema: Option<Map<String, Value>>,
    /// What is not to be detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
    /// What is done with the good rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<Processor>,
    /// 0 to 10, 10 first. Can be changed while the job waits.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10))]
    pub priority: u8,
    /// Holds the job back; finished parts are kept.
    #[serde(default)]
    pub suspend: bool,
    /// Ends the job. Back to false only together with a higher `retryGeneration`.
    #[serde(default)]
    pub cancel: bool,
    /// Raised by one, a failed or cancelled job starts over.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub retry_generation: u32,
    /// The job fails when it has not ended this long after a worker first had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<u32>,
    /// The job fails when no worker had it this long after it began to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub queue_deadline_seconds: Option<u32>,
    /// This long after its end the object goes, and with it the job, its file and its results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<u32>,
    /// Where the end is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// What is not to be detected
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Between cells: `,`, `;`, a tab, `|` or another single ASCII character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1))]
    pub delimiter: Option<String>,
    /// Around cells; `"` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1))]
    pub quote: Option<String>,
    /// A WHATWG encoding label such as `utf-8` or `windows-1252`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub encoding: Option<String>,
    /// Whether the first line that is not empty holds the labels; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// A sheet's name, or its number from 1; the first visible sheet with data when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::sheet")]
    pub sheet: Option<IntOrString>,
    /// The job fails as soon as more rows than this have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000_000_u64))]
    pub max_errors: Option<u64>,
    /// The job fails when, at the end, more than this share (0 to 1) of the rows have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_error_ratio: Option<f64>,
}

/// What is done with the good rows
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Processor {
    /// The processor's name.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z][a-z0-9-]*$"))]
    pub kind: String,
}

/// Where the end of a job is told
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// An http or https address without user name or password.
    #[schemars(
        length(min = 8, max = 2048),
        regex(pattern = r"^https?://[^\s/?#@]+([/?#]\S*)?$")
    )]
    pub url: String,
    /// Where the key of its signatures is; the service's own keys sign when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<WebhookSecret>,
}

/// The type of the Secrets that may be named: nothing else that a namespace keeps secret is ever read.
pub const WEBHOOK_SECRET_TYPE: &str = "filejobs.dev/webhook";

/// A key of a Secret in the same namespace, of the type `filejobs.dev/webhook`; its value is `whsec_…`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSecret {
    /// The Secret's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = schema::OBJECT_NAME)
    )]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::DATA_KEY))]
    pub key: String,
}
