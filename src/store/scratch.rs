//! Half-made things: files and folders in `tmp/`, or in memory, locked while their maker lives.
//!
//! A scratch object is renamed to its real name when it is whole, and removed when it is dropped. What a killed process
//! left is unlocked, which is how [`Store::sweep_scratch`] tells it from the work of a living one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Id, Paths, Result};
use crate::store::Store;
use crate::sys::fs::is_in_memory;
use crate::sys::lock::{self, Mode};
use crate::sys::path::remove_tree;

/// How often making one is tried anew: a sweep may take it between its making and its lock.
const TRIES: u32 = 32;

/// A file or folder in `tmp/` or in memory.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Open for writing and reading (a file) or reading (a folder); it carries the lock.
    file: File,
    kept: bool,
}

impl Scratch {
    /// Makes an empty file, mode 0600.
    ///
    /// # Errors
    /// `no_space` and what else making it gives.
    pub(super) fn file(paths: &Paths, prefix: &str) -> Result<Scratch> {
        Scratch::make(&paths.tmp(), prefix, |path| {
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
        })
    }

    /// Makes an empty folder, mode 0700.
    ///
    /// # Errors
    /// `no_space` and what else making it gives.
    pub(super) fn dir(folder: &Path, prefix: &str) -> Result<Scratch> {
        Scratch::make(folder, prefix, |path| {
            std::fs::DirBuilder::new().mode(0o700).create(path)?;
            File::open(path).or_else(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    remove_tree(path)?;
                }
                Err(error)
            })
        })
    }

    fn make(folder: &Path, prefix: &str, make: impl Fn(&Path) -> io::Result<File>) -> Result<Scratch> {
        for _ in 0..TRIES {
            let path = folder.join(format!("{prefix}-{}", Id::random()?.short()));
            let file = match make(&path) {
                // A sweep took the folder before it was opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound && folder.exists() => continue,
                other => other.context(|| format!("making {path:?}"))?,
            };
            let scratch = Scratch { path, file, kept: false };
            if lock::try_lock(&scratch.file, Mode::Exclusive)? && lock::is_at(&scratch.file, &scratch.path)? {
                return Ok(scratch);
            }
        }
        Err(crate::base::Error::failed(format!("cannot make anything in {:?}: it is swept all the time", folder)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file or folder.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Renames it to `target` on the same file system, replacing a file or an empty folder there. The folder that holds
    /// `target` is flushed: the caller has flushed the content.
    ///
    /// # Errors
    /// What `rename(2)` gives; the scratch object is removed then.
    pub fn publish(mut self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, target)?;
        self.kept = true;
        // At its real name nothing asks for the lock; a sweep that moves it away again must find it free.
        match target.parent() {
            Some(folder) => crate::sys::fs::sync_dir(folder),
            None => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            // The next sweep tries again; the error that led here is already on its way.
            let _ = remove_tree(&self.path);
        }
        lock::unlock(&self.file);
        // The folder for what lies in memory goes with the last that is in it; the store's own stays.
        if let Some(folder) = self.path.parent().filter(|folder| is_memory(folder)) {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Whether a folder is one of those for what lies in memory.
fn is_memory(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"rhumb-memory"))
}

impl Store {
    /// A new folder in `tmp/` for something half-made: locked while the value lives, gone when it is dropped, on the
    /// same file system as everything else of the store. `prefix` says in listings what it is for.
    ///
    /// # Errors
    /// `no_space` and what else making it gives.
    pub fn scratch_dir(&self, prefix: &str) -> Result<Scratch> {
        Scratch::dir(&self.paths().tmp(), prefix)
    }

    /// As [`Store::scratch_dir`], in memory: what is in it is on no disk, however this process ends.
    ///
    /// # Errors
    /// `unsupported` when no folder for that lies in memory; `permission_denied` when somebody else has its name.
    pub fn scratch_in_memory(&self, prefix: &str) -> Result<Scratch> {
        let folders = self.memory_folders();
        let in_memory = |folder: &&PathBuf| folder.parent().is_some_and(|above| is_in_memory(above).unwrap_or(false));
        let folder = folders.iter().find(in_memory).ok_or_else(|| {
            let above: Vec<_> = folders.iter().filter_map(|folder| folder.parent()).collect();
            Error::unsupported(format!("a secret has to lie in memory, and none of {above:?} does"))
                .with_hint("mount a tmpfs there")
        })?;
        let mut tries = 0;
        loop {
            let making = || format!("making {folder:?}");
            match std::fs::DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::from(error).context(making()));
                }
                _ => {}
            }
            // Others may write where it is.
            match std::fs::symlink_metadata(folder) {
                Ok(facts) if facts.is_dir() && facts.uid() == 0 && facts.mode() & 0o077 == 0 => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                    continue;
                }
                facts => {
                    facts.context(making)?;
                    return Err(
                        Error::permission_denied(format!("{folder:?} is somebody else's")).with_hint("remove it")
                    );
                }
            }
            match Scratch::dir(folder, prefix) {
                // Whoever went last took the folder away.
                Err(_) if !folder.exists() && tries < TRIES => tries += 1,
                made => return made,
            }
        }
    }

    /// Where secrets may lie, the best place first: which it is says where memory is.
    fn memory_folders(&self) -> Vec<PathBuf> {
        let id = self.paths().root_id();
        let name = if id.is_empty() { "rhumb-memory".to_owned() } else { format!("rhumb-memory-{id}") };
        [self.paths().run(), Path::new("/run"), Path::new("/dev/shm")].map(|above| above.join(&name)).to_vec()
    }

    /// A new file in `tmp/`; see [`Store::scratch_dir`].
    ///
    /// # Errors
    /// As there.
    pub fn scratch_file(&self, prefix: &str) -> Result<Scratch> {
        Scratch::file(self.paths(), prefix)
    }

    /// Removes what killed processes left in `tmp/`; returns the names.
    ///
    /// # Errors
    /// The first thing that could not be removed, after trying all.
    pub fn sweep_scratch(&self) -> Result<Vec<String>> {
        self.each_dead(remove_tree)
    }

    /// The names of what killed processes left in `tmp/`.
    pub(super) fn dead_scratch(&self) -> Result<Vec<String>> {
        self.each_dead(|_| Ok(()))
    }

    /// Calls `work` for everything in `tmp/` that nobody holds, while it is locked; returns the names.
    fn each_dead(&self, work: impl Fn(&Path) -> io::Result<()>) -> Result<Vec<String>> {
        let mut names = self.each_dead_in(&self.paths().tmp(), &work)?;
        for folder in self.memory_folders().into_iter().filter(|folder| folder.is_dir()) {
            names.extend(self.each_dead_in(&folder, &work)?);
            // Kept by whoever has something in it.
            let _ = std::fs::remove_dir(&folder);
        }
        Ok(names)
    }

    fn each_dead_in(&self, folder: &Path, work: impl Fn(&Path) -> io::Result<()>) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut failure = Ok(());
        for entry in std::fs::read_dir(folder).context(|| format!("reading {folder:?}"))? {
            let path = entry.context(|| format!("reading {folder:?}"))?.path();
            match if_dead(&path, &work).context(|| format!("removing {path:?}")) {
                Ok(true) => {
                    let name = path.file_name().unwrap_or_default();
                    names.push(name.to_string_lossy().into_owned());
                }
                Ok(false) => {}
                Err(error) => failure = failure.and(Err(error)),
            }
        }
        failure.map(|()| names)
    }
}

