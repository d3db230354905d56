//! Reads the multipart form of an upload: one file and a few text fields, in any order, streamed.

use bytes::Bytes;
use filejobs_core::{FileName, Limits};
use futures::stream::Stream;
use multer::{Field, Multipart};

use super::fields::{Fields, Name, twice};
use super::steady::{Allowance, Refusal, Steady};
use crate::problem::{Code, FieldError, Place, Problem};

/// Bytes that a form may have beside its file: boundaries, headers and text fields of usual sizes.
const OVERHEAD: u64 = 64 * 1024;

/// Bytes that the whole form may have.
pub(crate) fn max_bytes(limits: &Limits) -> u64 {
    limits.upload_bytes.saturating_add(OVERHEAD)
}

/// What becomes of the file while it comes.
pub(crate) trait Receiver: Send {
    /// The file once its last byte has come.
    type File: Send;

    /// The file begins; `fields` are those that came before it.
    fn begin(
        &mut self,
        name: FileName,
        fields: &Fields,
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// More of it.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Problem>> + Send;

    /// It has come in full.
    fn end(&mut self) -> impl Future<Output = Result<Self::File, Problem>> + Send;
}

/// A form that was read to its end.
#[derive(Debug)]
pub(crate) struct Form<F> {
    pub(crate) fields: Fields,
    pub(crate) file: F,
}

/// Reads a form.
pub(crate) async fn read<S, E, R>(
    body: S,
    boundary: &str,
    limits: &Limits,
    receiver: &mut R,
) -> Result<Form<R::File>, Problem>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    R: Receiver,
{
    let allowance = Allowance::new();
    let body = Steady::new(body, max_bytes(limits), allowance.clone());
    let mut parts = Multipart::new(body, boundary);
    let mut fields = Fields::default();
    let mut file = None;
    loop {
        allowance.between_parts();
        let Some(part) = parts
            .next_field()
            .await
            .map_err(|e| unreadable(e, limits))?
        else {
            break;
        };
        allowance.within_part();
        match part.name() {
            Some("file") if file.is_some() => return Err(twice("file")),
            Some("file") => {
                fields.check()?;
                file = Some(receive(part, &fields, limits, receiver).await?);
            }
            name => {
                let name = known(name)?;
                fields.begin(name)?;
                let text = text(part, name, limits).await?;
                fields.add(name, text, limits).await?;
            }
        }
    }
    fields.check()?;
    let file = file.ok_or_else(no_file)?;
    Ok(Form { fields, file })
}

fn known(name: Option<&str>) -> Result<Name, Problem> {
    let Some(text) = name else {
        return Err(Problem::new(
            Code::MalformedForm,
            "A part of the form has no name. Give each part a `Content-Disposition: form-data; name=\"…\"`.",
        ));
    };
    Name::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Problem::fields(
            Code::InvalidForm,
            "The form has a part that is not known. It takes `file`, `webhook_url`, `priority`, `schema`, `options` and `namespace`.",
            vec![FieldError::new(Place::Form, &shown, "is not known")],
        )
    })
}

async fn receive<R: Receiver>(
    mut part: Field<'_>,
    fields: &Fields,
    limits: &Limits,
    receiver: &mut R,
) -> Result<R::File, Problem> {
    let raw = part.file_name().filter(|name| !name.trim().is_empty());
    let name = FileName::new(
        raw.ok_or_else(unnamed_file)?,
        limits.file_name_chars as usize,
    );
    receiver.begin(name, fields).await?;
    while let Some(chunk) = part.chunk().await.map_err(|e| unreadable(e, limits))? {
        receiver.write(chunk).await?;
    }
    receiver.end().await
}

async fn text(mut part: Field<'_>, name: Name, limits: &Limits) -> Result<String, Problem> {
    let max = name.max_bytes(limits);
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(|e| unreadable(e, limits))? {
        if bytes.len() as u64 + chunk.len() as u64 > max {
            let detail = format!("has more than the {max} bytes that it may have");
            return Err(Problem::fields(
                Code::BodyTooLarge,
                format!("The field `{}` {detail}. Shorten it.", name.as_str()),
                vec![FieldError::new(Place::Form, name.as_str(), detail)],
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| {
        let detail = "must be UTF-8 text";
        Problem::fields(
            Code::InvalidForm,
            format!("The field `{}` cannot be used: it {detail}.", name.as_str()),
            vec![FieldError::new(Place::Form, name.as_str(), detail)],
        )
    })
}

fn no_file() -> Problem {
    Problem::fields(
        Code::InvalidForm,
        "The form has no part `file`. Send the table as a part of that name (curl: -F file=@orders.csv).",
        vec![FieldError::new(Place::Form, "file", "is missing")],
    )
}

fn unnamed_file() -> Problem {
    Problem::fields(
        Code::InvalidForm,
        "The part `file` has no file name, and the name says what kind of table it is. Send it as a file (curl: -F file=@orders.csv).",
        vec![FieldError::new(Place::Form, "file", "has no file name")],
    )
}

/// The body is larger than a form may be.
pub(crate) fn too_large(limits: &Limits) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!(
            "The upload is larger than a file of {} bytes, the largest that is taken. Split the file, or ask the operator for a higher limit; GET /api/limits shows it as `upload_bytes`.",
            limits.upload_bytes
        ),
    )
}

/// What a form that cannot be read on is answered with.
fn unreadable(error: multer::Error, limits: &Limits) -> Problem {
    use multer::Error;
    let malformed = |detail: &str| Problem::new(Code::MalformedForm, detail);
    match error {
        Error::StreamReadFailed(cause) => match cause.downcast_ref::<Refusal>() {
            Some(Refusal::TooLarge) => too_large(limits),
            Some(Refusal::NoPart) => malformed(
                "No part of the form begins where one must. Send the body as multipart/form-data with the boundary that its Content-Type names.",
            ),
            None if crate::server::is_idle_timeout(&*cause) => crate::server::body_timeout(),
            None => broken_off(),
        },
        Error::IncompleteFieldData { .. } | Error::IncompleteHeaders | Error::IncompleteStream => {
            broken_off()
        }
        Error::ReadHeaderFailed(_)
        | Error::DecodeHeaderName { .. }
        | Error::DecodeHeaderValue { .. } => malformed(
            "The headers of a part of the form cannot be read. Send each part with a valid Content-Disposition.",
        ),
        other => Problem::internal(other),
    }
}

fn broken_off() -> Problem {
    Problem::new(
        Code::MalformedForm,
        "The form broke off before its closing boundary. Send it again in full; nothing of it was kept.",
    )
}
