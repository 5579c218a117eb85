//! What is inside a container's file system, seen from outside: export, volumes, filling of new volumes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use crate::base::failpoint;
use crate::base::{Context as _, Digest, Error, Result};
use crate::engine::Engine;
use crate::model::container::{ContainerRecord, MountPointKind};
use crate::model::mount::MountSource;
use crate::model::volume::Volume;
use crate::store::archive::beside::Beside;
use crate::store::pack::{PackForm, PackOptions, pack};
use crate::sys::fs::sync;
use crate::sys::overlay;

impl Engine {
    /// Writes the container's whole file system, without its mounts, as a tar.
    ///
    /// # Errors
    /// What writing gives.
    pub fn container_export(&self, container: &str, out: &mut dyn Write) -> Result<()> {
        let found = self.container_find(container)?;
        let mut lower = vec![self.paths().container(&found.id).join("upper")];
        lower.extend(self.lower_dirs(&found.record.layers));
        let root = view(&lower)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        let options =
            PackOptions { form: PackForm::Tree, root_entry: false, nanoseconds: false, ..PackOptions::default() };
        pack(&path, &options, out).context(|| format!("exporting the container {:?}", found.name))?;
        self.tell_of_found(&found, "export");
        Ok(())
    }

    /// As [`Engine::container_export`] to a file, made beside its place and renamed into it: whole or as it was.
    ///
    /// # Errors
    /// As there; `not_found` for the folder.
    pub fn container_export_to(&self, container: &str, path: &Path) -> Result<()> {
        match std::fs::metadata(path) {
            Ok(facts) if facts.is_dir() => {
                return Err(Error::invalid(format!("{path:?} is a folder")).with_hint("name a file in it"));
            }
            Ok(facts) if !facts.is_file() => {
                // A pipe or a device is written to, never replaced.
                let file = std::fs::OpenOptions::new().write(true).open(path);
                return self.container_export(container, &mut file.context(|| format!("opening {path:?}"))?);
            }
            _ => {}
        }
        let (beside, mut file) = Beside::file(path)?;
        self.container_export(container, &mut file)?;
        sync(&file).context(|| format!("flushing {path:?}"))?;
        failpoint::hit("container.export.file")?;
        beside.finish()
    }

    /// The volume mounted at `target`.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn container_volume(&self, container: &str, target: &str) -> Result<Volume> {
        let found = self.container_find(container)?;
        let wanted = if target.len() > 1 { target.trim_end_matches('/') } else { target };
        let volume = found.record.mounts.iter().find_map(|point| match &point.kind {
            MountPointKind::Volume { id, .. } if point.target == wanted => Some(id.clone()),
            _ => None,
        });
        let volume = volume.ok_or_else(|| {
            Error::not_found(format!("the container {:?} has no volume mounted at {target:?}", found.name))
        })?;
        self.volume_get(volume.as_str())
    }

    /// The folders of these layers (given lowest first), highest first as overlay wants them.
    pub(in crate::engine) fn lower_dirs(&self, layers: &[Digest]) -> Vec<PathBuf> {
        layers.iter().rev().map(|chain_id| self.store.layer_diff(chain_id)).collect()
    }

    /// Fills this container's empty volumes with what the image has at their targets, unless told not to.
    pub(super) fn container_copy_up(&self, record: &ContainerRecord) -> Result<()> {
        let no_copy: BTreeSet<&str> = record
            .options
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Volume { no_copy: true, .. } => Some(mount.target.trim_end_matches('/')),
                _ => None,
            })
            .collect();
        let wanted = record.mounts.iter().filter_map(|point| match &point.kind {
            MountPointKind::Volume { id, anonymous, .. }
                if !point.read_only && !point.inherited && !no_copy.contains(point.target.as_str()) =>
            {
                Some((id, point.target.as_str(), !(*anonymous && record.options.auto_remove)))
            }
            _ => None,
        });
        let mut root = None;
        for (id, target, durable) in wanted {
            let root = match &mut root {
                Some(root) => root,
                none => none.insert(view(&self.lower_dirs(&record.layers))?),
            };
            self.store
                .volume_copy_up(id, root.as_fd(), target, durable, || Ok(self.volume_mounted_by(id)?.is_some()))
                .context(|| format!("filling the volume at {target:?}"))?;
        }
        Ok(())
    }
}

/// A read-only view of stacked folders that no crash can leave mounted.
pub(in crate::engine) fn view(lower: &[PathBuf]) -> Result<OwnedFd> {
    match lower {
        // Overlay wants two layers at least.
        [only] => Ok(File::open(only).context(|| format!("opening {only:?}"))?.into()),
        lower => overlay::mount_detached(lower, None),
    }
}

/// Bytes on disk below a folder; what cannot be read counts as nothing, since this is for reports only.
pub(in crate::engine) fn disk_usage(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, facts)| facts.blocks() * 512 + if facts.is_dir() { disk_usage(&path) } else { 0 })
        .sum()
}
