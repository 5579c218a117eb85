//! A further process in a running container: its fork, and the exec stage until the execution of its command.
//!
//! The parent, a monitor or `rhumb oci`, has it forked into the container's pid namespace once nothing of the host can be
//! reached through it; here it joins the cgroup and what is left of the namespaces, all through one descriptor of the
//! init, and takes the container's rights. Its streams are what the
//! parent gives, or a terminal that is made inside the container and whose master goes to the parent.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;

use crate::base::{Context as _, Error, Result};
use crate::model::exec::ExecOptions;
use crate::runtime::handover::Stage;
use crate::runtime::label::Label;
use crate::runtime::launch::{self, Launch, Who};
use crate::runtime::maps::Standing;
use crate::runtime::plan::Plan;
use crate::runtime::wire::{Channel, MAX_FRAME};
use crate::runtime::{cgroup, init, namespaces};
use crate::sys::capability::{self, Capabilities};
use crate::sys::namespace::{self, Namespaces};
use crate::sys::process::{self, Child, Fork};
use crate::sys::scheduling;
use crate::sys::tty::{self, Size};
use crate::sys::{mount, socket};

/// What a parent gives to an exec by forking.
pub(crate) struct Entry<'a> {
    /// The container's specification.
    pub(crate) spec: &'a Spec,
    /// The container's first process.
    pub(crate) init: OwnedFd,
    /// The cgroup2 folder to be born in.
    pub(crate) unified: Option<OwnedFd>,
    /// The way into version 1 cgroups.
    pub(crate) entrances: Vec<File>,
    /// Standard streams; none is empty.
    pub(crate) streams: [Option<OwnedFd>; 3],
    /// Make a terminal for it.
    pub(crate) tty: bool,
    /// The size of its terminal.
    pub(crate) size: Option<Size>,
    /// What is executed, and as whom.
    pub(crate) launch: Launch,
}

/// Forks the process. What it says until it has executed its command comes through the channel.
///
/// # Errors
/// `conflict` when the container is ending; what making a process gives.
pub(crate) fn start(entry: Entry<'_>) -> Result<(Child, Channel)> {
    let doing = || "starting a process in the container";
    let (ours, theirs) = socket::pair().context(doing)?;
    let mut inside = look(entry.spec, entry.init.as_fd())?;
    match entry.fork(&mut inside, &theirs).context(doing)? {
        Fork::Child => {
            entry.close_others(&[&theirs], inside.root.as_ref());
            run(entry, inside, Stage::new(theirs))
        }
        Fork::Parent(child) => Ok((child, Channel::new(ours, MAX_FRAME))),
    }
}

/// Where the container's first process is.
struct Inside {
    /// The namespaces that it does not share with us.
    own: Namespaces,
    /// Its root, when it is not that of a mount namespace of its own.
    root: Option<OwnedFd>,
    /// How root stands in its user namespace, when that is its own.
    standing: Option<Standing>,
}

/// Looks where the first process is, from the outside: what is inside could lie.
fn look(spec: &Spec, init: BorrowedFd<'_>) -> Result<Inside> {
    let layout = namespaces::plan(spec)?;
    let mut inside = Inside { own: layout.own(), root: None, standing: None };
    let (users, shared_mounts) = (layout.has(namespace::USER), !layout.is_new(namespace::MOUNT));
    if !users && !shared_mounts {
        return Ok(inside);
    }
    let ended = || Error::conflict("the container has ended");
    let doing = || "looking at the container's first process";
    let pid = process::number(init).context(doing)?.ok_or_else(ended)?;
    let mut looks = || -> Result<()> {
        if users {
            let theirs = namespace::open(Path::new(&format!("/proc/{pid}/ns/user"))).context(doing)?;
            let ours = namespace::open(Path::new("/proc/self/ns/user")).context(doing)?;
            if namespace::same(theirs.as_fd(), ours.as_fd()).context(doing)? {
                inside.own &= !namespace::USER; // the kernel lets nobody join the one it is in
            } else {
                let proc = File::open(format!("/proc/{pid}")).context(doing)?;
                inside.standing = Some(Standing::read(proc.as_fd())?);
            }
        }
        if shared_mounts {
            inside.root = Some(mount::open_folder(Path::new(&format!("/proc/{pid}/root"))).context(doing)?);
        }
        Ok(())
    };
    let looked = looks();
    // It has its number still, so it had it all the while.
    if process::number(init).context(doing)? != Some(pid) {
        return Err(ended());
    }
    looked.map(|()| inside)
}

