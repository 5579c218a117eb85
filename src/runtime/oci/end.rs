//! `kill` and `delete`.

use std::os::fd::AsFd as _;
use std::time::Duration;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::base::failpoint;
use crate::base::{Context as _, Error, Kind, Result};
use crate::runtime::hooks::{self, Moment};
use crate::runtime::mounts;
use crate::runtime::oci::Root;
use crate::runtime::oci::folder::{Folder, Record, Status, missing};
use crate::sys::{process, signal};

/// How long a killed container may take to end.
const DYING: Duration = Duration::from_secs(10);

/// Sends a signal to the first process of a container, or with `all` to all of its processes. A kill reaches all as well
/// where they are in somebody else's pid namespace, also when the first one is gone. Waits for no other verb, so that a
/// container whose hooks hang can be killed.
///
/// # Errors
/// `not_found`; `conflict` when it is not running, which with `all` is none.
pub fn kill(root: &Root, id: &str, signal: i32, all: bool) -> Result<()> {
    let folder = Folder::of(root, id)?;
    let record = folder.read()?;
    let first = record.process()?;
    if all {
        let over = is_over(&record, folder.spec().ok().as_ref())?;
        return if over { Ok(()) } else { record.cgroup()?.kill_all(signal) };
    }
    // Without a pid namespace of its own the kernel would let the others live; they may also have outlived the first one.
    let shares = || folder.spec().is_ok_and(|spec| !has_own_pids(&spec));
    if signal == signal::KILL && shares() && record.is_of_this_boot()? {
        let cgroup = record.cgroup()?;
        if first.is_some() || !cgroup.processes()?.is_empty() {
            return cgroup.kill_all(signal);
        }
    }
    let Some(first) = first else { return Err(Error::conflict("container not running")) };
    process::signal(first.as_fd(), signal).map_err(|error| match error.raw_os_error() {
        Some(3) => Error::conflict("container not running"), // ESRCH
        _ => Error::from(error).context("sending a signal"),
    })
}

fn has_own_pids(spec: &Spec) -> bool {
    mounts::is_new(spec, LinuxNamespaceType::Pid)
}

/// Deletes a stopped container; with `force` whatever it does, also when it was only half made or is not there.
///
/// # Errors
/// `not_found`; `conflict` when it is not stopped.
pub fn delete(root: &Root, id: &str, force: bool, warnings: &mut Vec<String>) -> Result<()> {
    let folder = Folder::of(root, id)?;
    match try_delete(&folder, force, warnings) {
        Err(error) if force && error.kind() == Kind::NotFound => Ok(()),
        result => result,
    }
}

fn try_delete(folder: &Folder, force: bool, warnings: &mut Vec<String>) -> Result<()> {
    if force && let Ok(record) = folder.read() {
        // Before the lock: a verb that waits for a process of the container would hold it for ever.
        end(&record, folder.spec().ok().as_ref())?;
    }
    let _lock = folder.lock()?;
    let record = match folder.read() {
        Ok(record) => record,
        // Nothing but the folder was made, or nothing can be known.
        Err(_) if force => {
            folder.expect_own()?;
            return folder.remove();
        }
        Err(error) if error.kind() == Kind::NotFound => return Err(missing(&folder.id)),
        Err(error) => return Err(error),
    };
    let spec = folder.spec().ok();
    match folder.status(&record)? {
        Status::Stopped => {}
        _ if force => end(&record, spec.as_ref())?,
        status => {
            let (id, status) = (&folder.id, status.as_str());
            return Err(Error::conflict(format!("cannot delete container {id} that is not stopped: {status}")));
        }
    }
    destroy(folder, &record, spec.as_ref(), warnings)
}

/// No process of a container can be left: its pid namespace ended with its first one, or all of them with the machine's
/// boot. Whoever is in its cgroup is of another container then, which was given the same one.
fn is_over(record: &Record, spec: Option<&Spec>) -> Result<bool> {
    let own_pids = record.state.pid.is_some() && spec.is_some_and(has_own_pids);
    Ok(!record.is_of_this_boot()? || own_pids && record.process()?.is_none())
}

/// Ends all processes of a container.
fn end(record: &Record, spec: Option<&Spec>) -> Result<()> {
    if is_over(record, spec)? {
        return Ok(());
    }
    if let Some(first) = record.process()? {
        // It may have ended just now, which is as good.
        let _ = process::signal(first.as_fd(), signal::KILL);
    }
    record.cgroup()?.kill_all(signal::KILL)?;
    record.wait_for_end(DYING)
}

/// Takes away what is left of a container whose first process is gone or is to go: processes, cgroup, state folder.
/// The hooks for its end run once it is gone, and cannot fail it.
///
/// # Errors
/// `timeout` when processes do not die.
pub(crate) fn destroy(folder: &Folder, record: &Record, spec: Option<&Spec>, warnings: &mut Vec<String>) -> Result<()> {
    let over = is_over(record, spec)?;
    end(record, spec)?;
    failpoint::hit("oci.delete.ended")?;
    let cgroup = record.cgroup()?;
    let doing = || "removing the container's cgroup";
    if !over {
        cgroup.remove().context(doing)?;
    } else if !cgroup.remove_unused().context(doing)? {
        warnings.push("the container's cgroup is left: somebody else is in it".to_owned());
    }
    failpoint::hit("oci.delete.cgroup")?;
    forget(folder, record, spec, warnings)
}

/// As [`destroy`] for a container of `record` that has ended, unless somebody else has deleted it meanwhile, and perhaps
/// made another with its id.
///
/// # Errors
/// As [`destroy`].
pub(crate) fn destroy_own(folder: &Folder, record: &Record, spec: &Spec, warnings: &mut Vec<String>) -> Result<()> {
    let _lock = match folder.lock() {
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        lock => lock?,
    };
    match folder.read() {
        Ok(now) if now.is_of(record) => destroy(folder, record, Some(spec), warnings),
        _ => Ok(()),
    }
}

/// The last of [`destroy`], for a container of which nothing else is left.
pub(crate) fn forget(folder: &Folder, record: &Record, spec: Option<&Spec>, warnings: &mut Vec<String>) -> Result<()> {
    if let Some(spec) = spec {
        // The specification: a failure is a warning, the rest goes on.
        let bundle = std::path::Path::new(&record.state.bundle);
        let failures = hooks::run_all(spec, Moment::Poststop, || {
            hooks::state(spec, &folder.id, bundle, Status::Stopped.as_str(), 0)
        });
        warnings.extend(failures.iter().map(ToString::to_string));
    }
    folder.remove()
}
