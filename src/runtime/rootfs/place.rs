//! Places in a root file system where something is mounted or made: pinned by descriptor, made when they are missing.
//!
//! Links in a path are followed inside the root only, and not at all on the way to `/proc`, `/sys` and `/dev`. What is
//! reached is then mounted onto by descriptor; no name is looked up twice. A neighbour who swaps folders and links at the
//! same time (in a shared volume, for one) can choose which place inside the root is reached, and make a call fail.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::runtime::mounts;
use crate::sys::mount::{self, Kind};

/// The most links that one path may go through, as the kernel's own limit.
const MAX_LINKS: usize = 40;

/// A pinned place.
pub(super) struct Place {
    /// What is there.
    pub(super) fd: OwnedFd,
    /// It was there before.
    pub(super) existed: bool,
}

/// Pins where something is to be mounted, making it and its parents when they are missing. The specification's rules for
/// targets hold for where the image's links lead, too: a volume behind a link to `/dev` would get the container's devices
/// made in it.
pub(super) fn target(root: BorrowedFd<'_>, path: &Path, folder: bool) -> Result<Place> {
    match mount::pin_strictly(root, path) {
        Ok(fd) => return fits(Place { fd, existed: true }, path, folder),
        Err(error) if is_system(path) && is_link_error(&error) => return Err(behind_link(path)),
        // Something is missing, or there are links: name by name.
        Err(error) if error.kind() == ErrorKind::NotFound || is_link_error(&error) => {}
        Err(error) => return Err(Error::from(error).context(format!("opening {path:?} in the container"))),
    }
    if let Some(fd) = make_in_parent(root, path, folder) {
        return fits(Place { fd, existed: false }, path, folder);
    }
    let leaf = if folder { Leaf::Folder } else { Leaf::File };
    let walked = walk_to(root, path, leaf).map_err(|error| match is_system(path) && is_link_error(&error) {
        true => behind_link(path),
        false => Error::from(error).context(format!("making {path:?} in the container")),
    })?;
    if !is_system(path)
        && let Some(error) = mounts::refusal_behind_links(&walked.real)
    {
        return Err(error);
    }
    fits(Place { fd: walked.fd, existed: walked.existed }, path, folder)
}

/// The short way for what is missing in a folder that is there and reached without a link; none when it is not so.
fn make_in_parent(root: BorrowedFd<'_>, path: &Path, folder: bool) -> Option<OwnedFd> {
    let (parent, name) = (path.parent()?, path.file_name()?);
    let parent = mount::pin_strictly(root, parent).ok()?;
    match folder {
        true => mount::make_dir(parent.as_fd(), Path::new(name), 0o755).ok(),
        // Something may have come to be there, and that may be a link: the long way looks.
        false => mount::make_file(parent.as_fd(), Path::new(name)).ok(),
    }
}

/// Pins the folder that a path lies in, making it when it is missing, for something to be made there. The image's links
/// must not lead it into the kernel's own file systems.
pub(super) fn parent(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let doing = || format!("making {path:?} in the container");
    match mount::pin_strictly(root, path) {
        Ok(fd) => return Ok(fits(Place { fd, existed: true }, path, true)?.fd),
        Err(error) if is_system(path) && is_link_error(&error) => return Err(behind_link(path)),
        Err(_) => {}
    }
    let walked = walk_to(root, path, Leaf::Folder).context(doing)?;
    if !is_system(path) && ["/proc", "/sys"].iter().any(|system| walked.real.starts_with(system)) {
        return Err(Error::invalid(format!("a link of the image leads {path:?} to {:?}", walked.real)));
    }
    Ok(fits(Place { fd: walked.fd, existed: true }, path, true)?.fd)
}

