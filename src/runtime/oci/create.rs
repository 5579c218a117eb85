//! `create`, `start` and `run`.
//!
//! ```text
//! create   state folder and record ─▶ birth ─▶ pid on record, console given away, pid file ─▶ the init waits at its socket
//! start    connects there, says Start ─▶ poststart hooks
//! run      as create, but says Start itself, follows the command to its end and deletes the container
//! ```
//!
//! The record with the cgroup's name exists before the first thing that the kernel keeps, so that whatever a kill leaves
//! is found by `delete --force`. An init that is not on record ends with its parent.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::base::failpoint;
use crate::base::{Context as _, Error, Result};
use crate::runtime::birth::{self, Newborn, Order, Wiring};
use crate::runtime::cgroup::Cgroup;
use crate::runtime::handover::{FromStage, ToStage};
use crate::runtime::hooks::{self, Moment};
use crate::runtime::launch::Who;
use crate::runtime::oci::Root;
use crate::runtime::oci::bundle::{self, Bundle};
use crate::runtime::oci::console;
use crate::runtime::oci::end;
use crate::runtime::oci::folder::{Folder, Record, Status};
use crate::runtime::plan::Rootfs;
use crate::runtime::state::{remove_file, start_time};
use crate::runtime::wire::{Channel, MAX_FRAME};
use crate::sys::{memory, process};

/// How a container is made.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The name of its configuration below that folder; none is `config.json`.
    pub config: Option<PathBuf>,
    /// Where the first process's number is written.
    pub pid_file: Option<PathBuf>,
    /// The socket that gets the master of the container's terminal.
    pub console_socket: Option<PathBuf>,
    /// How many descriptors from 3 on are sockets of a service manager's: the command inherits them and is told so.
    pub listen_fds: u32,
    /// How many descriptors after those the command inherits.
    pub preserve_fds: u32,
    /// Move the root over the old one instead of changing places with it.
    pub no_pivot: bool,
    /// Stay in the caller's session keyring.
    pub no_new_keyring: bool,
}

/// How a container is run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// How it is made.
    pub create: CreateOptions,
    /// Leave when the command runs.
    pub detach: bool,
    /// Do not delete the container when the command has ended.
    pub keep: bool,
    /// Leave orphans of the container to others.
    pub no_subreaper: bool,
}

/// Makes a container that waits for its start. What is ignored and what fails on the side is named in `warnings`.
///
/// # Errors
/// `already_exists`; whatever failed, with everything undone.
pub fn create(root: &Root, id: &str, options: &CreateOptions, warnings: &mut Vec<String>) -> Result<()> {
    let bundle = bundle::load(&options.bundle, options.config.as_deref(), options.no_pivot, warnings)?;
    if bundle.terminal() && options.console_socket.is_none() {
        return Err(Error::invalid("cannot allocate tty if runtime will detach without setting console socket"));
    }
    if !bundle.terminal() && options.console_socket.is_some() {
        return Err(Error::invalid("cannot use console socket if runtime will not detach or allocate tty"));
    }
    make(root, id, options, bundle, (true, warnings), |made| {
        console::give_away(made.newborn.terminal.take(), options.console_socket.as_deref())?;
        made.record(options.pid_file.as_deref())?;
        failpoint::hit("oci.create.recorded")?;
        made.newborn.stage.send(&ToStage::Recorded, &[])
    })
}

/// A container that was just made.
struct Made {
    folder: Folder,
    record: Record,
    newborn: Newborn,
}

impl Made {
    /// Puts the first process on record.
    fn record(&mut self, pid_file: Option<&Path>) -> Result<()> {
        let pid = self.newborn.init.pid;
        self.record.state.pid = Some(pid);
        self.record.state.status = Status::Created.as_str().to_owned();
        self.record.start_time = start_time(pid)?;
        self.folder.write(&self.record)?;
        pid_file.map_or(Ok(()), |path| write_pid_file(path, pid))
    }
}

