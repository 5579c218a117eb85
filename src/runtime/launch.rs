//! What an init and an exec do alike at the end: user, rights, limits, working folder, and the program itself.
//!
//! It does not know namespaces, mounts or cgroups: when it begins, the process is where it belongs.

use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Capabilities as CapabilitySet, PosixRlimit, Process, User as SpecUser};

use crate::base::error::CommandFailure;
use crate::base::{Context as _, Error, Result};
use crate::runtime::handover::Stage;
use crate::runtime::rootfs;
use crate::runtime::seccomp::Filter;
use crate::runtime::user::{self, User};
use crate::sys::capability::{self, Capabilities, Set};
use crate::sys::process::{self, Groups};
use crate::sys::{mount, signal};

/// Exit status of a command that cannot be executed.
pub(crate) const NOT_EXECUTABLE: i32 = 126;
/// Exit status of a command that is not there.
pub(crate) const NOT_FOUND: i32 = 127;
/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The container's mask for new files, Docker's.
const UMASK: u32 = 0o022;

/// What is executed, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program and its arguments.
    pub(crate) args: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    /// The working folder.
    pub(crate) cwd: String,
    /// Make the working folder when it is missing.
    pub(crate) make_cwd: bool,
    /// As whom.
    pub(crate) who: Who,
    /// The numbers of the specification.
    pub(crate) numbers: SpecUser,
    /// Its rights.
    pub(crate) capabilities: Capabilities,
    /// Its limits.
    pub(crate) limits: Vec<PosixRlimit>,
    /// No program may gain rights.
    pub(crate) no_new_privileges: bool,
    /// The system calls that it may make.
    pub(crate) filter: Option<Filter>,
    /// It ends with the process that forked it.
    pub(crate) die_with_parent: bool,
    /// How many descriptors from 3 on it inherits.
    pub(crate) preserve_fds: u32,
    /// Its user namespace forbids to set further groups.
    pub(crate) groups_fixed: bool,
}

/// Who a command runs as.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// The numbers of the specification and nothing else.
    Numbers,
    /// As Docker: names and numbers, looked up in the container's own files; a user without a group has the groups that
    /// are written there.
    Named {
        /// `user[:group]`; empty for the numbers of the specification.
        user: String,
        /// Further groups.
        group_add: Vec<String>,
    },
}

impl Launch {
    /// The first process of a container.
    pub(crate) fn first(process: &Process, who: &Who) -> Launch {
        Launch {
            args: process.args().clone().unwrap_or_default(),
            env: process.env().clone().unwrap_or_default(),
            cwd: process.cwd().to_string_lossy().into_owned(),
            make_cwd: true,
            who: match who {
                Who::Numbers => Who::Numbers,
                Who::Named { user, group_add } => named(process, user, group_add),
            },
            numbers: process.user().clone(),
            capabilities: capabilities(process),
            limits: process.rlimits().clone().unwrap_or_default(),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            filter: None,
            die_with_parent: false,
            preserve_fds: 0,
            groups_fixed: false,
        }
    }
}

fn named(process: &Process, user: &str, group_add: &[String]) -> Who {
    let numeric = process.user();
    let user = if user.is_empty() { format!("{}:{}", numeric.uid(), numeric.gid()) } else { user.to_owned() };
    let further = numeric.additional_gids().iter().flatten().map(u32::to_string);
    Who::Named {
        // Root without a word about groups has those of the container's group file.
        user: if user == "0:0" { String::new() } else { user },
        group_add: further.chain(group_add.iter().cloned()).collect(),
    }
}

/// The five sets of a specification by the kernel's names; what it does not mention is empty.
fn capabilities(process: &Process) -> Capabilities {
    let Some(sets) = process.capabilities() else { return Capabilities::default() };
    let set =
        |set: &Option<CapabilitySet>| Set::parse(set.iter().flatten().map(|capability| format!("CAP_{capability}"))).0;
    Capabilities {
        bounding: set(sets.bounding()),
        effective: set(sets.effective()),
        permitted: set(sets.permitted()),
        inheritable: set(sets.inheritable()),
        ambient: set(sets.ambient()),
    }
}