/// Pins a path that may be there or not; nothing is made.
pub(super) fn existing(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>> {
    let pinned = match mount::pin_strictly(root, path) {
        // Links of the image are followed inside the root, and the kernel's own ones where the kernel's file systems are;
        // that they are reached without any link was seen to when they were mounted, and is seen to again here.
        Err(error) if is_link_error(&error) => match system_part(path) {
            Some(system) if mount::pin_strictly(root, system).is_err() => return Err(behind_link(path)),
            _ => mount::pin(root, path),
        },
        other => other,
    };
    match pinned {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Error::from(error).context(format!("opening {path:?} in the container"))),
    }
}

/// Pins what is mounted at a path already, for it to be changed. The rules of [`target`] hold for where links lead: one to
/// `/` would change the root's file system, which may be the host's.
pub(super) fn mounted(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>> {
    if let Ok(fd) = mount::pin_strictly(root, path) {
        return Ok(Some(fd));
    }
    match walk_to(root, path, Leaf::There) {
        Ok(walked) => match mounts::refusal_behind_links(&walked.real) {
            Some(error) if !is_system(path) => Err(error),
            _ => Ok(Some(walked.fd)),
        },
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) if is_system(path) && is_link_error(&error) => Err(behind_link(path)),
        Err(error) => Err(Error::from(error).context(format!("opening {path:?} in the container"))),
    }
}

/// Makes the folder `path` in the root that we are in, with its parents: a working folder that is missing.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let doing = || format!("making {path:?} in the container");
    let root = mount::open_folder(Path::new("/")).context(doing)?;
    folder(root.as_fd(), path)
}

/// As [`make_folder`], below `root`.
pub(super) fn folder(root: BorrowedFd<'_>, path: &Path) -> Result<()> {
    walk_to(root, path, Leaf::Folder).context(|| format!("making {path:?} in the container"))?;
    Ok(())
}

/// What is mounted and where must both be folders, or neither.
fn fits(place: Place, path: &Path, folder: bool) -> Result<Place> {
    match (mount::kind(&place.fd)? == Kind::Dir, folder) {
        (true, false) => Err(Error::invalid(format!("{path:?} is a folder, and a file is to be mounted there"))),
        (false, true) => Err(Error::invalid(format!("{path:?} is not a folder, and one is to be mounted there"))),
        _ => Ok(place),
    }
}

fn behind_link(path: &Path) -> Error {
    Error::invalid(format!(
        "what is at {path:?} must be mounted on ordinary directory: in the image it is, or lies behind, a symbolic link"
    ))
    .with_hint("/proc, /sys and /dev of an image must be folders, or missing")
}

/// Paths that must be reached without any link.
fn is_system(path: &Path) -> bool {
    system_part(path).is_some()
}

fn system_part(path: &Path) -> Option<&'static Path> {
    ["/proc", "/sys", "/dev"].into_iter().map(Path::new).find(|system| path.starts_with(system))
}

fn is_link_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(40) // ELOOP
}

#[derive(Clone, Copy)]
enum Leaf {
    Folder,
    File,
    /// Nothing is made.
    There,
}

struct Walked {
    fd: OwnedFd,
    /// Where that is in the root, without links.
    real: PathBuf,
    existed: bool,
}

