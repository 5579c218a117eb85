//! The birth of a container, by its monitor or by `rhumb oci`: cgroup, root, fork of the init, id maps, hooks of the
//! runtime, until the init says `Ready`.
//!
//! Every failure undoes what was done: the init is killed and taken in, the cgroup is removed. What comes after, streams
//! and records, is the caller's.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;

use crate::base::failpoint;
use crate::base::{Context as _, Error, Result};
use crate::runtime::cgroup::{self, Cgroup};
use crate::runtime::handover::{FromStage, ToStage};
use crate::runtime::hooks::{self, Moment};
use crate::runtime::init::{self, Birth};
use crate::runtime::launch::{Launch, Who};
use crate::runtime::namespaces::{self, Forked, Layout};
use crate::runtime::plan::Rootfs;
use crate::runtime::rootfs::{Early, Users};
use crate::runtime::seccomp::Listener;
use crate::runtime::wire::{Channel, MAX_FRAME};
use crate::runtime::{maps, mounts, rootfs, seccomp, sysctl};
use crate::sys::process::{self, Child};
use crate::sys::{namespace, signal, socket};

/// What is to be made: a plan of the engine and a bundle of `rhumb oci` both come down to this.
pub(crate) struct Order<'a> {
    /// The container's id, for its hooks.
    pub(crate) id: &'a str,
    /// The specification; its `root.path` is not used.
    pub(crate) spec: &'a Spec,
    /// The root file system.
    pub(crate) rootfs: &'a Rootfs,
    /// The folder that hooks are told is the bundle.
    pub(crate) bundle: &'a Path,
    /// Who the command runs as.
    pub(crate) who: Who,
    /// Its standard streams, unless it has a terminal.
    pub(crate) wiring: Wiring,
    /// Run a small init as process 1.
    pub(crate) small_init: bool,
    /// The container ends with the process that made it.
    pub(crate) die_with_parent: bool,
    /// How many descriptors from 3 on the command inherits.
    pub(crate) preserve_fds: u32,
    /// Where the init waits for its start when it is told `Recorded`.
    pub(crate) listener: Option<OwnedFd>,
}

/// Where a command's standard streams lead.
pub(crate) enum Wiring {
    /// Into pipes, whose other ends are in [`Newborn::streams`].
    Pipes {
        /// Input too; otherwise it is empty.
        stdin_open: bool,
    },
    /// Where the caller says.
    Given([OwnedFd; 3]),
}

