//! The init stage: from the monitor's fork in new namespaces to the execution of the container's command.
//!
//! Everything that can fail happens before it says `Ready`, except for finding the program. It never returns into the
//! monitor's code and never runs destructors of what it shares with the monitor.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::base::{Context as _, Error, Result};
use crate::runtime::handover::{Stage, ToStage};
use crate::runtime::launch::{self, Launch};
use crate::runtime::mounts::{self, Step};
use crate::runtime::plan::Plan;
use crate::runtime::rootfs::{self, Taken};
use crate::runtime::{cgroup, reaper};
use crate::sys::namespace::{self, Namespaces};
use crate::sys::process;
use crate::sys::tty::{self, Size};
use crate::sys::{mount, socket};

/// What the monitor gives to the init by forking.
pub(crate) struct Birth {
    /// The socket to the monitor.
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
}

impl Birth {
    /// Closes in the child what the monitor had beside this.
    pub(crate) fn close_others(&self) {
        let keep: Vec<BorrowedFd<'_>> = std::iter::once(&self.socket)
            .chain(&self.root)
            .chain(self.taken.iter().flatten().map(|(_, fd)| fd))
            .chain(self.joins.iter().map(|(fd, _)| fd))
            .chain(self.streams.iter().flatten())
            .map(|fd| fd.as_fd())
            .chain(self.entrances.iter().map(|file| file.as_fd()))
            .collect();
        if process::close_all_but(&keep).is_err() {
            process::exit_now(1);
        }
    }
}

/// Runs in the child.
pub(crate) fn run(plan: &Plan, birth: Birth) -> ! {
    let Birth { socket, root, steps, taken, entrances, joins, streams } = birth;
    let mut stage = Stage::new(socket);
    let error = match set_up(plan, &mut stage, (root, steps, taken), entrances, joins, streams) {
        Ok(launch) if plan.init => match reaper::run(&launch, stage) {
            Ok(never) => match never {},
            Err(_) => process::exit_now(1), // it has told the monitor what it could
        },
        Ok(launch) => launch::execute(&launch),
        Err(error) => error,
    };
    stage.failed(&error);
    process::exit_now(error.failure().map_or(1, |failure| failure.exit_code));
}

type Root = (Option<OwnedFd>, Vec<Step>, Vec<Taken>);

