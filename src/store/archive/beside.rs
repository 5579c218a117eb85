//! Files and folders for the user, made beside their place and renamed into it: whole or not there.
//!
//! They lie outside of the state root, so a killed process leaves a name that starts with a dot and says whose it is; a
//! failure leaves nothing. It does not decide what may be overwritten: see who calls it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Id, Result};
use crate::sys::fs::sync_dir;
use crate::sys::path::remove_tree;

/// Something under way; dropping it removes it.
pub struct Beside {
    path: PathBuf,
    target: PathBuf,
    done: bool,
}

impl Beside {
    fn new(target: &Path) -> Result<Beside> {
        let target = std::path::absolute(target).context(|| format!("finding {target:?}"))?;
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error::invalid(format!("{target:?} names no file")));
        };
        let mut beside = std::ffi::OsString::from(".");
        // A name may have 255 bytes: of a long one the beginning is enough.
        beside.push(String::from_utf8_lossy(name.as_encoded_bytes()).chars().take(50).collect::<String>());
        beside.push(format!(".rhumb-{}", Id::random()?.short()));
        Ok(Beside { path: folder.join(beside), target, done: false })
    }

    /// A new empty file, mode 0600, for something that shall be at `target`.
    ///
    /// # Errors
    /// `not_found` when there is no such folder, `no_space` and what else making it gives.
    pub fn file(target: &Path) -> Result<(Beside, File)> {
        let beside = Beside::new(target)?;
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&beside.path);
        let file = file.context(|| format!("making a file beside {target:?}"))?;
        Ok((beside, file))
    }

    /// A new empty folder, mode 0755.
    ///
    /// # Errors
    /// As [`Beside::file`].
    pub fn folder(target: &Path) -> Result<Beside> {
        let beside = Beside::new(target)?;
        std::fs::DirBuilder::new()
            .mode(0o755)
            .create(&beside.path)
            .context(|| format!("making a folder beside {target:?}"))?;
        Ok(beside)
    }

    /// Where it is until it is done.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, replacing a file or an empty folder. Its content was flushed before.
    ///
    /// # Errors
    /// `already_exists` for a folder that is not empty; what renaming gives.
    pub fn finish(mut self) -> Result<()> {
        std::fs::rename(&self.path, &self.target).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty => Error::already_exists(format!("{:?} is not empty", self.target)),
            _ => Error::from(error).context(format!("renaming a file to {:?}", self.target)),
        })?;
        self.done = true;
        let folder = self.target.parent().unwrap_or(Path::new("/"));
        sync_dir(folder).context(|| format!("flushing {folder:?}"))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.done {
            // The error that led here is what the user needs; the name of what stays says whose it is.
            let _ = remove_tree(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        drop(Beside::file(&target).unwrap());
        let dir = Beside::folder(&target).unwrap();
        std::fs::write(dir.path().join("y"), "y").unwrap();
        drop(dir);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        Beside::file(&target).unwrap().0.finish().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(Beside::file(&folder.path().join("a/b")).err().unwrap().kind(), Kind::NotFound);
    }

    #[test]
    fn a_filled_folder_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        std::fs::create_dir(&target).unwrap();
        Beside::folder(&target).unwrap().finish().unwrap();
        std::fs::write(target.join("y"), "y").unwrap();
        assert_eq!(Beside::folder(&target).unwrap().finish().unwrap_err().kind(), Kind::AlreadyExists);
        assert!(target.join("y").exists());
    }
}
