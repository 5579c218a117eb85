//! Carries out the steps of [`crate::runtime::mounts`]: first what needs the host, then the rest inside.
//!
//! ```text
//! monitor, on the host           prepare()   opens and copies what comes from the host: the root, cgroups, binds unless
//!                                            they can wait; all attached nowhere, so the host never sees a mount
//! init, in its mount namespace   build()     attaches them and makes the rest below the root's path
//!                                enter()     makes it the root, then the terminal and what is read-only or hidden:
//!                                            in between, hooks still find the host and may change the root
//! ```
//!
//! Every target is walked to below a pinned root, made there if it is missing, and mounted onto by descriptor: an image
//! full of links, and a neighbour who swaps them meanwhile, can lead nowhere else (SECURITY rows 4 to 12). Whatever lies at
//! or below `/proc`, `/sys` and `/dev` must be reached without any link at all. See `place`; what comes from the host is in
//! `take`, and what a new file system is filled with in `copy_up`.

mod copy_up;
mod place;
mod take;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Kind as ErrorIs, Result};
use crate::runtime::mounts::{Bind, Entrance, New, Remount, Source, Step};
use crate::runtime::plan::Rootfs;
use crate::sys::mount::{self, Attributes, Device, Kind, NewFilesystem, Propagation};
use crate::sys::overlay::{self, Mapped, Upper};
use crate::sys::{process, tty};

pub(crate) use place::make_folder;
pub(crate) use take::{Early, Taken, prepare};

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

/// Pins where something is to be mounted, made when it is missing.
pub(crate) fn target(root: BorrowedFd<'_>, path: &Path, folder: bool) -> Result<OwnedFd> {
    Ok(place::target(root, path, folder)?.fd)
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
        (Rootfs::Bundle { path, .. }, _) => bundle_root(path),
    }
}

/// A copy of what is mounted at a bundle's root, which hears of what the host mounts there later.
fn bundle_root(path: &Path) -> Result<OwnedFd> {
    let doing = || format!("opening the root {path:?}");
    let tree = mount::clone_tree_at(path, true).context(doing)?;
    if mount::kind(&tree).context(doing)? != Kind::Dir {
        return Err(Error::invalid(format!("the root {path:?} is not a folder")));
    }
    let slave = Attributes { propagation: Propagation::Slave, recursive: true, ..Attributes::default() };
    mount::set_attributes(tree.as_fd(), slave).context(doing)?;
    Ok(tree)
}

/// Builds the container's root in this, its own, mount namespace, up to where it is entered.
pub(crate) fn build(root: OwnedFd, steps: &[Step], taken: Vec<Taken>) -> Result<Built<'_>> {
    let mut builder = Builder::new(root);
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
    /// Makes the root the working folder, without entering it.
    pub(crate) fn stand_in(&self) -> std::io::Result<()> {
        process::change_dir_to(self.builder.root.as_fd())
    }

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

/// What builds a root.
struct Builder {
    root: OwnedFd,
    /// It is attached in the mount namespace; otherwise nowhere.
    attached: bool,
    /// The folder in which something was made last, until the next mount: many things are made in one folder.
    last: Option<(PathBuf, OwnedFd)>,
    /// The container's null device, checked, or an empty file where it has none.
    null: Option<OwnedFd>,
    /// An empty folder to hide folders with.
    empty: Option<OwnedFd>,
    /// Mounts that become read-only in the end, and whether each is a tmpfs.
    sealed: Vec<(OwnedFd, bool)>,
    terminal: Option<Terminal>,
}

impl Builder {
    fn new(root: OwnedFd) -> Builder {
        Builder { root, attached: false, last: None, null: None, empty: None, sealed: Vec::new(), terminal: None }
    }

    fn apply_named(&mut self, step: &Step, taken: Taken) -> Result<()> {
        self.apply(step, taken).map_err(|error| match step {
            Step::Bind(bind) => take::error_mounting(bind, error),
            Step::New(new) => {
                let source = new.what.source.as_deref().unwrap_or(&new.what.kind);
                error.context(format!("error mounting {source:?} to rootfs at {:?}", new.target))
            }
            _ => error.context(format!("setting up the container: {step}")),
        })
    }

