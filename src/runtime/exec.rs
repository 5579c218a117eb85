//! The exec stage: a further process in a running container, from the monitor's fork to the execution of its command.
//!
//! The monitor forks it into the container's pid namespace; here it joins the cgroup and the other namespaces, all through
//! one descriptor of the init, and takes the container's rights. Its streams are pipes of its client, or a terminal that
//! is made inside the container and whose master the client gets; it never sees a file or terminal of the host.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::base::{Context as _, Error, Result};
use crate::model::exec::ExecOptions;
use crate::runtime::handover::Stage;
use crate::runtime::launch::{self, Launch, Who};
use crate::runtime::plan::Plan;
use crate::runtime::seccomp::Filter;
use crate::runtime::{cgroup, init, namespaces};
use crate::sys::capability::{self, Capabilities};
use crate::sys::mount;
use crate::sys::namespace;
use crate::sys::process::{self, Groups};
use crate::sys::tty::{self, Size};

/// What the monitor gives to an exec by forking.
pub(crate) struct Entry {
    /// The socket to the monitor.
    pub(crate) socket: OwnedFd,
    /// The container's first process.
    pub(crate) init: OwnedFd,
    /// The way into version 1 cgroups.
    pub(crate) entrances: Vec<File>,
    /// Standard streams; none is empty.
    pub(crate) streams: [Option<OwnedFd>; 3],
    /// The size of its terminal.
    pub(crate) size: Option<Size>,
    /// The system calls that the command may make.
    pub(crate) filter: Option<Filter>,
}

impl Entry {
    /// Closes in the child what the monitor had beside this.
    pub(crate) fn close_others(&self) {
        let keep: Vec<BorrowedFd<'_>> = [&self.socket, &self.init]
            .into_iter()
            .chain(self.streams.iter().flatten())
            .map(|fd| fd.as_fd())
            .chain(self.entrances.iter().map(|file| file.as_fd()))
            .collect();
        if process::close_all_but(0, &keep).is_err() {
            process::exit_now(1);
        }
    }
}

/// Runs in the child.
pub(crate) fn run(plan: &Plan, options: &ExecOptions, entry: Entry) -> ! {
    let Entry { socket, init, entrances, streams, size, filter } = entry;
    let mut stage = Stage::new(socket);
    let error = match set_up(plan, options, &mut stage, init, entrances, streams, size, filter) {
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

#[expect(clippy::too_many_arguments, reason = "all that was forked along meets here once")]
fn set_up(
    plan: &Plan,
    options: &ExecOptions,
    stage: &mut Stage,
    init: OwnedFd,
    entrances: Vec<File>,
    streams: [Option<OwnedFd>; 3],
    size: Option<Size>,
    filter: Option<Filter>,
) -> Result<Launch> {
    process::set_undumpable().context(|| "closing the process to tracing")?;
    // Only listings show it.
    let _ = process::set_name(c"rhumb:exec");
    cgroup::enter(entrances)?;
    // The pid namespace was joined by the fork.
    let own = namespaces::plan(&plan.spec)?.own() & !namespace::PID;
    namespace::join(init.as_fd(), own).map_err(entering)?;
    drop(init);
    if own & namespace::USER != 0 {
        process::become_user(0, 0, Groups::Set(&[]), true).context(|| "becoming root of the user namespace")?;
    }
    process::new_session().context(|| "starting a session")?;
    let mut launch = Launch { filter, ..describe(plan, options)? };
    if options.tty {
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
fn describe(plan: &Plan, options: &ExecOptions) -> Result<Launch> {
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
