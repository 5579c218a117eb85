//! Overlay file systems through the mount API of Linux 5.2 (fsopen(2), fsconfig(2), fsmount(2)).
//!
//! Layers are added one by one with `lowerdir+` (Linux 6.5), so the page-sized option string of mount(2) is no limit. A
//! mount is made detached: nobody sees it, and it is gone with its last descriptor. It is never attached here.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use crate::base::{Context as _, Error, Result};

/// Where writes to an overlay go.
#[derive(Debug, Clone, Copy)]
pub struct Upper<'a> {
    /// The folder of changed files.
    pub upper: &'a Path,
    /// Overlay's own folder on the same file system.
    pub work: &'a Path,
    /// Leave out syncs.
    pub volatile: bool,
}

/// Mounts `lower` (highest first) and perhaps an upper folder, detached and close-on-exec; without one it is read-only.
///
/// # Errors
/// `not_found` for a missing folder; `unsupported` when the kernel has no overlay; others as the kernel gives them.
pub fn mount_detached(lower: &[PathBuf], upper: Option<Upper<'_>>) -> Result<OwnedFd> {
    let doing = || format!("mounting an overlay of {} layers", lower.len());
    let system = |error: rustix::io::Errno| Error::from(std::io::Error::from(error));
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(system).context(doing)?;
    for layer in lower {
        fsconfig_set_string(fs.as_fd(), "lowerdir+", layer)
            .map_err(system)
            .context(|| format!("adding the layer {layer:?}"))?;
    }
    if let Some(Upper { upper, work, volatile }) = upper {
        fsconfig_set_string(fs.as_fd(), "upperdir", upper).map_err(system).context(doing)?;
        fsconfig_set_string(fs.as_fd(), "workdir", work).map_err(system).context(doing)?;
        if volatile {
            fsconfig_set_flag(fs.as_fd(), "volatile").map_err(system).context(doing)?;
        }
    }
    // Whatever the kernel's build-time defaults are: layers must mean the same everywhere.
    for (key, value) in [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")] {
        fsconfig_set_string(fs.as_fd(), key, value).map_err(system).context(doing)?;
    }
    fsconfig_create(fs.as_fd()).map_err(system).context(doing)?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(system).context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_hundred_and_fifty_layers_show_through_a_detached_mount() {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = (0..150)
            .map(|n| {
                let layer = dir.path().join(format!("a-rather-long-name-for-a-layer-number-{n}"));
                std::fs::create_dir(&layer).unwrap();
                std::fs::write(layer.join(format!("file-{n}")), "x").unwrap();
                layer
            })
            .collect();
        let mount = mount_detached(&layers, None).unwrap();
        let root = format!("/proc/self/fd/{}", mount.as_raw_fd());
        assert_eq!(std::fs::read_dir(root).unwrap().count(), 150);
    }

    #[test]
    fn a_missing_layer_is_named() {
        let error = mount_detached(&["/nonexistent-layer".into()], None).unwrap_err();
        assert_eq!(error.kind(), crate::base::Kind::NotFound);
        assert!(error.to_string().contains("nonexistent-layer"), "{error}");
    }
}
