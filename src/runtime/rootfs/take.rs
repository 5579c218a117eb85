//! What is taken from the host: copies of mounts, attached nowhere.
//!
//! Where it must be so, the host's paths are looked up before the container's first process exists, by whoever makes the
//! container and with its rights: the root of a user namespace could not pass through all of the host's folders, and some
//! first processes have nothing of the host in sight. Where it need not, a bind is copied as it is mounted, since the
//! kernel lists mounts in the order in which they were made. What lies in the root itself is always taken then, see
//! [`dress`].

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::runtime::cgroup::Cgroup;
use crate::runtime::mounts::{Bind, IdMap, MustBe, Source, Step};
use crate::sys::idmap;
use crate::sys::mount::{self, Attributes, Device, Kind, Propagation};

/// What was taken from the host for one step. The map of a mount's ids has no name.
pub(crate) type Taken = Vec<(PathBuf, OwnedFd)>;

/// Which binds are taken before the fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    /// All: the host may be out of sight later.
    All,
    /// Some hundreds, each being an open file, of which a process has a thousand.
    Most,
    /// None that can be taken by its path later.
    None,
}

/// What [`Early::Most`] means.
const MOST: usize = 400;

/// Attributes that a bind of which any is named has only when they are named.
const NAMED: u64 = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC | mount::NO_SYMFOLLOW;
/// Attributes that a user namespace cannot take away from what it was given (mount_namespaces(7), "locked").
const LOCKED: u64 = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
/// How access times are kept, which is locked as a whole.
const TIMES: u64 = mount::ATIME_FIELD | mount::NO_DIR_ATIME;

/// Opens what the steps take from the host, one entry for each step. The process must have one thread.
pub(crate) fn prepare(steps: &[Step], cgroup: &Cgroup, early: Early) -> Result<Vec<Taken>> {
    let mut maps: Vec<(&IdMap, OwnedFd)> = Vec::new();
    let mut binds = 0;
    let mut all = Vec::with_capacity(steps.len());
    for step in steps {
        all.push(match step {
            Step::Bind(bind) => {
                binds += 1;
                let late = match early {
                    Early::All => false,
                    Early::Most => binds > MOST && bind.ids.is_none(),
                    // That of another process is taken in its mount namespace.
                    Early::None => !matches!(&bind.source, Source::Host(path) if of_other(path).is_some()),
                };
                take_bind(bind, &mut maps, late).map_err(|error| error_mounting(bind, error))?
            }
            Step::Device { path, bind: true, device, .. } => vec![(path.clone(), device_of_host(path, *device)?)],
            Step::Cgroups { version_2, read_only, .. } => cgroups(cgroup, *version_2, *read_only)?,
            _ => Taken::new(),
        });
    }
    Ok(all)
}

fn take_bind<'a>(bind: &'a Bind, maps: &mut Vec<(&'a IdMap, OwnedFd)>, late: bool) -> Result<Taken> {
    let map = match &bind.ids {
        None => None,
        Some(ids) => {
            let known = maps.iter().position(|(known, _)| **known == ids.map);
            let index = match known {
                Some(index) => index,
                None => {
                    maps.push((&ids.map, user_namespace(&ids.map)?));
                    maps.len() - 1
                }
            };
            Some(&maps[index].1)
        }
    };
    match &bind.source {
        Source::Host(source) if !late => {
            let tree = host_tree(source, bind.recursive)?;
            dress(tree.as_fd(), bind, map.map(|map| map.as_fd()))?;
            Ok(vec![(source.clone(), tree)])
        }
        _ => {
            let map = map.map(OwnedFd::try_clone).transpose().context(|| "keeping a map of ids")?;
            Ok(map.map(|map| (PathBuf::new(), map)).into_iter().collect())
        }
    }
}

/// A copy of what is mounted at a path of the host, or of the shared memory of a process in another mount namespace, which
/// is the one thing that is taken from there: `/proc/42/root/dev/shm`.
pub(super) fn host_tree(source: &Path, recursive: bool) -> Result<OwnedFd> {
    if let Some(process) = of_other(source) {
        let doing = || format!("taking the shared memory of the process {process}");
        let namespace = File::open(format!("/proc/{process}/ns/mnt")).context(doing)?;
        return mount::clone_tmpfs_of(namespace.as_fd(), Path::new("/dev/shm")).context(doing);
    }
    mount::clone_tree_at(source, recursive).context(|| format!("opening {source:?}"))
}

/// The process whose shared memory a path names.
fn of_other(source: &Path) -> Option<i32> {
    source.to_str()?.strip_prefix("/proc/")?.strip_suffix("/root/dev/shm")?.parse().ok()
}

