//! Carries out the steps of [`crate::runtime::mounts`]: first what needs the host, then the rest inside.
//!
//! ```text
//! monitor, on the host           prepare()   opens and copies what comes from the host: the root, binds, cgroups;
//!                                            all attached nowhere, so the host never sees a mount
//! init, in its mount namespace   build()     attaches them and makes the rest below the root's path
//!                                enter()     makes it the root, then the terminal and what is read-only or hidden:
//!                                            in between, hooks still find the host and may change the root
//! ```
//!
//! Every target is walked to component by component below a pinned root, made there if it is missing, and mounted onto by
//! descriptor: an image full of links, and a neighbour who swaps them meanwhile, can lead nowhere else (SECURITY rows
//! 4 to 12). Whatever lies at or below `/proc`, `/sys` and `/dev` must be reached without any link at all.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::runtime::cgroup::Cgroup;
use crate::runtime::mounts::{self, Entrance, Step};
use crate::runtime::plan::Rootfs;
use crate::sys::mount::{self, Attributes, Kind, Propagation};
use crate::sys::overlay::{self, Mapped, Upper};
use crate::sys::{process, tty};

/// The most links that one path may go through, as the kernel's own limit.
const MAX_LINKS: usize = 40;

/// What was taken from the host for one step.
pub(crate) type Taken = Vec<(PathBuf, OwnedFd)>;

/// Both ends of a container's terminal: the master and the container's.
pub(crate) type Terminal = (OwnedFd, OwnedFd);

/// A user namespace, and what its root is on the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Users<'a> {
    /// The namespace.
    pub(crate) namespace: BorrowedFd<'a>,
    /// The host's number of its user 0.
    pub(crate) uid: u32,
    /// The host's number of its group 0.
    pub(crate) gid: u32,
}

/// Mounts the root file system, attached nowhere; `users` shows its files with the ids of that user namespace.
pub(crate) fn mount_root(rootfs: &Rootfs, users: Option<Users<'_>>) -> Result<OwnedFd> {
    let private = Attributes { propagation: Propagation::Private, recursive: true, ..Attributes::default() };
    let mapped = |path: &Path| -> Result<OwnedFd> {
        let doing = || format!("mapping the ids of {path:?}");
        let tree = mount::clone_tree_at(path, false).context(doing)?;
        mount::set_attributes(
            tree.as_fd(),
            Attributes { user_namespace: users.map(|users| users.namespace), ..private },
        )
        .context(doing)?;
        Ok(tree)
    };
    match (rootfs, users) {
        (Rootfs::Overlay { lower, upper, work, volatile }, None) => {
            overlay::mount_detached(lower, Some(Upper { upper, work, volatile: *volatile }))
        }
        (Rootfs::Overlay { lower, upper, work, volatile }, Some(Users { uid, gid, .. })) => {
            let layers = lower.iter().map(|layer| mapped(layer)).collect::<Result<Vec<_>>>()?;
            let (Some(parent), Some(upper), Some(work_name)) = (upper.parent(), upper.file_name(), work.file_name())
            else {
                return Err(Error::invalid("the upper folder has no parent"));
            };
            if work.parent() != Some(parent) {
                return Err(Error::invalid("the upper and work folders are not side by side"));
            }
            // Both must come from one mount, so their parent is what is mapped.
            let parent = mapped(parent)?;
            let open = |name: &std::ffi::OsStr| {
                mount::open_folder_in(parent.as_fd(), Path::new(name)).context(|| format!("opening {name:?}"))
            };
            let (upper, work) = (open(upper)?, open(work_name)?);
            let folders = Mapped { lower: layers, parent, upper, work, volatile: *volatile };
            // Overlay works with the ids of whoever mounts it, and nobody else than the container's root has ids in both
            // worlds: with others it would mount itself read-only.
            process::with_file_ids(uid, gid, || overlay::mount_mapped(folders))
        }
        (Rootfs::Dir(path), None) => {
            let doing = || format!("opening the root {path:?}");
            let tree = mount::clone_tree_at(path, true).context(doing)?;
            mount::set_attributes(tree.as_fd(), private).context(doing)?;
            Ok(tree)
        }
        (Rootfs::Dir(path), Some(_)) => mapped(path),
        (Rootfs::Bundle { path, .. }, _) => {
            let doing = || format!("opening the root {path:?}");
            let tree = mount::clone_tree_at(path, true).context(doing)?;
            let slave = Attributes { propagation: Propagation::Slave, recursive: true, ..Attributes::default() };
            mount::set_attributes(tree.as_fd(), slave).context(doing)?;
            Ok(tree)
        }
    }
}

