//! An image of one layer, in the layout that `docker save` writes and containerd reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::Cluster;
use crate::run::say;

/// How a container of the image starts, where the pod says nothing else.
pub(super) struct Start<'a> {
    /// The program.
    pub(super) entrypoint: &'a str,
    /// Where programs are looked for.
    pub(super) path: &'a str,
    /// Who it runs as.
    pub(super) user: &'a str,
}

/// A file tree that becomes the layer. Owners and times are the same for all, so that the same files are the same image.
pub(super) struct Layer {
    tar: Builder<Hashing>,
    added: BTreeSet<String>,
}

impl Layer {
    /// With nothing but a folder that everybody may write to.
    pub(super) fn new() -> anyhow::Result<Self> {
        let file = tempfile::tempfile()?;
        let mut layer = Self {
            tar: Builder::new(Hashing {
                file,
                hash: Sha256::new(),
            }),
            added: BTreeSet::new(),
        };
        layer.folder("/tmp", 0o1777)?;
        Ok(layer)
    }

    /// An empty folder.
    pub(super) fn folder(&mut self, place: &str, mode: u32) -> anyhow::Result<()> {
        let mut header = header(EntryType::Directory, 0, mode);
        Ok(self
            .tar
            .append_data(&mut header, relative(place), io::empty())?)
    }

    /// A file of this machine, once however often it is asked for; links are followed.
    pub(super) fn file(&mut self, from: &Path, place: &str, mode: u32) -> anyhow::Result<()> {
        if !self.added.insert(place.to_owned()) {
            return Ok(());
        }
        let file =
            File::open(from).with_context(|| format!("{} cannot be read", from.display()))?;
        let mut header = header(EntryType::Regular, file.metadata()?.len(), mode);
        Ok(self.tar.append_data(&mut header, relative(place), file)?)
    }

    /// A file with a text of ours.
    pub(super) fn text(&mut self, place: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        let mut header = header(EntryType::Regular, text.len() as u64, mode);
        Ok(self
            .tar
            .append_data(&mut header, relative(place), text.as_bytes())?)
    }

    /// A folder of this machine with everything in it, but what `skip` names.
    pub(super) fn tree(&mut self, folder: &Path, skip: &[&str]) -> anyhow::Result<()> {
        let entries = fs::read_dir(folder)
            .with_context(|| format!("{} cannot be read", folder.display()))?
            .collect::<Result<Vec<_>, _>>()?;
        let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if skip.contains(&&*name) {
                continue;
            }
            // Links are followed; one that leads nowhere is left out.
            match fs::metadata(&path) {
                Ok(about) if about.is_dir() => self.tree(&path, skip)?,
                Ok(_) => self.file(&path, &path.to_string_lossy(), 0o644)?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Makes the image and puts it on the node.
    pub(super) fn load(
        self,
        cluster: &Cluster,
        reference: &str,
        start: &Start<'_>,
    ) -> anyhow::Result<()> {
        let Hashing { mut file, hash } = self.tar.into_inner()?;
        io::Seek::rewind(&mut file)?;
        let config = json!({
            "architecture": go_architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": [start.entrypoint],
                "Env": [format!("PATH={}", start.path)],
                "User": start.user,
                "WorkingDir": "/",
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&hash.finalize()))] },
        })
        .to_string();
        let name = format!("{}.json", hex(&Sha256::digest(&config)));
        let manifest =
            json!([{ "Config": name, "RepoTags": [reference], "Layers": ["layer.tar"] }]);

        let archive = tempfile::Builder::new().suffix(".tar").tempfile()?;
        let mut tar = Builder::new(archive.as_file());
        let size = file.metadata()?.len();
        let mut add = |name: &str, size: u64, from: &mut dyn io::Read| {
            tar.append_data(&mut header(EntryType::Regular, size, 0o644), name, from)
        };
        add(&name, config.len() as u64, &mut config.as_bytes())?;
        add("layer.tar", size, &mut file)?;
        let manifest = manifest.to_string();
        add(
            "manifest.json",
            manifest.len() as u64,
            &mut manifest.as_bytes(),
        )?;
        tar.finish()?;
        import(cluster, archive.path(), reference)?;
        say(format_args!("{reference}: {} MiB", size / 1024 / 1024));
        Ok(())
    }
}

fn import(cluster: &Cluster, archive: &Path, reference: &str) -> anyhow::Result<()> {
    let imported = cluster
        .ctr()
        .args(["images", "import"])
        .arg(archive)
        .stdin(Stdio::null())
        .output()
        .context("`ctr` could not be started")?;
    if !imported.status.success() {
        bail!(
            "{reference} was not taken: {}",
            String::from_utf8_lossy(&imported.stderr)
        );
    }
    Ok(())
}

/// Hashes what is written: the layer's name is its content.
struct Hashing {
    file: File,
    hash: Sha256,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn relative(place: &str) -> &str {
    place.trim_start_matches('/')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The processor as images name it.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
