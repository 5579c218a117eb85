//! User namespaces that exist only to say how a mount shows its files' ids (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::sys::namespace;
use crate::sys::process::{self, Fork};

/// One range of ids: as they are in the file system, as they show, and how many.
pub type Range = (u32, u32, u32);

/// Makes a user namespace with these ids, in which nobody is. Only for a process with one thread.
///
/// # Errors
/// What clone3(2) and writing the maps gives: `InvalidInput` for ranges that overlap or are too many.
pub fn namespace(uids: &[Range], gids: &[Range]) -> io::Result<OwnedFd> {
    let (hold, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = match process::fork(namespace::USER, None)? {
        Fork::Child => {
            // Waits until it is killed, or until whoever made it is gone: then the pipe ends.
            let _ = process::close_all_but(0, &[hold.as_fd()]);
            let _ = rustix::io::read(&hold, &mut [0u8; 1]);
            process::exit_now(0)
        }
        Fork::Parent(child) => child,
    };
    let result = write(child.pid, "uid_map", uids)
        .and_then(|()| write(child.pid, "gid_map", gids))
        .and_then(|()| File::open(format!("/proc/{}/ns/user", child.pid)));
    drop(held);
    // It ends by itself now; that it may be gone already is as good.
    let _ = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
    rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED))?;
    Ok(result?.into())
}

fn write(pid: i32, name: &str, ranges: &[Range]) -> io::Result<()> {
    let mut text = String::new();
    for (inside, outside, count) in ranges {
        writeln!(text, "{inside} {outside} {count}").expect("writing to a string");
    }
    // In one piece: the kernel takes one write, of less than a page.
    std::fs::write(format!("/proc/{pid}/{name}"), text)
}