/// Does something with a file or folder that nobody has locked, and holds its lock meanwhile. Anything else than a file or
/// folder is not of ours: nobody can hold it.
fn if_dead(path: &Path, work: impl Fn(&Path) -> io::Result<()>) -> io::Result<bool> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if gone(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    if !kind.is_file() && !kind.is_dir() {
        return work(path).map(|()| true);
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if gone(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    if !lock::try_lock(&file, Mode::Exclusive)? || !lock::is_at(&file, path)? {
        return Ok(false);
    }
    work(path).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_what_the_dead_left_and_spares_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
        let living = store.scratch_dir("layer").unwrap();
        std::fs::write(living.path().join("x"), "x").unwrap();
        let tmp = store.paths().tmp();
        std::fs::create_dir_all(tmp.join("layer-dead/a/b")).unwrap();
        std::fs::write(tmp.join("blob-dead"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", tmp.join("link")).unwrap();
        let mut removed = store.sweep_scratch().unwrap();
        removed.sort();
        assert_eq!(removed, ["blob-dead", "layer-dead", "link"]);
        let target = folder.path().join("target");
        living.publish(&target).unwrap();
        assert!(target.join("x").exists());
        drop(store.scratch_file("blob").unwrap());
        assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0);
    }

    #[test]
    fn makers_and_sweepers_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let scratch = store.scratch_dir("x").unwrap();
                        std::fs::write(scratch.path().join("y"), "y").unwrap();
                    }
                });
                scope.spawn(|| (0..100).for_each(|_| drop(store.sweep_scratch().unwrap())));
            }
        });
        assert!(store.sweep_scratch().unwrap().is_empty());
    }
}
