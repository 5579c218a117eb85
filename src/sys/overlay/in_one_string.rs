//! Overlays on kernels before 6.7: all layers go into the page-sized option string of mount(2), as names of descriptors,
//! which leaves room for about 220 and needs no escapes.
//!
//! That call attaches, and overlay takes only folders that are attached in its caller's mount namespace. So it happens in
//! a mount namespace that a thread has for itself: the thread takes a detached copy out and ends, and the namespace, its
//! mounts and a kill in between leave nothing. fsconfig(2) is no way out: it takes 256 bytes.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount, open_tree,
};

use super::{Mapped, OPTIONS, Upper, system};
use crate::base::{Context as _, Error, Result};

/// The bytes that mount(2) takes as options, with the zero byte; a larger page would take more.
const OPTIONS_MAX: usize = 4096;

/// A folder that is always there, and that everybody may pass: with mapped ids, the caller is not root for files.
const TARGET: &str = "/proc";

/// What goes into the option string.
struct Folders {
    lower: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
    volatile: bool,
    /// Stays open as long.
    _parent: Option<OwnedFd>,
}

/// As `mount_detached`.
pub(super) fn mount_paths(lower: &[PathBuf], upper: Option<Upper<'_>>) -> Result<OwnedFd> {
    let open = |folder: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(folder, flags, Mode::empty())
            .map_err(system)
            .context(|| format!("adding the layer {folder:?}"))
    };
    mount_and_take_out(|| {
        Ok(Folders {
            lower: lower.iter().map(|layer| open(layer)).collect::<Result<Vec<OwnedFd>>>()?,
            upper: upper.map(|Upper { upper, work, .. }| Ok::<_, Error>((open(upper)?, open(work)?))).transpose()?,
            volatile: upper.is_some_and(|upper| upper.volatile),
            _parent: None,
        })
    })
}

/// As `mount_mapped`.
pub(super) fn mount_open(folders: Mapped) -> Result<OwnedFd> {
    let Mapped { lower, parent, upper, work, volatile } = folders;
    mount_and_take_out(move || {
        // One upon the other, above the root, where no path leads and nothing is covered: it only matters that they are
        // attached. Their descriptors stay what they are.
        for mount in lower.iter().chain([&parent]) {
            move_mount(mount, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(system)?;
        }
        Ok(Folders { lower, upper: Some((upper, work)), volatile, _parent: Some(parent) })
    })
}

/// Mounts in a mount namespace of its own, where `open` opens the folders.
fn mount_and_take_out(open: impl FnOnce() -> Result<Folders> + Send) -> Result<OwnedFd> {
    in_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| Error::from(std::io::Error::from(error)))?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(system)?;
        let folders = open()?;
        let options = option_string(&folders)?;
        mount("overlay", TARGET, "overlay", MountFlags::empty(), options.as_c_str()).map_err(system)?;
        open_tree(CWD, TARGET, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC).map_err(system)
    })
}

/// Calls `act` in a thread, and returns when the kernel has forgotten that thread: `join` returns a moment before, and a
/// process that looked single-threaded to itself would not yet be, which matters to fork and to namespaces.
pub(in crate::sys) fn in_a_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let (result, thread) = std::thread::scope(|scope| {
        let act = || (act(), rustix::thread::gettid());
        scope.spawn(act).join().expect("mounting does not panic")
    });
    let task = PathBuf::from(format!("/proc/self/task/{}", thread.as_raw_nonzero()));
    while task.exists() {
        std::thread::sleep(Duration::from_micros(50));
    }
    result
}

/// The options of mount(2): short, and without a character that must be escaped.
fn option_string(folders: &Folders) -> Result<CString> {
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let layers: Vec<String> = folders.lower.iter().map(name).collect();
    let mut options = format!("lowerdir={}", layers.join(":"));
    let mut push = |text: std::fmt::Arguments<'_>| options.write_fmt(text).expect("writing to a string");
    if let Some((upper, work)) = &folders.upper {
        push(format_args!(",upperdir={},workdir={}", name(upper), name(work)));
    }
    if folders.volatile {
        push(format_args!(",volatile"));
    }
    for (key, value) in OPTIONS {
        push(format_args!(",{key}={value}"));
    }
    // mount(2) cuts a longer one without a word, and so would lose layers.
    if options.len() >= OPTIONS_MAX {
        let message = format!("{} layers are more than this kernel takes", layers.len());
        return Err(Error::unsupported(message).with_hint("Linux 6.7 and later take 500"));
    }
    Ok(CString::new(options).expect("digits and words have no zero byte"))
}
