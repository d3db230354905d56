//! How a command ends: the exit codes that scripts rely on, and errors that carry one.

use std::process::ExitCode;

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, and nothing wrong was found.
    Clean = 0,
    /// The job failed, or the file has findings.
    Failed = 1,
    /// The command line or the configuration cannot be used.
    Usage = 2,
    /// Out of reach, refused or unreadable.
    Refused = 3,
    /// A deadline given on the command line passed.
    TimedOut = 4,
    /// The job was cancelled.
    Cancelled = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the code the process ends with. Anything that does not choose one is [`Exit::Refused`].
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Stop {
    /// The command line or the configuration cannot be used: every problem, one a line.
    pub(crate) fn usage(problems: &[String]) -> Self {
        Self {
            exit: Exit::Usage,
            error: anyhow::anyhow!("{}", problems.join("\n       ")),
        }
    }

    /// A deadline passed.
    pub(crate) fn timed_out(message: String) -> Self {
        Self {
            exit: Exit::TimedOut,
            error: anyhow::Error::msg(message),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self {
            exit: Exit::Refused,
            error: error.into(),
        }
    }
}

/// What every command returns.
pub(crate) type Outcome<T = Exit> = Result<T, Stop>;
