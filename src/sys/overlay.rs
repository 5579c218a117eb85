//! Overlay file systems as detached mounts: nobody sees one, and it is gone with its last descriptor. None is attached here.
//!
//! From Linux 6.7, fsopen(2) and fsconfig(2) take the layers one by one with `lowerdir+`, up to the kernel's 500, and from
//! 6.13 also as descriptors of mounts that are attached nowhere. On older kernels the module below finds another way.

mod in_one_string;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::base::{Context as _, Error, Result};

pub(in crate::sys) use in_one_string::in_a_thread;

/// Whatever the kernel's build-time defaults are: layers must mean the same everywhere.
const OPTIONS: [(&str, &str); 3] = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")];

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

/// The folders of an overlay as descriptors; those of mounts that are attached nowhere are fine.
#[derive(Debug)]
pub struct Mapped {
    /// Roots of mounts, highest first.
    pub lower: Vec<OwnedFd>,
    /// The root of the mount that holds the next two.
    pub parent: OwnedFd,
    /// The folder of changed files.
    pub upper: OwnedFd,
    /// Overlay's own folder.
    pub work: OwnedFd,
    /// Leave out syncs.
    pub volatile: bool,
}

/// Mounts `lower` (highest first) and perhaps an upper folder, detached and close-on-exec; without one it is read-only.
///
/// # Errors
/// `not_found` for a missing folder; `unsupported` when the kernel has no overlay, or is before 6.7 and takes less layers;
/// others as the kernel gives them.
pub fn mount_detached(lower: &[PathBuf], upper: Option<Upper<'_>>) -> Result<OwnedFd> {
    // An old kernel does not know `lowerdir+`. A new one that means something else will say it again.
    let known = if is_older_than((6, 7)) { Err((Errno::INVAL, None)) } else { one_by_one(lower, upper) };
    let mounted = match known {
        Err((Errno::INVAL, _)) => in_one_string::mount_paths(lower, upper),
        Err((error, Some(layer))) => Err(system(error)).context(|| format!("adding the layer {layer:?}")),
        other => other.map_err(|(error, _)| system(error)),
    };
    mounted.context(|| format!("mounting an overlay of {} layers", lower.len()))
}

/// As [`mount_detached`], of folders that are open already: what layers with mapped ids need.
///
/// # Errors
/// As [`mount_detached`].
pub fn mount_mapped(folders: Mapped) -> Result<OwnedFd> {
    let count = folders.lower.len();
    let known = if is_older_than((6, 13)) { Err(Errno::INVAL) } else { by_descriptors(&folders) };
    let mounted = match known {
        Err(Errno::INVAL | Errno::BADF) => in_one_string::mount_open(folders),
        other => other.map_err(system),
    };
    mounted.context(|| format!("mounting an overlay of {count} layers"))
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
    finish(&fs).map_err(system)
}

/// The way of Linux 6.13.
fn by_descriptors(folders: &Mapped) -> std::result::Result<OwnedFd, Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in &folders.lower {
        fsconfig_set_fd(fs.as_fd(), "lowerdir+", layer.as_fd())?;
    }
    fsconfig_set_fd(fs.as_fd(), "upperdir", folders.upper.as_fd())?;
    fsconfig_set_fd(fs.as_fd(), "workdir", folders.work.as_fd())?;
    if folders.volatile {
        fsconfig_set_flag(fs.as_fd(), "volatile")?;
    }
    finish(&fs)
}

fn finish(fs: &OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    for (key, value) in OPTIONS {
        fsconfig_set_string(fs.as_fd(), key, value)?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Whether overlay takes its lower folders one by one (`lowerdir+`), so that they fit into the options of any mount.
pub fn takes_layers_one_by_one() -> bool {
    !is_older_than((6, 7))
}

/// Whether the kernel's release says so: trying would leave a line in its log for each mount. A kernel that was given the
/// feature later than its release only takes the other way, which works as well.
fn is_older_than(wanted: (u32, u32)) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < wanted,
        _ => false,
    }
}

fn system(error: Errno) -> Error {
    Error::from(std::io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::in_one_string::{mount_open, mount_paths};
    use super::*;
    use crate::base::Kind;
    use std::os::fd::AsRawFd as _;

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
        assert_eq!(names(&mount_paths(&layers, None).unwrap()), 150);
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
            let mount = if old { mount_paths(&layers, writable) } else { mount_detached(&layers, writable) }.unwrap();
            std::fs::write(format!("/proc/self/fd/{}/new", mount.as_raw_fd()), "y").unwrap();
            assert_eq!(std::fs::read(upper.join("new")).unwrap(), b"y");
            assert!(work.join("work/incompat/volatile").exists());
        }
    }

    #[test]
    fn detached_mounts_are_layers_in_both_ways() {
        use rustix::mount::{OpenTreeFlags, open_tree};
        for old in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let clone = |path: &Path| {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                open_tree(rustix::fs::CWD, path, flags).unwrap()
            };
            let paths = layers(dir.path(), 20);
            let writable = dir.path().join("writable");
            std::fs::create_dir_all(writable.join("upper")).unwrap();
            std::fs::create_dir_all(writable.join("work")).unwrap();
            let lower = paths.iter().map(|path| clone(path)).collect();
            let parent = clone(&writable);
            let open = |name: &str| {
                OwnedFd::from(std::fs::File::open(format!("/proc/self/fd/{}/{name}", parent.as_raw_fd())).unwrap())
            };
            let (upper, work) = (open("upper"), open("work"));
            let folders = Mapped { lower, parent, upper, work, volatile: false };
            let mount = if old { mount_open(folders) } else { mount_mapped(folders) }.unwrap();
            assert_eq!(names(&mount), 20);
            std::fs::write(format!("/proc/self/fd/{}/new", mount.as_raw_fd()), "y").unwrap();
            assert!(writable.join("upper/new").exists());
        }
    }

    #[test]
    fn the_old_way_leaves_no_thread_behind() {
        // Only threads that end late are a matter here, so one try would prove little.
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path(), 2);
        for _ in 0..50 {
            let ended = in_one_string::in_a_thread(rustix::thread::gettid);
            assert!(!Path::new(&format!("/proc/self/task/{}", ended.as_raw_nonzero())).exists());
        }
        mount_paths(&layers, None).unwrap();
    }

    #[test]
    fn the_old_way_shows_no_mount_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path(), 2);
        let mount = mount_paths(&layers, None).unwrap();
        assert_eq!(names(&mount), 2);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("a-layer-number"), "{mounts}");
    }

    #[test]
    fn a_missing_layer_is_named_in_both_ways() {
        for mounted in
            [mount_detached(&["/nonexistent-layer".into()], None), mount_paths(&["/nonexistent-layer".into()], None)]
        {
            let error = mounted.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound);
            assert!(error.to_string().contains("nonexistent-layer"), "{error}");
        }
    }

    #[test]
    fn more_layers_than_the_old_way_takes_are_refused_and_not_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let error = mount_paths(&layers(dir.path(), 300), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
    }
}
