//! `import`: keeps the valid rows as Parquet.

use serde_json::Value;

use super::parts::Parts;
use super::{Entry, OpenError, Opening, Produced, RowProcessor, ValidRows};
use crate::task;

pub(super) const ENTRY: Entry = Entry {
    name: "import",
    open,
    merge: |_| Value::Null,
};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the registry's signature: others can refuse their parameters"
)]
fn open(opening: &Opening<'_>) -> Result<Box<dyn RowProcessor>, OpenError> {
    // It has no parameters; whatever is given means nothing to it.
    let parts = Parts::new(opening.out, opening.schema.clone());
    Ok(Box::new(Import { parts }))
}

#[derive(Debug)]
struct Import {
    parts: Parts,
}

impl RowProcessor for Import {
    fn take(&mut self, rows: &ValidRows<'_>) -> Result<(), task::Error> {
        self.parts.write(rows)
    }

    fn finish(self: Box<Self>) -> Result<Produced, task::Error> {
        Ok(Produced {
            parts: self.parts.finish()?,
            value: Value::Null,
        })
    }
}