/// Takes streams, user, rights, limits and working folder. What is left is to [`execute`]. Returns the user.
pub(crate) fn prepare(launch: &mut Launch, streams: [BorrowedFd<'_>; 3]) -> Result<User> {
    let root = mount::open_folder(Path::new("/")).context(|| "opening the container's root")?;
    let user = match &launch.who {
        Who::Named { user, group_add } => user::resolve(root.as_fd(), user, group_add)?,
        Who::Numbers => user::numbers(root.as_fd(), &launch.numbers, has_home(launch))?,
    };
    drop(root);
    if !has_home(launch) {
        launch.env.push(format!("HOME={}", user.home));
    }
    for stream in streams {
        // So that the program can open /dev/stdout anew. Of what is no pipe or terminal of ours nothing is changed.
        if user.uid != 0 && mount::is_pipe_or_terminal(stream).context(|| "looking at the streams")? {
            match mount::give_to(stream, user.uid, None) {
                // Made by somebody whom this user namespace does not know, or on a file system that cannot be changed: it
                // is open all the same, and only cannot be opened anew by its name.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::ReadOnlyFilesystem
                    ) => {}
                given => given.context(|| "giving the streams to their user")?,
            }
        }
    }
    process::set_stdio(streams).context(|| "setting the standard streams")?;
    change_dir(launch)?;
    for limit in &launch.limits {
        set_limit(limit)?;
    }
    capability::limit_bounding(launch.capabilities.bounding).context(|| "limiting capabilities")?;
    process::become_user(user.uid, user.gid, further_groups(launch, &user), true)
        .context(|| format!("becoming user {} of group {}", user.uid, user.gid))?;
    // Loading a filter takes a right, unless no program may gain rights. It is in the permitted and effective sets alone,
    // which execve(2) makes anew from the others, from the bounding set for root and from the ambient one for everybody
    // else, and those are final here: the command never has it.
    let loads = launch.filter.is_some() && !launch.no_new_privileges;
    capability::apply(&launch.capabilities, if loads { capability::SYS_ADMIN } else { Set::default() })?;
    if launch.no_new_privileges {
        process::set_no_new_privileges().context(|| "giving up new privileges")?;
    }
    if launch.die_with_parent {
        // After the change of credentials, which clears it.
        process::die_with_parent().context(|| "tying the process to its monitor")?;
    }
    process::set_umask(UMASK);
    Ok(user)
}

/// Loads a filter whose profile has an agent, as [`confine`] does the others, and sees to it that the agent gets its
/// descriptor. It stands here and not at the very end, since the parent, which passes the descriptor on, says only now
/// whether the container is made: without its agent it must not be.
pub(crate) fn confine_with_agent(launch: &mut Launch, stage: &mut Stage) -> Result<()> {
    let Some(filter) = launch.filter.as_ref().filter(|filter| filter.listener().is_some()) else { return Ok(()) };
    let allowed = filter.allows("sendmsg");
    match confine(launch)? {
        Some(notifications) => stage.notifies(notifications, allowed),
        None => Ok(()),
    }
}

/// Puts the filter before whatever this process does from now on, once. Returns the descriptor of notifications when the
/// profile has an agent.
///
/// It stands at the very end, since everything before is for a process that is not the command yet, and a profile is for
/// the command. What comes after is looking for the program, executing it, and saying why that failed.
pub(crate) fn confine(launch: &mut Launch) -> Result<Option<OwnedFd>> {
    let Some(filter) = launch.filter.take() else { return Ok(None) };
    let listener = filter.load()?;
    // The right is not needed any more. Where the filter keeps the process from giving it up, execve does it.
    if !launch.no_new_privileges && ["capget", "capset", "prctl"].iter().all(|name| filter.allows(name)) {
        capability::apply(&launch.capabilities, Set::default())?;
    }
    Ok(listener)
}

fn further_groups<'a>(launch: &Launch, user: &'a User) -> Groups<'a> {
    let own = user.groups.iter().all(|group| *group == user.gid);
    // Where groups cannot be set, none were asked for, or the kernel says so.
    if launch.groups_fixed && own { Groups::Keep } else { Groups::Set(&user.groups) }
}

fn has_home(launch: &Launch) -> bool {
    launch.env.iter().any(|entry| entry.starts_with("HOME="))
}

fn change_dir(launch: &Launch) -> Result<()> {
    let cwd = Path::new(if launch.cwd.is_empty() { "/" } else { &launch.cwd });
    if !cwd.is_absolute() {
        return Err(Error::invalid(format!("the working folder {cwd:?} is not absolute")));
    }
    match process::change_dir(cwd) {
        Err(error) if error.kind() == ErrorKind::NotFound && launch.make_cwd => {
            rootfs::make_folder(cwd)?;
            process::change_dir(cwd)
        }
        result => result,
    }
    .context(|| format!("changing to the working folder {cwd:?}"))?;
    // A descriptor that leaked could have led outside (CVE-2024-21626): the kernel says so here.
    let here = process::current_dir().context(|| "looking where the working folder is")?;
    if here.first() != Some(&b'/') {
        return Err(Error::permission_denied(format!("the working folder {cwd:?} is outside the container")));
    }
    Ok(())
}

