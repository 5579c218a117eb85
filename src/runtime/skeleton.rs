//! The mount points that every container needs, as one shared lowest layer.
//!
//! ```text
//! <folder>/dev/ proc/ sys/ etc/hosts etc/hostname etc/resolv.conf       folders and files are empty
//! ```
//!
//! Where an image has something of these names, that shows: this is the lowest layer. Where it has not, each container would
//! make them in its own layer, and take them away again: on a disk that discards what is freed (`mount -o discard`), each
//! folder removed costs one to two milliseconds, more than all the rest of a short container's end.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::base::{Context as _, Error, Id, Result};

const FOLDERS: [&str; 4] = ["dev", "proc", "sys", "etc"];
const FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Makes the layer at `folder` when it is missing. Several may do so at once.
///
/// # Errors
/// What making folders and files gives.
pub fn ensure(folder: &Path) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let doing = || format!("making the mount points in {folder:?}");
    let parent = folder.parent().ok_or_else(|| Error::invalid(format!("{folder:?} has no parent")))?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent).context(doing)?;
    // Whole or not at all: made beside, then renamed. A rename onto one that is there already fails, as it is not empty.
    let beside = folder.with_extension(format!("{}.tmp", Id::random()?.short()));
    let make = || -> std::io::Result<()> {
        DirBuilder::new().mode(0o755).create(&beside)?;
        for name in FOLDERS {
            DirBuilder::new().mode(0o755).create(beside.join(name))?;
        }
        for name in FILES {
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(beside.join(name))?;
        }
        fs::rename(&beside, folder)
    };
    match make() {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = fs::remove_dir_all(&beside); // the first error is what matters
            if folder.exists() { Ok(()) } else { Err(Error::from(error).context(doing())) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache/mountpoints");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ensure(&folder).unwrap());
            }
        });
        ensure(&folder).unwrap();
        assert!(FILES.iter().all(|name| folder.join(name).is_file()));
        assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 1);
    }
}
