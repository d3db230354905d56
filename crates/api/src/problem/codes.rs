//! The stable names of everything that can be wrong with a request, and what each stands for.

use http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// A stable name for a problem; `docs/api-design.md` has a line for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name as clients see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that it is answered with.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// One short sentence, the same for every occurrence.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// A query parameter is unknown to its type or out of its bounds.
    InvalidParameter = "invalid_parameter", BAD_REQUEST, "A query parameter cannot be used";
    /// A request header is malformed.
    InvalidHeader = "invalid_header", BAD_REQUEST, "A request header cannot be used";
    /// The multipart body cannot be read.
    MalformedForm = "malformed_form", BAD_REQUEST, "The body is not a readable form";
    /// Fields of the form are missing, unknown or unusable.
    InvalidForm = "invalid_form", BAD_REQUEST, "Fields of the form cannot be used";
    /// Name or content of the file is not of a kind that is taken.
    UnsupportedFile = "unsupported_file", BAD_REQUEST, "The file is not of a kind that is taken";
    /// The body is not JSON.
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not JSON";
    /// Members of the JSON body are missing, unknown or unusable.
    InvalidBody = "invalid_body", BAD_REQUEST, "Members of the body cannot be used";
    /// Only a failed or cancelled job can be retried.
    NotRetryable = "not_retryable", BAD_REQUEST, "The job cannot be retried";
    /// The call needs an API key and none was sent.
    MissingKey = "missing_key", UNAUTHORIZED, "An API key is needed";
    /// The API key is unknown, expired, revoked or unreadable.
    InvalidKey = "invalid_key", UNAUTHORIZED, "The API key cannot be used";
    /// The API key does not allow this call.
    MissingScope = "missing_scope", FORBIDDEN, "The API key does not allow this";
    /// The API key is for another namespace.
    OtherNamespace = "other_namespace", FORBIDDEN, "The API key is for another namespace";
    /// A page of another site made a browser send a request that changes something.
    CrossSite = "cross_site", FORBIDDEN, "The request comes from a page of another site";
    /// No job has this id.
    JobNotFound = "job_not_found", NOT_FOUND, "The job does not exist";
    /// No dead task has this id.
    TaskNotFound = "task_not_found", NOT_FOUND, "The task does not exist";
    /// Nothing is served at this path.
    RouteNotFound = "route_not_found", NOT_FOUND, "Nothing is served at this path";
    /// The path does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path does not take this method";
    /// None of the media types in `Accept` can be given.
    NotAcceptable = "not_acceptable", NOT_ACCEPTABLE, "None of the accepted media types can be given";
    /// The client stopped sending.
    BodyTimeout = "body_timeout", REQUEST_TIMEOUT, "The body did not arrive in time";
    /// The job's state does not allow the call.
    WrongState = "wrong_state", CONFLICT, "The job's state does not allow this";
    /// What was asked for exists once the job has ended.
    NotReady = "not_ready", CONFLICT, "The job has not got that far";
    /// The job ended without what was asked for.
    NoResults = "no_results", CONFLICT, "The job ended without this";
    /// The job's end is told nobody.
    NoWebhook = "no_webhook", CONFLICT, "The job has no webhook";
    /// An upload with this idempotency key is under way.
    KeyInFlight = "idempotency_key_in_flight", CONFLICT, "An upload with this idempotency key is under way";
    /// The body is larger than a limit.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body's media type is not the one that is taken.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body's media type is not taken";
    /// The idempotency key was used with another body.
    KeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The idempotency key belongs to another body";
    /// Too many jobs wait in the namespace.
    QueueFull = "queue_full", TOO_MANY_REQUESTS, "Too many jobs wait already";
    /// A defect of the service.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The service failed";
    /// A back end is out of reach.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "A part of the service is out of reach";
    /// The cap on event streams is reached.
    TooManyStreams = "too_many_streams", SERVICE_UNAVAILABLE, "Too many event streams are open";
    /// No space is left for files or rows.
    StorageFull = "storage_full", INSUFFICIENT_STORAGE, "The storage is full";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_line_in_the_documentation_and_no_line_is_left_over() {
        let page = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/api-design.md"
        ));
        let documented: Vec<(String, String)> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split('|');
                let code = cells.next()?.trim().trim_end_matches('`').to_owned();
                Some((code, cells.next()?.trim().to_owned()))
            })
            .collect();
        let known: Vec<(String, String)> = Code::ALL
            .iter()
            .map(|c| (c.as_str().to_owned(), c.status().as_u16().to_string()))
            .collect();
        assert_eq!(documented, known);
    }
}