impl Entry<'_> {
    /// Forks the process into the container's pid namespace, where it is seen. A process of the container that may trace
    /// could then go through its root and its descriptors into the host, but for one in a user namespace of its own, which
    /// has no right over our memory. So a go-between, which is not seen, enters the container before it is forked.
    fn fork(&self, inside: &mut Inside, socket: &OwnedFd) -> Result<Fork> {
        let cgroup = self.unified.as_ref().map(|fd| fd.as_fd());
        let refused = |error: io::Error| {
            // A pid namespace whose first process is gone takes no more (ENOMEM, pid_namespaces(7)).
            let dying = matches!(error.raw_os_error(), Some(3 | 12 | 22));
            if dying { Error::conflict("the container is ending").with_source(error) } else { error.into() }
        };
        if inside.own & namespace::PID == 0 {
            return process::fork(0, cgroup).map_err(refused);
        }
        if inside.standing.is_some() {
            let around = [(self.init.as_fd(), namespace::PID)];
            return namespaces::fork_around(&around, || process::fork(0, cgroup)).map_err(refused);
        }
        let early = inside.own & EARLY;
        let root = inside.root.take();
        let enter = |talk: &OwnedFd| -> Result<Option<OwnedFd>> {
            // The process has it for a moment. No way leads up from where a mount is attached nowhere.
            let cgroup = cgroup.map(|cgroup| mount::clone_tree(cgroup, false)).transpose()?;
            self.close_others(&[socket, talk], root.as_ref().into_iter().chain(&cgroup));
            namespace::join(self.init.as_fd(), early).map_err(entering)?;
            root.as_ref().map_or(Ok(()), enter_root)?;
            Ok(cgroup)
        };
        // Not the go-between but the process is born in the cgroup: that may be frozen, and we wait for the go-between.
        let fork =
            |cgroup: &Option<OwnedFd>| process::fork_sibling(0, cgroup.as_ref().map(|fd| fd.as_fd())).map_err(refused);
        let (forked, _) = namespaces::fork_between(None, enter, fork)?;
        inside.own &= !early;
        Ok(forked)
    }

    /// Closes in the child what the parent had beside this.
    fn close_others<'a>(&'a self, sockets: &[&'a OwnedFd], further: impl IntoIterator<Item = &'a OwnedFd>) {
        let keep: Vec<BorrowedFd<'_>> = sockets
            .iter()
            .copied()
            .chain([&self.init])
            .chain(self.streams.iter().flatten())
            .chain(further)
            .map(|fd| fd.as_fd())
            .chain(self.entrances.iter().map(|file| file.as_fd()))
            .collect();
        if process::close_all_but(self.launch.preserve_fds, &keep).is_err() {
            process::exit_now(1);
        }
    }
}

/// Runs in the child.
fn run(entry: Entry<'_>, inside: Inside, mut stage: Stage) -> ! {
    let error = match set_up(entry, inside, &mut stage) {
        Ok(mut launch) => launch::execute(&mut launch),
        Err(error) => error,
    };
    stage.failed(&error);
    process::exit_now(error.failure().map_or(1, |failure| failure.exit_code));
}

/// A process that is on its way out has no namespaces any more: setns(2) calls that "no such process".
fn entering(error: std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(NO_SUCH_PROCESS) => Error::conflict("the container has ended"),
        _ => Error::from(error).context("entering the container"),
    }
}

fn enter_root(root: &OwnedFd) -> Result<()> {
    namespace::become_root(root.as_fd()).context(|| "entering the container's root")
}

