//! Whether callers need an API key, and the key that there is from the beginning.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use filejobs_core::ApiKey;

use super::Secret;

/// Whether callers are asked who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthMode {
    /// Callers need an API key
    Keys,
    /// Everybody who can reach the service may do everything
    None,
}

/// Who may call.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct Access {
    /// Whether callers need an API key [default: `none` for `dev` on loopback, else `keys`]
    #[arg(long, env = "FILEJOBS_AUTH", value_enum, value_name = "MODE")]
    auth: Option<AuthMode>,

    /// An API key that shall be there from the beginning, with the scope `admin`; `filejobs keys generate` makes one
    #[arg(
        long,
        env = "FILEJOBS_BOOTSTRAP_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    bootstrap_key: Option<Secret>,

    /// The same, read from a file
    #[arg(long, env = "FILEJOBS_BOOTSTRAP_KEY_FILE", value_name = "FILE")]
    bootstrap_key_file: Option<PathBuf>,
}

impl Access {
    /// What was asked for, or `usual`.
    pub(crate) fn mode(&self, usual: AuthMode) -> AuthMode {
        self.auth.unwrap_or(usual)
    }

    /// The key that shall be there, or why it cannot be.
    pub(crate) fn bootstrap(&self) -> Result<Option<ApiKey>, String> {
        let given = self.bootstrap_key.as_ref().map(Secret::reveal);
        let given = given.map(str::trim).filter(|text| !text.is_empty());
        let file = self.bootstrap_key_file.as_ref();
        let file = file.filter(|path| !path.as_os_str().is_empty());
        match (given, file) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(
                "FILEJOBS_BOOTSTRAP_KEY and FILEJOBS_BOOTSTRAP_KEY_FILE: one of them is taken"
                    .to_owned(),
            ),
            (Some(text), None) => key(text)
                .map(Some)
                .map_err(|problem| format!("FILEJOBS_BOOTSTRAP_KEY (--bootstrap-key): {problem}")),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))
                .and_then(|text| {
                    key(&text).map_err(|problem| format!("{}: {problem}", path.display()))
                })
                .map(Some)
                .map_err(|problem| {
                    format!("FILEJOBS_BOOTSTRAP_KEY_FILE (--bootstrap-key-file) {problem}")
                }),
        }
    }
}

/// Reads a key; what is told of one that cannot be read holds nothing of it.
fn key(text: &str) -> Result<ApiKey, String> {
    text.trim()
        .parse()
        .map_err(|problem: filejobs_core::key::InvalidKey| {
            format!("{problem}; `filejobs keys generate` makes one")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "fj_boot0001_0123456789abcdef0123456789abcdef";

    fn access(key: Option<&str>, file: Option<PathBuf>) -> Access {
        Access {
            auth: None,
            bootstrap_key: key.map(|text| text.parse().unwrap()),
            bootstrap_key_file: file,
        }
    }

    #[test]
    fn the_first_key_comes_from_a_value_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, format!("{KEY}\n")).unwrap();
        for given in [
            access(Some(KEY), None),
            access(None, Some(file.clone())),
            access(Some(""), Some(file.clone())),
        ] {
            let key = given.bootstrap().unwrap().unwrap();
            assert_eq!(key.reveal(), KEY);
        }
        // As compose passes on what is not set.
        let nothing = access(Some(""), Some(PathBuf::new()));
        assert_eq!(nothing.bootstrap(), Ok(None));
        assert!(access(Some(KEY), Some(file)).bootstrap().is_err());
    }

    #[test]
    fn an_unusable_key_is_told_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "hush-hush").unwrap();
        let absent = folder.path().join("absent");
        for (given, name) in [
            (access(Some("hush-hush"), None), "FILEJOBS_BOOTSTRAP_KEY"),
            (access(None, Some(file)), "FILEJOBS_BOOTSTRAP_KEY_FILE"),
            (access(None, Some(absent)), "FILEJOBS_BOOTSTRAP_KEY_FILE"),
        ] {
            let told = given.bootstrap().unwrap_err();
            assert!(told.contains(name) && !told.contains("hush"), "{told}");
        }
    }
}
