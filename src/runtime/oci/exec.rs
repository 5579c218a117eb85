//! `exec`: a further process in a container that runs.
//!
//! What it is comes from a file with a `process` as config.json has it, or from the container's own process with what the
//! caller changes of it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};

use crate::base::failpoint;
use crate::base::{Context as _, Error, Result};
use crate::runtime::exec::{self, Entry};
use crate::runtime::handover::FromStage;
use crate::runtime::launch::{Launch, Who};
use crate::runtime::oci::console;
use crate::runtime::oci::create::{expect_open, own_streams, write_pid_file};
use crate::runtime::oci::folder::{Folder, Status};
use crate::runtime::oci::{Root, bundle, validate};
use crate::runtime::seccomp::{self, Listener};
use crate::runtime::{birth, hooks};
use crate::sys::process;
use crate::sys::tty::Size;

/// What is run, and how.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// A file with the whole process; the changes below but `tty` are not for it.
    pub process: Option<PathBuf>,
    /// Changes of the container's own process.
    pub changes: Changes,
    /// It gets a terminal.
    pub tty: bool,
    /// Leave when it runs.
    pub detach: bool,
    /// The socket that gets the master of its terminal.
    pub console_socket: Option<PathBuf>,
    /// Where its number is written.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on it inherits.
    pub preserve_fds: u32,
    /// Cgroups below the container's to run in, `[CONTROLLER[,CONTROLLER…]:]PATH`.
    pub cgroup: Vec<String>,
    /// Also in a paused container, where it waits until that is resumed.
    pub ignore_paused: bool,
    /// Leave orphans to others.
    pub no_subreaper: bool,
}

/// How a process differs from the container's own.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The working folder.
    pub cwd: Option<String>,
    /// Further variables.
    pub env: Vec<String>,
    /// User and perhaps group, numbers.
    pub user: Option<(u32, Option<u32>)>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Further capabilities, by the kernel's names.
    pub capabilities: Vec<String>,
    /// No program may gain rights.
    pub no_new_privileges: bool,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// The SELinux label.
    pub process_label: Option<String>,
}

