//! The init stage: from the fork in new namespaces to the execution of the container's command.
//!
//! Everything that can fail happens before it says `Ready`, except for hooks at the start and finding the program. It never
//! returns into its parent's code and never runs destructors of what it shares with it.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::Spec;

use crate::base::{Context as _, Error, Result};
use crate::runtime::birth::Order;
use crate::runtime::handover::{Stage, ToStage};
use crate::runtime::hooks::{self, Moment};
use crate::runtime::label::Label;
use crate::runtime::launch::{self, Launch, Who};
use crate::runtime::maps::Standing;
use crate::runtime::mounts::Step;
use crate::runtime::namespaces::{self, Layout};
use crate::runtime::rootfs::{self, Built, Taken};
use crate::runtime::seccomp::Filter;
use crate::runtime::sysctl::{self, Setting};
use crate::runtime::{cgroup, reaper};
use crate::sys::namespace::{self, Namespaces};
use crate::sys::process;
use crate::sys::tty::{self, Size};
use crate::sys::{mount, socket};

/// What the parent gives to the init by forking.
pub(crate) struct Birth {
    /// The socket to the parent.
    pub(crate) socket: OwnedFd,
    /// The root file system; with a user namespace it comes later, with `Mapped`.
    pub(crate) root: Option<OwnedFd>,
    /// How the root is built.
    pub(crate) steps: Vec<Step>,
    /// What each step takes from the host.
    pub(crate) taken: Vec<Taken>,
    /// The way into version 1 cgroups.
    pub(crate) entrances: Vec<File>,
    /// Namespaces of others to join.
    pub(crate) joins: Vec<(OwnedFd, Namespaces)>,
    /// Standard streams: none for input is an empty one, and all are the terminal's when there is one.
    pub(crate) streams: [Option<OwnedFd>; 3],
    /// Where it waits for its start once its parent has left.
    pub(crate) listener: Option<OwnedFd>,
    /// The system calls that the command may make.
    pub(crate) filter: Option<Filter>,
    /// What is executed.
    pub(crate) launch: Option<Launch>,
    /// Kernel parameters to set.
    pub(crate) sysctls: Vec<Setting>,
    /// The specification's user and group.
    pub(crate) ids: (u32, u32),
    /// Who it is in the user namespace that it was brought into.
    pub(crate) standing: Option<Standing>,
}

impl Birth {
    /// Closes in the child what the parent had beside this and the first `preserve_fds` descriptors from 3 on.
    pub(crate) fn close_others(&self, preserve_fds: u32) {
        let keep: Vec<BorrowedFd<'_>> = std::iter::once(&self.socket)
            .chain(&self.root)
            .chain(self.taken.iter().flatten().map(|(_, fd)| fd))
            .chain(self.joins.iter().map(|(fd, _)| fd))
            .chain(self.streams.iter().flatten())
            .chain(&self.listener)
            .map(|fd| fd.as_fd())
            .chain(self.entrances.iter().map(|file| file.as_fd()))
            .collect();
        if process::close_all_but(preserve_fds, &keep).is_err() {
            process::exit_now(1);
        }
    }
}

/// Runs in the child.
pub(crate) fn run(order: &Order<'_>, layout: &Layout, mut birth: Birth) -> ! {
    let listener = birth.listener.take();
    // A stage without its socket could tell nobody of anything.
    let Ok(socket) = birth.socket.try_clone() else { process::exit_now(1) };
    let mut stage = Stage::new(socket);
    let ready = set_up(order, layout, &mut stage, birth);
    let error = match ready.and_then(|launch| wait_for_start(order, &mut stage, listener, launch)) {
        Ok(mut launch) if order.small_init => match reaper::run(&mut launch, stage) {
            Ok(never) => match never {},
            Err(_) => process::exit_now(1), // it has told the parent what it could
        },
        Ok(mut launch) => launch::execute(&mut launch),
        Err(error) => error,
    };
    stage.failed(&error);
    process::exit_now(error.failure().map_or(1, |failure| failure.exit_code));
}

/// Waits for the word and runs what comes between it and the command. A container may be made without a command, and not
/// be started.
fn wait_for_start(
    order: &Order<'_>,
    stage: &mut Stage,
    listener: Option<OwnedFd>,
    launch: Option<Launch>,
) -> Result<Launch> {
    match (stage.expect()?, listener) {
        (ToStage::Start, _) => {}
        (ToStage::Recorded, Some(listener)) => stage.wait_at(&listener)?,
        _ => return Err(Error::failed("neither started nor recorded")),
    }
    let launch = launch.ok_or_else(|| Error::invalid("the specification has no process, which a start needs"))?;
    // With the rights of the command and behind its filter, as runc: these hooks are programs of the container. One whose
    // profile has an agent is loaded already.
    let state = || hooks::state(order.spec, order.id, order.bundle, "created", process::id());
    hooks::run_confined(order.spec, Moment::StartContainer, state, &|| {
        launch.filter.as_ref().map_or(Ok(()), |filter| filter.load().map(drop))
    })?;
    Ok(launch)
}

