//! Folders that tasks have for themselves, one after another, and the sweep of those that a dead worker left.

use std::fs::{DirBuilder, DirEntry, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use filejobs_core::{TaskId, WorkerId};
use filejobs_engine::child::OUT;

const LOCK: &str = "lock";

/// The owner's alone: rows of other people lie here.
const MODE: u32 = 0o700;

/// Empty folders that are kept for the next tasks. Some file systems (ext4 for one) take the longer to make a file the
/// more were removed within the last seconds, which many small files a second come to feel.
const SPARES: usize = 16;

/// This worker's part of the scratch folder. Its lock says that the worker lives; the part goes when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    /// Folders that are as they were made.
    spares: Mutex<Vec<PathBuf>>,
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
                return Ok(Self {
                    path,
                    spares: Mutex::default(),
                    _lock: lock,
                });
            }
        }
    }

    /// A folder for one attempt at a task, with nothing but an empty [`OUT`] in it. A new one has the attempt's name.
    pub(crate) fn folder(self: &Arc<Self>, task: TaskId, attempt: u32) -> io::Result<Scratch> {
        let root = self.clone();
        let spare = self.spares().pop();
        if let Some(path) = spare {
            return Ok(Scratch { path, root });
        }
        let path = self.path.join(format!("{task}-{attempt}"));
        private_folder(&path)?;
        let scratch = Scratch { path, root };
        private_folder(&scratch.out())?;
        Ok(scratch)
    }

    /// Paths only, never across an await: a poisoned lock is as good as any.
    fn spares(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a folder for the next task when it can be made as it was, and there is need of it.
    fn take_back(&self, path: &Path) -> io::Result<bool> {
        if self.spares().len() >= SPARES || !empty(path)? {
            return Ok(false);
        }
        self.spares().push(path.to_owned());
        Ok(true)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        tell(remove_part(&self.path));
    }
}

/// The folder of one attempt; everything in it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    root: Arc<Root>,
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
        if !matches!(self.root.take_back(&self.path), Ok(true)) {
            tell(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// Nobody else on the machine may look into it.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(MODE).create(path)
}

/// Removes everything but [`OUT`]. False when the folder is no longer as it was made: its child may have been taken over
/// by its file, and the next one must not find what that has prepared for it.
fn empty(path: &Path) -> io::Result<bool> {
    let mut has_out = false;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == OUT && entry.file_type()?.is_dir() {
            has_out = true;
        } else {
            remove(&entry)?;
        }
    }
    if !has_out {
        return Ok(false);
    }
    let out = path.join(OUT);
    for entry in std::fs::read_dir(&out)? {
        remove(&entry?)?;
    }
    Ok(is_private(path)? && is_private(&out)?)
}

fn is_private(path: &Path) -> io::Result<bool> {
    let meta = path.symlink_metadata()?;
    Ok(meta.is_dir() && meta.permissions().mode() & 0o7777 == MODE)
}

fn remove(entry: &DirEntry) -> io::Result<()> {
    if entry.file_type()?.is_dir() {
        std::fs::remove_dir_all(entry.path())
    } else {
        std::fs::remove_file(entry.path())
    }
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
        remove(&entry)?;
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
        let living = Arc::new(Root::open(shared.path(), &WorkerId::new("living")).unwrap());
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

    fn root(shared: &tempfile::TempDir) -> Arc<Root> {
        Arc::new(Root::open(shared.path(), &WorkerId::new("w")).unwrap())
    }

    fn folder(root: &Arc<Root>) -> Scratch {
        root.folder(Sources::system().task_id(), 1).unwrap()
    }

    #[test]
    fn a_folder_is_the_owners_alone_and_the_next_task_finds_nothing_in_it() {
        let shared = tempfile::tempdir().unwrap();
        let root = root(&shared);
        let scratch = folder(&root);
        let path = scratch.path().to_owned();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(path.join("request"), "x").unwrap();
        std::fs::create_dir_all(scratch.out().join("deep/er")).unwrap();
        std::fs::write(scratch.out().join("rows"), "x").unwrap();
        let beside = folder(&root);
        assert_ne!(beside.path(), path);
        drop(scratch);
        let next = folder(&root);
        assert_eq!(next.path(), path);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(next.out()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_its_child_has_prepared_for_the_next_task_goes() {
        let shared = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let kept = elsewhere.path().join("kept");
        std::fs::write(&kept, "x").unwrap();
        let root = root(&shared);
        let open = |scratch: &Scratch| {
            std::fs::set_permissions(scratch.out(), PermissionsExt::from_mode(0o777)).unwrap();
        };
        let linked = |scratch: &Scratch| {
            std::fs::remove_dir(scratch.out()).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), scratch.out()).unwrap();
        };
        let changes: [&dyn Fn(&Scratch); 2] = [&open, &linked];
        for change in changes {
            let scratch = folder(&root);
            let path = scratch.path().to_owned();
            change(&scratch);
            drop(scratch);
            assert!(!path.exists());
        }
        assert!(kept.exists());
    }
}
