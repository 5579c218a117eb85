//! Overlay file systems as detached mounts: nobody sees one, and it is gone with its last descriptor. None is attached here.
//!
//! From Linux 6.7, fsopen(2) and fsconfig(2) take the layers one by one with `lowerdir+`, up to the kernel's 500. Before,
//! all of them go into the page-sized option string of mount(2), as names of descriptors: room for about 220. That call
//! attaches; it does so in a mount namespace of a thread of its own, which takes the detached copy out and ends.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change, open_tree,
};

use crate::base::{Context as _, Error, Result};

/// Whatever the kernel's build-time defaults are: layers must mean the same everywhere.
const OPTIONS: [(&str, &str); 3] = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")];

/// The bytes that mount(2) takes as options, with the zero byte; a larger page would take more.
const OPTIONS_MAX: usize = 4096;

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
    let mounted = match one_by_one(lower, upper) {
        // An old kernel does not know `lowerdir+`. A new one that means something else will say it again.
        Err((Errno::INVAL, _)) => in_one_string(lower, upper),
        Err((error, Some(layer))) => Err(system(error)).context(|| format!("adding the layer {layer:?}")),
        other => other.map_err(|(error, _)| system(error)),
    };
    mounted.context(|| format!("mounting an overlay of {} layers", lower.len()))
}

/// The way of Linux 6.7. An error comes with the layer that it is about.
fn one_by_one<'a>(
    lower: &'a [PathBuf],
    upper: Option<Upper<'_>>,
) -> std::result::Result<OwnedFd, (Errno, Option<&'a Path>)> {
    let system = |error| (error, None);
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(system)?;
    for layer in lower {
        fsconfig_set_string(fs.as_fd(), "lowerdir+", layer).map_err(|error| (error, Some(layer.as_path())))?;
    }
    if let Some(Upper { upper, work, volatile }) = upper {
        fsconfig_set_string(fs.as_fd(), "upperdir", upper).map_err(system)?;
        fsconfig_set_string(fs.as_fd(), "workdir", work).map_err(system)?;
        if volatile {
            fsconfig_set_flag(fs.as_fd(), "volatile").map_err(system)?;
        }
    }
    for (key, value) in OPTIONS {
        fsconfig_set_string(fs.as_fd(), key, value).map_err(system)?;
    }
    fsconfig_create(fs.as_fd()).map_err(system)?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(system)
}

/// The way before Linux 6.7, in a thread that has a mount namespace of its own.
fn in_one_string(lower: &[PathBuf], upper: Option<Upper<'_>>) -> Result<OwnedFd> {
    let Some(first) = lower.first() else { return Err(Error::invalid("an overlay needs a layer")) };
    let mount_and_take_out = || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| Error::from(std::io::Error::from(error)))?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(system)?;
        // Overlay takes only folders of its caller's mount namespace: they are opened in the new one.
        let (options, _open) = option_string(lower, upper)?;
        mount("overlay", first.as_path(), "overlay", MountFlags::empty(), options.as_c_str()).map_err(system)?;
        open_tree(CWD, first, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC).map_err(system)
    };
    std::thread::scope(|scope| scope.spawn(mount_and_take_out).join().expect("mounting does not panic"))
}

/// The options of mount(2), and the descriptors that they name: short, and without a character that must be escaped.
fn option_string(lower: &[PathBuf], upper: Option<Upper<'_>>) -> Result<(CString, Vec<OwnedFd>)> {
    let mut open = Vec::new();
    let mut name = |folder: &Path| -> Result<String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(folder, flags, Mode::empty())
            .map_err(system)
            .context(|| format!("adding the layer {folder:?}"))?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        open.push(fd);
        Ok(name)
    };
    let layers = lower.iter().map(|layer| name(layer)).collect::<Result<Vec<String>>>()?;
    let mut options = format!("lowerdir={}", layers.join(":"));
    let mut push = |text: std::fmt::Arguments<'_>| options.write_fmt(text).expect("writing to a string");
    if let Some(Upper { upper, work, volatile }) = upper {
        push(format_args!(",upperdir={},workdir={}", name(upper)?, name(work)?));
        if volatile {
            push(format_args!(",volatile"));
        }
    }
    for (key, value) in OPTIONS {
        push(format_args!(",{key}={value}"));
    }
    // mount(2) cuts a longer one without a word, and so would lose layers.
    if options.len() >= OPTIONS_MAX {
        let message = format!("{} layers are more than this kernel takes", lower.len());
        return Err(Error::unsupported(message).with_hint("Linux 6.7 and later take 500"));
    }
    Ok((CString::new(options).expect("digits and words have no zero byte"), open))
}

fn system(error: Errno) -> Error {
    Error::from(std::io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    /// Folders with one file each; a name has all that option strings must escape.
    fn layers(dir: &Path, count: usize) -> Vec<PathBuf> {
        let make = |n| {
            let layer = dir.join(format!("a-rather-long, odd:name\\for-a-layer-number-{n}"));
            std::fs::create_dir(&layer).unwrap();
            std::fs::write(layer.join(format!("file-{n}")), "x").unwrap();
            layer
        };
        (0..count).map(make).collect()
    }

    fn names(mount: &OwnedFd) -> usize {
        std::fs::read_dir(format!("/proc/self/fd/{}", mount.as_raw_fd())).unwrap().count()
    }

    #[test]
    fn a_hundred_and_fifty_layers_show_through_a_detached_mount() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path(), 150);
        assert_eq!(names(&mount_detached(&layers, None).unwrap()), 150);
        assert_eq!(names(&in_one_string(&layers, None).unwrap()), 150);
    }

    #[test]
    fn writes_go_to_the_upper_folder_in_both_ways() {
        for old in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let layers = layers(dir.path(), 2);
            let [upper, work] = ["upper, it:is", "work"].map(|name| dir.path().join(name));
            std::fs::create_dir(&upper).unwrap();
            std::fs::create_dir(&work).unwrap();
            let writable = Some(Upper { upper: &upper, work: &work, volatile: true });
            let mount = if old { in_one_string(&layers, writable) } else { mount_detached(&layers, writable) }.unwrap();
            std::fs::write(format!("/proc/self/fd/{}/new", mount.as_raw_fd()), "y").unwrap();
            assert_eq!(std::fs::read(upper.join("new")).unwrap(), b"y");
            assert!(work.join("work/incompat/volatile").exists());
        }
    }

    #[test]
    fn the_old_way_shows_no_mount_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path(), 2);
        let mount = in_one_string(&layers, None).unwrap();
        assert_eq!(names(&mount), 2);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("a-layer-number"), "{mounts}");
    }

    #[test]
    fn a_missing_layer_is_named_in_both_ways() {
        for mounted in
            [mount_detached(&["/nonexistent-layer".into()], None), in_one_string(&["/nonexistent-layer".into()], None)]
        {
            let error = mounted.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound);
            assert!(error.to_string().contains("nonexistent-layer"), "{error}");
        }
    }

    #[test]
    fn more_layers_than_the_old_way_takes_are_refused_and_not_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let error = in_one_string(&layers(dir.path(), 300), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
    }
}
