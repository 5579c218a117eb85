//! Which namespaces a container has: what a specification asks for, checked, and who does what about each.
//!
//! ```text
//! new                      with clone3, owned by the new user namespace if there is one
//!   cgroup                 by the init once it is in its cgroup, which becomes the namespace's root
//!   time                   by the init, since the clocks must be set before anyone is in it
//! by path                  by the init
//!   pid                    by a go-between, which leaves the host's files behind first: the processes in there see the
//!                          init at once, and might look through its eyes; where the host's files are needed, by the
//!                          parent around the fork, since whoever joins one only sends children there
//!   all, user new          by the parent around the fork: the init has no rights over others' namespaces then
//!   all, user by path      by a go-between, the user namespace last, since it takes the rights over all others away. What
//!                          is new must belong to that user namespace, and the parent could not come back from there; so
//!                          the go-between forks the init as its own sibling, hands it over and ends
//! not mentioned            shared with the runtime, as the specification says; nothing is ever added to what is asked
//! ```
//!
//! A path is opened once, must be a namespace of the kind it is given for, and is used by descriptor from then on. It
//! makes no mounts and knows no cgroups; ids are [`crate::runtime::maps`]'s.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use crate::base::{Context as _, Error, Result};
use crate::runtime::handover::{FromStage, Stage};
use crate::runtime::maps::{Maps, Standing};
use crate::runtime::wire::{Channel, MAX_FRAME};
use crate::sys::namespace::{self, Namespaces, Place};
use crate::sys::process::{self, Child, Fork};
use crate::sys::{mount, signal, socket};

/// The largest offset of a clock in seconds; the kernel's own limit depends on the time by then.
const MAX_OFFSET_S: u64 = i64::MAX as u64 / 1_000_000_000 / 2;

/// The namespaces of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// New ones, made by the fork.
    pub(crate) born: Namespaces,
    /// A new cgroup namespace.
    pub(crate) new_cgroup: bool,
    /// A new time namespace, with the offsets of its clocks as the kernel reads them.
    pub(crate) new_time: Option<String>,
    /// The ids of a new user namespace, or those that a joined one must have.
    pub(crate) maps: Option<Maps>,
    /// Others' namespaces.
    joined: Vec<(Namespaces, PathBuf)>,
}

/// Others' namespaces, open.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// What the parent joins around the fork.
    around: Vec<(OwnedFd, Namespaces)>,
    /// What a go-between joins before it forks the init.
    through: Vec<(OwnedFd, Namespaces)>,
    /// What the init joins.
    pub(crate) inside: Vec<(OwnedFd, Namespaces)>,
    /// Those that are the runtime's own in truth: the container shares them.
    pub(crate) shared: Namespaces,
}

/// What came of [`fork`].
pub(crate) enum Forked {
    /// The new process; how it stands in the user namespace that it was brought into.
    Child(Option<Standing>),
    /// The old one, with the new one.
    Parent(Child),
}

impl Joins {
    /// The container's first process is forked into the pid namespace of others.
    pub(crate) fn joins_pids(&self) -> bool {
        self.around.iter().any(|(_, kind)| *kind == namespace::PID)
    }
}

/// The namespaces that a specification asks for.
///
/// # Errors
/// `invalid_argument` for one that is named twice, a path that is not absolute, and settings of namespaces that the
/// container does not have.
pub(crate) fn plan(spec: &Spec) -> Result<Layout> {
    let linux = spec.linux().as_ref();
    let mut layout = Layout::default();
    let mut seen = 0;
    for one in linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default() {
        let kind = flag(one.typ());
        if seen & kind != 0 {
            return Err(Error::invalid(format!("malformed spec file: duplicated ns {}", name(kind))));
        }
        seen |= kind;
        match one.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) if path.is_absolute() => layout.joined.push((kind, path.clone())),
            Some(path) => {
                return Err(Error::invalid(format!(
                    "the path {path:?} of the {} namespace is not absolute",
                    name(kind)
                )));
            }
            None if kind == namespace::CGROUP => layout.new_cgroup = true,
            None if kind == namespace::TIME => layout.new_time = Some(String::new()),
            None => layout.born |= kind,
        }
    }
    let offsets = linux.and_then(|linux| linux.time_offsets().as_ref()).filter(|offsets| !offsets.is_empty());
    if let Some(offsets) = offsets {
        if seen & namespace::TIME == 0 {
            return refuse("time namespace offsets specified, but time namespace isn't enabled in the config");
        }
        let mut lines = String::new();
        for (clock, offset) in offsets {
            lines += &offset_line(clock, offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))?;
        }
        match &mut layout.new_time {
            Some(text) => *text = lines,
            None => {
                return refuse(
                    "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
                );
            }
        }
    }
    let ids = |ids: Option<&Vec<LinuxIdMapping>>| ids.cloned().unwrap_or_default();
    let uids = ids(linux.and_then(|linux| linux.uid_mappings().as_ref()));
    let gids = ids(linux.and_then(|linux| linux.gid_mappings().as_ref()));
    let mapped = !uids.is_empty() || !gids.is_empty();
    match (layout.born & namespace::USER != 0, seen & namespace::USER != 0) {
        (true, _) if !mapped => {
            return refuse("user namespaces enabled, but no namespace path to join nor mappings to apply specified");
        }
        (_, false) if mapped => {
            return refuse("user namespace mappings specified, but user namespace isn't enabled in the config");
        }
        _ if mapped => layout.maps = Some(Maps::plan(&uids, &gids)?),
        _ => {}
    }
    check_names(spec, layout.own())?;
    Ok(layout)
}