/// A container that waits for its start.
pub(crate) struct Newborn {
    /// Its first process.
    pub(crate) init: Child,
    /// The talk with it.
    pub(crate) stage: Channel,
    /// Our ends of its streams.
    pub(crate) streams: Streams,
    /// The master of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Our ends of pipes.
#[derive(Default)]
pub(crate) struct Streams {
    /// Where its input is written.
    pub(crate) stdin: Option<OwnedFd>,
    /// Where its output is read.
    pub(crate) stdout: Option<OwnedFd>,
    /// Where its errors are read.
    pub(crate) stderr: Option<OwnedFd>,
}

/// Makes a container up to the point where its command is about to be executed.
///
/// # Errors
/// Whatever failed, with everything undone.
pub(crate) fn make(order: Order<'_>, cgroup: &Cgroup) -> Result<Newborn> {
    refuse_unsupported(order.spec)?;
    let layout = namespaces::plan(order.spec)?;
    let launch =
        order.spec.process().as_ref().map(|process| Launch::of(order.spec, process, &order.who)).transpose()?;
    failpoint::hit("monitor.create.cgroup")?;
    let linux = order.spec.linux().as_ref();
    // It undoes itself: a cgroup that somebody else is in must not be removed.
    cgroup.create(linux.and_then(|linux| linux.resources().as_ref()))?;
    make_in(order, &layout, launch, cgroup).map_err(|error| match cgroup.remove() {
        Ok(()) => error,
        Err(failure) => {
            let message = error.message().to_owned();
            error.context(format!("{message} (and removing the cgroup failed: {failure})"))
        }
    })
}

fn make_in(mut order: Order<'_>, layout: &Layout, launch: Option<Launch>, cgroup: &Cgroup) -> Result<Newborn> {
    let spec = order.spec;
    let joins = layout.open()?;
    let own = layout.own() & !joins.shared;
    let sysctls = sysctl::plan(spec, own)?;
    namespaces::check_names(spec, own)?;
    let ids = spec.process().as_ref().map_or((0, 0), |process| (process.user().uid(), process.user().gid()));
    if let Some(maps) = &layout.maps {
        maps.first(ids)?;
    }
    if let Some(uid) = cgroup::owner(spec) {
        cgroup.delegate(uid)?;
    }
    let steps = mounts::plan(spec, order.rootfs)?;
    let blind = is_born_blind(&order, layout, &joins, &steps);
    let taken = rootfs::prepare(&steps, cgroup, early(&order, layout, &steps, blind))?;
    let later = layout.is_new(namespace::USER) && order.rootfs.is_mapped();
    let root = if later { None } else { Some(rootfs::mount_root(order.rootfs, None)?) };
    let entrances = cgroup.entrances()?;
    let unified = cgroup.unified_folder()?;
    let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    let wiring = std::mem::replace(&mut order.wiring, Wiring::Pipes { stdin_open: false });
    let made_here = matches!(wiring, Wiring::Pipes { .. });
    let (ours, theirs) = if terminal { Streams::none() } else { Streams::wire(wiring)? };
    if let Some(maps) = layout.maps.as_ref().filter(|_| made_here) {
        maps::give_pipes(maps, &theirs)?;
    }
    let (our_socket, their_socket) = socket::pair().context(|| "making a socket")?;
    let listener = order.listener.take();
    let filter = seccomp::of(spec)?;
    failpoint::hit("monitor.create.fork")?;
    let blind = blind.then(|| namespaces::Kept {
        preserve_fds: order.preserve_fds,
        fds: std::iter::once(&their_socket)
            .chain(&root)
            .chain(taken.iter().flatten().map(|(_, fd)| fd))
            .chain(joins.inside.iter().map(|(fd, _)| fd))
            .chain(theirs.iter().flatten())
            .chain(&listener)
            .map(|fd| fd.as_fd())
            .chain(entrances.iter().map(|file| file.as_fd()))
            .collect(),
    });
    match namespaces::fork(layout, &joins, ids, unified.as_ref().map(|fd| fd.as_fd()), blind)? {
        Forked::Child(standing) => {
            let joins = joins.inside;
            let birth = Birth {
                socket: their_socket,
                root,
                steps,
                taken,
                entrances,
                joins,
                streams: theirs,
                listener,
                launch,
                sysctls,
                ids,
                standing,
                filter,
            };
            // What the parent has beside this must not live on in the child, above all its lock.
            birth.close_others(order.preserve_fds);
            init::run(&order, layout, birth)
        }
        Forked::Parent(init) => {
            drop((their_socket, root, taken, entrances, joins, theirs, listener));
            let stage = Channel::new(our_socket, MAX_FRAME);
            match raise(&order, layout, &init, stage) {
                Ok((stage, terminal)) => Ok(Newborn { init, stage, streams: ours, terminal }),
                Err(error) => {
                    end(&init);
                    Err(error)
                }
            }
        }
    }
}

/// Whether the container's root can be, and is to be, built with nothing of the host in sight: in a pid namespace of
/// others they could look through the eyes of the process that builds it. The hooks of a bundle may look for the host's
/// files there, and so may a user namespace that is not allowed to mount what it needs anew.
fn is_born_blind(order: &Order<'_>, layout: &Layout, joins: &namespaces::Joins, steps: &[mounts::Step]) -> bool {
    let hooked = hooks::any(order.spec, &[Moment::Prestart, Moment::CreateRuntime, Moment::CreateContainer]);
    let borrows = steps.iter().any(|step| matches!(step, mounts::Step::New(new) if new.instead.is_some()));
    joins.joins_pids() && layout.is_new(namespace::MOUNT) && !hooked && !borrows
}

/// Whether binds can wait until they are mounted: where the host's paths lead the init where they lead us.
fn early(order: &Order<'_>, layout: &Layout, steps: &[mounts::Step], blind: bool) -> Early {
    let beside = matches!(order.rootfs, Rootfs::Bundle { .. }) && layout.is_new(namespace::MOUNT);
    let as_we = !steps.iter().any(|step| matches!(step, mounts::Step::Bind(bind) if bind.locked));
    match blind {
        true => Early::All,
        false if beside && as_we => Early::None,
        false => Early::Most,
    }
}

/// Brings the init to `Ready`.
fn raise(order: &Order<'_>, layout: &Layout, init: &Child, stage: Channel) -> Result<(Channel, Option<OwnedFd>)> {
    if let Some(adjust) = order.spec.process().as_ref().and_then(|process| process.oom_score_adj()) {
        // From outside: inside, the file belongs to root, which a user namespace may not have.
        write_proc(init.pid, "oom_score_adj", &adjust.to_string())?;
    }
    if let Some(maps) = layout.maps.as_ref().filter(|_| layout.is_new(namespace::USER)) {
        maps.write(init.pid)?;
        if !order.rootfs.is_mapped() {
            stage.send(&ToStage::Mapped, &[])?;
            return ready(order, init, stage);
        }
        let path = format!("/proc/{}/ns/user", init.pid);
        let namespace = File::open(&path).context(|| format!("opening {path:?}"))?;
        let (Some(uid), Some(gid)) = maps.on_host(0, 0) else {
            return Err(Error::invalid("the user namespace has no root: nothing is mapped to 0"));
        };
        let root = rootfs::mount_root(order.rootfs, Some(Users { namespace: namespace.as_fd(), uid, gid }))?;
        stage.send(&ToStage::Mapped, &[root.as_fd()])?;
    }
    ready(order, init, stage)
}

fn ready(order: &Order<'_>, init: &Child, mut stage: Channel) -> Result<(Channel, Option<OwnedFd>)> {
    loop {
        match stage.receive()?.map(|frame| frame.message()).transpose()? {
            Some(FromStage::Built) => {
                let state = |status| hooks::state(order.spec, order.id, order.bundle, status, init.pid);
                for moment in [Moment::Prestart, Moment::CreateRuntime] {
                    hooks::run(order.spec, moment, || state("creating"))?;
                }
                stage.send(&ToStage::Hooked, &[])?;
            }
            Some(FromStage::Notifies { fd }) => {
                let state = hooks::state(order.spec, order.id, order.bundle, "creating", init.pid);
                let agent = Listener::of(order.spec).ok_or_else(|| Error::failed("there is no agent"))?;
                seccomp::notify::pass_on(&agent, &mut stage, init, fd, &state)?;
            }
            Some(FromStage::Ready { .. }) => {
                let master = stage.decoder.fds.pop_front();
                return Ok((stage, master));
            }
            Some(FromStage::Failed(error)) => return Err(error.into()),
            Some(FromStage::Forked { .. }) => return Err(Error::failed("forked twice")),
            None => return Err(Error::failed("the container's first process died while it was set up")),
        }
    }
}

/// Kills a child and takes it in.
pub(crate) fn end(init: &Child) {
    // It may have ended by itself, which is as good.
    let _ = process::signal(init.pidfd.as_fd(), signal::KILL);
    let _ = process::take_in(init); // it is ours and dying: there is nothing to wait for that could fail
}

impl Streams {
    fn none() -> (Streams, [Option<OwnedFd>; 3]) {
        (Streams::default(), [None, None, None])
    }

