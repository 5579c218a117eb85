//! The engine as a whole: facts, disk usage, prune, check.

use crate::base::Result;
use crate::engine::Engine;
use crate::model::system::{CheckOptions, CheckReport, DiskUsage, Info, PruneReport};

impl Engine {
    /// Facts about this machine and engine.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn system_info(&self) -> Result<Info> {
        todo!()
    }

    /// Space by noun.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn system_df(&self) -> Result<DiskUsage> {
        todo!()
    }

    /// Prunes containers, dangling images (`all`: every unused one) and, when asked, volumes.
    ///
    /// # Errors
    /// The first failure.
    pub fn system_prune(&self, all: bool, volumes: bool) -> Result<PruneReport> {
        todo!()
    }

    /// Cross-checks records, folders, blobs and kernel objects.
    ///
    /// # Errors
    /// Only when the check itself cannot be done.
    pub fn system_check(&self, options: CheckOptions) -> Result<CheckReport> {
        todo!()
    }
}
