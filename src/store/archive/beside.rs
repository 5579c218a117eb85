//! Files and folders for the user, made beside their place and renamed into it: whole or not there.
//!
//! They lie outside of the state root, so a killed process leaves a name that starts with a dot and says whose it is; the
//! next one for the same place takes it away, since nobody has it locked. A failure leaves nothing. It does not decide what
//! may be overwritten: see who calls it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Id, Result};
use crate::sys::fs::sync_dir;
use crate::sys::lock::{Mode, try_lock};
use crate::sys::path::remove_tree;

/// What stands between the name of the target and a random number.
const MARK: &str = ".rhumb-";

/// Something under way; dropping it removes it.
pub struct Beside {
    path: PathBuf,
    target: PathBuf,
    /// Open and locked as long as this lives.
    lock: Option<File>,
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
        beside.push(MARK);
        sweep(folder, &beside);
        beside.push(Id::random()?.short());
        Ok(Beside { path: folder.join(beside), target, lock: None, done: false })
    }

    fn locked(mut self, file: File) -> Result<Beside> {
        // Between its making and this lock a sweep may have taken it: then the rename at the end says so.
        try_lock(&file, Mode::Exclusive).context(|| format!("locking {:?}", self.path))?;
        self.lock = Some(file);
        Ok(self)
    }

    /// A new empty file, mode 0600, for something that shall be at `target`.
    ///
    /// # Errors
    /// `not_found` when there is no such folder, `no_space` and what else making it gives.
    pub fn file(target: &Path) -> Result<(Beside, File)> {
        let beside = Beside::new(target)?;
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&beside.path);
        let file = file.context(|| format!("making a file beside {target:?}"))?;
        let lock = file.try_clone().context(|| format!("making a file beside {target:?}"))?;
        Ok((beside.locked(lock)?, file))
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
        let folder = File::open(&beside.path).context(|| format!("making a folder beside {target:?}"))?;
        beside.locked(folder)
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

/// Removes what killed processes left for the same target. What cannot be removed stays: it is in nobody's way.
fn sweep(folder: &Path, start: &std::ffi::OsStr) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let digits = name.as_encoded_bytes().strip_prefix(start.as_encoded_bytes());
        let ours = digits.is_some_and(|digits| digits.len() == Id::SHORT && digits.iter().all(u8::is_ascii_hexdigit));
        let kind = entry.file_type();
        if !ours || !kind.is_ok_and(|kind| kind.is_file() || kind.is_dir()) {
            continue;
        }
        let dead = File::open(entry.path()).and_then(|file| try_lock(&file, Mode::Exclusive).map(|free| (free, file)));
        if let Ok((true, _held)) = dead {
            let _ = remove_tree(&entry.path()); // the next one tries again
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
    fn what_a_killed_process_left_goes_and_what_a_living_one_has_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        let dead = folder.path().join(".x.rhumb-0123456789ab");
        let others = [".x.rhumb-mine", ".y.rhumb-0123456789ab", "x.rhumb-0123456789ab"];
        std::fs::write(&dead, "half").unwrap();
        others.iter().for_each(|name| std::fs::write(folder.path().join(name), "other").unwrap());
        let (living, _file) = Beside::file(&target).unwrap();
        let (second, _second) = Beside::file(&target).unwrap();
        assert!(!dead.exists() && living.path().exists() && second.path().exists());
        drop((living, second));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), others.len());
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