/// Opens what the steps take from the host, one entry for each step.
pub(crate) fn prepare(steps: &[Step], cgroup: &Cgroup) -> Result<Vec<Taken>> {
    steps.iter().map(|step| prepare_step(step, cgroup)).collect()
}

fn prepare_step(step: &Step, cgroup: &Cgroup) -> Result<Taken> {
    match step {
        Step::Bind { source, recursive, set, clear, propagation, .. } => {
            let doing = || format!("opening {source:?} to mount it");
            let tree = mount::clone_tree_at(source, *recursive).context(doing)?;
            let change = Attributes {
                set: *set,
                clear: *clear,
                propagation: *propagation,
                recursive: *recursive,
                ..Attributes::default()
            };
            mount::set_attributes(tree.as_fd(), change).context(doing)?;
            Ok(vec![(source.clone(), tree)])
        }
        Step::Device { path, bind: true, device, .. } => {
            let doing = || format!("opening the device {path:?} of the host");
            let tree = mount::clone_tree_at(path, false).context(doing)?;
            if mount::kind(&tree).context(doing)? != Kind::Device(*device) {
                return Err(Error::invalid(format!("the host's {path:?} is another device")));
            }
            Ok(vec![(path.clone(), tree)])
        }
        Step::Cgroups { read_only, .. } => {
            let mut taken = Vec::new();
            for (name, dir) in cgroup.views() {
                let doing = || format!("opening the cgroup {dir:?}");
                let tree = mount::clone_tree_at(&dir, false).context(doing)?;
                let set =
                    mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC | if *read_only { mount::READ_ONLY } else { 0 };
                let propagation = Propagation::Private;
                mount::set_attributes(tree.as_fd(), Attributes { set, propagation, ..Attributes::default() })
                    .context(doing)?;
                taken.push((PathBuf::from(name), tree));
            }
            Ok(taken)
        }
        _ => Ok(Vec::new()),
    }
}

/// Builds the container's root in this, its own, mount namespace, up to where it is entered.
pub(crate) fn build(root: OwnedFd, steps: &[Step], taken: Vec<Taken>) -> Result<Built<'_>> {
    let mut builder = Builder { root, null: None, empty: None, terminal: None };
    let mut rest = steps.iter().zip(taken);
    for (step, taken) in rest.by_ref() {
        if let Step::Enter(entrance) = step {
            return Ok(Built { builder, entrance: *entrance, rest: rest.map(|(step, _)| step).collect() });
        }
        builder.apply_named(step, taken)?;
    }
    Err(Error::failed("a list of mounts that never enters the root"))
}

/// A root that was built and not entered yet.
pub(crate) struct Built<'a> {
    builder: Builder,
    entrance: Entrance,
    rest: Vec<&'a Step>,
}

impl Built<'_> {
    /// Makes it this process's root and finishes it. Returns its terminal.
    pub(crate) fn enter(mut self) -> Result<Option<Terminal>> {
        let root = self.builder.root.as_fd();
        match self.entrance {
            Entrance::Pivot => mount::enter_root(root),
            Entrance::Move => mount::move_root(root),
            Entrance::Chroot => mount::change_root(root),
        }
        .context(|| "entering the container's root")?;
        for step in self.rest {
            self.builder.apply_named(step, Taken::new())?;
        }
        Ok(self.builder.terminal)
    }
}

struct Builder {
    root: OwnedFd,
    /// The container's null device, checked.
    null: Option<OwnedFd>,
    /// An empty folder to hide folders with.
    empty: Option<OwnedFd>,
    terminal: Option<Terminal>,
}