/// Whether the host and domain name of a specification are set in one of the `own` namespaces.
///
/// # Errors
/// `invalid_argument` when they would be the machine's.
pub(crate) fn check_names(spec: &Spec, own: Namespaces) -> Result<()> {
    for (what, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        if value.as_ref().is_some_and(|value| !value.is_empty()) && own & namespace::UTS == 0 {
            return refuse(&format!("unable to set {what} without a private UTS namespace"));
        }
    }
    Ok(())
}

fn refuse<T>(why: &str) -> Result<T> {
    Err(Error::invalid(why.to_owned()))
}

fn offset_line(clock: &str, seconds: i64, nanoseconds: u32) -> Result<String> {
    if !matches!(clock, "boottime" | "monotonic") {
        return Err(Error::invalid(format!("a time namespace has no clock {clock:?}"))
            .with_hint("there are monotonic and boottime"));
    }
    if seconds.unsigned_abs() > MAX_OFFSET_S || nanoseconds >= 1_000_000_000 {
        return Err(Error::invalid(format!("the clock {clock} cannot be off by {seconds} s and {nanoseconds} ns")));
    }
    Ok(format!("{clock} {seconds} {nanoseconds}\n"))
}

impl Layout {
    /// Every namespace that the container does not share with the runtime, as a further process joins them.
    pub(crate) fn own(&self) -> Namespaces {
        let mut own = self.joined.iter().fold(self.born, |all, (kind, _)| all | kind);
        own |= if self.new_cgroup { namespace::CGROUP } else { 0 };
        own | if self.new_time.is_some() { namespace::TIME } else { 0 }
    }

    /// It is new or joined.
    pub(crate) fn has(&self, kind: Namespaces) -> bool {
        self.own() & kind != 0
    }

    /// It is new.
    pub(crate) fn is_new(&self, kind: Namespaces) -> bool {
        self.has(kind) && self.joined.iter().all(|(joined, _)| *joined != kind)
    }

    /// Opens the namespaces that are joined, and divides them among those who join.
    ///
    /// # Errors
    /// `invalid_argument` for a path that is no namespace of its kind; what open(2) gives.
    pub(crate) fn open(&self) -> Result<Joins> {
        let mut joins = Joins::default();
        let mut open = Vec::new();
        for (kind, path) in &self.joined {
            let fd = open_checked(*kind, path)?;
            let own = own_path(*kind);
            let same = File::open(&own).and_then(|own| namespace::same(fd.as_fd(), own.as_fd()));
            if same.context(|| format!("looking at {own:?}"))? {
                joins.shared |= kind;
                // The kernel lets nobody join the user namespace it is in already.
                if *kind == namespace::USER {
                    continue;
                }
            }
            open.push((fd, *kind));
        }
        // The user namespace takes the rights over the others away, and the mount namespace `/proc` from under us.
        open.sort_by_key(|(_, kind)| rank(*kind));
        let user = open.iter().any(|(_, kind)| *kind == namespace::USER);
        for (fd, kind) in open {
            let list = match kind {
                _ if user => &mut joins.through,
                namespace::PID => &mut joins.around,
                _ if self.born & namespace::USER != 0 => &mut joins.around,
                _ => &mut joins.inside,
            };
            list.push((fd, kind));
        }
        Ok(joins)
    }
}

fn rank(kind: Namespaces) -> u8 {
    match kind {
        namespace::USER => 2,
        namespace::MOUNT => 1,
        _ => 0,
    }
}

