//! Files that do harm, or that are odd, with what has to become of each.
//!
//! One table, [`cases`], for the engine in its own process, for `filejobs check` and for the service: whoever
//! reads one of these files must come to the same verdict. None of them is stored: each is made when it is
//! asked for, some far larger than what makes them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use filejobs_core::{FailureClass, FailureCode, FindingCode};

mod bombs;
mod text;
mod workbooks;
mod zip;

/// One file of the corpus.
#[derive(Clone)]
pub struct Case {
    /// Its name as it is handed in.
    pub name: &'static str,
    /// The schema it is handed in with, as JSON.
    pub schema: Option<&'static str>,
    /// The options it is handed in with, as JSON.
    pub options: Option<&'static str>,
    /// What has to become of it.
    pub expected: Expected,
    /// Writes its bytes.
    content: Content,
}

type Content = fn(&mut dyn Write) -> io::Result<()>;

/// What has to become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is not taken: name or content are of no kind that is read. 400 from the service.
    Refused,
    /// It is read to the end.
    Completed {
        /// Rows read.
        processed: u64,
        /// Rows with a finding.
        failed: u64,
        /// Findings by code; no others.
        findings: &'static [(FindingCode, u64)],
    },
    /// It fails as a whole.
    Failed(FailureCode),
}

impl Expected {
    /// The class of a failure.
    #[must_use]
    pub fn failure_class(self) -> Option<FailureClass> {
        match self {
            Self::Failed(code) => Some(code.class()),
            Self::Refused | Self::Completed { .. } => None,
        }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl Case {
    const fn new(name: &'static str, expected: Expected, content: Content) -> Self {
        Self {
            name,
            schema: None,
            options: None,
            expected,
            content,
        }
    }

    const fn with_schema(mut self, schema: &'static str) -> Self {
        self.schema = Some(schema);
        self
    }

    const fn with_options(mut self, options: &'static str) -> Self {
        self.options = Some(options);
        self
    }

    /// Writes the file's bytes to `out`; large ones in pieces.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        (self.content)(out)
    }

    /// Writes the file into `folder` and returns its path.
    pub fn write_into(&self, folder: &Path) -> io::Result<PathBuf> {
        let path = folder.join(self.name);
        let mut out = BufWriter::new(File::create(&path)?);
        self.write(&mut out)?;
        out.flush()?;
        Ok(path)
    }
}

/// Every file of the corpus; their names differ.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = text::cases();
    cases.extend(workbooks::cases());
    cases.extend(bombs::cases());
    cases
}

const fn completed(
    processed: u64,
    failed: u64,
    findings: &'static [(FindingCode, u64)],
) -> Expected {
    Expected::Completed {
        processed,
        failed,
        findings,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_differ_and_counts_fit() {
        let mut names = HashSet::new();
        for case in cases() {
            assert!(names.insert(case.name), "{}", case.name);
            if let Expected::Completed {
                processed, failed, ..
            } = case.expected
            {
                assert!(failed <= processed, "{}", case.name);
            }
        }
    }
}
