//! A further process in a running container: its fork, and the exec stage until the execution of its command.
//!
//! The parent, a monitor or `rhumb oci`, forks it into the container's pid namespace; here it joins the cgroup and the
//! other namespaces, all through one descriptor of the init, and takes the container's rights. Its streams are what the
//! parent gives, or a terminal that is made inside the container and whose master goes to the parent.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;

use crate::base::{Context as _, Error, Result};
use crate::model::exec::ExecOptions;
use crate::runtime::handover::Stage;
use crate::runtime::launch::{self, Launch, Who};
use crate::runtime::plan::Plan;
use crate::runtime::wire::{Channel, MAX_FRAME};
use crate::runtime::{cgroup, init, namespaces};
use crate::sys::capability::{self, Capabilities};
use crate::sys::namespace;
use crate::sys::process::{self, Child, Fork, Groups};
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
    let fork = || process::fork(0, entry.unified.as_ref().map(|fd| fd.as_fd()));
    let own_pids = namespaces::plan(entry.spec)?.own() & namespace::PID != 0;
    let around = [(entry.init.as_fd(), namespace::PID)];
    let forked = if own_pids { namespaces::fork_around(&around, fork) } else { fork() };
    let forked = forked.map_err(|error| {
        // A pid namespace whose first process is gone takes no more (ENOMEM, pid_namespaces(7)).
        let dying = matches!(error.raw_os_error(), Some(3 | 12 | 22));
        if dying { Error::conflict("the container is ending").with_source(error) } else { error.into() }
    });
    match forked.context(doing)? {
        Fork::Child => {
            entry.close_others(&theirs);
            run(entry, Stage::new(theirs))
        }
        Fork::Parent(child) => Ok((child, Channel::new(ours, MAX_FRAME))),
    }
}

impl Entry<'_> {
    /// Closes in the child what the parent had beside this.
    fn close_others(&self, socket: &OwnedFd) {
        let keep: Vec<BorrowedFd<'_>> = [socket, &self.init]
            .into_iter()
            .chain(self.streams.iter().flatten())
            .map(|fd| fd.as_fd())
            .chain(self.entrances.iter().map(|file| file.as_fd()))
            .collect();
        if process::close_all_but(self.launch.preserve_fds, &keep).is_err() {
            process::exit_now(1);
        }
    }
}

/// Runs in the child.
fn run(entry: Entry<'_>, mut stage: Stage) -> ! {
    let error = match set_up(entry, &mut stage) {
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

/// ESRCH of errno(3).
const NO_SUCH_PROCESS: i32 = 3;

fn set_up(entry: Entry<'_>, stage: &mut Stage) -> Result<Launch> {
    let Entry { spec, init, entrances, streams, tty, size, mut launch, unified } = entry;
    // Closed with everything else of the parent's.
    std::mem::forget(unified);
    process::set_undumpable().context(|| "closing the process to tracing")?;
    // Only listings show it.
    let _ = process::set_name(c"rhumb:exec");
    cgroup::enter(entrances)?;
    // The pid namespace was joined by the fork.
    let own = namespaces::plan(spec)?.own() & !namespace::PID;
    namespace::join(init.as_fd(), own).map_err(entering)?;
    drop(init);
    if own & namespace::USER != 0 {
        process::become_user(0, 0, Groups::Set(&[]), true).context(|| "becoming root of the user namespace")?;
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
        let user = launch::prepare(&mut launch, [terminal.as_fd(); 3])?;
        launch::confine_with_agent(&mut launch, stage)?;
        stage.ready(user.uid, Some(master.as_fd()))?;
    } else {
        let [stdin, stdout, stderr] = streams;
        let (stdin, stdout, stderr) = (init::or_empty(stdin)?, init::or_empty(stdout)?, init::or_empty(stderr)?);
        launch::prepare(&mut launch, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
        launch::confine_with_agent(&mut launch, stage)?;
    }
    Ok(launch)
}

/// The container's first process, changed as the options say.
pub(crate) fn describe(plan: &Plan, options: &ExecOptions) -> Result<Launch> {
    let process = plan.spec.process().as_ref().ok_or_else(|| Error::invalid("the specification has no process"))?;
    let mut launch = Launch { die_with_parent: true, ..Launch::first(process, &plan.who()) };
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