/// Gives a copied mount, attached nowhere, what its bind asks for: attributes, ids, and how mounts spread.
///
/// # Errors
/// `permission_denied` when a user namespace asks for more rights than its source has; `invalid_argument` when the source
/// is not what it must be.
pub(super) fn dress(tree: BorrowedFd<'_>, bind: &Bind, map: Option<BorrowedFd<'_>>) -> Result<()> {
    if let Some(must_be) = bind.must_be {
        let there = mount::mounted(tree).context(|| "looking at the source")?;
        let (is, what) = match must_be {
            MustBe::Proc => (there.is_proc, "proc"),
            MustBe::Sys => (there.is_sys, "sysfs"),
        };
        if !is {
            // Something else in its place would fool whoever trusts what it says (CVE-2019-19921).
            return Err(Error::invalid(format!(
                "{:?} cannot be mounted because it is not of type {what}",
                bind.target
            ))
            .with_hint("bind it beside, onto /host for one"));
        }
    }
    let (set, clear) = if bind.named { own_attributes(tree, bind)? } else { (0, 0) };
    let (all_set, all_clear) = (bind.everywhere.set, bind.everywhere.to_clear_everywhere());
    let map_all = bind.recursive && bind.ids.as_ref().is_some_and(|ids| ids.recursive);
    let mut spread = bind.propagation.iter();
    let first = spread.next().copied();
    let mut own = Attributes { set, clear, user_namespace: map.filter(|_| !map_all), ..Attributes::default() };
    let mut below = Attributes {
        set: all_set,
        clear: all_clear,
        user_namespace: map.filter(|_| map_all),
        recursive: true,
        ..Attributes::default()
    };
    match first {
        Some((propagation, true)) => below.propagation = propagation,
        Some((propagation, false)) => own.propagation = propagation,
        None => {}
    }
    if !bind.recursive {
        // One mount: what is said of all is said of it, and later.
        own.clear = (own.clear & !all_set) | all_clear;
        own.set = (own.set & !all_clear) | all_set;
        own.propagation = first.map_or(Propagation::Keep, |(propagation, _)| propagation);
        below = Attributes::default();
    }
    let doing = || "setting the attributes of the mount";
    for change in [own, below] {
        let empty = change.set == 0
            && change.clear == 0
            && change.propagation == Propagation::Keep
            && change.user_namespace.is_none();
        if !empty {
            mount::set_attributes(tree, change).context(doing)?;
        }
    }
    for (propagation, recursive) in spread {
        let change = Attributes { propagation: *propagation, recursive: *recursive, ..Attributes::default() };
        mount::set_attributes(tree, change).context(doing)?;
    }
    Ok(())
}

/// What to set and to clear on the mount itself. In a user namespace what its source has and nobody named is kept, and
/// what was named must not be more than the source has: a container's own root could not do it, so it is not given either.
fn own_attributes(tree: BorrowedFd<'_>, bind: &Bind) -> Result<(u64, u64)> {
    let own = bind.own;
    let (set, clear) = (own.set, own.to_clear() | (NAMED & !own.set));
    if !bind.locked {
        return Ok((set, clear));
    }
    let there = mount::mounted(tree).context(|| "looking at the source")?.attributes;
    let more_rights = there & LOCKED & own.clear != 0;
    let other_times = clear & TIMES != 0 && set & TIMES != there & TIMES;
    if more_rights || other_times {
        return Err(Error::permission_denied(
            "operation not permitted: the source has attributes that a user namespace keeps",
        )
        .with_hint("leave out the options that take them away"));
    }
    Ok((set & !TIMES, clear & !TIMES & !(there & LOCKED)))
}

fn user_namespace(map: &IdMap) -> Result<OwnedFd> {
    match map {
        IdMap::Ranges(uids, gids) => idmap::namespace(uids, gids).context(|| "making a map of ids"),
        IdMap::Of(path) => {
            Ok(std::fs::File::open(path).context(|| format!("opening the user namespace {path:?}"))?.into())
        }
    }
}

/// A copy of the host's device at a path, which must be that device.
pub(super) fn device_of_host(path: &Path, device: Device) -> Result<OwnedFd> {
    let doing = || format!("opening the device {path:?} of the host");
    let tree = mount::clone_tree_at(path, false).context(doing)?;
    if mount::kind(&tree).context(doing)? != Kind::Device(device) {
        return Err(Error::invalid(format!("the host's {path:?} is another device")));
    }
    Ok(tree)
}

/// The container's own cgroups. Controllers that share a hierarchy have one mount with the names of both: `cpu,cpuacct`.
fn cgroups(cgroup: &Cgroup, version_2: bool, read_only: bool) -> Result<Taken> {
    let mut taken = Taken::new();
    let mut hierarchies = Vec::new();
    for (name, dir) in cgroup.views() {
        if version_2 && !(name.is_empty() || name == "unified") {
            continue;
        }
        let doing = || format!("opening the cgroup {dir:?}");
        let tree = mount::clone_tree_at(&dir, false).context(doing)?;
        let hierarchy = mount::device_number(&tree).context(doing)?;
        if let Some(shared) = hierarchies.iter().position(|known| *known == hierarchy) {
            let (names, _): &mut (PathBuf, _) = &mut taken[shared];
            names.as_mut_os_string().push(format!(",{name}"));
            continue;
        }
        hierarchies.push(hierarchy);
        let set = mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC | if read_only { mount::READ_ONLY } else { 0 };
        let propagation = Propagation::Private;
        mount::set_attributes(tree.as_fd(), Attributes { set, propagation, ..Attributes::default() }).context(doing)?;
        taken.push((PathBuf::from(if version_2 { "" } else { name }), tree));
    }
    if version_2 && taken.is_empty() {
        return Err(Error::unsupported("the machine has no cgroup2 hierarchy to mount")
            .with_hint("mount a cgroup of type \"cgroup\", which is what the machine has"));
    }
    Ok(taken)
}

/// The text that runc has for this, which callers look for.
pub(super) fn error_mounting(bind: &Bind, error: Error) -> Error {
    let source = match &bind.source {
        Source::Host(path) | Source::Root(path) => path,
    };
    error.context(format!("error mounting {source:?} to rootfs at {:?}", bind.target))
}
