//! The list of everything that is mounted or made in a container's root, as data: a pure function of the specification.
//!
//! It decides and checks; it touches nothing. [`crate::runtime::rootfs`] carries the list out. Mount options are parsed to
//! a closed set in the module `options`: what is not known is passed to a new file system as its own option and to nothing
//! else. Devices and links are in `devices`, the words for people in `display`.
//!
//! ```text
//! spread, attach         the whole namespace hears of the host at most, and the root is attached; in a namespace of
//!                        others nothing is: there the root stays attached nowhere, with all that is mounted in it
//! new, bind, remount, …  the mounts, in the order of the specification
//! device, link           what every container has below /dev, and the specification's own
//! enter                  before: hooks still find everything by the host's paths; after: inside
//! console, seal          the terminal; what is read-only in the end but had to be written to so far
//! read-only, mask        over what is there by then: nobody can cover it again, or swap what covers it
//! folder, read-only root, spread root
//! ```

mod devices;
mod display;
mod options;

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Spec};

use crate::base::{Error, Result};
use crate::runtime::plan::Rootfs;
use crate::sys::idmap::Range;
use crate::sys::mount::{self, Device, NewFilesystem, Propagation};

pub(crate) use options::known as known_options;
use options::{Change, Options};

/// One step of building a root file system, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Say how mounts spread between this whole namespace and others: before anything is attached.
    Spread(Propagation),
    /// Attach the root here; onto `/` covers everything.
    Attach(PathBuf),
    /// Make a copy of this folder's mounts the root, attached nowhere: the kernel mounts onto such a one only in the mount
    /// namespace that it was copied in.
    Copy(PathBuf),
    /// Mount a new file system.
    New(Box<New>),
    /// Mount something of the host, or of the root itself.
    Bind(Box<Bind>),
    /// Change what is mounted somewhere.
    Remount(Box<Remount>),
    /// Show the container's own cgroups.
    Cgroups {
        /// Only the hierarchy of version 2.
        version_2: bool,
        /// Not writable.
        read_only: bool,
        /// Where.
        target: PathBuf,
    },
    /// Make a device.
    Device {
        /// Where.
        path: PathBuf,
        /// What.
        device: Device,
        /// Its permissions.
        mode: u32,
        /// Its user and group.
        owner: (u32, u32),
        /// Bind the host's instead: in a user namespace nodes cannot be made.
        bind: bool,
    },
    /// Make a symbolic link.
    Link {
        /// Where.
        path: PathBuf,
        /// Where to.
        to: &'static str,
        /// In the place of a file that is there.
        replace: bool,
    },
    /// Make the root the root. What is before is where hooks of the host's paths can see it; what follows is inside.
    Enter(Entrance),
    /// Mount the container's terminal.
    Console,
    /// Make the new file systems read-only that are to be, now that all is in them.
    Seal,
    /// Make what is there already read-only.
    ReadOnly(PathBuf),
    /// Hide what is there.
    Mask(PathBuf),
    /// Make a folder when it is missing: the working folder, before the root becomes read-only.
    Folder(PathBuf),
    /// Make the root itself read-only.
    ReadOnlyRoot,
    /// Say how mounts spread from the root, and with `true` from all mounts below it.
    SpreadRoot(Propagation, bool),
}

/// A new file system.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct New {
    /// What.
    pub(crate) what: NewFilesystem,
    /// Where.
    pub(crate) target: PathBuf,
    /// How mounts spread from it.
    pub(crate) propagation: Vec<(Propagation, bool)>,
    /// Fill it with what the root has there.
    pub(crate) copy_up: bool,
    /// Give it the permissions of the folder that it covers, when that was there.
    pub(crate) inherit_mode: bool,
    /// Make it read-only in the end.
    pub(crate) seal: bool,
    /// Bind this of the host's instead when a user namespace may not mount it.
    pub(crate) instead: Option<PathBuf>,
}

