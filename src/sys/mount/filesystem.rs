//! New file systems of any type, attached nowhere, and changing the options of those that are mounted.
//!
//! fsopen(2) and fsconfig(2) are the way. What they cannot carry (values of more than 255 bytes, the few flags of mount(2)
//! that have no name there, types that read their options in one piece) goes through mount(2), in a mount namespace that a
//! thread has for itself: nobody sees the mount before it is attached where it belongs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, mount,
    mount_change, open_tree,
};

use super::{NO_ATIME, NO_DEV, NO_DIR_ATIME, NO_EXEC, NO_SUID, NO_SYMFOLLOW, READ_ONLY, STRICT_ATIME};
use crate::base::{Context as _, Error, Result};
use crate::sys::overlay::in_a_thread;

/// The longest value that fsconfig(2) takes, without the zero byte.
const VALUE_MAX: usize = 255;
/// The bytes that mount(2) takes as options, with the zero byte; a larger page would take more.
const OPTIONS_MAX: usize = 4096;
/// The options of every file system that fsconfig(2) knows by name, and what they are to mount(2).
const COMMON: [(&str, MountFlags); 5] = [
    ("ro", MountFlags::RDONLY),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
    ("lazytime", MountFlags::LAZYTIME),
    ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
];
/// `MS_I_VERSION`: the file system counts the changes of its files.
const I_VERSION: MountFlags = MountFlags::from_bits_retain(1 << 23);
/// `MS_NOSYMFOLLOW`.
const NO_SYMFOLLOW_FLAG: MountFlags = MountFlags::from_bits_retain(1 << 8);

/// A file system that is to be mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewFilesystem {
    /// Its type, as in `/proc/filesystems`.
    pub kind: String,
    /// What it calls its source: a device, or any word.
    pub source: Option<String>,
    /// Its own options, with or without values.
    pub options: Vec<(String, Option<String>)>,
    /// `sync`, `dirsync`, `lazytime`, `mand`, `iversion`, `silent`, and `ro` for the file system itself.
    pub common: Vec<&'static str>,
    /// Attributes of the mount.
    pub attributes: u64,
}

/// Makes a new file system instance of type `kind`, attached nowhere. `options` are keys with or without values.
///
/// # Errors
/// What fsopen(2), fsconfig(2) and fsmount(2) give.
pub fn new_filesystem(
    kind: &str,
    source: Option<&str>,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    Ok(configure(&fs, source, options, &[], attributes)?)
}

/// As [`new_filesystem`], of any type and with any option, and what the kernel says about it when it fails.
///
/// # Errors
/// What the kernel gives; `permission_denied` where a user namespace may not mount it.
pub fn mount_detached(new: &NewFilesystem) -> Result<OwnedFd> {
    let long = |text: &String| text.len() > VALUE_MAX;
    let too_long = new.source.as_ref().is_some_and(long)
        || new.options.iter().any(|(key, value)| long(key) || value.as_ref().is_some_and(long));
    if too_long || new.common.contains(&"iversion") {
        return mount_in_one_piece(new);
    }
    let fs = fsopen(new.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC).map_err(system)?;
    let tried = configure(&fs, new.source.as_deref(), &new.options, &new.common, new.attributes);
    let error = match tried {
        Ok(mounted) => return Ok(mounted),
        Err(error) => error,
    };
    let said = words_of_kernel(&fs);
    if matches!(error, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)
        && let Ok(mounted) = mount_in_one_piece(new)
    {
        return Ok(mounted);
    }
    Err(system(error)).context(|| said.unwrap_or_else(|| format!("making a {} file system", new.kind)))
}

/// Changes the options of the file system that is mounted at the root that `mounted` names.
///
/// # Errors
/// What fspick(2) and fsconfig(2) give.
pub fn reconfigure(
    mounted: BorrowedFd<'_>,
    options: &[(String, Option<String>)],
    common: &[&'static str],
) -> Result<()> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let fs = fspick(mounted, "", flags).map_err(system)?;
    let change = || -> std::result::Result<(), Errno> {
        set(&fs, None, options, common)?;
        fsconfig_reconfigure(fs.as_fd())
    };
    change().map_err(|error| {
        let said = words_of_kernel(&fs);
        system(error).context(said.unwrap_or_else(|| "changing a file system".to_owned()))
    })
}

fn configure(
    fs: &OwnedFd,
    source: Option<&str>,
    options: &[(String, Option<String>)],
    common: &[&'static str],
    attributes: u64,
) -> std::result::Result<OwnedFd, Errno> {
    set(fs, source, options, common)?;
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attributes as u32))
}

fn set(
    fs: &OwnedFd,
    source: Option<&str>,
    options: &[(String, Option<String>)],
    common: &[&'static str],
) -> std::result::Result<(), Errno> {
    if let Some(source) = source {
        fsconfig_set_string(fs.as_fd(), "source", source)?;
    }
    // `silent` is about the kernel's log alone, and nothing that fsconfig(2) has.
    for name in common.iter().filter(|name| **name != "silent") {
        fsconfig_set_flag(fs.as_fd(), *name)?;
    }
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(fs.as_fd(), key, value)?,
            None => fsconfig_set_flag(fs.as_fd(), key)?,
        }
    }
    Ok(())
}

