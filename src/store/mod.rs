//! Floor 3: the disk. Records, names and uses in SQLite; blobs; layers; image archives; volumes' content.
//!
//! Knows nothing of containers: a record is a kind, an id, a phase and a JSON body. The layout is in
//! [`crate::base::paths`].

pub mod archive;
pub mod blob;
pub mod db;
pub mod image;
pub mod layer;
pub mod pack;
pub mod volume;

use crate::base::{Paths, Result};

/// The store of one state root. Cheap to clone, safe to share between threads.
#[derive(Clone)]
pub struct Store {
    paths: Paths,
    db: std::sync::Arc<db::Db>,
}

impl Store {
    /// Opens the store, making its folders (mode 0700) and migrating its database as needed.
    ///
    /// # Errors
    /// `permission_denied` when the root cannot be written; `corrupt` when the database is not ours; `unsupported` when
    /// it was written by a later version.
    pub fn open(paths: &Paths) -> Result<Store> {
        let _ = paths;
        todo!()
    }

    /// The layout this store lives in.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }
}