/// Walks to `path` below `root` one name at a time, making what is missing; links are followed inside the root only,
/// except for system paths, where they are refused.
fn walk_to(root: BorrowedFd<'_>, path: &Path, leaf: Leaf) -> io::Result<Walked> {
    let strict = is_system(path);
    let mut ahead: Vec<OsString> = names(path).rev().collect();
    let mut behind: Vec<OwnedFd> = vec![root.try_clone_to_owned()?];
    let mut real = PathBuf::from("/");
    let mut links = 0;
    let mut existed = true;
    while let Some(name) = ahead.pop() {
        let here = behind.last().expect("the root is never popped").as_fd();
        if name == ".." {
            if behind.len() > 1 {
                behind.pop();
                real.pop();
            }
            continue;
        }
        match mount::look(here, Path::new(&name)) {
            Ok((found, Kind::Link)) => {
                links += 1;
                if strict || links > MAX_LINKS {
                    return Err(io::Error::from_raw_os_error(40)); // ELOOP
                }
                let to = mount::read_link(found.as_fd())?;
                if to.is_absolute() {
                    behind.truncate(1);
                    real = PathBuf::from("/");
                }
                ahead.extend(names(&to).collect::<Vec<_>>().into_iter().rev());
            }
            Ok((found, _)) => {
                behind.push(found);
                real.push(&name);
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !matches!(leaf, Leaf::There) => {
                let made = match (ahead.is_empty(), leaf) {
                    (true, Leaf::File) => mount::make_file(here, Path::new(&name))?,
                    _ => mount::make_dir(here, Path::new(&name), 0o755)?,
                };
                existed = false;
                behind.push(made);
                real.push(&name);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Walked { fd: behind.pop().expect("the root is never popped"), real, existed })
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn walking_makes_what_is_missing_and_never_leaves_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("/run/dangling/file", root.join("resolv.conf")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let fd = mount::open_folder(&root).unwrap();
        let walk = |path: &str, leaf| walk_to(fd.as_fd(), Path::new(path), leaf);
        assert!(!walk("/a/b/c", Leaf::Folder).unwrap().existed);
        assert!(walk("/a/b", Leaf::Folder).unwrap().existed);
        walk("/absolute/x/f", Leaf::File).unwrap();
        walk("/relative/y", Leaf::Folder).unwrap();
        assert_eq!(walk("/resolv.conf", Leaf::File).unwrap().real, Path::new("/run/dangling/file"));
        assert!(root.join("a/b/c").is_dir());
        assert!(root.join("run/dangling/file").is_file());
        assert!(root.join("outside/y").is_dir());
        assert!(root.join(outside.strip_prefix("/").unwrap()).join("x/f").is_file());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert!(walk("/loop/x", Leaf::Folder).is_err());
        symlink("/etc", root.join("dev")).unwrap();
        assert!(walk("/dev/x", Leaf::File).is_err());
    }

    #[test]
    fn places_of_the_system_are_reached_without_links() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["proc", "etc", "real-dev"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        symlink("/real-dev", root.join("dev")).unwrap();
        symlink("/proc", root.join("p")).unwrap();
        symlink("self/mounts", root.join("proc/mounts")).unwrap();
        std::fs::create_dir(root.join("proc/self")).unwrap();
        std::fs::write(root.join("proc/self/mounts"), "").unwrap();
        let fd = mount::open_folder(root).unwrap();
        let fd = fd.as_fd();
        for path in ["/dev", "/dev/x", "/p", "/p/self", "/dev/a/b"] {
            let error = target(fd, Path::new(path), true).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("link"), "{error}");
        }
        assert!(parent(fd, Path::new("/dev")).is_err() && parent(fd, Path::new("/p")).is_err());
        assert!(parent(fd, Path::new("/opt/devices")).is_ok());
        assert!(existing(fd, Path::new("/dev/null")).is_err());
        symlink("/", root.join("all")).unwrap();
        symlink("etc", root.join("settings")).unwrap();
        for path in ["/all", "/p", "/p/self", "/dev", "/dev/x"] {
            assert!(mounted(fd, Path::new(path)).is_err(), "{path}");
        }
        assert!(mounted(fd, Path::new("/settings")).unwrap().is_some());
        assert!(mounted(fd, Path::new("/settings/none")).unwrap().is_none() && !root.join("etc/none").exists());
        assert!(existing(fd, Path::new("/etc/none")).unwrap().is_none());
        // A link of the kernel in its own file system.
        assert!(existing(fd, Path::new("/proc/mounts")).unwrap().is_some());
        assert!(target(fd, Path::new("/etc"), false).is_err());
        assert!(target(fd, Path::new("/proc/self/mounts"), true).is_err());
        let long = format!("/{}", "x/".repeat(3000));
        assert!(target(fd, Path::new(&long), true).is_err());
        assert!(target(fd, Path::new(&"y".repeat(300)), true).is_err());
    }
}