fn set_limit(limit: &PosixRlimit) -> Result<()> {
    let name = serde_json::to_value(limit.typ()).ok().and_then(|name| name.as_str().map(str::to_ascii_lowercase));
    let name = name.unwrap_or_default().trim_start_matches("rlimit_").to_owned();
    let value = |value: u64| (value != u64::MAX).then_some(value);
    process::set_limit(&name, value(limit.soft()), value(limit.hard())).map_err(|error| {
        let raised = error.kind() == ErrorKind::PermissionDenied;
        let error =
            Error::from(error).context(format!("setting the limit {name} to {}:{}", limit.soft(), limit.hard()));
        if raised {
            error.with_hint("raising a hard limit takes CAP_SYS_RESOURCE, which the engine does not have")
        } else {
            error
        }
    })
}

/// Executes the program. Returns only when that failed: `command_failed` with 126 or 127.
pub(crate) fn execute(launch: &mut Launch) -> Error {
    match try_execute(launch) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_execute(launch: &mut Launch) -> Result<std::convert::Infallible> {
    let strings = |texts: &[String]| -> Result<Vec<CString>> { texts.iter().map(|text| c_string(text)).collect() };
    let (args, env) = (strings(&launch.args)?, strings(&launch.env)?);
    let Some(name) = launch.args.first().filter(|name| !name.is_empty()).cloned() else {
        return Err(refuse("", "no command specified", NOT_FOUND));
    };
    signal::reset().context(|| "resetting signals")?;
    let first = 3i32.saturating_add(i32::try_from(launch.preserve_fds).unwrap_or(i32::MAX));
    process::close_on_exec_from(first).context(|| "closing descriptors")?;
    confine(launch)?;
    let name = name.as_str();
    if name.contains('/') {
        let error = process::exec(&c_string(name)?, &args, &env);
        return Err(explain(name, name, &error));
    }
    let path = launch.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    let mut denied = None;
    for dir in path.unwrap_or(DEFAULT_PATH).split(':') {
        // An empty entry is the working folder; Docker refuses to run programs from there by name.
        if dir.is_empty() || dir == "." {
            continue;
        }
        let candidate = format!("{dir}/{name}");
        let error = process::exec(&c_string(&candidate)?, &args, &env);
        let missing = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        if !missing || Path::new(&candidate).is_file() {
            let error = explain(name, &candidate, &error);
            // Another folder may still have one that can be executed.
            denied.get_or_insert(error);
        }
    }
    Err(denied.unwrap_or_else(|| refuse(name, "executable file not found in $PATH", NOT_FOUND)))
}

/// Looks for the program without executing it, so that a container without one is not made at all: what the callers of a
/// runtime expect of `create`. Whether it can be executed in the end, only executing it shows.
///
/// # Errors
/// As [`execute`].
pub(crate) fn look_for(launch: &Launch) -> Result<()> {
    let Some(name) = launch.args.first().filter(|name| !name.is_empty()) else {
        return Err(refuse("", "no command specified", NOT_FOUND));
    };
    if name.contains('/') {
        return look_at(name).map_err(|error| explain(name, name, &error));
    }
    let path = launch.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    let mut denied = None;
    for dir in path.unwrap_or(DEFAULT_PATH).split(':').filter(|dir| !dir.is_empty() && *dir != ".") {
        let candidate = format!("{dir}/{name}");
        match look_at(&candidate) {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => drop(denied.get_or_insert(explain(name, &candidate, &error))),
        }
    }
    Err(denied.unwrap_or_else(|| refuse(name, "executable file not found in $PATH", NOT_FOUND)))
}

fn look_at(path: &str) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    process::may_execute(Path::new(path))
}

fn explain(name: &str, path: &str, error: &io::Error) -> Error {
    let exists = std::fs::metadata(path);
    match (error.kind(), exists) {
        (_, Ok(metadata)) if metadata.is_dir() => refuse(name, "is a directory", NOT_EXECUTABLE),
        (ErrorKind::NotFound, Ok(_)) => {
            refuse(name, "its interpreter or loader is missing: no such file or directory", NOT_FOUND)
        }
        (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => {
            refuse(name, &format!("stat {path}: no such file or directory"), NOT_FOUND)
        }
        (ErrorKind::PermissionDenied, _) => refuse(name, "permission denied", NOT_EXECUTABLE),
        _ if error.raw_os_error() == Some(8) => refuse(name, "exec format error", NOT_EXECUTABLE), // ENOEXEC
        _ => refuse(name, &error.to_string(), NOT_EXECUTABLE),
    }
}

fn refuse(name: &str, why: &str, exit_code: i32) -> Error {
    let failure = CommandFailure { exit_code, ..CommandFailure::default() };
    Error::command_failed(format!("exec: {name:?}: {why}"), failure)
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(format!("{text:?} contains a NUL character")))
}