    fn apply(&mut self, step: &Step, taken: Taken) -> Result<()> {
        match step {
            Step::Spread(propagation) => Ok(mount::set_spread(*propagation)?),
            Step::Attach(path) => self.attach_root(path),
            Step::Copy(path) => {
                self.root = bundle_root(path)?;
                Ok(())
            }
            Step::New(new) => self.new_filesystem(new),
            Step::Bind(bind) => self.bind(bind, taken),
            Step::Remount(remount) => self.remount(remount),
            Step::Cgroups { version_2, read_only, target } => self.cgroups(target, *version_2, *read_only, taken),
            Step::Device { path, device, mode, owner, bind } => {
                let mut taken = taken.into_iter().map(|(_, tree)| tree);
                match bind {
                    true => self.bind_device(path, taken.next().expect("a device that is bound was taken")),
                    false => self.device(path, *device, *mode, *owner),
                }
            }
            Step::Link { path, to, replace } => {
                let (dir, name) = self.parent(path)?;
                let make = if *replace { mount::replace_by_link } else { mount::make_link };
                Ok(make(to, dir, Path::new(&name))?)
            }
            Step::Enter(_) => Err(Error::failed("a root is entered once")),
            Step::Console => self.console(),
            Step::Seal => {
                for (mounted, tmpfs) in &self.sealed {
                    if *tmpfs && !self.attached {
                        // Below a root that is attached nowhere, attributes of mounts cannot be changed; but this file
                        // system is mounted here alone.
                        mount::reconfigure(mounted.as_fd(), &[], &["ro"])?;
                        continue;
                    }
                    let set = Attributes { set: mount::READ_ONLY, ..Attributes::default() };
                    mount::set_attributes(mounted.as_fd(), set)?;
                }
                Ok(())
            }
            Step::ReadOnly(path) => {
                let Some(at) = self.existing(path)? else { return Ok(()) };
                let tree = mount::clone_tree(at.as_fd(), true)?;
                let set = Attributes { set: mount::READ_ONLY, recursive: true, ..Attributes::default() };
                mount::set_attributes(tree.as_fd(), set)?;
                self.attach(&tree, &at)
            }
            Step::Mask(path) => self.mask(path),
            Step::Folder(path) => place::folder(self.root.as_fd(), path),
            Step::ReadOnlyRoot => {
                let set = Attributes { set: mount::READ_ONLY, ..Attributes::default() };
                Ok(mount::set_attributes(self.root.as_fd(), set)?)
            }
            Step::SpreadRoot(propagation, recursive) => {
                let change = Attributes { propagation: *propagation, recursive: *recursive, ..Attributes::default() };
                Ok(mount::set_attributes(self.root.as_fd(), change)?)
            }
        }
    }

