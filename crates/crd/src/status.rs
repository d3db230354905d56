//! How far a `FileJob` is: a projection of its job's row, written by the controller alone.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reason::ConditionType;
use crate::schema;

/// Characters of a message.
pub const MAX_MESSAGE: usize = 1024;

/// Finding codes that a status counts; the report has all of them.
pub const MAX_CODES: usize = 20;

/// How far the job is. Coarse on purpose: rows and findings are read from the API
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileJobStatus {
    /// The generation of the object that this status tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// A summary in one word; the conditions say more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why it stands where it stands: the reason of the condition that matters most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub reason: Option<String>,
    /// The id of the job, for the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub job_id: Option<String>,
    /// The file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub file: Option<String>,
    /// Such as `42%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4))]
    pub progress: Option<String>,
    /// Rows, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// Pieces of the work, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Tasks>,
    /// Attempts spent on the piece that needed the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub attempt: Option<u32>,
    /// Findings by code, the most frequent ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "errors_by_code")]
    pub errors_by_code: BTreeMap<String, u64>,
    /// Since when it waits, or when it last began to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub queued_time: Option<Time>,
    /// When a worker first had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub completion_time: Option<Time>,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Where the good rows are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub results_url: Option<String>,
    /// What is true of the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl FileJobStatus {
    /// What it says of a kind.
    #[must_use]
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        let mut all = self.conditions.iter();
        all.find(|one| one.type_ == kind.as_str())
    }
}

/// Rows, counted
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rows {
    /// Every row that was read.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub processed: u64,
    /// Those without an error.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub valid: u64,
    /// Those with at least one.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub failed: u64,
}

/// Pieces of the work, counted
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tasks {
    /// All of them.
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub total: u32,
    /// Those that are done.
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub done: u32,
    /// Those that failed for good.
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub failed: u32,
}

/// Where a job stands, in one word
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// There is no job yet: its file is being fetched, or cannot be.
    Pending,
    /// It waits for a worker.
    Queued,
    /// Workers have it.
    Processing,
    /// Its owner holds it back.
    Suspended,
    /// Every row was read.
    Completed,
    /// The file could not be processed.
    Failed,
    /// Its owner ended it.
    Cancelled,
    /// There will be no job: the spec cannot be carried out.
    Rejected,
}

fn errors_by_code(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "description": "Findings by code, the most frequent ones.",
        "maxProperties": MAX_CODES,
        "additionalProperties": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 9_007_199_254_740_991_i64}
    })
}
