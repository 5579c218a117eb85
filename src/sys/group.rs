//! Process groups: ending one as a whole. Made by `std`'s `CommandExt::process_group`; single processes are elsewhere.

use std::io;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Kills every process of a group whose leader is our own child and was not waited for yet, so that its number cannot
/// have been given to another group. A group without processes is no error.
///
/// # Errors
/// What kill(2) gives.
pub fn kill(leader: i32) -> io::Result<()> {
    if leader <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    match killpg(Pid::from_raw(leader), Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_whole_group_is_killed_and_one_that_is_gone_is_no_error() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 100"]).process_group(0).spawn().unwrap();
        let leader = i32::try_from(child.id()).unwrap();
        kill(leader).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        kill(leader).unwrap();
        assert!(kill(0).is_err() && kill(1).is_err() && kill(-1).is_err());
    }
}