    fn wire(wiring: Wiring) -> Result<(Streams, [Option<OwnedFd>; 3])> {
        let stdin_open = match wiring {
            Wiring::Given(streams) => return Ok((Streams::default(), streams.map(Some))),
            Wiring::Pipes { stdin_open } => stdin_open,
        };
        let pipe = || socket::pipe().context(|| "making a pipe");
        let (their_in, stdin) = if stdin_open { pipe().map(|(r, w)| (Some(r), Some(w)))? } else { (None, None) };
        let (stdout, their_out) = pipe()?;
        let (stderr, their_err) = pipe()?;
        let ours = Streams { stdin, stdout: Some(stdout), stderr: Some(stderr) };
        Ok((ours, [their_in, Some(their_out), Some(their_err)]))
    }
}

fn refuse_unsupported(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    if linux.is_some_and(|linux| linux.intel_rdt().is_some()) {
        return Err(Error::unsupported("intelRdt is set, and there is no resctrl file system that Rhumb can use")
            .with_hint("leave linux.intelRdt out"));
    }
    Ok(())
}

/// Writes a file of a child of ours that was not taken in yet.
pub(crate) fn write_proc(pid: i32, name: &str, text: &str) -> Result<()> {
    // Our own child, not taken in yet: the number cannot be another's.
    let path = format!("/proc/{pid}/{name}");
    File::options()
        .write(true)
        .open(Path::new(&path))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .context(|| format!("writing {text:?} to {path:?}"))
}