fn set_up(order: &Order<'_>, layout: &Layout, stage: &mut Stage, birth: Birth) -> Result<Option<Launch>> {
    let Birth { root, steps, taken, entrances, joins, streams, sysctls, ids, standing, filter, launch, .. } = birth;
    let spec = order.spec;
    process::set_undumpable().context(|| "closing the process to tracing")?;
    // Only listings show it.
    let _ = process::set_name(c"rhumb:init");
    // While no mount of the container is in sight.
    let label = launch.as_ref().and_then(|launch| launch.label.as_ref()).map(Label::open).transpose()?;
    if let (Some(offsets), None) = (&layout.new_time, &standing) {
        // First, while the own files in `/proc` can be written: as whoever made us.
        namespace::enter_new_time(offsets).context(|| "making a time namespace")?;
    }
    let standing = match standing {
        None if layout.is_new(namespace::USER) => {
            let ToStage::Mapped = stage.expect()? else { return Err(Error::failed("started before it was mapped")) };
            let standing = Standing { maps: layout.maps.clone().unwrap_or_default(), groups_fixed: false };
            standing.enter(ids)?;
            Some(standing)
        }
        standing => standing,
    };
    namespaces::join(&joins)?;
    drop(joins);
    let root = match root {
        Some(root) => root,
        None => stage.take_fd().ok_or_else(|| Error::failed("the root file system did not arrive"))?,
    };
    cgroup::enter(entrances)?;
    if layout.new_cgroup {
        // Not at birth: its root is where we are now, in every hierarchy.
        namespace::new_cgroup_namespace().context(|| "making a cgroup namespace")?;
    }
    process::new_session().context(|| "starting a session")?;
    process::set_umask(0);
    // Whether the container may have them was decided before: there is a namespace of its own for each.
    set_names(spec)?;
    if layout.is_new(namespace::NETWORK) {
        namespace::loopback_up().context(|| "setting the loopback interface up")?;
    }
    sysctl::set(&sysctls)?;
    let built = rootfs::build(root, &steps, taken)?;
    run_birth_hooks(order, stage, &built)?;
    let terminal = built.enter()?;
    let (Some(process), Some(launch)) = (spec.process(), launch) else {
        stage.ready(0, None)?;
        return Ok(None);
    };
    let mut launch = Launch {
        filter,
        die_with_parent: order.die_with_parent,
        preserve_fds: order.preserve_fds,
        groups_fixed: standing.is_some_and(|standing| standing.groups_fixed),
        ..launch
    };
    let user = match &terminal {
        Some((master, terminal)) => {
            if let Some(size) = process.console_size() {
                let narrow = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
                let size = Size { rows: narrow(size.height()), columns: narrow(size.width()) };
                tty::set_size(master, size).context(|| "setting the terminal's size")?;
            }
            tty::take_control(terminal.as_fd()).context(|| "taking the terminal")?;
            // As Docker; a specification says all of its environment.
            let docker = matches!(launch.who, Who::Named { .. });
            if docker && !launch.env.iter().any(|entry| entry.starts_with("TERM=")) {
                launch.env.push("TERM=xterm".to_owned());
            }
            launch::prepare(&mut launch, [terminal.as_fd(); 3], label)?
        }
        None => {
            let [stdin, stdout, stderr] = streams;
            let (stdin, stdout, stderr) = (or_empty(stdin)?, or_empty(stdout)?, or_empty(stderr)?);
            launch::prepare(&mut launch, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()], label)?
        }
    };
    launch::confine_with_agent(&mut launch, stage)?;
    stage.ready(user.uid, terminal.as_ref().map(|(master, _)| master.as_fd()))?;
    Ok(Some(launch))
}

/// The hooks that run while both the host's and the container's files can be seen.
fn run_birth_hooks(order: &Order<'_>, stage: &mut Stage, built: &Built<'_>) -> Result<()> {
    if hooks::any(order.spec, &[Moment::Prestart, Moment::CreateRuntime]) {
        stage.built()?;
        let ToStage::Hooked = stage.expect()? else { return Err(Error::failed("started before its hooks")) };
    }
    if hooks::any(order.spec, &[Moment::CreateContainer]) {
        // As with runc, whose hooks name what they change of the root by `./`.
        built.stand_in().context(|| "going to the container's root")?;
    }
    hooks::run(order.spec, Moment::CreateContainer, || {
        hooks::state(order.spec, order.id, order.bundle, "creating", process::id())
    })
}

/// A given stream, or the container's own null device, or where there is none an input that is at its end.
pub(crate) fn or_empty(stream: Option<OwnedFd>) -> Result<OwnedFd> {
    if let Some(stream) = stream {
        return Ok(stream);
    }
    let root = mount::open_folder(std::path::Path::new("/")).context(|| "opening the container's root")?;
    match mount::open_device(root.as_fd(), std::path::Path::new("/dev/null")) {
        Ok(null) if matches!(mount::kind(&null), Ok(mount::Kind::Device(mount::NULL))) => Ok(null),
        _ => {
            let (end, _closed) = socket::pipe().context(|| "making an empty stream")?;
            Ok(end)
        }
    }
}

fn set_names(spec: &Spec) -> Result<()> {
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        namespace::set_hostname(name).context(|| format!("setting the host name {name:?}"))?;
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        namespace::set_domainname(name).context(|| format!("setting the domain name {name:?}"))?;
    }
    Ok(())
}