/// A bind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bind {
    /// What.
    pub(crate) source: Source,
    /// With what is mounted below it.
    pub(crate) recursive: bool,
    /// Attributes of the mount.
    pub(crate) own: Change,
    /// The attributes of its source that are not named are lost.
    pub(crate) named: bool,
    /// Attributes of it and of all mounts below.
    pub(crate) everywhere: Change,
    /// Attributes of its source may not be taken away: a user namespace could not do so either.
    pub(crate) locked: bool,
    /// How its files' ids show.
    pub(crate) ids: Option<Ids>,
    /// How mounts spread from it.
    pub(crate) propagation: Vec<(Propagation, bool)>,
    /// What it has to be.
    pub(crate) must_be: Option<MustBe>,
    /// Where.
    pub(crate) target: PathBuf,
}

/// Where a bind's source is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// At a path of the host.
    Host(PathBuf),
    /// At a path in the root: it shows what was mounted there before.
    Root(PathBuf),
}

/// What alone may be bound onto a place that programs trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MustBe {
    /// The root of a procfs.
    Proc,
    /// The root of a sysfs.
    Sys,
}

/// Which ids the files of a mount show.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ids {
    /// Those of the mounts below as well.
    pub(crate) recursive: bool,
    /// From where.
    pub(crate) map: IdMap,
}

/// A map of ids.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum IdMap {
    /// Ranges of user and of group ids.
    Ranges(Vec<Range>, Vec<Range>),
    /// Those of the user namespace at a path.
    Of(PathBuf),
}

/// A change of what is mounted somewhere.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Remount {
    /// Where.
    pub(crate) target: PathBuf,
    /// Attributes of the mount.
    pub(crate) own: Change,
    /// Attributes of it and of all mounts below.
    pub(crate) everywhere: Change,
    /// Options for the file system itself; none leaves it alone.
    pub(crate) file_system: Option<NewFilesystem>,
    /// How mounts spread from it.
    pub(crate) propagation: Vec<(Propagation, bool)>,
}

/// How the root becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// It takes the place of the old one, which goes away.
    Pivot,
    /// It is moved over the old one: where that cannot go away.
    Move,
    /// For this process and its children alone: where the mount namespace is not the container's own. It and its mounts
    /// are attached nowhere and go with the last process, so nobody else ever sees them.
    Chroot,
}

/// Paths below `/proc` onto which files may be mounted; anything else could fool those who trust it (CVE-2019-16884).
const ALLOWED_IN_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What the plan of a mount has to know of the whole.
struct Whole<'a> {
    rootfs: &'a Rootfs,
    spec: &'a Spec,
    /// The container is in a user namespace that is not ours.
    user_namespace: bool,
    /// How mounts spread when nobody says.
    spread: Propagation,
}