fn set_up(
    plan: &Plan,
    stage: &mut Stage,
    (root, steps, taken): Root,
    entrances: Vec<File>,
    joins: Vec<(OwnedFd, Namespaces)>,
    streams: [Option<OwnedFd>; 3],
) -> Result<Launch> {
    let spec = &plan.spec;
    let new = |kind| mounts::is_new(spec, kind);
    let process = spec.process().as_ref().ok_or_else(|| Error::invalid("the specification has no process"))?;
    process::set_undumpable().context(|| "closing the process to tracing")?;
    // Only listings show it.
    let _ = process::set_name(c"rhumb:init");
    for (fd, kind) in joins {
        namespace::join(fd.as_fd(), kind).context(|| "joining another container's namespace")?;
    }
    if new(LinuxNamespaceType::User) {
        let ToStage::Mapped = stage.expect()? else { return Err(Error::failed("started before it was mapped")) };
        process::become_user(0, 0, &[], true).context(|| "becoming root of the user namespace")?;
    }
    let root = match root {
        Some(root) => root,
        None => stage.take_fd().ok_or_else(|| Error::failed("the root file system did not arrive"))?,
    };
    cgroup::enter(entrances)?;
    if new(LinuxNamespaceType::Cgroup) {
        // Not at birth: its root is where we are now, in every hierarchy.
        namespace::new_cgroup_namespace().context(|| "making a cgroup namespace")?;
    }
    process::new_session().context(|| "starting a session")?;
    process::set_umask(0);
    if new(LinuxNamespaceType::Uts) {
        set_names(spec)?;
    }
    if new(LinuxNamespaceType::Network) {
        namespace::loopback_up().context(|| "setting the loopback interface up")?;
    }
    let sysctls = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    if let Some(sysctls) = sysctls.filter(|sysctls| !sysctls.is_empty()) {
        set_sysctls(spec, sysctls)?;
    }
    let terminal = rootfs::build(root, &steps, taken)?.enter()?;
    let mut launch = Launch::first(process, &plan.user, &plan.group_add);
    let user = match &terminal {
        Some((master, terminal)) => {
            if let Some(size) = process.console_size() {
                let narrow = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
                let size = Size { rows: narrow(size.height()), columns: narrow(size.width()) };
                tty::set_size(master, size).context(|| "setting the terminal's size")?;
            }
            tty::take_control(terminal.as_fd()).context(|| "taking the terminal")?;
            if !launch.env.iter().any(|entry| entry.starts_with("TERM=")) {
                launch.env.push("TERM=xterm".to_owned());
            }
            launch::prepare(&mut launch, [terminal.as_fd(); 3])?
        }
        None => {
            let [stdin, stdout, stderr] = streams;
            let (stdin, stdout, stderr) = (or_empty(stdin)?, or_empty(stdout)?, or_empty(stderr)?);
            launch::prepare(&mut launch, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?
        }
    };
    stage.ready(user.uid, terminal.as_ref().map(|(master, _)| master.as_fd()))?;
    drop(terminal);
    match stage.expect()? {
        ToStage::Start => Ok(launch),
        ToStage::Mapped => Err(Error::failed("mapped twice")),
    }
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
    if let Some(name) = spec.hostname() {
        namespace::set_hostname(name).context(|| format!("setting the host name {name:?}"))?;
    }
    if let Some(name) = spec.domainname() {
        namespace::set_domainname(name).context(|| format!("setting the domain name {name:?}"))?;
    }
    Ok(())
}

fn set_sysctls(spec: &Spec, sysctls: &HashMap<String, String>) -> Result<()> {
    // A process file system of our own, attached nowhere: no mount can stand in a write's way (CVE-2025-52881).
    let proc = mount::new_filesystem("proc", None, &[], 0).context(|| "opening a process file system")?;
    for (key, value) in sysctls {
        if !is_own_sysctl(spec, key) {
            return Err(Error::invalid(format!("the kernel parameter {key:?} is not the container's own"))
                .with_hint("a container can set net.* in its own network and kernel.msg*, shm*, sem, fs.mqueue.* in its own ipc namespace"));
        }
        let path = format!("sys/{}", key.replace('.', "/"));
        mount::open_in_proc(proc.as_fd(), &path, true)
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .context(|| format!("setting the kernel parameter {key:?} to {value:?}"))?;
    }
    Ok(())
}

/// A parameter that belongs to a namespace which is new: any other would be the host's.
fn is_own_sysctl(spec: &Spec, key: &str) -> bool {
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/'));
    if !plain || key.split(['.', '/']).any(str::is_empty) {
        return false;
    }
    let new = |kind| mounts::is_new(spec, kind);
    let ipc = ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"];
    let ipc = ipc.contains(&key) || ["kernel.shmmni", "kernel.shm_rmid_forced"].contains(&key);
    (key.starts_with("net.") && new(LinuxNamespaceType::Network))
        || ((ipc || key.starts_with("fs.mqueue.")) && new(LinuxNamespaceType::Ipc))
        || (["kernel.hostname", "kernel.domainname"].contains(&key) && new(LinuxNamespaceType::Uts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_new_namespaces_are_the_containers_own() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.2.0",
            "linux": {"namespaces": [{"type": "network"}, {"type": "ipc", "path": "/proc/1/ns/ipc"}]},
        }))
        .unwrap();
        assert!(is_own_sysctl(&spec, "net.ipv4.ip_forward"));
        for key in ["kernel.shmmax", "kernel.core_pattern", "net/../kernel/core_pattern", "net..x", "vm.swappiness", ""]
        {
            assert!(!is_own_sysctl(&spec, key), "{key:?}");
        }
    }
}