fn open_checked(kind: Namespaces, path: &Path) -> Result<OwnedFd> {
    let doing = || format!("opening the {} namespace {path:?}", name(kind));
    let fd = namespace::open(path).context(doing)?;
    match namespace::kind(fd.as_fd()).context(doing)? {
        Some(found) if found == kind => Ok(fd),
        Some(found) => {
            Err(Error::invalid(format!("{path:?} is a {} namespace, not a {} one", name(found), name(kind))))
        }
        None => Err(Error::invalid(format!("{path:?} is not a {} namespace", name(kind)))),
    }
}

/// Forks the init into the namespaces of `layout` and those of `joins` that it cannot join by itself; `ids` is who its
/// command runs as. With `blind`, what it keeps open, it is born where nothing of the host is in sight.
///
/// # Errors
/// What clone3(2) and setns(2) give; as [`Standing::enter`].
pub(crate) fn fork(
    layout: &Layout,
    joins: &Joins,
    ids: (u32, u32),
    cgroup: Option<BorrowedFd<'_>>,
    blind: Option<Kept<'_>>,
) -> Result<Forked> {
    let doing = || "making the container's first process";
    if let Some(kept) = blind {
        return fork_blind(layout, joins, cgroup, kept).map_err(|error| error.context(doing()));
    }
    if !joins.through.is_empty() {
        return fork_through(layout, &joins.through, ids, cgroup).map_err(|error| error.context(doing()));
    }
    let around: Vec<(BorrowedFd<'_>, Namespaces)> = joins.around.iter().map(|(fd, kind)| (fd.as_fd(), *kind)).collect();
    match fork_around(&around, || process::fork(layout.born, cgroup)).context(doing)? {
        Fork::Child => Ok(Forked::Child(None)),
        Fork::Parent(child) => Ok(Forked::Parent(child)),
    }
}

/// Forks with this process in others' namespaces meanwhile, and comes back. A child whose parent cannot come back is
/// ended.
///
/// # Errors
/// What setns(2) and the fork give.
pub(crate) fn fork_around(
    around: &[(BorrowedFd<'_>, Namespaces)],
    fork: impl FnOnce() -> io::Result<Fork>,
) -> io::Result<Fork> {
    if around.is_empty() {
        return fork();
    }
    let place = around.iter().any(|(_, kind)| *kind == namespace::MOUNT).then(Place::here).transpose()?;
    let mut own = Vec::with_capacity(around.len());
    for (_, kind) in around {
        own.push((File::open(own_path(*kind))?, *kind));
    }
    let entered = around.iter().try_for_each(|(fd, kind)| namespace::join(*fd, *kind));
    let forked = entered.and_then(|()| fork());
    if matches!(forked, Ok(Fork::Child)) {
        return forked;
    }
    // Those that were never left are joined once more, which does nothing.
    let back = own.iter().try_for_each(|(fd, kind)| namespace::join(fd.as_fd(), *kind));
    match (back.and_then(|()| place.map_or(Ok(()), |place| place.back())), forked) {
        (Ok(()), forked) => forked,
        (Err(error), Ok(Fork::Parent(child))) => {
            // It may have ended by itself, which is as good; whoever reaps takes it in.
            let _ = process::signal(child.pidfd.as_fd(), signal::KILL);
            Err(error)
        }
        (Err(error), _) => Err(error),
    }
}

/// What a stage keeps open of its parent's descriptors.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    /// How many from 3 on the command inherits.
    pub(crate) preserve_fds: u32,
    /// The others.
    pub(crate) fds: Vec<BorrowedFd<'a>>,
}

/// Forks into others' namespaces, whose processes see the new one at once. One that may trace could go through its root,
/// or a descriptor, into the host for as long as it is about to build a root of its own (as in CVE-2016-9962). So a
/// go-between, which they do not see, leaves the host's files and the parent's descriptors behind before it forks.
fn fork_blind(layout: &Layout, joins: &Joins, cgroup: Option<BorrowedFd<'_>>, kept: Kept<'_>) -> Result<Forked> {
    let enter = |talk: &OwnedFd| -> Result<()> {
        let around = joins.around.iter().map(|(fd, _)| fd.as_fd());
        let keep: Vec<BorrowedFd<'_>> = kept.fds.iter().copied().chain(around).chain([talk.as_fd()]).collect();
        process::close_all_but(kept.preserve_fds, &keep).context(|| "closing descriptors")?;
        namespace::new_mount_namespace()
            .and_then(|()| mount::enter_nothing())
            .context(|| "leaving the host's files")?;
        join(&joins.around)
    };
    let fork = |(): &()| Ok(process::fork_sibling(layout.born, None)?);
    match fork_between(cgroup, enter, fork)? {
        (Fork::Child, _) => Ok(Forked::Child(None)),
        (Fork::Parent(child), _) => Ok(Forked::Parent(child)),
    }
}

/// Forks a go-between, which joins `through`, forks the init and ends.
fn fork_through(
    layout: &Layout,
    through: &[(OwnedFd, Namespaces)],
    ids: (u32, u32),
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Forked> {
    let fork = |_: &Standing| Ok(process::fork_sibling(layout.born, None)?);
    match fork_between(cgroup, |_| enter(layout, through, ids), fork)? {
        (Fork::Child, standing) => Ok(Forked::Child(standing)),
        (Fork::Parent(child), _) => Ok(Forked::Parent(child)),
    }
}

/// Forks by a go-between, a child of ours that no container sees: it does `enter`, which gets its end of the talk with us,
/// makes its sibling with `fork`, hands that over and ends. The new process has what `enter` gave.
///
/// # Errors
/// What clone3(2), `enter` and `fork` give.
pub(crate) fn fork_between<T>(
    cgroup: Option<BorrowedFd<'_>>,
    enter: impl FnOnce(&OwnedFd) -> Result<T>,
    fork: impl FnOnce(&T) -> Result<Fork>,
) -> Result<(Fork, Option<T>)> {
    let (ours, theirs) = socket::pair().context(|| "making a socket")?;
    match process::fork(0, cgroup)? {
        Fork::Child => {
            drop(ours);
            let entered = process::set_undumpable().map_err(Error::from).and_then(|()| enter(&theirs));
            let stage = Stage::new(theirs);
            match entered.and_then(|entered| Ok((fork(&entered)?, entered))) {
                Ok((Fork::Child, entered)) => return Ok((Fork::Child, Some(entered))),
                Ok((Fork::Parent(child), _)) => {
                    if stage.forked(child.pid, child.pidfd.as_fd()).is_err() {
                        // Nobody would ever know of it.
                        let _ = process::signal(child.pidfd.as_fd(), signal::KILL);
                    }
                }
                Err(error) => stage.failed(&error),
            }
            process::exit_now(0)
        }
        Fork::Parent(between) => {
            drop(theirs);
            let mut channel = Channel::new(ours, MAX_FRAME);
            let word = channel.receive();
            process::take_in(&between).context(|| "waiting for the go-between")?;
            match word?.map(|frame| frame.message()).transpose()? {
                Some(FromStage::Forked { pid }) => {
                    let pidfd = channel.decoder.fds.pop_front();
                    let pidfd = pidfd.ok_or_else(|| Error::failed("the first process came without a descriptor"))?;
                    Ok((Fork::Parent(Child { pid, pidfd }), None))
                }
                Some(FromStage::Failed(error)) => Err(error.into()),
                _ => Err(Error::failed("the go-between died")),
            }
        }
    }
}

/// Joins others' namespaces, the user namespace among them, and becomes somebody there.
fn enter(layout: &Layout, through: &[(OwnedFd, Namespaces)], ids: (u32, u32)) -> Result<Standing> {
    // From the runtime's own mount namespace, in which nobody deceives us.
    let proc = File::open("/proc/self").context(|| "opening \"/proc/self\"")?;
    join(through)?;
    let standing = Standing::read(proc.as_fd())?;
    if layout.maps.as_ref().is_some_and(|maps| !standing.is(maps)) {
        return refuse(
            "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one",
        );
    }
    if let Some(offsets) = &layout.new_time {
        // Before we are somebody else, whose own files in `/proc` would be closed to it.
        namespace::enter_new_time(offsets).context(|| "making a time namespace")?;
    }
    standing.enter(ids)?;
    Ok(standing)
}

/// Joins others' namespaces, in order.
///
/// # Errors
/// What setns(2) gives.
pub(crate) fn join(joins: &[(OwnedFd, Namespaces)]) -> Result<()> {
    for (fd, kind) in joins {
        namespace::join(fd.as_fd(), *kind).context(|| format!("joining another's {} namespace", name(*kind)))?;
    }
    Ok(())
}

fn own_path(kind: Namespaces) -> String {
    format!("/proc/self/ns/{}", file(kind))
}

fn flag(kind: LinuxNamespaceType) -> Namespaces {
    match kind {
        LinuxNamespaceType::Mount => namespace::MOUNT,
        LinuxNamespaceType::Cgroup => namespace::CGROUP,
        LinuxNamespaceType::Uts => namespace::UTS,
        LinuxNamespaceType::Ipc => namespace::IPC,
        LinuxNamespaceType::User => namespace::USER,
        LinuxNamespaceType::Pid => namespace::PID,
        LinuxNamespaceType::Network => namespace::NETWORK,
        LinuxNamespaceType::Time => namespace::TIME,
    }
}

/// The specification's name of a kind.
fn name(kind: Namespaces) -> &'static str {
    match kind {
        namespace::MOUNT => "mount",
        namespace::NETWORK => "network",
        kind => file(kind),
    }
}

/// The name of a kind below `/proc/self/ns`.
fn file(kind: Namespaces) -> &'static str {
    match kind {
        namespace::MOUNT => "mnt",
        namespace::CGROUP => "cgroup",
        namespace::UTS => "uts",
        namespace::IPC => "ipc",
        namespace::USER => "user",
        namespace::PID => "pid",
        namespace::NETWORK => "net",
        namespace::TIME => "time",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use serde_json::json;

    fn planned(linux: serde_json::Value) -> Result<Layout> {
        plan(&serde_json::from_value(json!({"ociVersion": "1.2.0", "linux": linux})).unwrap())
    }

    #[test]
    fn nothing_is_added_to_what_is_asked_for() {
        assert_eq!(planned(json!({})).unwrap(), Layout::default());
        let layout = planned(json!({"namespaces": [
            {"type": "mount"}, {"type": "cgroup"}, {"type": "network", "path": "/proc/self/ns/net"}, {"type": "time"},
        ], "timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 5}}}))
        .unwrap();
        assert_eq!((layout.born, layout.new_cgroup), (namespace::MOUNT, true));
        assert_eq!(layout.new_time.as_deref(), Some("monotonic -1 5\n"));
        let own = namespace::MOUNT | namespace::CGROUP | namespace::NETWORK | namespace::TIME;
        assert_eq!(layout.own(), own);
        assert!(layout.is_new(namespace::TIME) && !layout.is_new(namespace::NETWORK) && !layout.has(namespace::PID));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        for linux in [
            json!({"namespaces": [{"type": "pid"}, {"type": "pid"}]}),
            json!({"namespaces": [{"type": "pid"}, {"type": "pid", "path": "/proc/self/ns/pid"}]}),
            json!({"namespaces": [{"type": "pid", "path": "proc/self/ns/pid"}]}),
            json!({"namespaces": [{"type": "user"}]}),
            json!({"namespaces": [], "uidMappings": map, "gidMappings": map}),
            json!({"namespaces": [], "timeOffsets": {"monotonic": {"secs": 1}}}),
            json!({"namespaces": [{"type": "time", "path": "/x"}], "timeOffsets": {"monotonic": {"secs": 1}}}),
            json!({"namespaces": [{"type": "time"}], "timeOffsets": {"realtime": {"secs": 1}}}),
            json!({"namespaces": [{"type": "time"}], "timeOffsets": {"boottime": {"secs": i64::MIN}}}),
            json!({"namespaces": [{"type": "time"}], "timeOffsets": {"boottime": {"nanosecs": 1_000_000_000}}}),
        ] {
            let error = planned(linux.clone()).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument, "{linux}");
        }
        for key in ["hostname", "domainname"] {
            let spec = json!({"ociVersion": "1.2.0", key: "x", "linux": {"namespaces": [{"type": "mount"}]}});
            assert_eq!(plan(&serde_json::from_value(spec).unwrap()).unwrap_err().kind(), Kind::InvalidArgument);
        }
    }

    #[test]
    fn a_path_must_be_a_namespace_of_its_kind() {
        let opened =
            |kind: &str, path: &str| planned(json!({"namespaces": [{"type": kind, "path": path}]})).unwrap().open();
        let net = opened("network", "/proc/self/ns/net").unwrap();
        assert_eq!((net.inside.len(), net.shared), (1, namespace::NETWORK));
        assert_eq!(opened("pid", "/proc/self/ns/pid").unwrap().around.len(), 1);
        assert_eq!(opened("time", "/proc/self/ns/time").unwrap().inside.len(), 1);
        let own = opened("user", "/proc/self/ns/user").unwrap();
        assert!(own.through.is_empty() && own.shared == namespace::USER, "joined already");
        let fifo = tempfile::tempdir().unwrap();
        let fifo = fifo.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in ["/proc/self/ns/pid", "/dev/null", "/", "/etc/passwd", fifo.to_str().unwrap()] {
            let error = opened("network", path).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument, "{path}: {error}");
        }
        let error = opened("network", "/proc/0/ns/net").unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains("opening the network namespace \"/proc/0/ns/net\""), "{error}");
    }
}