/// The way of mount(2): everything in one string, attached, then taken out.
fn mount_in_one_piece(new: &NewFilesystem) -> Result<OwnedFd> {
    let one = |(key, value): &(String, Option<String>)| match value {
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    };
    let data = new.options.iter().map(one).collect::<Vec<_>>().join(",");
    if data.len() >= OPTIONS_MAX {
        // mount(2) cuts a longer one without a word.
        return Err(Error::invalid(format!("the options of a {} file system are too long", new.kind)));
    }
    let data = CString::new(data).map_err(|_| Error::invalid("an option contains a null byte"))?;
    let flags = flags(new);
    in_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| Error::from(io::Error::from(error)))?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(system)?;
        let source = new.source.as_deref().unwrap_or("none");
        mount(source, TARGET, new.kind.as_str(), flags, data.as_c_str()).map_err(system)?;
        open_tree(CWD, TARGET, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC).map_err(system)
    })
    .context(|| format!("making a {} file system", new.kind))
}

/// A folder that is always there.
const TARGET: &str = "/proc";

fn flags(new: &NewFilesystem) -> MountFlags {
    let attributes = [
        (READ_ONLY, MountFlags::RDONLY),
        (NO_SUID, MountFlags::NOSUID),
        (NO_DEV, MountFlags::NODEV),
        (NO_EXEC, MountFlags::NOEXEC),
        (NO_ATIME, MountFlags::NOATIME),
        (STRICT_ATIME, MountFlags::STRICTATIME),
        (NO_DIR_ATIME, MountFlags::NODIRATIME),
        (NO_SYMFOLLOW, NO_SYMFOLLOW_FLAG),
    ];
    let of_mount = attributes.iter().filter(|(bit, _)| new.attributes & bit != 0).map(|(_, flag)| *flag);
    let of_superblock = new.common.iter().map(|name| match *name {
        "silent" => MountFlags::SILENT,
        "iversion" => I_VERSION,
        name => COMMON.iter().find(|(known, _)| *known == name).map_or(MountFlags::empty(), |(_, flag)| *flag),
    });
    of_mount.chain(of_superblock).fold(MountFlags::empty(), MountFlags::union)
}

/// What the kernel noted about the last failure: `tmpfs: Unknown parameter 'x'`.
fn words_of_kernel(fs: &OwnedFd) -> Option<String> {
    let mut words = Vec::new();
    let mut buffer = [0; 1024];
    // A few are kept at most; each read takes one.
    for _ in 0..16 {
        let Ok(length) = rustix::io::read(fs, &mut buffer) else { break };
        let line = String::from_utf8_lossy(&buffer[..length]);
        words.extend(line.trim_end().strip_prefix("e ").map(str::to_owned));
    }
    (!words.is_empty()).then(|| words.join("; "))
}

fn system(error: Errno) -> Error {
    Error::from(io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    fn tmpfs(options: &[(&str, Option<&str>)]) -> NewFilesystem {
        let own = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
        NewFilesystem {
            kind: "tmpfs".to_owned(),
            options: options.iter().map(own).collect(),
            attributes: NO_DEV,
            ..NewFilesystem::default()
        }
    }

    fn entries(mount: &OwnedFd) -> io::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/self/fd/{}", mount.as_raw_fd()))?.count())
    }

    #[test]
    fn both_ways_make_a_file_system_that_nobody_sees() {
        let new = NewFilesystem { common: vec!["sync", "silent"], ..tmpfs(&[("mode", Some("0711"))]) };
        for mounted in [mount_detached(&new).unwrap(), mount_in_one_piece(&new).unwrap()] {
            assert_eq!(entries(&mounted).unwrap(), 0);
            assert_eq!(super::super::mode(&mounted).unwrap(), 0o1711 & 0o711);
            assert_eq!(super::super::mounted(mounted.as_fd()).unwrap().attributes, NO_DEV);
        }
        let counted = NewFilesystem { common: vec!["iversion"], ..tmpfs(&[]) };
        mount_detached(&counted).unwrap();
    }

    #[test]
    fn the_kernel_says_what_it_does_not_like() {
        let error = mount_detached(&tmpfs(&[("nonsense", Some("1"))])).unwrap_err();
        assert!(error.to_string().contains("nonsense"), "{error}");
        let error = mount_detached(&NewFilesystem { kind: "nosuchfs".to_owned(), ..tmpfs(&[]) }).unwrap_err();
        assert!(error.to_string().contains("No such device"), "{error}");
        let long = "x".repeat(5000);
        assert!(mount_detached(&tmpfs(&[("huge", Some(&long))])).is_err());
        assert!(mount_detached(&tmpfs(&[("a\0b", None)])).is_err());
    }

    #[test]
    fn a_mounted_file_system_takes_new_options() {
        let mounted = mount_detached(&tmpfs(&[])).unwrap();
        let size = [("size".to_owned(), Some("64k".to_owned()))];
        reconfigure(mounted.as_fd(), &size, &[]).unwrap();
        let big = vec![0; 100_000];
        assert!(std::fs::write(format!("/proc/self/fd/{}/big", mounted.as_raw_fd()), big).is_err());
        let nonsense = [("nonsense".to_owned(), None)];
        assert!(reconfigure(mounted.as_fd(), &nonsense, &[]).is_err());
    }
}
