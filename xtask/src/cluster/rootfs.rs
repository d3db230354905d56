//! Programs of this machine as parts of an image: with the libraries they need, and somebody to run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::bail;

use super::image::Layer;

impl Layer {
    /// A program or library with every library that it needs.
    pub(super) fn program(&mut self, from: &Path, place: &str) -> anyhow::Result<()> {
        for library in libraries(from)? {
            self.file(&library, &library.to_string_lossy(), 0o755)?;
        }
        self.file(from, place, 0o755)
    }

    /// Programs that stay in their places.
    pub(super) fn programs(&mut self, paths: &[PathBuf]) -> anyhow::Result<()> {
        for path in paths {
            self.program(path, &path.to_string_lossy())?;
        }
        Ok(())
    }

    /// Root and one more user, for programs that ask for their name.
    pub(super) fn users(&mut self, name: &str, id: u32) -> anyhow::Result<()> {
        let passwd = format!("root:x:0:0:root:/:/bin/sh\n{name}:x:{id}:{id}::/tmp:/bin/sh\n");
        self.text("/etc/passwd", &passwd, 0o644)?;
        self.text("/etc/group", &format!("root:x:0:\n{name}:x:{id}:\n"), 0o644)?;
        let lookup = "passwd: files\ngroup: files\nhosts: files dns\n";
        self.text("/etc/nsswitch.conf", lookup, 0o644)
    }
}

/// The libraries of a program as the loader finds them, itself among them; none for a static program.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let asked = Command::new("ldd")
        .arg(program)
        .stdin(Stdio::null())
        .output()?;
    let found = String::from_utf8_lossy(&asked.stdout);
    if found.contains("not found") {
        bail!("{} lacks libraries: {found}", program.display());
    }
    Ok(listed(&found))
}

/// Reads `libz.so.1 => /lib/libz.so.1 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn listed(ldd: &str) -> Vec<PathBuf> {
    let paths = ldd.lines().filter_map(|line| {
        let line = line.rsplit("=> ").next()?.trim();
        let path = line.split(' ').next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_off_the_loaders_list() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibz.so.1 => /lib/libz.so.1 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = ["/lib/libz.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(listed(said), paths);
        assert_eq!(listed("\tstatically linked\n"), <[PathBuf; 0]>::default());
    }
}
