//! One service for each data folder: two would take each other's work back.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

const NAME: &str = "lock";

/// How long the lock of a service that was killed may outlive it: a child that it was just starting holds a copy of
/// the file until the child's own program runs.
const RELEASE: Duration = Duration::from_secs(1);

/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(10);

/// Held while a service uses a data folder; the system lets go of it whatever way the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the folder, or says who has it.
    pub(crate) fn take(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        let unusable = || format!("{} cannot be used", folder.display());
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(unusable)?;
        let deadline = Instant::now() + RELEASE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::Error(error)) => return Err(error).with_context(unusable),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(RETRY);
                }
                Err(TryLockError::WouldBlock) => break,
            }
        }
        let mut holder = String::new();
        // Who holds it is only told; that it is held is what counts.
        let _ = file.read_to_string(&mut holder);
        let holder = crate::terminal::shown(holder.trim(), 100);
        bail!(
            "{} is in use by another filejobs dev ({holder}); stop that one, or choose another folder with --data-dir",
            folder.display()
        )
    }

    /// Writes down who holds it, for whoever comes second.
    pub(crate) fn sign(&mut self, url: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        write!(self.file, "process {}, {url}", std::process::id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Lock::take(folder.path()).unwrap();
        first.sign("http://127.0.0.1:1").unwrap();
        let told = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(
            told.contains("http://127.0.0.1:1") && told.contains("--data-dir"),
            "{told}"
        );
        drop(first);
        assert!(Lock::take(folder.path()).is_ok());
    }

    #[test]
    fn a_copy_of_the_lock_that_a_dying_child_holds_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let copy = first.file.try_clone().unwrap();
        drop(first);
        let path = folder.path().to_owned();
        let second = std::thread::spawn(move || Lock::take(&path).is_ok());
        drop(copy);
        assert!(second.join().unwrap());
    }
}
