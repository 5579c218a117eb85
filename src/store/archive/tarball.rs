//! Writes a tar whose bytes depend on its input only: owner 0:0, no names of users, times as given.
//!
//! For archives and layers that we make up ourselves, member by member. Trees on disk, with their owners, extended
//! attributes and devices, are [`crate::store::pack`]'s.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

use crate::base::{Context as _, Error, Result};

/// A tar being written. Names are relative to its top.
pub struct Tarball<W: Write> {
    builder: Builder<W>,
}

impl<W: Write> Tarball<W> {
    /// Starts a tar.
    pub fn new(out: W) -> Tarball<W> {
        Tarball { builder: Builder::new(out) }
    }

    /// Adds a folder.
    ///
    /// # Errors
    /// What writing gives.
    pub fn folder(&mut self, name: &str, mode: u32) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, 0, 0);
        self.builder.append_data(&mut header, format!("{name}/"), io::empty()).context(|| format!("writing {name:?}"))
    }

    /// Adds a file of exactly `size` bytes; `mtime` is in seconds since the epoch.
    ///
    /// # Errors
    /// What reading and writing give; `failed` when `content` has another size.
    pub fn file(&mut self, name: &str, mode: u32, mtime: u64, size: u64, content: impl Read) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, mtime, size);
        let mut content = Counted { inner: content.take(size), count: 0 };
        self.builder.append_data(&mut header, name, &mut content).context(|| format!("writing {name:?}"))?;
        if content.count != size {
            return Err(Error::failed(format!("{name:?} was changed while it was read")));
        }
        Ok(())
    }

    /// Adds a file with these bytes.
    ///
    /// # Errors
    /// What writing gives.
    pub fn bytes(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.file(name, mode, 0, content.len() as u64, content)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// What writing gives.
    pub fn symlink(&mut self, name: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0, 0);
        self.builder.append_link(&mut header, name, target).context(|| format!("writing {name:?}"))
    }

    /// Adds a further name of a file that was added before.
    ///
    /// # Errors
    /// What writing gives.
    pub fn hard_link(&mut self, name: &str, mode: u32, mtime: u64, earlier: &str) -> Result<()> {
        let mut header = header(EntryType::Link, mode, mtime, 0);
        self.builder.append_link(&mut header, name, earlier).context(|| format!("writing {name:?}"))
    }

    /// Writes the end and gives the stream back.
    ///
    /// # Errors
    /// What writing gives.
    pub fn finish(self) -> Result<W> {
        self.builder.into_inner().context(|| "writing the end of a tar")
    }
}

fn header(kind: EntryType, mode: u32, mtime: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let write = || {
            let mut tar = Tarball::new(Vec::new());
            tar.folder("etc", 0o755).unwrap();
            tar.bytes("etc/x", 0o644, b"text").unwrap();
            tar.symlink("bin", "usr/bin").unwrap();
            tar.hard_link("etc/y", 0o644, 0, "etc/x").unwrap();
            tar.bytes(&format!("{}/z", "d".repeat(200)), 0o600, b"").unwrap();
            tar.finish().unwrap()
        };
        assert_eq!(write(), write());
        let bytes = write();
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names[..4], ["etc/", "etc/x", "bin", "etc/y"]);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let mut tar = Tarball::new(Vec::new());
        assert!(tar.file("x", 0o644, 0, 10, &b"short"[..]).is_err());
    }
}
