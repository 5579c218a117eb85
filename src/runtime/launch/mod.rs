//! What an init and an exec do alike at the end: streams, user, rights, limits, and the program itself. This folder is all
//! that runs between the container's root and the container's command.
//!
//! Each step stands where it does for a reason:
//!
//! ```text
//! prepare   user and HOME        from the container's own files, by the numbers and never by code of the container
//!           streams              while they are the runtime's to give away; then descriptors 0 to 2 are the command's
//!           working folder       as root, who may make it; looked at afterwards, since a name can lead outside
//!           scheduling, limits   while there are rights to take more than a user may
//!           bounding set         needs a right that the next steps take away
//!           ids                  groups first, user last: a user may not change groups. Capabilities survive this
//!           not dumpable         again: a change of ids sets it to the machine's default
//!           capabilities         at last only those of the command
//!           label                after the ids, for the next program; before the promise that may forbid it
//!           no new privileges    after everything that gives or takes rights
//!           dies with parent     only when asked for; a change of ids would clear it
//!           program              looked up as the command's user, for those who want to know before the start
//! execute   signals, close-on-exec of whatever is not the command's
//!           filter               last: everything before would need to be allowed by it
//!           execve
//! ```
//!
//! It does not know namespaces, mounts or cgroups: when it begins, the process is where it belongs.

mod program;
mod wanted;

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::base::{Context as _, Error, Result};
use crate::runtime::handover::Stage;
use crate::runtime::rootfs;
use crate::runtime::user::{self, User};
use crate::sys::capability::{self, Set};
use crate::sys::process::{self, Groups};
use crate::sys::{mount, scheduling, signal};

pub(crate) use wanted::{Launch, Limit, Who};

/// Takes streams, user, rights, limits and working folder; `label` is where the label is set, when there is one. What is
/// left is to [`execute`]. Returns the user.
///
/// # Errors
/// What the kernel says to any step; `command_failed` for a program that is not there.
pub(crate) fn prepare(launch: &mut Launch, streams: [BorrowedFd<'_>; 3], label: Option<File>) -> Result<User> {
    let user = find_user(launch)?;
    give_streams(streams, &user)?;
    process::set_stdio(streams).context(|| "setting the standard streams")?;
    change_dir(launch)?;
    take_settings(launch)?;
    capability::limit_bounding(launch.capabilities.bounding).context(|| "limiting capabilities")?;
    process::become_user(user.uid, user.gid, further_groups(launch, &user), true)
        .context(|| format!("becoming user {} of group {}", user.uid, user.gid))?;
    process::set_undumpable().context(|| "closing the process to tracing")?;
    // Loading a filter takes a right, unless no program may gain rights. It is in the permitted and effective sets alone,
    // which execve(2) makes anew from the others, from the bounding set for root and from the ambient one for everybody
    // else, and those are final here: the command never has it.
    let loads = launch.filter.is_some() && !launch.no_new_privileges;
    capability::apply(&launch.capabilities, if loads { capability::SYS_ADMIN } else { Set::default() })?;
    if let (Some(wanted), Some(file)) = (&launch.label, label) {
        wanted.set(file)?;
    }
    if launch.no_new_privileges {
        process::set_no_new_privileges().context(|| "giving up new privileges")?;
    }
    if launch.die_with_parent {
        process::die_with_parent().context(|| "tying the process to its monitor")?;
    }
    process::set_umask(launch.umask);
    if let Who::Numbers = launch.who {
        program::find(launch)?;
    }
    Ok(user)
}

/// Executes the program. Returns only when that failed: `command_failed` with 126 or 127.
pub(crate) fn execute(launch: &mut Launch) -> Error {
    let first = 3i32.saturating_add(i32::try_from(launch.preserve_fds).unwrap_or(i32::MAX));
    let cleared = signal::reset()
        .context(|| "resetting signals")
        .and_then(|()| process::close_on_exec_from(first).context(|| "closing descriptors"));
    match cleared.and_then(|()| program::execute(launch, |launch| confine(launch).map(drop))) {
        Ok(never) => match never {},
        Err(error) => error,
    }
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

fn find_user(launch: &mut Launch) -> Result<User> {
    let root = mount::open_folder(Path::new("/")).context(|| "opening the container's root")?;
    let has_home = launch.env.iter().any(|entry| entry.starts_with("HOME="));
    let user = match &launch.who {
        Who::Named { user, group_add } => user::resolve(root.as_fd(), user, group_add)?,
        Who::Numbers => user::numbers(root.as_fd(), &launch.numbers, has_home)?,
    };
    if !has_home {
        launch.env.push(format!("HOME={}", user.home));
    }
    Ok(user)
}

fn give_streams(streams: [BorrowedFd<'_>; 3], user: &User) -> Result<()> {
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
    Ok(())
}

fn further_groups<'a>(launch: &Launch, user: &'a User) -> Groups<'a> {
    let own = user.groups.iter().all(|group| *group == user.gid);
    // Where groups cannot be set, none were asked for, or the kernel says so.
    if launch.groups_fixed && own { Groups::Keep } else { Groups::Set(&user.groups) }
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

/// Whatever passes on to the next program and may take rights that a user does not have.
fn take_settings(launch: &Launch) -> Result<()> {
    if let Some(wanted) = launch.scheduling {
        scheduling::set_scheduling(wanted).context(|| "setting the scheduler")?;
    }
    if let Some((class, level)) = launch.io_priority {
        scheduling::set_io_priority(class, level).context(|| "setting the priority of input and output")?;
    }
    if let Some(domain) = launch.personality {
        scheduling::set_personality(domain).context(|| "setting the execution domain")?;
    }
    launch.limits.iter().try_for_each(set_limit)
}

fn set_limit(limit: &Limit) -> Result<()> {
    let Limit { name, soft, hard } = limit;
    process::set_limit(name, *soft, *hard).map_err(|error| {
        let raised = error.kind() == ErrorKind::PermissionDenied;
        let show = |value: &Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
        let error = Error::from(error).context(format!("setting the limit {name} to {}:{}", show(soft), show(hard)));
        match raised {
            true => error.with_hint("raising a hard limit takes CAP_SYS_RESOURCE, which the engine does not have"),
            false => error,
        }
    })
}