/// Runs a further process. Returns its exit status, 0 when detached.
///
/// # Errors
/// `not_found`; `conflict` when the container is stopped or paused; what executing the command gave.
pub fn exec(root: &Root, id: &str, options: &ExecOptions, warnings: &mut Vec<String>) -> Result<i32> {
    expect_open(options.preserve_fds)?;
    process::set_undumpable().context(|| "closing the process to tracing")?;
    process::leave_keyring().context(|| "leaving the session keyring")?;
    let folder = Folder::of(root, id)?;
    let record = folder.read()?;
    match folder.status(&record)? {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        Status::Paused => {
            return Err(Error::conflict("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        Status::Stopped | Status::Creating => return Err(Error::conflict("cannot exec in a stopped container")),
    }
    let init = record.process()?.ok_or_else(|| Error::conflict("cannot exec in a stopped container"))?;
    let spec = folder.spec()?;
    let process = describe(&spec, options, warnings)?;
    let terminal = process.terminal().unwrap_or(false);
    if options.detach && terminal && options.console_socket.is_none() {
        return Err(Error::invalid("cannot allocate tty if runtime will detach without setting console socket"));
    }
    if options.console_socket.is_some() && !(options.detach && terminal) {
        return Err(Error::invalid("cannot use console socket if runtime will not detach or allocate tty"));
    }
    if !options.detach && !options.no_subreaper {
        process::adopt_orphans().context(|| "adopting orphans")?;
    }
    let signals = (!options.detach).then(console::signals).transpose()?;
    let cgroup = record.cgroup()?;
    failpoint::hit("oci.exec.fork")?;
    let (child, mut stage) = exec::start(Entry {
        spec: &spec,
        init,
        unified: cgroup.unified_folder_below(&options.cgroup, record.state.pid.unwrap_or(0))?,
        entrances: cgroup.entrances_below(&options.cgroup)?,
        streams: if terminal { [None, None, None] } else { own_streams()?.map(Some) },
        tty: terminal,
        size: process.console_size().map(|size| Size {
            rows: u16::try_from(size.height()).unwrap_or(u16::MAX),
            columns: u16::try_from(size.width()).unwrap_or(u16::MAX),
        }),
        launch: Launch {
            preserve_fds: options.preserve_fds,
            make_cwd: false,
            filter: seccomp::of(&spec)?,
            ..Launch::of(&spec, &process, &Who::Numbers)?
        },
    })?;
    let mut begin = || -> Result<Option<OwnedFd>> {
        if let Some(adjust) = process.oom_score_adj() {
            birth::write_proc(child.pid, "oom_score_adj", &adjust.to_string())?;
        }
        let mut master = None;
        loop {
            match stage.receive()?.map(|frame| frame.message()).transpose()? {
                None => break,
                Some(FromStage::Ready { .. }) => {
                    master = stage.decoder.fds.pop_front();
                    if options.detach {
                        console::give_away(master.take(), options.console_socket.as_deref())?;
                    }
                }
                Some(FromStage::Notifies { fd }) => {
                    let agent = Listener::of(&spec).ok_or_else(|| Error::failed("there is no agent"))?;
                    let bundle = Path::new(&record.state.bundle);
                    let pid = record.state.pid.unwrap_or(0);
                    let state = hooks::state(&spec, id, bundle, Status::Running.as_str(), pid);
                    seccomp::notify::pass_on(&agent, &mut stage, &child, fd, &state)?;
                }
                Some(FromStage::Failed(error)) => return Err(error.into()),
                Some(_) => return Err(Error::corrupt("the process speaks out of turn")),
            }
        }
        failpoint::hit("oci.exec.begun")?;
        options.pid_file.as_deref().map_or(Ok(()), |path| write_pid_file(path, child.pid))?;
        Ok(master)
    };
    let master = begin().inspect_err(|_| birth::end(&child))?;
    match signals {
        Some(signals) => console::follow(&child, master, &signals),
        None => Ok(0),
    }
}

/// The process that the options mean.
fn describe(spec: &Spec, options: &ExecOptions, warnings: &mut Vec<String>) -> Result<Process> {
    let mut process = match &options.process {
        Some(path) => read(path, warnings)?,
        None => {
            let own = spec.process().as_ref();
            let own = own.ok_or_else(|| Error::invalid("the container has no process: use --process"))?;
            changed(own, &options.changes, warnings)?
        }
    };
    if options.tty || options.process.is_none() {
        process.set_terminal(Some(options.tty));
    }
    validate::check_process(&process)?;
    validate::warn_of_missing_rights(spec, &process, warnings)?;
    Ok(process)
}

fn read(path: &Path, warnings: &mut Vec<String>) -> Result<Process> {
    let text = bundle::read_any(path)?;
    validate::parse_process(&text, warnings).context(|| format!("reading {path:?}"))
}

fn changed(own: &Process, changes: &Changes, warnings: &mut Vec<String>) -> Result<Process> {
    let mut process = own.clone();
    process.set_args(Some(changes.args.clone()));
    if let Some(cwd) = &changes.cwd {
        process.set_cwd(PathBuf::from(cwd));
    }
    if !changes.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        // Programs take the first of a name.
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        env.retain(|old| changes.env.iter().all(|new| name(new) != name(old)));
        env.extend(changes.env.iter().cloned());
        process.set_env(Some(env));
    }
    if let Some((uid, gid)) = changes.user {
        let user = process.user_mut();
        user.set_uid(uid);
        user.set_gid(gid.unwrap_or(user.gid()));
    }
    if !changes.additional_gids.is_empty() {
        let mut gids = process.user().additional_gids().clone().unwrap_or_default();
        gids.extend(&changes.additional_gids);
        process.user_mut().set_additional_gids(Some(gids));
    }
    if !changes.capabilities.is_empty() {
        // The default of the type has inheritable and ambient ones.
        let mut sets = process.capabilities().clone().unwrap_or_else(|| {
            let mut none = LinuxCapabilities::default();
            none.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
            none
        });
        for name in &changes.capabilities {
            // As in a config.json: one that nobody knows gives no right, and is no error (config.md, process).
            let Ok(capability) = serde_json::from_value::<Capability>(name.as_str().into()) else {
                warnings.push(format!("ignoring the unknown capability {name:?}"));
                continue;
            };
            // Not the inheritable ones: no program may hand rights on that its file does not give.
            let add = |set: &Option<std::collections::HashSet<Capability>>| {
                let mut set = set.clone().unwrap_or_default();
                set.insert(capability);
                Some(set)
            };
            let (bounding, effective, permitted) = (add(sets.bounding()), add(sets.effective()), add(sets.permitted()));
            sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
        }
        process.set_capabilities(Some(sets));
    }
    if changes.no_new_privileges {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(profile) = &changes.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &changes.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    Ok(process)
}
