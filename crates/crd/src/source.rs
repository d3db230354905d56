//! Where a `FileJob`'s file comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Where the file comes from: exactly one of `upload`, `configMap`, `url` and `store`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.upload), has(self.configMap), has(self.url), has(self.store)].filter(given, given).size() == 1",
        "message": "exactly one of upload, configMap, url and store is taken"
    },
    {
        "rule": "!has(self.sha256) || !has(self.upload)",
        "message": "sha256 is not taken beside upload: the API has checked those bytes"
    }
]))]
pub struct Source {
    /// A file that was handed in by HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadSource>,
    /// A key of a ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapSource>,
    /// An https address. Private addresses are refused; redirects are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 9, max = 2048),
        regex(pattern = r"^https://[^\s/?#@]+([/?#]\S*)?$")
    )]
    pub url: Option<String>,
    /// An object of a storage that the administrator has named for this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSource>,
    /// The SHA-256 that the bytes must have, in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}

/// A file that was handed in by HTTP
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadSource {
    /// The id of its job, as the upload was answered with. The job must be of this namespace.
    #[schemars(
        length(min = 36, max = 36),
        regex(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    )]
    pub id: String,
}

/// A key of a ConfigMap in the same namespace
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// The ConfigMap's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = schema::OBJECT_NAME)
    )]
    pub name: String,
    /// The key, in `data` or `binaryData`; also the file's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::DATA_KEY))]
    pub key: String,
}

/// An object of a storage that the administrator has named for this service
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreSource {
    /// The storage's name in the service's settings.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The object's key.
    #[schemars(length(min = 1, max = 1024))]
    pub key: String,
}

/// What the file is
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As its name ends.
    #[default]
    Auto,
    /// Text with delimiters.
    Csv,
    /// A workbook of Excel 2007 and later.
    Xlsx,
    /// A workbook of Excel 97 to 2003.
    Xls,
}