/// What a process must have joined before anybody in the container sees it. Of the others, the cgroup namespace forbids to
/// be born in a cgroup outside of it, and the time namespace keeps nothing.
const EARLY: Namespaces = namespace::MOUNT | namespace::PID | namespace::NETWORK | namespace::IPC | namespace::UTS;

/// ESRCH of errno(3).
const NO_SUCH_PROCESS: i32 = 3;

fn set_up(entry: Entry<'_>, inside: Inside, stage: &mut Stage) -> Result<Launch> {
    let Entry { init, entrances, streams, tty, size, mut launch, unified, .. } = entry;
    // Closed with everything else of the parent's.
    std::mem::forget(unified);
    process::set_undumpable().context(|| "closing the process to tracing")?;
    // Only listings show it.
    let _ = process::set_name(c"rhumb:exec");
    if let Some(cpus) = &launch.affinity.initial {
        scheduling::set_affinity(cpus).context(|| "setting the initial CPUs")?;
    }
    // While no mount of the container is in sight.
    let label = launch.label.as_ref().map(Label::open).transpose()?;
    cgroup::enter(entrances)?;
    if let Some(cpus) = &launch.affinity.last {
        // After the cgroup, which may have other CPUs.
        scheduling::set_affinity(cpus).context(|| "setting the CPUs")?;
    }
    // The pid namespace was joined by the fork, and perhaps more.
    let left = inside.own & !namespace::PID;
    if left != 0 {
        namespace::join(init.as_fd(), left).map_err(entering)?;
    }
    drop(init);
    if let Some(root) = &inside.root {
        enter_root(root)?;
    }
    if let Some(standing) = inside.standing {
        standing.enter((launch.numbers.uid(), launch.numbers.gid()))?;
        launch.groups_fixed = standing.groups_fixed;
    }
    process::new_session().context(|| "starting a session")?;
    if tty {
        let root = mount::open_folder(Path::new("/")).context(|| "opening the container's root")?;
        let doing = || "making a terminal";
        let master = mount::open_device(root.as_fd(), Path::new("/dev/pts/ptmx")).context(doing)?;
        let terminal = tty::open_terminal(master.as_fd()).context(doing)?;
        if let Some(size) = size {
            tty::set_size(&master, size).context(doing)?;
        }
        tty::take_control(terminal.as_fd()).context(|| "taking the terminal")?;
        let user = launch::prepare(&mut launch, [terminal.as_fd(); 3], label)?;
        launch::confine_with_agent(&mut launch, stage)?;
        stage.ready(user.uid, Some(master.as_fd()))?;
    } else {
        let [stdin, stdout, stderr] = streams;
        let (stdin, stdout, stderr) = (init::or_empty(stdin)?, init::or_empty(stdout)?, init::or_empty(stderr)?);
        launch::prepare(&mut launch, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()], label)?;
        launch::confine_with_agent(&mut launch, stage)?;
    }
    Ok(launch)
}

/// The container's first process, changed as the options say.
pub(crate) fn describe(plan: &Plan, options: &ExecOptions) -> Result<Launch> {
    let process = plan.spec.process().as_ref().ok_or_else(|| Error::invalid("the specification has no process"))?;
    let mut launch = Launch { die_with_parent: true, ..Launch::of(&plan.spec, process, &plan.who())? };
    launch.args.clone_from(&options.args);
    for (name, value) in &options.env {
        let prefix = format!("{name}=");
        launch.env.retain(|entry| !entry.starts_with(&prefix));
        launch.env.push(format!("{name}={value}"));
    }
    if options.tty && !launch.env.iter().any(|entry| entry.starts_with("TERM=")) {
        launch.env.push("TERM=xterm".to_owned());
    }
    if let Some(user) = &options.user {
        let Who::Named { user: name, .. } = &mut launch.who else { unreachable!("a plan names its user") };
        name.clone_from(user);
    }
    if let Some(cwd) = &options.working_dir {
        launch.cwd.clone_from(cwd);
    }
    launch.make_cwd = false;
    if options.privileged {
        let all = capability::held_set()?;
        launch.capabilities = Capabilities { bounding: all, effective: all, permitted: all, ..Capabilities::default() };
    }
    Ok(launch)
}