/// Makes a container and does `finish` with it; a failure of either undoes everything.
fn make<T>(
    root: &Root,
    id: &str,
    options: &CreateOptions,
    mut bundle: Bundle,
    (waits, warnings): (bool, &mut Vec<String>),
    finish: impl FnOnce(&mut Made) -> Result<T>,
) -> Result<T> {
    let preserve_fds = options.listen_fds.saturating_add(options.preserve_fds);
    expect_open(preserve_fds)?;
    announce(&mut bundle.spec, options.listen_fds);
    process::set_undumpable().context(|| "closing the process to tracing")?;
    // Reading the command line and the bundle took most of the program's pages that a start touches.
    memory::release_program_pages();
    if !options.no_new_keyring {
        process::leave_keyring().context(|| "leaving the session keyring")?;
    }
    let folder = Folder::of(root, id)?;
    let _lock = folder.make()?;
    let rootfs = match &bundle.rootfs {
        Rootfs::Bundle { path, .. } => path.clone(),
        _ => bundle.dir.clone(),
    };
    let path = bundle.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    let intend = || {
        let cgroup = Cgroup::for_spec(path, id)?;
        let others = cgroup.processes()?;
        if !others.is_empty() {
            // Looked at before it is on record: what is there belongs to the container.
            return Err(Error::conflict(format!(
                "container's cgroup is not empty: {} process(es) found",
                others.len()
            )));
        }
        Ok((Record::intent(id, &bundle, &rootfs, cgroup.place().clone())?, cgroup))
    };
    let (record, cgroup) = intend().inspect_err(|_| {
        let _ = folder.remove(); // the first error is what matters
    })?;
    let undo = folder.clone();
    let mut born = false;
    let attempt = || {
        folder.write(&record)?;
        folder.keep_config(&bundle.text)?;
        failpoint::hit("oci.create.intent")?;
        let order = Order {
            id,
            spec: &bundle.spec,
            rootfs: &bundle.rootfs,
            bundle: &bundle.dir,
            who: Who::Numbers,
            wiring: Wiring::Given(own_streams()?),
            small_init: false,
            die_with_parent: false,
            preserve_fds,
            listener: waits.then(|| folder.listen()).transpose()?,
        };
        let newborn = birth::make(order, &cgroup)?;
        born = true;
        let mut made = Made { folder, record: record.clone(), newborn };
        failpoint::hit("oci.create.born")?;
        finish(&mut made).inspect_err(|_| birth::end(&made.newborn.init))
    };
    let attempted = attempt();
    // A birth that fails undoes itself, and leaves a cgroup alone that turns out to be another's.
    let undone = if born { end::destroy } else { end::forget };
    attempted.map_err(|error| match undone(&undo, &record, Some(&bundle.spec), warnings) {
        Ok(()) => error,
        Err(failure) => {
            let message = error.message().to_owned();
            error.context(format!("{message} (and undoing it failed: {failure})"))
        }
    })
}

/// Tells the command of the sockets that it inherits (sd_listen_fds(3)). It is taken for process 1, as with runc.
fn announce(spec: &mut Spec, listen_fds: u32) {
    if let Some(process) = spec.process_mut().as_mut().filter(|_| listen_fds > 0) {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend([format!("LISTEN_FDS={listen_fds}"), "LISTEN_PID=1".to_owned()]);
        process.set_env(Some(env));
    }
}

/// The descriptors from 3 on that a command inherits must be there: what is opened later would take their numbers.
pub(crate) fn expect_open(preserve_fds: u32) -> Result<()> {
    for number in (3..).take(preserve_fds as usize) {
        let doing = || format!("unable to stat preserved-fd {number} (of {preserve_fds})");
        std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).context(doing)?;
    }
    Ok(())
}

pub(crate) fn own_streams() -> Result<[OwnedFd; 3]> {
    let doing = || "passing the standard streams on";
    Ok([
        std::io::stdin().as_fd().try_clone_to_owned().context(doing)?,
        std::io::stdout().as_fd().try_clone_to_owned().context(doing)?,
        std::io::stderr().as_fd().try_clone_to_owned().context(doing)?,
    ])
}

/// Writes a number to a file, which has it whole or is not there.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let doing = || format!("writing the pid file {path:?}");
    let name = path.file_name().ok_or_else(|| Error::invalid(format!("{path:?} names no file")))?;
    let temporary = path.with_file_name(format!(".{}", name.to_string_lossy()));
    // A new file: in a folder that others write to, one of that name could be their link.
    remove_file(&temporary)?;
    let mut file = std::fs::File::create_new(&temporary).context(doing)?;
    write!(file, "{pid}").context(doing)?;
    std::fs::rename(&temporary, path).context(doing)
}