/// The steps for a specification and its root.
///
/// # Errors
/// `invalid_argument` for a target that is not allowed or an option that means nothing; `unsupported`.
pub(crate) fn plan(spec: &Spec, rootfs: &Rootfs) -> Result<Vec<Step>> {
    let own_mounts = is_new(spec, LinuxNamespaceType::Mount);
    let (spread, spread_root) = propagation(spec)?;
    let user_namespace = namespace(spec, LinuxNamespaceType::User).is_some();
    let whole = Whole { rootfs, spec, user_namespace, spread };
    let mut steps = Vec::new();
    if own_mounts {
        steps.push(Step::Spread(spread));
    }
    steps.push(match rootfs {
        Rootfs::Bundle { path, .. } if own_mounts => Step::Attach(path.clone()),
        Rootfs::Bundle { path, .. } => Step::Copy(path.clone()),
        _ if own_mounts => Step::Attach("/".into()),
        _ => return Err(Error::unsupported("a container without a mount namespace of its own")),
    });
    if own_mounts && spread == Propagation::Private && matches!(rootfs, Rootfs::Bundle { .. }) {
        // It was copied on the host, and would go on hearing of what is mounted in it there.
        steps.push(Step::SpreadRoot(Propagation::Private, true));
    }
    let mut hosts_dev = false;
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        let step = whole.plan_mount(mount)?;
        hosts_dev |= matches!(&step, Step::Bind(bind) if bind.target == Path::new("/dev"));
        steps.push(step);
    }
    let linux = spec.linux().as_ref();
    if hosts_dev {
        // What somebody else keeps in order is left alone.
    } else {
        let given = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
        devices::plan(given, user_namespace, &mut steps)?;
    }
    steps.push(Step::Enter(match rootfs {
        _ if !own_mounts => Entrance::Chroot,
        Rootfs::Bundle { no_pivot: true, .. } => Entrance::Move,
        _ => Entrance::Pivot,
    }));
    let process = spec.process().as_ref();
    if process.and_then(|process| process.terminal()).unwrap_or(false) {
        steps.push(Step::Console);
    }
    if steps.iter().any(|step| matches!(step, Step::New(new) if new.seal)) {
        steps.push(Step::Seal);
    }
    if let Some(linux) = linux {
        let (read_only, masked) = (linux.readonly_paths(), linux.masked_paths());
        let (read_only, masked) = (read_only.as_deref().unwrap_or_default(), masked.as_deref().unwrap_or_default());
        let restricts = !read_only.is_empty() || !masked.is_empty();
        if restricts && !own_mounts {
            return Err(Error::invalid("unable to restrict sys entries without a private MNT namespace"));
        }
        for path in read_only {
            steps.push(Step::ReadOnly(clean(Path::new(path))?));
        }
        for path in masked {
            steps.push(Step::Mask(clean(Path::new(path))?));
        }
    }
    if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        let cwd = process.map(|process| clean(process.cwd())).transpose()?;
        steps.extend(cwd.filter(|cwd| cwd != Path::new("/")).map(Step::Folder));
        steps.push(Step::ReadOnlyRoot);
    }
    steps.extend(spread_root.map(|(propagation, recursive)| Step::SpreadRoot(propagation, recursive)));
    Ok(steps)
}

/// How mounts spread between the whole namespace and the host while the root is built, and what becomes of the root then.
/// Whatever is asked for, nothing that is mounted here shows on the host.
fn propagation(spec: &Spec) -> Result<(Propagation, Option<(Propagation, bool)>)> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref()).unwrap_or_default();
    Ok(match asked {
        "" | "slave" | "rslave" => (Propagation::Slave, None),
        "private" | "rprivate" => (Propagation::Private, None),
        "shared" => (Propagation::Slave, Some((Propagation::Shared, false))),
        "rshared" => (Propagation::Slave, Some((Propagation::Shared, true))),
        "unbindable" => (Propagation::Private, Some((Propagation::Unbindable, false))),
        "runbindable" => (Propagation::Private, Some((Propagation::Unbindable, true))),
        other => return Err(Error::invalid(format!("rootfsPropagation={other} is not supported"))),
    })
}

/// The specification asks for a new namespace of this kind.
pub(crate) fn is_new(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    namespace(spec, kind).is_some_and(|path| path.is_none())
}

/// The container has a namespace of this kind that is not ours: a new one, or the one at a path.
fn namespace(spec: &Spec, kind: LinuxNamespaceType) -> Option<Option<&PathBuf>> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    namespaces.iter().find(|namespace| namespace.typ() == kind).map(|namespace| namespace.path().as_ref())
}

/// Why nothing may be mounted at `real`, where an image's links lead a target: the rules for a target are about where it
/// really is, and what the system itself is mounted onto must be reached by its own name.
pub(crate) fn refusal_behind_links(real: &Path) -> Option<Error> {
    let system = ["/proc", "/sys", "/dev", "/"].iter().any(|system| real == Path::new(system));
    (system || real.starts_with("/proc")).then(|| {
        Error::invalid(format!("a link of the image leads to {real:?}, where no mount is allowed"))
            .with_hint("name the place itself, or use an image without the link")
    })
}

