//! Which storage, and who we are to it.

use std::fmt;
use std::path::PathBuf;

/// An S3-compatible storage.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket; it must exist.
    pub bucket: String,
    /// The storage's address; that of Amazon's region when absent.
    pub endpoint: Option<String>,
    /// The region; some storages take any.
    pub region: String,
    /// Put before every key, so that a bucket can be shared; empty for none.
    pub prefix: String,
    /// Who we are. When absent, what `AWS_…` variables and the machine's surroundings say (a role of the pod, of the
    /// task, of the machine).
    pub credentials: Option<Credentials>,
    /// Whether the bucket is part of the path, as most storages but Amazon's want it, or of the host's name.
    pub path_style: bool,
    /// Whether an endpoint without TLS is taken.
    pub allow_http: bool,
    /// Where parts of uploads wait for their transfer, a few megabytes for each upload under way.
    pub spool: PathBuf,
}

impl S3Config {
    /// The defaults for a bucket.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            prefix: String::new(),
            credentials: None,
            path_style: true,
            allow_http: false,
            spool: std::env::temp_dir(),
        }
    }
}

/// A key pair. Shown without its secret.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub key_id: String,
    /// The secret key.
    pub secret: String,
    /// The session's token, for credentials that run out.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}
