//! Receives the file of a form: checks name and content, counts, and stores.

use bytes::Bytes;
use filejobs_blobs::{Complete, Staged, upload_key};
use filejobs_core::inspect::{self, Unfit};
use filejobs_core::{FileName, FileType, JobId, Limits, Namespace};

use super::fields::Fields;
use super::form::{Receiver, too_large};
use super::key::Hold;
use crate::App;
use crate::auth::Caller;
use crate::problem::{Code, FieldError, Place, Problem, queue_full};

/// Checks a file while it comes: its name, its content, its size.
#[derive(Debug)]
pub(crate) struct Inspector {
    name: FileName,
    inner: inspect::Inspector,
}

impl Inspector {
    /// Takes a file by its name.
    pub(crate) fn new(name: FileName, limits: &Limits) -> Result<Self, Problem> {
        let kind = FileType::from_name(name.as_str()).filter(|kind| kind.is_served());
        let Some(kind) = kind else {
            let found = match name.as_str().rsplit_once('.') {
                Some((_, extension)) => format!("ends in `.{extension}`"),
                None => "has no extension".to_owned(),
            };
            return Err(unsupported(&format!("The name of the file {found}.")));
        };
        Ok(Self {
            name,
            inner: inspect::Inspector::new(kind, limits.upload_bytes),
        })
    }

    /// Counts a chunk and gives back what can be stored.
    pub(crate) fn take(&mut self, chunk: Bytes, limits: &Limits) -> Result<Bytes, Problem> {
        let taken = self.inner.take(chunk);
        taken.map_err(|unfit| self.problem(unfit, limits))
    }

    /// The file has ended: gives back what was held.
    pub(crate) fn end(&mut self, limits: &Limits) -> Result<Bytes, Problem> {
        let rest = self.inner.end();
        rest.map_err(|unfit| self.problem(unfit, limits))
    }

    fn problem(&self, unfit: Unfit, limits: &Limits) -> Problem {
        match unfit {
            Unfit::TooLarge => too_large(limits),
            Unfit::Content(content) => unsupported(&format!(
                "The name of the file ends in `.{}`, but its content is {content}.",
                self.inner.kind().as_str()
            )),
        }
    }
}

fn unsupported(found: &str) -> Problem {
    Problem::fields(
        Code::UnsupportedFile,
        format!(
            "{found} CSV (.csv) and Excel (.xlsx, .xls) files are taken, with the extension that fits the content."
        ),
        vec![FieldError::new(Place::Form, "file", found)],
    )
}

/// A file that has come in full and waits to be published.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) job: JobId,
    pub(crate) blob: String,
    pub(crate) name: FileName,
    pub(crate) kind: FileType,
    pub(crate) complete: Complete,
}

/// Stores a file. Dropped before its end it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Storing<'a> {
    /// The job that the file is to be of.
    job: JobId,
    app: &'a App,
    caller: &'a Caller,
    hold: Option<&'a mut Hold>,
    open: Option<Open>,
}

/// A file that comes in.
#[derive(Debug)]
struct Open {
    inspector: Inspector,
    staged: Staged,
    blob: String,
}

impl<'a> Storing<'a> {
    pub(crate) fn new(app: &'a App, caller: &'a Caller, hold: Option<&'a mut Hold>) -> Self {
        Self {
            job: app.sources().job_id(),
            app,
            caller,
            hold,
            open: None,
        }
    }
}

/// Refuses a file that would be refused in the end, before it is read: as many jobs wait in its namespace as may. Whether
/// this one may is decided where the job is made.
async fn check_queue(app: &App, namespace: &Namespace) -> Result<(), Problem> {
    let most = app.limits().queued_jobs;
    if app.store().queued(namespace).await? >= u64::from(most) {
        return Err(queue_full(namespace, most));
    }
    Ok(())
}

/// The form's reader begins before it writes or ends.
const BEGUN: &str = "a part of the form was not begun";

impl Receiver for Storing<'_> {
    type File = Received;

    async fn begin(&mut self, name: FileName, fields: &Fields) -> Result<(), Problem> {
        let inspector = Inspector::new(name, self.app.limits())?;
        let namespace = self.caller.namespace(fields.namespace.as_ref())?;
        let mut is_new = true;
        if let Some(hold) = &mut self.hold {
            hold.early(namespace.as_ref()).await?;
            // A key that is not this upload's may have made its job already.
            is_new = hold.is_held();
        }
        // A namespace that has not come yet may still come.
        if let Some(namespace) = namespace.as_ref().filter(|_| is_new) {
            check_queue(self.app, namespace).await?;
        }
        let blob = upload_key(self.job, &inspector.name);
        self.open = Some(Open {
            staged: self.app.blobs().stage(&blob).await?,
            inspector,
            blob,
        });
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Problem> {
        let Some(open) = &mut self.open else {
            return Err(Problem::internal(BEGUN));
        };
        let bytes = open.inspector.take(bytes, self.app.limits())?;
        Ok(open.staged.write(bytes).await?)
    }

    async fn end(&mut self) -> Result<Received, Problem> {
        let Some(open) = self.open.take() else {
            return Err(Problem::internal(BEGUN));
        };
        let Open {
            mut inspector,
            mut staged,
            blob,
        } = open;
        staged.write(inspector.end(self.app.limits())?).await?;
        Ok(Received {
            job: self.job,
            blob,
            name: inspector.name,
            kind: inspector.inner.kind(),
            complete: staged.complete().await?,
        })
    }
}
