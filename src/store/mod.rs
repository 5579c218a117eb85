//! Floor 3: the disk. Records, names and uses in SQLite; blobs; layers; image archives; volumes' content.
//!
//! Knows nothing of containers: a record is a kind, an id, a phase and a JSON body. The layout is in
//! [`crate::base::paths`].

pub mod archive;
pub mod assemble;
pub mod blob;
mod check;
pub mod db;
pub mod event;
pub mod image;
pub mod layer;
pub mod lease;
pub mod pack;
pub mod pull;
pub mod scratch;
pub mod spread;
pub mod sweep;
mod tar;
pub mod upper;
pub mod volume;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use crate::base::{Context as _, Error, Kind, Paths, Result};

/// What a state root holds. A folder with anything else in it is not taken over, since its mode would be changed.
const OURS: &[&str] =
    &["blobs", "layers", "containers", "volumes", "builds", "events", "cache", "tmp", "run", "lost+found"];

/// The store of one state root. Cheap to clone, safe to share between threads.
#[derive(Clone)]
pub struct Store {
    paths: Paths,
    db: Arc<db::Db>,
    lease: Arc<lease::Current>,
}

impl Store {
    /// Opens the store, making its folders (mode 0700) and migrating its database as needed.
    ///
    /// # Errors
    /// `permission_denied` when the root cannot be written; `corrupt` when the database is not ours; `unsupported` when
    /// it was written by a later version; `invalid_argument` when the root is somebody else's folder; `no_space`.
    pub fn open(paths: &Paths) -> Result<Store> {
        if !paths.database().exists() {
            make_root(paths)?;
        }
        if !paths.locks().exists() {
            for folder in [paths.run().to_owned(), paths.locks(), paths.container_runs()] {
                make_folder(&folder)?;
            }
        }
        Ok(Store { paths: paths.clone(), db: Arc::new(db::Db::open(paths)?), lease: Arc::default() })
    }

    /// The layout this store lives in.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }
}

fn make_root(paths: &Paths) -> Result<()> {
    let root = paths.root();
    if !root.is_absolute() {
        return Err(Error::invalid(format!("the state root {root:?} is not an absolute path")));
    }
    make_folder(root)?;
    for entry in std::fs::read_dir(root).context(|| format!("reading the state root {root:?}"))? {
        let name = entry.context(|| format!("reading the state root {root:?}"))?.file_name();
        let name = name.to_string_lossy();
        if !OURS.contains(&&*name) && !name.starts_with("rhumb.db") {
            return Err(Error::invalid(format!("{root:?} is not a state root: it holds {name:?}"))
                .with_hint("give an empty or a new folder as the root"));
        }
    }
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700))
        .context(|| format!("changing the mode of the state root {root:?}"))?;
    for folder in [paths.blobs(), paths.layers(), paths.containers(), paths.volumes(), paths.tmp()] {
        make_folder(&folder)?;
    }
    Ok(())
}

/// Makes a folder and its parents, mode 0700; one that exists is left as it is.
fn make_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        let denied = matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
        let error = Error::from(error);
        let kind = if denied { Kind::PermissionDenied } else { error.kind() };
        let error = Error::new(kind, format!("making the folder {path:?}")).with_source(error);
        if denied { error.with_hint("run it as root, or give another root") } else { error }
    })
}