impl Builder {
    fn apply_named(&mut self, step: &Step, taken: Taken) -> Result<()> {
        self.apply(step, taken).map_err(|error| error.context(format!("setting up the container: {step}")))
    }

    fn apply(&mut self, step: &Step, taken: Taken) -> Result<()> {
        match step {
            Step::Spread(propagation) => Ok(mount::set_spread(*propagation)?),
            Step::Attach(path) => {
                let at = match mount::open_folder(path) {
                    // The root of a user namespace need not be let through all of the host's folders: it only loses
                    // the host's name of its root, which hooks may look for.
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => mount::open_folder(Path::new("/")),
                    other => other,
                };
                let at = at.context(|| format!("opening {path:?}"))?;
                Ok(mount::attach(self.root.as_fd(), at.as_fd())?)
            }
            Step::SpreadRoot(propagation, recursive) => {
                let change = Attributes { propagation: *propagation, recursive: *recursive, ..Attributes::default() };
                Ok(mount::set_attributes(self.root.as_fd(), change)?)
            }
            Step::Enter(_) => Err(Error::failed("a root is entered once")),
            Step::New { kind, source, options, attributes, target } => {
                let at = self.target(target, true)?;
                let mounted = mount::new_filesystem(kind, source.as_deref(), options, *attributes)
                    .context(|| format!("making a {kind} file system"))?;
                mount::attach(mounted.as_fd(), at.as_fd()).context(|| format!("mounting onto {target:?}"))?;
                Ok(())
            }
            Step::Bind { target, .. } => {
                for (_, tree) in taken {
                    let folder = mount::kind(&tree)? == Kind::Dir;
                    let at = self.target(target, folder)?;
                    mount::attach(tree.as_fd(), at.as_fd()).context(|| format!("mounting onto {target:?}"))?;
                }
                Ok(())
            }
            Step::Cgroups { read_only, target } => self.cgroups(target, *read_only, taken),
            Step::Device { path, device, mode, owner, bind: false } => {
                let (dir, name) = self.place_parent(path)?;
                match mount::make_device(dir.as_fd(), Path::new(&name), *device, *mode, *owner) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    result => result.context(|| format!("making {path:?}"))?,
                }
                let pinned = mount::make_file(dir.as_fd(), Path::new(&name))?;
                if mount::kind(&pinned)? != Kind::Device(*device) {
                    return Err(Error::invalid(format!("{path:?} is there already and something else")));
                }
                Ok(())
            }
            Step::Device { path, bind: true, .. } => {
                for (_, tree) in taken {
                    let at = self.place(path, false)?;
                    mount::attach(tree.as_fd(), at.as_fd()).context(|| format!("mounting onto {path:?}"))?;
                }
                Ok(())
            }
            Step::Link { path, to } => {
                let (dir, name) = self.place_parent(path)?;
                Ok(mount::make_link(to, dir.as_fd(), Path::new(&name))?)
            }
            Step::Console => self.console(),
            Step::ReadOnly(path) => {
                let Some(at) = self.existing(path)? else { return Ok(()) };
                let tree = mount::clone_tree(at.as_fd(), true)?;
                let set = Attributes { set: mount::READ_ONLY, recursive: true, ..Attributes::default() };
                mount::set_attributes(tree.as_fd(), set)?;
                Ok(mount::attach(tree.as_fd(), at.as_fd())?)
            }
            Step::Mask(path) => {
                let Some(at) = self.existing(path)? else { return Ok(()) };
                let cover = if mount::kind(&at)? == Kind::Dir {
                    if self.empty.is_none() {
                        let options = [("nr_inodes".to_owned(), Some("1".to_owned()))];
                        let attributes = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
                        let empty = mount::new_filesystem("tmpfs", Some("tmpfs"), &options, attributes)?;
                        // Attached before it is copied: kernels before 6.15 copy no mount that is attached nowhere.
                        mount::attach(empty.as_fd(), at.as_fd())?;
                        self.empty = Some(empty);
                        return Ok(());
                    }
                    self.empty.as_ref()
                } else {
                    if self.null.is_none() {
                        let null = mount::pin_strictly(self.root.as_fd(), Path::new("/dev/null"))?;
                        // Bound over a secret, anything else would hand out what it is (CVE-2025-31133).
                        if mount::kind(&null)? != Kind::Device(mount::NULL) {
                            return Err(Error::invalid("the container's /dev/null is not the null device"));
                        }
                        self.null = Some(null);
                    }
                    self.null.as_ref()
                };
                let cover = cover.expect("made just above");
                let tree = mount::clone_tree(cover.as_fd(), false)?;
                Ok(mount::attach(tree.as_fd(), at.as_fd())?)
            }
            Step::Folder(path) => self.place(path, true).map(drop),
            Step::ReadOnlyRoot => {
                let set = Attributes { set: mount::READ_ONLY, ..Attributes::default() };
                Ok(mount::set_attributes(self.root.as_fd(), set)?)
            }
        }
    }

    fn cgroups(&self, target: &Path, read_only: bool, taken: Taken) -> Result<()> {
        let single = matches!(taken.as_slice(), [(name, _)] if name.as_os_str().is_empty());
        if single {
            let at = self.target(target, true)?;
            for (_, tree) in taken {
                mount::attach(tree.as_fd(), at.as_fd())?;
            }
            return Ok(());
        }
        let at = self.target(target, true)?;
        let options = [("mode".to_owned(), Some("755".to_owned()))];
        let attributes = mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
        let folder = mount::new_filesystem("tmpfs", Some("tmpfs"), &options, attributes)?;
        mount::attach(folder.as_fd(), at.as_fd())?;
        for (name, tree) in taken {
            let at = mount::make_dir(folder.as_fd(), &name, 0o755)?;
            mount::attach(tree.as_fd(), at.as_fd())?;
        }
        if read_only {
            mount::set_attributes(folder.as_fd(), Attributes { set: mount::READ_ONLY, ..Attributes::default() })?;
        }
        Ok(())
    }

    fn console(&mut self) -> Result<()> {
        // Our own devpts was mounted at /dev/pts without following a link, so this is its multiplexer.
        let master = mount::open_device(self.root.as_fd(), Path::new("/dev/pts/ptmx"))?;
        let terminal = tty::open_terminal(master.as_fd())?;
        let (dir, name) = self.place_parent(Path::new("/dev/console"))?;
        let at = mount::make_file(dir.as_fd(), Path::new(&name))?;
        let tree = mount::clone_tree(terminal.as_fd(), false)?;
        mount::attach(tree.as_fd(), at.as_fd())?;
        self.terminal = Some((master, terminal));
        Ok(())
    }

    /// Pins a path that the kernel may or may not provide.
    fn existing(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let pinned = if is_system(path) {
            mount::pin_strictly(self.root.as_fd(), path)
        } else {
            mount::pin(self.root.as_fd(), path)
        };
        match pinned {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::from(error).context(format!("opening {path:?} in the container"))),
        }
    }

    /// Pins where something is to be mounted, as [`Builder::place`]. The specification's rules for targets hold for where
    /// the image's links lead, too: a volume behind a link to `/dev` would get the container's devices made in it.
    fn target(&self, path: &Path, folder: bool) -> Result<OwnedFd> {
        if is_system(path) {
            return self.place(path, folder);
        }
        let leaf = if folder { Leaf::Folder } else { Leaf::File };
        let (pinned, real) =
            walk_to(self.root.as_fd(), path, leaf).context(|| format!("making {path:?} in the container"))?;
        if let Some(error) = mounts::refusal_behind_links(&real) {
            return Err(error);
        }
        fits(pinned, path, folder)
    }

    /// Pins a place, making it and its parents where they are missing.
    fn place(&self, path: &Path, folder: bool) -> Result<OwnedFd> {
        let pinned = if is_system(path) {
            mount::pin_strictly(self.root.as_fd(), path)
        } else {
            mount::pin(self.root.as_fd(), path)
        };
        let pinned = match pinned {
            Ok(pinned) => pinned,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                walk(self.root.as_fd(), path, if folder { Leaf::Folder } else { Leaf::File })
                    .context(|| format!("making {path:?} in the container"))?
            }
            Err(error) if is_link_error(&error) => {
                return Err(Error::invalid(format!("the image's {path:?} is, or lies behind, a symbolic link"))
                    .with_hint("/proc, /sys and /dev of an image must be folders, or missing"));
            }
            Err(error) => return Err(Error::from(error).context(format!("opening {path:?} in the container"))),
        };
        fits(pinned, path, folder)
    }

    /// Pins the folder of a path below `/dev`.
    fn place_parent(&self, path: &Path) -> Result<(OwnedFd, OsString)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::invalid(format!("{path:?} names no file")));
        };
        Ok((self.place(parent, true)?, name.to_owned()))
    }
}