impl Whole<'_> {
    fn plan_mount(&self, mount: &Mount) -> Result<Step> {
        let target = self.target(mount.destination())?;
        let options = Options::parse(mount.options().as_deref().unwrap_or_default())?;
        let kind = mount.typ().as_deref().unwrap_or_default();
        let source = mount.source().clone().unwrap_or_default();
        if contains_null(&source) || kind.contains('\0') {
            return Err(Error::invalid(format!("mount field contains null byte: the mount onto {target:?}")));
        }
        if target == Path::new("/") {
            return Err(Error::invalid("invalid mount: a mount onto the root is not allowed")
                .with_hint("the root itself is what root.path says"));
        }
        let in_proc = target.starts_with("/proc") && target != Path::new("/proc");
        if in_proc && !ALLOWED_IN_PROC.iter().any(|allowed| target == Path::new(allowed)) {
            return Err(Error::invalid(format!("{target:?} cannot be mounted because it is inside /proc"))
                .with_hint("what lies below /proc belongs to the kernel"));
        }
        let ids = self.ids(mount, &options, &target)?;
        let binds = options.bind || matches!(kind, "bind" | "rbind");
        if ids.is_some() && !binds {
            return Err(Error::invalid(format!(
                "invalid mount: ids can be mapped for binds only, not onto {target:?}"
            )));
        }
        if options.remount {
            return Ok(remount(options, binds, target));
        }
        if binds {
            return self.bind(options, kind, source, ids, target);
        }
        self.new_filesystem(options, kind, source, target)
    }

    fn bind(&self, options: Options, kind: &str, source: PathBuf, ids: Option<Ids>, target: PathBuf) -> Result<Step> {
        let must_be = match target.to_str() {
            Some("/proc") => Some(MustBe::Proc),
            Some("/sys") => Some(MustBe::Sys),
            _ => None,
        };
        let source = match self.rootfs {
            Rootfs::Bundle { bundle, path, .. } => {
                let source = bundle.join(source);
                let plain = !source.components().any(|part| part == Component::ParentDir);
                match source.strip_prefix(path) {
                    Ok(inside) if plain => Source::Root(Path::new("/").join(inside)),
                    _ => Source::Host(source),
                }
            }
            _ if source.is_absolute() => Source::Host(source),
            _ => {
                return Err(Error::invalid(format!(
                    "the source {source:?} of the mount onto {target:?} is not absolute"
                )));
            }
        };
        Ok(Step::Bind(Box::new(Bind {
            source,
            recursive: options.rbind || kind == "rbind",
            own: options.own,
            named: options.named,
            everywhere: options.recursive,
            locked: self.user_namespace,
            ids,
            propagation: match options.propagation {
                // A bind hears of what the host mounts later as far as the whole namespace does.
                empty if empty.is_empty() => vec![(self.spread, true)],
                given => given,
            },
            must_be,
            target,
        })))
    }

    fn new_filesystem(&self, options: Options, kind: &str, source: PathBuf, target: PathBuf) -> Result<Step> {
        let new = |kind| is_new(self.spec, kind);
        if kind.is_empty() {
            return Err(Error::invalid(format!("invalid mount: the one onto {target:?} has no type and is no bind")));
        }
        if target == Path::new("/proc") && kind != "proc" || target == Path::new("/sys") && kind != "sysfs" {
            // Something else in its place would fool whoever trusts what it says (CVE-2019-19921).
            return Err(Error::invalid(format!("a {kind} onto {target:?} is not allowed")));
        }
        let read_only = options.own.set & mount::READ_ONLY != 0;
        if kind == "cgroup" || kind == "cgroup2" {
            return Ok(Step::Cgroups { version_2: kind == "cgroup2", read_only, target });
        }
        let hosts = match kind {
            "sysfs" => Some(("/sys", new(LinuxNamespaceType::Network), mount::READ_ONLY)),
            // A procfs that may not be mounted in a new pid namespace is one that hides something there.
            "proc" if !new(LinuxNamespaceType::Pid) => Some(("/proc", false, 0)),
            "mqueue" => Some(("/dev/mqueue", new(LinuxNamespaceType::Ipc), 0)),
            _ => None,
        };
        let hosts = hosts.filter(|_| self.user_namespace);
        if let Some((source, false, set)) = hosts {
            // A user namespace cannot mount anew what is about a namespace that it does not own: it gets the host's.
            let set = set | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
            return Ok(Step::Bind(Box::new(Bind {
                source: Source::Host(source.into()),
                recursive: true,
                own: Change::default(),
                named: false,
                everywhere: Change { set, ..Change::default() },
                locked: true,
                ids: None,
                propagation: vec![(Propagation::Private, true)],
                must_be: None,
                target,
            })));
        }
        let tmpfs = kind == "tmpfs";
        let seal = read_only && (tmpfs || target == Path::new("/dev"));
        let set = (options.own.set | options.recursive.set) & !options.recursive.clear;
        let mut common = options.common;
        if read_only && source.is_absolute() {
            // A medium that cannot be written to.
            common.push("ro");
        }
        Ok(Step::New(Box::new(New {
            inherit_mode: tmpfs && options.data.iter().all(|(key, _)| key != "mode"),
            what: NewFilesystem {
                kind: kind.to_owned(),
                source: Some(source.to_string_lossy().into_owned()).filter(|source| !source.is_empty()),
                options: options.data,
                common,
                attributes: if seal { set & !mount::READ_ONLY } else { set },
            },
            propagation: options.propagation,
            copy_up: tmpfs && options.copy_up,
            seal,
            instead: hosts.map(|(source, ..)| source.into()),
            target,
        })))
    }

    /// The ids of a mount, as far as the specification wants them mapped.
    fn ids(&self, mount: &Mount, options: &Options, target: &Path) -> Result<Option<Ids>> {
        let (uids, gids) = (mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref());
        let wrong = |why: &str| Err(Error::invalid(format!("invalid mount: {why}, for the mount onto {target:?}")));
        let recursive = options.idmap.unwrap_or(false);
        let ranges = |mappings: &[LinuxIdMapping]| -> Vec<Range> {
            mappings.iter().map(|one| (one.container_id(), one.host_id(), one.size())).collect()
        };
        let linux = self.spec.linux().as_ref();
        let map = match (uids, gids, options.idmap) {
            (None, None, None) => return Ok(None),
            (Some(uids), Some(gids), _) if !uids.is_empty() && !gids.is_empty() => {
                IdMap::Ranges(ranges(uids), ranges(gids))
            }
            (None, None, Some(_)) => match namespace(self.spec, LinuxNamespaceType::User) {
                Some(Some(path)) => IdMap::Of(path.clone()),
                Some(None) => {
                    let of = |given: Option<&Vec<LinuxIdMapping>>| ranges(given.map_or(&[], Vec::as_slice));
                    IdMap::Ranges(
                        of(linux.and_then(|linux| linux.uid_mappings().as_ref())),
                        of(linux.and_then(|linux| linux.gid_mappings().as_ref())),
                    )
                }
                None => return wrong("idmap needs mappings, its own or those of a user namespace"),
            },
            _ => return wrong("uidMappings and gidMappings must both be given"),
        };
        Ok(Some(Ids { recursive, map }))
    }

    /// Where a mount goes. Callers write the host's path of the root before it, too.
    fn target(&self, destination: &Path) -> Result<PathBuf> {
        let target = clean(destination)?;
        Ok(match self.rootfs {
            Rootfs::Bundle { path, .. } => match target.strip_prefix(path) {
                Ok(inside) => Path::new("/").join(inside),
                Err(_) => target,
            },
            _ => target,
        })
    }
}

fn remount(options: Options, bind: bool, target: PathBuf) -> Step {
    let set = options.own.set | options.recursive.set;
    let read_only = set & mount::READ_ONLY != 0;
    let mut common = options.common;
    if read_only {
        common.push("ro");
    }
    Step::Remount(Box::new(Remount {
        own: options.own,
        everywhere: options.recursive,
        file_system: (!bind).then(|| NewFilesystem { options: options.data, common, ..NewFilesystem::default() }),
        propagation: options.propagation,
        target,
    }))
}

/// An absolute path without `.` and `..`; links in it are resolved when it is used, inside the root. A relative one is from
/// `/`, as the specification says for old configurations.
fn clean(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                clean.pop();
            }
        }
    }
    match path.as_os_str().is_empty() {
        true => Err(Error::invalid("a path in the container is empty")),
        false if contains_null(path) => Err(Error::invalid(format!("the path {path:?} contains a null byte"))),
        false => Ok(clean),
    }
}

fn contains_null(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&0)
}

#[cfg(test)]
mod tests;