/// Starts the command of a container that waits for it.
///
/// # Errors
/// `conflict` unless it is created; what its hooks or executing the command gave.
pub fn start(root: &Root, id: &str, warnings: &mut Vec<String>) -> Result<()> {
    let folder = Folder::of(root, id)?;
    let _lock = folder.lock()?;
    let record = folder.read()?;
    match folder.status(&record)? {
        Status::Created => {}
        Status::Running | Status::Paused => {
            return Err(Error::conflict("cannot start an already running container"));
        }
        Status::Stopped | Status::Creating => return Err(Error::conflict("cannot start a container that has stopped")),
    }
    let spec = folder.spec()?;
    if spec.process().is_none() {
        return Err(Error::invalid("config.json: process must be set to start a container"));
    }
    let connection = folder.knock()?.ok_or_else(|| Error::conflict("cannot start a container that has stopped"))?;
    let mut stage = Channel::new(connection, MAX_FRAME);
    stage.send(&ToStage::Start, &[])?;
    failpoint::hit("oci.start.asked")?;
    let started = hear(&mut stage).and_then(|()| poststart(&folder, &record, &spec));
    started.inspect_err(|error| {
        // A failure of a hook ends the container's life; a command that is not there leaves it stopped.
        if hooks::any(&spec, &[Moment::StartContainer, Moment::Poststart]) && error.failure().is_none() {
            let _ = end::destroy(&folder, &record, Some(&spec), warnings); // the first error is what matters
        }
    })
}

/// Waits until the command was executed.
fn hear(stage: &mut Channel) -> Result<()> {
    match stage.receive()?.map(|frame| frame.message()).transpose()? {
        None => Ok(()),
        Some(FromStage::Failed(error)) => Err(error.into()),
        Some(_) => Err(Error::corrupt("the container's first process speaks out of turn")),
    }
}

fn poststart(folder: &Folder, record: &Record, spec: &Spec) -> Result<()> {
    let pid = record.state.pid.unwrap_or(0);
    hooks::run(spec, Moment::Poststart, || {
        hooks::state(spec, &folder.id, Path::new(&record.state.bundle), Status::Running.as_str(), pid)
    })
}

/// Makes a container and starts it. Returns the command's exit status, 0 when detached.
///
/// # Errors
/// As [`create`] and [`start`].
pub fn run(root: &Root, id: &str, options: &RunOptions, warnings: &mut Vec<String>) -> Result<i32> {
    let create = &options.create;
    let bundle = bundle::load(&create.bundle, create.config.as_deref(), create.no_pivot, warnings)?;
    if options.detach && bundle.terminal() && create.console_socket.is_none() {
        return Err(Error::invalid("cannot allocate tty if runtime will detach without setting console socket"));
    }
    if create.console_socket.is_some() && !(options.detach && bundle.terminal()) {
        return Err(Error::invalid("cannot use console socket if runtime will not detach or allocate tty"));
    }
    if bundle.spec.process().is_none() {
        return Err(Error::invalid("config.json: process must be set to start a container"));
    }
    if !options.detach && !options.no_subreaper {
        process::adopt_orphans().context(|| "adopting orphans")?;
    }
    let spec = bundle.spec.clone();
    let signals = (!options.detach).then(console::signals).transpose()?;
    let (made, terminal) = make(root, id, create, bundle, (false, warnings), |made| {
        let mut terminal = made.newborn.terminal.take();
        if options.detach {
            console::give_away(terminal.take(), create.console_socket.as_deref())?;
        }
        made.record(create.pid_file.as_deref())?;
        made.newborn.stage.send(&ToStage::Start, &[])?;
        hear(&mut made.newborn.stage)?;
        poststart(&made.folder, &made.record, &spec)?;
        let init = crate::sys::process::Child {
            pid: made.newborn.init.pid,
            pidfd: made.newborn.init.pidfd.try_clone().context(|| "keeping the first process")?,
        };
        Ok(((made.folder.clone(), made.record.clone(), init), terminal))
    })?;
    let Some(signals) = signals else { return Ok(0) };
    let (folder, record, init) = made;
    // While the command runs there is time, and for a long one it is the memory that it costs.
    memory::release_program_pages();
    let code = console::follow(&init, terminal, &signals)?;
    if !options.keep {
        end::destroy_own(&folder, &record, &spec, warnings)?;
    }
    Ok(code)
}
