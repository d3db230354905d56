//! What cargo starts each test binary with while all tests run: those that have a run of their own are left out.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// The binary.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of a binary that is not to run.
    #[arg(long)]
    but: String,
    /// Its path, and what cargo tells it.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The setting of cargo that has it start every test binary by way of this program, which leaves out the one of this
/// name.
pub(crate) fn as_runner(but: &str) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("this program has no path")?;
    let program = program
        .to_str()
        .context("this program's path is no Unicode")?;
    Ok(format!(
        "target.'cfg(all())'.runner = [{program:?}, \"test-binary\", \"--but\", {but:?}]"
    ))
}

/// Becomes the test binary.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (program, arguments) = args.command.split_first().context("no binary is named")?;
    if name(Path::new(program)) == Some(&args.but) {
        return Ok(());
    }
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("{} could not be started", Path::new(program).display()))
}

/// Cargo puts a hash behind the name.
fn name(program: &Path) -> Option<&str> {
    let (name, _) = program.file_name()?.to_str()?.rsplit_once('-')?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_known_by_its_name_before_the_hash() {
        let of = |path| name(Path::new(path));
        assert_eq!(
            of("/target/debug/deps/kubernetes-1f2e3d4c5b6a7980"),
            Some("kubernetes")
        );
        assert_eq!(of("/tmp/rust_out"), None);
    }
}