/// What is mounted and where must both be folders, or neither.
fn fits(pinned: OwnedFd, path: &Path, folder: bool) -> Result<OwnedFd> {
    match (mount::kind(&pinned)? == Kind::Dir, folder) {
        (true, false) => Err(Error::invalid(format!("{path:?} is a folder, and a file is to be mounted there"))),
        (false, true) => Err(Error::invalid(format!("{path:?} is not a folder, and one is to be mounted there"))),
        _ => Ok(pinned),
    }
}

/// Paths that must be reached without any link.
fn is_system(path: &Path) -> bool {
    ["/proc", "/sys", "/dev"].iter().any(|system| path.starts_with(system))
}

fn is_link_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(40) // ELOOP
}

enum Leaf {
    Folder,
    File,
}

/// Walks to `path` below `root` one name at a time, making what is missing; links are followed inside the root only,
/// except for system paths, where they are refused.
fn walk(root: BorrowedFd<'_>, path: &Path, leaf: Leaf) -> io::Result<OwnedFd> {
    walk_to(root, path, leaf).map(|(pinned, _)| pinned)
}

/// As [`walk`], and says where in the root that is, without links.
fn walk_to(root: BorrowedFd<'_>, path: &Path, leaf: Leaf) -> io::Result<(OwnedFd, PathBuf)> {
    let strict = is_system(path);
    let mut ahead: Vec<OsString> = names(path).rev().collect();
    let mut behind: Vec<OwnedFd> = vec![root.try_clone_to_owned()?];
    let mut real = PathBuf::from("/");
    let mut links = 0;
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
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let made = match (ahead.is_empty(), &leaf) {
                    (true, Leaf::File) => mount::make_file(here, Path::new(&name))?,
                    _ => mount::make_dir(here, Path::new(&name), 0o755)?,
                };
                behind.push(made);
                real.push(&name);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((behind.pop().expect("the root is never popped"), real))
}

