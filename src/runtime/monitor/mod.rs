//! The monitor: one small process per container, which makes it, holds it, and records how it ended.
//!
//! ```text
//! rhumb [monitor]     standard input is the creator's connection, whose first frame is the plan
//!   run      one run of the first process: birth, stage, streams, record        an error of the first is the reply
//!   hold     the loop over everything that can happen, and at which time        timers   the deadlines
//!   answer   what clients ask                                  room     how many of them there may be
//!   health   one probe at a time, when its time has come, and what comes of it
//!   restart  whether another run follows, and after which pause
//!   names    the container's resolver, a process beside this one
//!   end      drain, record, cgroup, last bytes to clients        then `on_exit`, unless an owner is still connected
//! ```
//!
//! It has one thread and never waits for a client. It holds no descriptor of the host's that it does not need, and sets its
//! own memory to a few hundred kilobytes: no allocation grows with what the container writes.
//!
//! It does not resolve names itself.

mod answer;
mod end;
mod health;
mod hold;
pub mod names;
mod restart;
mod room;
mod run;
mod timers;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use self::health::Check;
use self::names::Resolve;
use self::restart::Restarts;
use self::room::Room;
use self::run::Run;
use self::timers::Timers;
use crate::base::{Context as _, Error, Result};
use crate::runtime::conn::Conn;
use crate::runtime::plan::Plan;
use crate::runtime::state;
use crate::runtime::wire::{Channel, MAX_FRAME, MAX_PLAN, Reply, Request};
use crate::sys::signal::Signals;
use crate::sys::{mount, process, socket};

/// The hidden verb.
pub const VERB: &str = "[monitor]";
/// The most descriptors that it keeps for others.
pub const MAX_HELD: usize = 256;

/// How long the lock of an ending predecessor is waited for.
const PREDECESSOR: Duration = Duration::from_secs(10);
/// Descriptors of our own begin here, so that 0 to 2 are never among them.
const FIRST_FD: i32 = 10;

/// Runs a monitor; the exit status of the process. `resolve` is how names are resolved for containers that have names.
pub fn main(resolve: Option<Resolve>) -> i32 {
    match run(resolve) {
        Ok(()) => 0,
        Err(_) => 1, // whoever waits for it was told
    }
}

fn run(resolve: Option<Resolve>) -> Result<()> {
    process::close_inherited_from(3).context(|| "closing descriptors")?;
    let creator = process::take_stdin(FIRST_FD).context(|| "taking the creator's connection")?;
    let null = File::options().read(true).write(true).open("/dev/null").context(|| "opening \"/dev/null\"")?;
    process::set_stdio([null.as_fd(); 3]).context(|| "leaving the standard streams")?;
    drop(null);
    process::new_session().context(|| "starting a session")?;
    // What it forks has both from birth: keys of who started it are not the container's, and no process of a container
    // that sees a stage before it has given up its rights may trace it.
    process::leave_keyring().context(|| "leaving the session keyring")?;
    process::set_undumpable().context(|| "closing the process to tracing")?;
    process::set_umask(0o022);
    process::change_dir(Path::new("/")).context(|| "leaving the working folder")?;
    // Only listings show it.
    let _ = process::set_name(c"rhumb-monitor");
    process::adopt_orphans().context(|| "adopting orphans")?;
    let signals = Signals::all().context(|| "blocking signals")?;
    let mut channel = Channel::new(creator, MAX_PLAN);
    let plan = match channel.receive()?.map(|frame| frame.message()) {
        Some(Ok(Request::Create(plan))) => *plan,
        Some(Ok(_)) | None => return Err(Error::corrupt("the creator sent no plan")),
        Some(Err(error)) => {
            channel.send(&Reply::Failed((&error).into()), &[])?;
            return Err(error);
        }
    };
    match Monitor::new(plan, signals, resolve) {
        Ok(mut monitor) => {
            // A creator that is gone by now is noticed in the loop, which undoes everything.
            let netns: Vec<_> = monitor.netns.iter().map(|fd| fd.as_fd()).collect();
            let _ = channel.send(&Reply::Created, &netns);
            let (fd, mut decoder) = channel.into_parts();
            decoder.set_limit(MAX_FRAME);
            socket::set_nonblocking(&fd, true).context(|| "taking a connection")?;
            monitor.creator = monitor.adopt(fd, decoder);
            // It may have sent more than its first frame already.
            monitor.serve(monitor.creator);
            monitor.live()
        }
        Err(error) => {
            channel.send(&Reply::Failed((&error).into()), &[])?;
            Err(error)
        }
    }
}

struct Monitor {
    plan: Plan,
    signals: Signals,
    resolve: Option<Resolve>,
    /// Until everything is recorded.
    lock: Option<File>,
    listener: Option<OwnedFd>,
    run: Run,
    /// The network namespace of every run, when it is held.
    netns: Option<OwnedFd>,
    /// What it keeps for others, by name.
    held: BTreeMap<String, OwnedFd>,
    restarts: Restarts,
    timers: Timers,
    check: Option<Check>,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    room: Room,
    creator: u64,
    abandoned: bool,
}

impl Monitor {
    fn new(plan: Plan, signals: Signals, resolve: Option<Resolve>) -> Result<Monitor> {
        let lock = lock(&plan.run_dir)?;
        let run_dir = mount::open_folder(&plan.run_dir).context(|| format!("opening {:?}", plan.run_dir))?;
        let listener = socket::listen(run_dir.as_fd(), state::SOCKET).context(|| "opening the control socket")?;
        let mut netns = None;
        let run = Run::make(&plan, resolve, &mut netns).inspect_err(|_| {
            let _ = state::remove_file(&plan.run_dir.join(state::SOCKET)); // the error of the birth is what matters
        })?;
        Ok(Monitor {
            check: Check::of(&plan),
            plan,
            signals,
            resolve,
            lock: Some(lock),
            listener: Some(listener),
            run,
            netns,
            held: BTreeMap::new(),
            restarts: Restarts::default(),
            timers: Timers::default(),
            conns: BTreeMap::new(),
            next_conn: 0,
            room: Room::of_this_process(),
            creator: 0,
            abandoned: false,
        })
    }
}

/// Takes the lock that says that this container has a monitor.
fn lock(run_dir: &Path) -> Result<File> {
    let path = run_dir.join(state::LOCK);
    let doing = || format!("locking {path:?}");
    let file = File::options().write(true).create(true).truncate(false).open(&path).context(doing)?;
    let deadline = Instant::now() + PREDECESSOR;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(Error::from(error).context(doing())),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::conflict("another monitor holds the container"));
            }
        }
    }
}
