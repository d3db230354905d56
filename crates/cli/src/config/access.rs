//! Whether callers need an API key, and the key that there is from the beginning.

use std::path::PathBuf;

use clap::Args;
use filejobs_core::ApiKey;

use super::{Problems, Secret, given, given_path, path_or_blank};

/// Whether callers are asked who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMode {
    /// Callers need an API key.
    Keys,
    /// Everybody who can reach the service may do everything.
    None,
}

/// Who may call.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct Access {
    /// Whether callers need an API key: `keys`, or `none` to let everybody do everything [default: `none` for `dev`
    /// on loopback, else `keys`]
    #[arg(long, env = "FILEJOBS_AUTH", value_name = "keys|none")]
    auth: Option<String>,

    /// An API key that shall be there from the beginning, with the scope `admin`; `filejobs keys generate` makes one
    #[arg(
        long,
        env = "FILEJOBS_BOOTSTRAP_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    bootstrap_key: Option<Secret>,

    /// The same, read from a file
    #[arg(long, env = "FILEJOBS_BOOTSTRAP_KEY_FILE", value_name = "FILE", value_parser = path_or_blank())]
    bootstrap_key_file: Option<PathBuf>,
}

/// Who may call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Door {
    /// What was asked for; the way to run decides when nothing was.
    pub(crate) mode: Option<AuthMode>,
    /// The key that shall be there.
    pub(crate) bootstrap: Option<ApiKey>,
}

impl Access {
    /// Who may call.
    pub(crate) fn read(&self, problems: &mut Problems) -> Door {
        let mode = match given(self.auth.as_deref()) {
            None => None,
            Some("keys") => Some(AuthMode::Keys),
            Some("none") => Some(AuthMode::None),
            Some(_) => {
                problems.add("FILEJOBS_AUTH (--auth)", "`keys` or `none` is taken");
                None
            }
        };
        let bootstrap = self.bootstrap().unwrap_or_else(|problem| {
            problems.extend([problem]);
            None
        });
        Door { mode, bootstrap }
    }

    /// The key that shall be there, or why it cannot be.
    fn bootstrap(&self) -> Result<Option<ApiKey>, String> {
        let text = given(self.bootstrap_key.as_ref().map(Secret::reveal));
        let file = given_path(self.bootstrap_key_file.as_ref());
        match (text, file) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(
                "FILEJOBS_BOOTSTRAP_KEY and FILEJOBS_BOOTSTRAP_KEY_FILE: one of them is taken"
                    .to_owned(),
            ),
            (Some(text), None) => key(text)
                .map(Some)
                .map_err(|problem| format!("FILEJOBS_BOOTSTRAP_KEY (--bootstrap-key): {problem}")),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| key(&text))
                .map(Some)
                .map_err(|problem| {
                    let path = path.display();
                    format!("FILEJOBS_BOOTSTRAP_KEY_FILE (--bootstrap-key-file): {path}: {problem}")
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
