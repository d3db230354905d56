//! The ready file: tells whoever started this process that it does its work, and where.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

/// Writes the file in one step: whoever waits for it reads all of it.
pub(crate) fn write(path: &Path, facts: &[(&str, String)]) -> anyhow::Result<()> {
    let unwritable = || format!("{} cannot be written", path.display());
    let mut ready = serde_json::Map::new();
    for (name, value) in facts {
        ready.insert((*name).to_owned(), Value::from(value.as_str()));
    }
    ready.insert("pid".to_owned(), std::process::id().into());
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let part = tempfile::NamedTempFile::new_in(folder).with_context(unwritable)?;
    serde_json::to_writer(&part, &ready).with_context(unwritable)?;
    part.persist(path).with_context(unwritable)?;
    Ok(())
}
