//! A folder for what the tests of a binary share: statics are never dropped, and would leave theirs behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::tethered::Tethered;

/// A folder that is there as long as this process, and goes with it however that ends.
///
/// # Panics
/// When it cannot be made: tests without it mean nothing.
#[must_use]
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<(PathBuf, Tethered)> = OnceLock::new();
    let made = FOLDER.get_or_init(|| match make() {
        Ok(made) => made,
        #[expect(clippy::panic, reason = "there is no test without the folder")]
        Err(error) => panic!("{error:#}"),
    });
    &made.0
}

fn make() -> anyhow::Result<(PathBuf, Tethered)> {
    let folder = tempfile::tempdir()?.keep();
    // Does nothing but live as long as we do.
    let mut idle = Command::new("sleep");
    idle.arg("infinity");
    let guard = Tethered::start_in(&idle, &folder.join("log"), &folder)?;
    Ok((folder, guard))
}
