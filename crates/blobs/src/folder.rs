//! What a local folder does that no object store does: staging beside the blobs, renames, whole trees at once.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filejobs_core::JobId;

use crate::keys::{AREAS, is_before};

/// The folder under which everything lies. All of its functions block.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Keeps the names of two processes on one shared folder apart; `create_new` decides where that fails.
    process: u64,
    next: AtomicU64,
}

/// Where uploads in progress lie.
const STAGING: &str = "staging";

impl Folder {
    /// Creates the folder and its areas.
    pub(crate) fn create(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        for area in AREAS.into_iter().chain([STAGING]) {
            fs::create_dir_all(root.join(area))?;
        }
        sync_folder(&root)?;
        Ok(Self {
            root,
            process: RandomState::new().build_hasher().finish(),
            next: AtomicU64::new(0),
        })
    }

    /// Whether anybody has made it before: its areas are never removed.
    pub(crate) fn was_made(root: &Path) -> io::Result<bool> {
        for area in AREAS.into_iter().chain([STAGING]) {
            if root.join(area).try_exists()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is the folder that was opened: its areas are never removed, and a volume that was unmounted leaves an
    /// empty folder behind, in which every blob would seem to be gone for good.
    pub(crate) fn stands(&self) -> io::Result<()> {
        fs::metadata(self.staging()).map(drop).map_err(|error| {
            let told =
                format!("the storage folder has lost its areas; is its volume mounted? ({error})");
            io::Error::new(io::ErrorKind::NotConnected, told)
        })
    }

    fn staging(&self) -> PathBuf {
        self.root.join(STAGING)
    }

    /// A new empty file for an upload in progress.
    pub(crate) fn stage(&self) -> io::Result<(File, PathBuf)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("{:016x}-{number:08x}", self.process);
            let path = self.staging().join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes, reads and removes a small file.
    pub(crate) fn try_out(&self) -> io::Result<()> {
        const TEXT: &[u8] = b"ping";
        let (mut file, path) = self.stage()?;
        let tried = file
            .write_all(TEXT)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::read(&path));
        let removed = fs::remove_file(&path);
        match tried? {
            read if read == TEXT => removed,
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Gives a file whose content is synced its lasting name.
    pub(crate) fn publish(staged: &Path, to: &Path) -> io::Result<()> {
        let folder = parent(to)?;
        create_folders(folder)?;
        fs::rename(staged, to)?;
        sync_folder(folder)
    }

    /// Moves files in: `from` of a worker's scratch folder becomes `to`. Each folder is synced once.
    pub(crate) fn put_files(&self, files: &[(PathBuf, PathBuf)]) -> io::Result<()> {
        let mut folders: Vec<&Path> = Vec::new();
        for (from, to) in files {
            let folder = parent(to)?;
            if !folders.contains(&folder) {
                create_folders(folder)?;
                folders.push(folder);
            }
            match File::open(from) {
                // Moved by an earlier try that failed later on: nobody else has this key.
                Err(e) if e.kind() == io::ErrorKind::NotFound && to.exists() => continue,
                other => other?.sync_all()?,
            }
            match fs::rename(from, to) {
                Err(e) if e.kind() == io::ErrorKind::CrossesDevices => self.copy_in(from, to)?,
                other => other?,
            }
        }
        folders.into_iter().try_for_each(sync_folder)
    }

    /// From another file system: copied beside its place first, so that nobody ever sees half of it.
    pub(crate) fn copy_in(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut staged, path) = self.stage()?;
        let copied = File::open(from)
            .and_then(|mut file| io::copy(&mut file, &mut staged))
            .and_then(|_| staged.sync_all())
            .and_then(|()| fs::rename(&path, to));
        if copied.is_err() {
            let _ = fs::remove_file(&path);
        }
        copied?;
        fs::remove_file(from)
    }

    /// Removes the results and plans of a job's generations before `before`; all of them for `None`.
    pub(crate) fn delete_results(&self, job: JobId, before: Option<u32>) -> io::Result<()> {
        for area in ["results", "plans"] {
            let folder = self.root.join(area).join(job.to_string());
            let Some(before) = before else {
                self.gone(fs::remove_dir_all(&folder))?;
                continue;
            };
            let entries = match fs::read_dir(&folder) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.stands()?;
                    continue;
                }
                other => other?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| is_before(name, before)) {
                    self.gone(fs::remove_dir_all(entry.path()))?;
                }
            }
        }
        Ok(())
    }

    /// What was not there is removed as well, but nothing is where the folder itself is away.
    fn gone(&self, removed: io::Result<()>) -> io::Result<()> {
        match removed {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.stands(),
            other => other,
        }
    }

    /// Removes uploads in progress whose last write is `idle` ago.
    pub(crate) fn sweep_staged(&self, idle: Duration) -> io::Result<u64> {
        let mut removed = 0;
        for entry in fs::read_dir(self.staging())? {
            let entry = entry?;
            // Published or removed while we look: not ours any more.
            let Ok(written) = entry.metadata().and_then(|m| m.modified()) else {
                continue;
            };
            if written.elapsed().is_ok_and(|age| age >= idle)
                && fs::remove_file(entry.path()).is_ok()
            {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Syncs a folder, so that the names in it survive a loss of power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a folder with its parents and syncs every folder that got a new entry.
fn create_folders(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(parent(folder)?),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create_folders(parent(folder)?)?;
            create_folders(folder)
        }
        Err(e) => Err(e),
    }
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}
