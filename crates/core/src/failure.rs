//! Why a whole job failed. Bad rows are [`crate::finding`]s and fail nothing by themselves.

use serde::{Deserialize, Serialize};

/// The kind of a failure: who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The file is not what it should be: wrong format, missing column, too many bad rows.
    Validation,
    /// The file is larger, wider or deeper than a limit allows.
    Limit,
    /// The parser crashed, or the attempts are used up.
    Processing,
    /// Database, queue or storage out of reach for longer than the retry budget.
    Infrastructure,
    /// A deadline of the job has passed.
    Deadline,
    /// The stored file is gone, cannot be read, or is no longer what was uploaded.
    Source,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::Validation,
        Self::Limit,
        Self::Processing,
        Self::Infrastructure,
        Self::Deadline,
        Self::Source,
    ];

    /// The name as it stands in the contract and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Limit => "limit",
            Self::Processing => "processing",
            Self::Infrastructure => "infrastructure",
            Self::Deadline => "deadline",
            Self::Source => "source",
        }
    }
}

macro_rules! failure_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal : $class:ident,)*) => {
        /// A stable name for a failure; each has a page `docs/errors/CODE.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        // By hand: the derive cannot see a name that comes in through this macro.
        impl utoipa::PartialSchema for FailureCode {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some("A stable name for a failure."))
                    .enum_values(Some([$($text),*]))
                    .into()
            }
        }

        impl utoipa::ToSchema for FailureCode {}

        impl FailureCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name as users see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The class the code belongs to.
            #[must_use]
            pub fn class(self) -> FailureClass {
                match self { $(Self::$name => FailureClass::$class,)* }
            }
        }
    };
}

failure_codes! {
    /// The file has no bytes, or nothing but line ends.
    EmptyFile = "EMPTY_FILE": Validation,
    /// The content is not a table of the kind its name says.
    NotATable = "NOT_A_TABLE": Validation,
    /// A column of the schema is not in the file.
    MissingColumn = "MISSING_COLUMN": Validation,
    /// The header cannot be read: a quote in it never closes.
    BrokenHeader = "BROKEN_HEADER": Validation,
    /// No sheet has the wanted name or number, or no sheet has data.
    UnknownSheet = "UNKNOWN_SHEET": Validation,
    /// The workbook's archive or XML is damaged, or asks for what no workbook needs.
    UnreadableWorkbook = "UNREADABLE_WORKBOOK": Validation,
    /// The workbook is protected by a password.
    EncryptedWorkbook = "ENCRYPTED_WORKBOOK": Validation,
    /// More rows failed than the job's `max_errors` or `max_error_ratio` allows.
    TooManyErrors = "TOO_MANY_ERRORS": Validation,
    /// The text cannot be decoded with the encoding that was asked for.
    WrongEncoding = "WRONG_ENCODING": Validation,
    /// The schema or an option cannot be applied to this file.
    WrongOptions = "WRONG_OPTIONS": Validation,
    /// A limit of the service was passed; the message names it.
    LimitExceeded = "LIMIT_EXCEEDED": Limit,
    /// The parser ended without a result.
    ParserCrash = "PARSER_CRASH": Processing,
    /// Every attempt failed; the message is that of the last.
    AttemptsExhausted = "ATTEMPTS_EXHAUSTED": Processing,
    /// Rows read, valid and failed do not add up: a defect of ours, never committed.
    InvariantBroken = "INVARIANT_BROKEN": Processing,
    /// Database, queue or storage stayed out of reach.
    BackendUnavailable = "BACKEND_UNAVAILABLE": Infrastructure,
    /// A deadline of the job passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED": Deadline,
    /// The stored file is gone.
    SourceMissing = "SOURCE_MISSING": Source,
    /// The stored file's checksum is not the one taken at upload.
    SourceChanged = "SOURCE_CHANGED": Source,
    /// The storage has the file but cannot read it.
    SourceUnreadable = "SOURCE_UNREADABLE": Source,
}

/// A failure with its sentence for the sender of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The stable name.
    pub code: FailureCode,
    /// One sentence that says what was found and what to do; no paths, no host names.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The class of its code.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        self.code.class()
    }
}
