//! Looks at a file while it comes: what it is by name and first bytes, and whether it grows too large.

use bytes::Bytes;
use filejobs_core::inspect::{self, Unfit};
use filejobs_core::{FileName, FileType, Limits};
use filejobs_crd::{Format, Reason};

use super::Failure;

/// Checks a file while it comes.
#[derive(Debug)]
pub(crate) struct Inspector {
    inner: inspect::Inspector,
    most: u64,
}

impl Inspector {
    /// Takes a file by what it is said to be: by the spec, else by its name.
    pub(crate) fn new(name: &FileName, format: Format, limits: &Limits) -> Result<Self, Failure> {
        let kind = match format {
            Format::Auto => FileType::from_name(name.as_str()).filter(|kind| kind.is_served()),
            Format::Csv => Some(FileType::Csv),
            Format::Xlsx => Some(FileType::Xlsx),
            Format::Xls => Some(FileType::Xls),
        };
        let kind = kind.ok_or_else(|| {
            Failure::never(
                Reason::UnsupportedFile,
                "The file's name ends in none of .csv, .xlsx and .xls; say what it is in `format`.",
            )
        })?;
        let most = limits.upload_bytes;
        Ok(Self {
            inner: inspect::Inspector::new(kind, most),
            most,
        })
    }

    /// What it is.
    pub(crate) fn kind(&self) -> FileType {
        self.inner.kind()
    }

    /// Counts a chunk and gives back what can be stored.
    pub(crate) fn take(&mut self, chunk: Bytes) -> Result<Bytes, Failure> {
        let taken = self.inner.take(chunk);
        taken.map_err(|unfit| self.failure(unfit))
    }

    /// The file has ended: gives back what was held.
    pub(crate) fn end(&mut self) -> Result<Bytes, Failure> {
        let rest = self.inner.end();
        rest.map_err(|unfit| self.failure(unfit))
    }

    fn failure(&self, unfit: Unfit) -> Failure {
        let kind = self.kind().as_str();
        match unfit {
            Unfit::TooLarge => Failure::never(
                Reason::SourceTooLarge,
                format!("The file has more than {} bytes.", self.most),
            ),
            Unfit::Content(content) => Failure::never(
                Reason::UnsupportedFile,
                format!("The file is to be {kind}, but its content is {content}."),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(name: &str, format: Format, chunks: &[&'static [u8]]) -> Result<Vec<u8>, Reason> {
        let limits = Limits {
            upload_bytes: 10_000,
            ..Limits::default()
        };
        let all = || {
            let mut inspector = Inspector::new(&FileName::new(name, 255), format, &limits)?;
            let mut stored = Vec::new();
            for chunk in chunks {
                stored.extend_from_slice(&inspector.take(Bytes::from_static(chunk))?);
            }
            stored.extend_from_slice(&inspector.end()?);
            Ok(stored)
        };
        all().map_err(|failure| match failure {
            Failure::Never(rejection) => rejection.reason,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_file_is_stored_as_it_came_however_it_was_cut() {
        let big: &[u8] = &[b'x'; 5_000];
        for chunks in [vec![&b"a,b\n"[..], b"1,2\n"], vec![big, b"\n"], vec![]] {
            let whole = chunks.concat();
            assert_eq!(inspect("a.csv", Format::Auto, &chunks), Ok(whole));
        }
    }

    #[test]
    fn name_and_content_must_fit() {
        let csv: &[&[u8]] = &[b"a,b\n"];
        assert_eq!(
            inspect("a", Format::Auto, csv),
            Err(Reason::UnsupportedFile)
        );
        assert!(inspect("a", Format::Csv, csv).is_ok());
        assert_eq!(
            inspect("a.xlsx", Format::Auto, csv),
            Err(Reason::UnsupportedFile)
        );
        let zip: &[&[u8]] = &[b"PK\x03\x04rest"];
        assert_eq!(
            inspect("a.csv", Format::Auto, zip),
            Err(Reason::UnsupportedFile)
        );
    }

    #[test]
    fn a_file_that_grows_too_large_is_refused_on_the_way() {
        let big: &[u8] = &[b'x'; 6_000];
        assert_eq!(
            inspect("a.csv", Format::Auto, &[big, big]),
            Err(Reason::SourceTooLarge)
        );
    }
}
