//! A file that gets its name only when it is whole: nobody ever sees a half, and a kill leaves nothing.
//!
//! It has no name while it is written (open(2), `O_TMPFILE`). Where the file system knows no such files, and for the moment
//! in which it takes the place of another, it has a name of its own that starts with `.rhumb-`.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::base::Id;
use crate::sys::path::{Dir, of_descriptor};

/// A file on its way into a folder. Dropping it forgets it.
#[derive(Debug)]
pub struct NewFile {
    dir: Dir,
    file: File,
    /// Its own name for now, where it has one.
    name: Option<Vec<u8>>,
}

impl NewFile {
    /// Makes an empty file, mode 0600, on the file system of a folder.
    ///
    /// # Errors
    /// What open(2) gives.
    pub fn create(dir: &Dir) -> io::Result<NewFile> {
        let dir = dir.try_clone()?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&dir, c".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(NewFile { dir, file: file.into(), name: None }),
            // What file systems and kernels without it say (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let name = own_name()?;
                let file = dir.create_file(&name, 0o600)?;
                Ok(NewFile { dir, file, name: Some(name) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name; what is there, but for a folder, is replaced at once.
    ///
    /// # Errors
    /// What linkat(2) and renameat(2) give: `ResourceBusy` for a mount point.
    pub fn publish(mut self, name: &[u8]) -> io::Result<()> {
        if self.name.is_none() {
            match self.link(name) {
                Err(Errno::EXIST) => {}
                linked => return Ok(linked?),
            }
            let own = own_name()?;
            self.link(&own)?;
            self.name = Some(own);
        }
        let own = self.name.as_deref().expect("it has a name by now");
        rustix::fs::renameat(&self.dir, own, &self.dir, name)?;
        self.name = None;
        Ok(())
    }

    fn link(&self, name: &[u8]) -> Result<(), Errno> {
        rustix::fs::linkat(CWD, of_descriptor(&self.file), &self.dir, name, AtFlags::SYMLINK_FOLLOW)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The error that led here is what matters; the name says whose it is.
            let _ = rustix::fs::unlinkat(&self.dir, name.as_slice(), AtFlags::empty());
        }
    }
}

fn own_name() -> io::Result<Vec<u8>> {
    let id = Id::random().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(".rhumb-{}", id.short()).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn it_appears_whole_in_place_of_another_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("x"), "old").unwrap();
        let forgotten = NewFile::create(&dir).unwrap();
        forgotten.file().write_all(b"half").unwrap();
        drop(forgotten);
        for name in ["x", "y"] {
            let new = NewFile::create(&dir).unwrap();
            new.file().write_all(b"new").unwrap();
            assert!(std::fs::read_to_string(folder.path().join(name)).is_ok_and(|text| text == "old") || name == "y");
            new.publish(name.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), "new");
        }
        std::fs::create_dir(folder.path().join("d")).unwrap();
        assert!(NewFile::create(&dir).unwrap().publish(b"d").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
