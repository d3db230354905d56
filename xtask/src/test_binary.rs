//! What cargo starts each test binary with while all tests run: some can do more at a time than others.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::test::tests_at_a_time;

/// The binary.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its path, and what cargo tells it.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Binaries most of whose tests wait a minute in which nothing may happen, with the tests for each core.
const PATIENT: &[(&str, usize)] = &[("kubernetes", 9)];

/// The setting of cargo that has it start every test binary by way of this program.
pub(crate) fn as_runner() -> anyhow::Result<String> {
    let program = std::env::current_exe().context("this program has no path")?;
    let program = program
        .to_str()
        .context("this program's path is no Unicode")?;
    Ok(format!(
        "target.'cfg(all())'.runner = [{program:?}, \"test-binary\"]"
    ))
}

/// Becomes the test binary.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (program, arguments) = args.command.split_first().context("no binary is named")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(per_core) = patience(Path::new(program)) {
        command.env("RUST_TEST_THREADS", tests_at_a_time(per_core).to_string());
    }
    let error = command.exec();
    Err(error).with_context(|| format!("{} could not be started", Path::new(program).display()))
}

/// Cargo puts a hash behind the name.
fn patience(program: &Path) -> Option<usize> {
    let (name, _) = program.file_name()?.to_str()?.rsplit_once('-')?;
    let known = PATIENT.iter().find(|(patient, _)| *patient == name);
    known.map(|(_, per_core)| *per_core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_known_by_its_name_before_the_hash() {
        let of = |path| patience(Path::new(path));
        assert_eq!(
            of("/target/debug/deps/kubernetes-1f2e3d4c5b6a7980"),
            Some(9)
        );
        assert_eq!(of("/target/debug/deps/faults-1f2e3d4c5b6a7980"), None);
        assert_eq!(of("/tmp/rust_out"), None);
    }
}
