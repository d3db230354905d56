//! Folders that come and go with a task, and the sweep of those that a dead worker left.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use filejobs_core::{TaskId, WorkerId};
use filejobs_engine::child::OUT;

const LOCK: &str = "lock";

/// This worker's part of the scratch folder. Its lock says that the worker lives; the part goes when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    _lock: File,
}

impl Root {
    /// Removes what dead workers left under `shared` and makes a part for this one.
    pub(crate) fn open(shared: &Path, worker: &WorkerId) -> io::Result<Self> {
        std::fs::create_dir_all(shared)?;
        let shared = shared.canonicalize()?;
        sweep(&shared)?;
        let path = shared.join(worker.as_str());
        loop {
            private_folder(&path)?;
            if let Some(lock) = take_lock(&path)? {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// A folder for one attempt at a task, with an empty [`OUT`] in it.
    pub(crate) fn folder(&self, task: TaskId, attempt: u32) -> io::Result<Scratch> {
        let path = self.path.join(format!("{task}-{attempt}"));
        private_folder(&path)?;
        let scratch = Scratch { path };
        private_folder(&scratch.out())?;
        Ok(scratch)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        tell(remove_part(&self.path));
    }
}

/// The folder of one attempt; it goes with everything in it when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// The child's working folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for the child's outputs.
    pub(crate) fn out(&self) -> PathBuf {
        self.path.join(OUT)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        tell(std::fs::remove_dir_all(&self.path));
    }
}

/// Rows of other people lie here: nobody else on the machine may read them.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Takes the lock of a folder that was just made. None when another worker's sweep has removed the folder: it saw it
/// before it had a lock, or the lock before it was taken.
fn take_lock(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let lock = match File::create(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        created => created?,
    };
    lock.lock()?;
    Ok(path.exists().then_some(lock))
}

fn tell(removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a scratch folder could not be removed; the next start will");
    }
}

/// Removes a worker's part. Its lock goes last: without it nobody would know whose the rest was, should this process
/// be killed in the middle.
fn remove_part(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_file(path.join(LOCK))?;
    std::fs::remove_dir(path)
}

/// Removes the parts of workers that hold no lock on them any more.
fn sweep(shared: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(shared)? {
        let path = entry?.path();
        let Ok(lock) = File::open(path.join(LOCK)) else {
            // One that is just being made, or whose removal had come that far. What is not empty is not a worker's.
            let _ = std::fs::remove_dir(&path);
            continue;
        };
        match lock.try_lock() {
            Ok(()) => tell(remove_part(&path)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use filejobs_core::Sources;

    #[test]
    fn a_start_removes_what_a_dead_worker_left_and_nothing_of_a_living_one() {
        let shared = tempfile::tempdir().unwrap();
        let task = Sources::system().task_id();
        let living = Root::open(shared.path(), &WorkerId::new("living")).unwrap();
        let kept = living.folder(task, 1).unwrap();
        let dead = shared.path().join("dead");
        std::fs::create_dir_all(dead.join("task/out")).unwrap();
        std::fs::write(dead.join(LOCK), "").unwrap();
        std::fs::write(dead.join("task/out/rows"), "left").unwrap();

        let fresh = Root::open(shared.path(), &WorkerId::new("fresh")).unwrap();

        assert!(!dead.exists());
        assert!(kept.out().is_dir());
        drop((kept, living, fresh));
        assert_eq!(std::fs::read_dir(shared.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_removal_that_was_cut_short_is_ended_and_what_is_not_a_workers_stays() {
        let shared = tempfile::tempdir().unwrap();
        let emptied = shared.path().join("emptied");
        std::fs::create_dir(&emptied).unwrap();
        let other = shared.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("notes"), "mine").unwrap();
        let _fresh = Root::open(shared.path(), &WorkerId::new("fresh")).unwrap();
        assert!(!emptied.exists());
        assert!(other.join("notes").exists());
    }

    #[test]
    fn a_folder_is_the_owners_alone_and_goes_with_its_attempt() {
        use std::os::unix::fs::PermissionsExt;
        let shared = tempfile::tempdir().unwrap();
        let root = Root::open(shared.path(), &WorkerId::new("w")).unwrap();
        let scratch = root.folder(Sources::system().task_id(), 1).unwrap();
        let path = scratch.path().to_owned();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(scratch.out().join("rows"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
