//! The small init of `--init`: process 1 that runs the command as its child, forwards signals, and reaps orphans.
//!
//! It is the container's init stage itself, which forks once more instead of executing. It has the user and the rights of
//! the command, no descriptors but the standard streams, and ends with the command's status, upon which the kernel kills
//! whatever is left in the pid namespace.

use std::os::fd::AsFd as _;

use crate::base::{Context as _, Result};
use crate::runtime::handover::Stage;
use crate::runtime::launch::{self, Launch};
use crate::sys::process::{self, Child, Fork};
use crate::sys::signal::{self, Signals};
use crate::sys::socket::{self, Interest};
use crate::sys::tty;

/// Runs `launch` below this process. Never returns to what made this process.
pub(crate) fn run(launch: &mut Launch, stage: Stage) -> Result<std::convert::Infallible> {
    let signals = Signals::all().context(|| "blocking signals")?;
    match process::fork(0, None).context(|| "starting the command")? {
        Fork::Child => {
            drop(signals);
            // Its own process group in the foreground: what a terminal sends goes to the command alone.
            tty::lead_foreground().context(|| "taking the terminal")?;
            let error = launch::execute(launch);
            stage.failed(&error);
            process::exit_now(error.failure().map_or(1, |failure| failure.exit_code));
        }
        Fork::Parent(child) => {
            drop(stage);
            // It lives with the command, so it has the command's filter, and no more rights than that.
            launch::confine(launch)?;
            // Not critical: only listings show it.
            let _ = process::set_name(c"init");
            // A name, and it cannot be executed again: nothing in the container needs our program.
            process::exit_now(hold(&child, &signals));
        }
    }
}

fn hold(child: &Child, signals: &Signals) -> i32 {
    loop {
        while let Ok(Some(number)) = signals.next() {
            if number != signal::CHLD {
                // It may have ended just now, which the next turn sees.
                let _ = process::signal(child.pidfd.as_fd(), number);
            }
        }
        while let Ok(Some(ended)) = process::reap() {
            if ended.pid == child.pid {
                return ended.code;
            }
        }
        if socket::wait(&mut [Interest::new(signals.as_fd(), true, false)], None).is_err() {
            return 1;
        }
    }
}
