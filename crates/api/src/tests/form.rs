//! Multipart forms as bytes.

use http::Method;

use super::Request;

const BOUNDARY: &str = "----filejobs-test-boundary";

/// A form in the making; its parts come in the order in which they are added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form(Vec<u8>);

impl Form {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A form with a file.
    pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> Self {
        Self::new().and_file(name, content)
    }

    /// Adds a file.
    pub(crate) fn and_file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let name = name.replace('"', "\\\"");
        let disposition = format!("form-data; name=\"file\"; filename=\"{name}\"");
        self.part(&disposition, content.as_ref())
    }

    /// Adds a text field.
    pub(crate) fn field(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.part(&format!("form-data; name=\"{name}\""), value.as_ref())
    }

    /// Adds a part with any disposition.
    pub(crate) fn part(mut self, disposition: &str, content: &[u8]) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n");
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(content);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// The whole body.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.0
            .extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.0
    }

    pub(crate) fn content_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    /// The upload of this form.
    pub(crate) fn request(self) -> Request {
        Self::request_of(self.bytes())
    }

    /// The upload of any bytes that call themselves a form.
    pub(crate) fn request_of(body: Vec<u8>) -> Request {
        Request::new(Method::POST, "/api/files/upload").body(&Self::content_type(), body)
    }
}
