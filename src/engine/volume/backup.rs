//! Backup and restore of volumes: who may do it when. The archives are [`crate::store::volume::backup`]'s.

use std::path::Path;

use crate::base::{Context as _, Result, failpoint};
use crate::engine::Engine;
use crate::model::volume::Backup;
use crate::sys::lock::Mode;

impl Engine {
    pub(super) fn backup_volume(&self, volume: &str, path: &Path) -> Result<Backup> {
        let facts = self.volume_get(volume)?;
        let path = std::path::absolute(path).context(|| format!("finding {path:?}"))?;
        // Others may read at the same time; a restore or a removal waits.
        let _lock = self.lock_volume(&facts.id, Mode::Shared)?;
        failpoint::hit("volume.backup.begin")?;
        self.store.volume_backup(&facts.id, &path).context(|| format!("backing up the volume {:?}", facts.name))
    }

    pub(super) fn restore_volume(&self, volume: &str, path: &Path) -> Result<Backup> {
        let facts = self.volume_get(volume)?;
        let path = std::path::absolute(path).context(|| format!("finding {path:?}"))?;
        let _lock = self.lock_volume(&facts.id, Mode::Exclusive)?;
        self.refuse_running(&facts)?;
        failpoint::hit("volume.restore.begin")?;
        self.store
            // Reading the archive takes a while: a container may have been started meanwhile.
            .volume_restore(&facts.id, &path, || self.refuse_running(&facts))
            .context(|| format!("restoring the volume {:?}", facts.name))
    }

    pub(super) fn verify_backup(&self, path: &Path) -> Result<Backup> {
        let path = std::path::absolute(path).context(|| format!("finding {path:?}"))?;
        self.store.backup_verify(&path)
    }
}