    fn attach_root(&mut self, path: &Path) -> Result<()> {
        let at = match mount::open_folder(path) {
            // The root of a user namespace need not be let through all of the host's folders, and a container that is made
            // before the eyes of others has none in sight: it only loses the host's name of its root, which hooks may look
            // for.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => {
                mount::open_folder(Path::new("/"))
            }
            other => other,
        };
        let at = at.context(|| format!("opening {path:?}"))?;
        self.attached = true;
        Ok(mount::attach(self.root.as_fd(), at.as_fd())?)
    }

    fn attach(&mut self, tree: &OwnedFd, at: &OwnedFd) -> Result<()> {
        // A folder that was reached before may be covered now.
        self.last = None;
        mount::attach(tree.as_fd(), at.as_fd()).map_err(|error| match self.attached {
            false if error.kind() == ErrorKind::InvalidInput => {
                Error::unsupported("a container with mounts and without a mount namespace of its own")
                    .with_hint("it takes Linux 6.15; add {\"type\": \"mount\"} to linux.namespaces")
                    .with_source(error)
            }
            _ => error.into(),
        })
    }

    fn new_filesystem(&mut self, new: &New) -> Result<()> {
        let at = place::target(self.root.as_fd(), &new.target, true)?;
        let mut what = Cow::Borrowed(&new.what);
        if new.inherit_mode && at.existed {
            let mode = mount::mode(&at.fd)?;
            what.to_mut().options.insert(0, ("mode".to_owned(), Some(format!("{mode:o}"))));
        }
        let mounted = match (mount::mount_detached(&what), &new.instead) {
            (Err(error), Some(source)) if error.kind() == ErrorIs::PermissionDenied => hosts(source, &what)?,
            (result, _) => result?,
        };
        if new.copy_up {
            copy_up::copy_up(at.fd.as_fd(), mounted.as_fd()).context(|| "tmpcopyup: copying what is there")?;
        }
        spread(&mounted, &new.propagation)?;
        self.attach(&mounted, &at.fd)?;
        if new.seal {
            self.sealed.push((mounted, new.what.kind == "tmpfs"));
        }
        Ok(())
    }

    fn bind(&mut self, bind: &Bind, taken: Taken) -> Result<()> {
        let mut taken = taken.into_iter();
        let tree = match (taken.next(), &bind.source) {
            // It was taken on the host, with all that it asks for.
            (Some((name, tree)), Source::Host(_)) if !name.as_os_str().is_empty() => tree,
            (map, source) => {
                let tree = match source {
                    Source::Host(path) => take::host_tree(path, bind.recursive)?,
                    Source::Root(path) => {
                        let doing = || format!("opening {path:?} in the root");
                        let at = mount::pin(self.root.as_fd(), path).context(doing)?;
                        mount::clone_tree(at.as_fd(), bind.recursive).context(doing)?
                    }
                };
                take::dress(tree.as_fd(), bind, map.as_ref().map(|(_, map)| map.as_fd()))?;
                tree
            }
        };
        let folder = mount::kind(&tree)? == Kind::Dir;
        let at = place::target(self.root.as_fd(), &bind.target, folder)?;
        self.attach(&tree, &at.fd)
    }

    fn remount(&mut self, remount: &Remount) -> Result<()> {
        let Some(at) = place::mounted(self.root.as_fd(), &remount.target)? else {
            return Err(Error::not_found(format!("nothing is at {:?}", remount.target)));
        };
        if let Some(new) = &remount.file_system {
            mount::reconfigure(at.as_fd(), &new.options, &new.common)?;
        }
        let own = (remount.own.set, remount.own.to_clear(), false);
        let everywhere = (remount.everywhere.set, remount.everywhere.to_clear_everywhere(), true);
        for (set, clear, recursive) in [own, everywhere].into_iter().filter(|(set, clear, _)| set | clear != 0) {
            mount::set_attributes(at.as_fd(), Attributes { set, clear, recursive, ..Attributes::default() })?;
        }
        spread(&at, &remount.propagation)
    }

    fn device(&mut self, path: &Path, device: Device, mode: u32, owner: (u32, u32)) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        let name = Path::new(&name);
        match mount::make_device(dir, name, device, mode, owner) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let (_, there) = mount::look(dir, name).context(|| format!("looking at {path:?}"))?;
                if there != Kind::Device(device) {
                    return Err(Error::already_exists(format!("{path:?} is there already and not that device")));
                }
                Ok(())
            }
            // Without the right to make one, the host's does.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let hosts = take::device_of_host(path, device);
                self.bind_device(path, hosts.map_err(|_| Error::from(error).context(format!("making {path:?}")))?)
            }
            result => result.context(|| format!("making {path:?}")),
        }
    }

    fn bind_device(&mut self, path: &Path, tree: OwnedFd) -> Result<()> {
        let at = place::target(self.root.as_fd(), path, false)?;
        self.attach(&tree, &at.fd)
    }

    /// The folder in which something is to be made, and its name there.
    fn parent(&mut self, path: &Path) -> Result<(BorrowedFd<'_>, OsString)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::invalid(format!("{path:?} names no file")));
        };
        if self.last.as_ref().is_none_or(|(known, _)| known != parent) {
            self.last = Some((parent.to_owned(), place::parent(self.root.as_fd(), parent)?));
        }
        let (_, dir) = self.last.as_ref().expect("set just above");
        Ok((dir.as_fd(), name.to_owned()))
    }

    fn existing(&self, path: &Path) -> Result<Option<OwnedFd>> {
        place::existing(self.root.as_fd(), path)
    }

    fn mask(&mut self, path: &Path) -> Result<()> {
        let Some(at) = self.existing(path)? else { return Ok(()) };
        let cover = if mount::kind(&at)? == Kind::Dir {
            if self.empty.is_none() {
                let empty = empty_folder()?;
                // Attached before it is copied: kernels before 6.15 copy no mount that is attached nowhere.
                self.attach(&empty, &at)?;
                self.empty = Some(empty);
                return Ok(());
            }
            self.empty.as_ref()
        } else {
            if self.null.is_none() {
                let Some(null) = self.existing(Path::new("/dev/null"))? else {
                    return self.mask_by_empty_file(&at);
                };
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
        self.attach(&tree, &at)
    }

    /// For a container without devices: nothing to read and nothing to write.
    fn mask_by_empty_file(&mut self, at: &OwnedFd) -> Result<()> {
        let options = [("nr_inodes".to_owned(), Some("2".to_owned()))];
        let attributes = mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
        let folder = mount::new_filesystem("tmpfs", Some("tmpfs"), &options, attributes)?;
        let file = mount::make_file(folder.as_fd(), Path::new("empty"))?;
        // Attached over the root for a moment: kernels before 6.15 copy nothing of a mount that is attached nowhere.
        mount::attach(folder.as_fd(), self.root.as_fd())?;
        let tree = mount::clone_tree(file.as_fd(), false);
        mount::let_go(folder.as_fd())?;
        let tree = tree?;
        let set = Attributes { set: mount::READ_ONLY, ..Attributes::default() };
        mount::set_attributes(tree.as_fd(), set)?;
        self.attach(&tree, at)
    }

    /// Version 2, or any single hierarchy, is mounted itself; several lie side by side in a folder, with links for the
    /// names that share one (`cpu` and `cpuacct` for `cpu,cpuacct`).
    fn cgroups(&mut self, target: &Path, version_2: bool, read_only: bool, taken: Taken) -> Result<()> {
        let at = place::target(self.root.as_fd(), target, true)?.fd;
        if version_2 || matches!(taken.as_slice(), [(name, _)] if name.as_os_str().is_empty()) {
            return taken.iter().try_for_each(|(_, tree)| self.attach(tree, &at));
        }
        let options = [("mode".to_owned(), Some("755".to_owned()))];
        let attributes = mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
        let folder = mount::new_filesystem("tmpfs", Some("tmpfs"), &options, attributes)?;
        let mut places = Vec::with_capacity(taken.len());
        for (name, tree) in taken {
            places.push((mount::make_dir(folder.as_fd(), &name, 0o755)?, tree));
            let shared = name.to_str().filter(|name| name.contains(','));
            for controller in shared.into_iter().flat_map(|names| names.split(',')) {
                mount::make_link(shared.unwrap_or_default(), folder.as_fd(), Path::new(controller))?;
            }
        }
        if read_only {
            mount::set_attributes(folder.as_fd(), Attributes { set: mount::READ_ONLY, ..Attributes::default() })?;
        }
        self.attach(&folder, &at)?;
        places.iter().try_for_each(|(at, tree)| self.attach(tree, at))
    }

    fn console(&mut self) -> Result<()> {
        // Opened below a /dev that was reached without a link, and checked: anything else than the multiplexer of a
        // terminal file system could be made to give a descriptor of something else (CVE-2025-52565).
        let doing = || "making the container's terminal";
        let root = self.root.as_fd();
        let multiplexer = mount::pin_strictly(root, Path::new("/dev/pts/ptmx"))
            .map_err(|error| Error::from(error).with_hint("a terminal needs a mount of type devpts on /dev/pts"))
            .context(doing)?;
        if mount::kind(&multiplexer)? != Kind::Device(mount::TERMINAL_MULTIPLEXER) {
            return Err(Error::invalid("the container's /dev/pts/ptmx makes no terminals"));
        }
        let master = mount::open_device(root, Path::new("/dev/pts/ptmx")).context(doing)?;
        let terminal = tty::open_terminal(master.as_fd()).context(doing)?;
        let at = place::target(root, Path::new("/dev/console"), false)?.fd;
        let tree = mount::clone_tree(terminal.as_fd(), false)?;
        self.attach(&tree, &at)?;
        self.terminal = Some((master, terminal));
        Ok(())
    }
}

/// The host's mount of a file system that a user namespace may not mount, with the attributes that the new one would have.
fn hosts(source: &Path, what: &NewFilesystem) -> Result<OwnedFd> {
    let tree = take::host_tree(source, true)?;
    let always = mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
    let set = what.attributes | always | if what.kind == "sysfs" { mount::READ_ONLY } else { 0 };
    let change = Attributes { set, propagation: Propagation::Private, recursive: true, ..Attributes::default() };
    mount::set_attributes(tree.as_fd(), change).context(|| format!("copying the host's {source:?}"))?;
    Ok(tree)
}

fn empty_folder() -> Result<OwnedFd> {
    let options = [("nr_inodes".to_owned(), Some("1".to_owned()))];
    let attributes = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
    Ok(mount::new_filesystem("tmpfs", Some("tmpfs"), &options, attributes)?)
}

fn spread(mounted: &OwnedFd, propagation: &[(Propagation, bool)]) -> Result<()> {
    for (propagation, recursive) in propagation {
        let change = Attributes { propagation: *propagation, recursive: *recursive, ..Attributes::default() };
        mount::set_attributes(mounted.as_fd(), change)?;
    }
    Ok(())
}