/// Makes the folder `path` in the root that we are in, with its parents: a working folder that is missing.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let doing = || format!("making {path:?} in the container");
    let root = mount::open_folder(Path::new("/")).context(doing)?;
    walk(root.as_fd(), path, Leaf::Folder).context(doing)?;
    Ok(())
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
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("/run/dangling/file", root.join("resolv.conf")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let fd = mount::open_folder(&root).unwrap();
        walk(fd.as_fd(), Path::new("/a/b/c"), Leaf::Folder).unwrap();
        walk(fd.as_fd(), Path::new("/absolute/x/f"), Leaf::File).unwrap();
        walk(fd.as_fd(), Path::new("/relative/y"), Leaf::Folder).unwrap();
        walk(fd.as_fd(), Path::new("/resolv.conf"), Leaf::File).unwrap();
        assert!(root.join("a/b/c").is_dir());
        assert!(root.join("run/dangling/file").is_file());
        assert!(root.join("outside/y").is_dir());
        assert!(root.join(outside.strip_prefix("/").unwrap()).join("x/f").is_file());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert!(walk(fd.as_fd(), Path::new("/loop/x"), Leaf::Folder).is_err());
        symlink("/etc", root.join("dev")).unwrap();
        assert!(walk(fd.as_fd(), Path::new("/dev/x"), Leaf::File).is_err());
    }
}
