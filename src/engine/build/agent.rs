//! An ssh agent for a step: a socket of the step's own, with its owner and mode, behind which everything is passed on to
//! the agent. The agent's own socket belongs to its user alone, and a step may run as anybody.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::{Context as _, Result};
use crate::engine::Engine;
use crate::store::scratch::Scratch;
use crate::sys::path::Dir;
use crate::sys::socket::{self, Interest};

/// The socket's name in its folder.
const NAME: &str = "agent";
/// How often one looks whether the step is over.
const LOOK: Duration = Duration::from_millis(50);

/// How many connections a step has at one time: each takes two threads.
const MOST_CONNECTIONS: usize = 64;

/// Passes on until it is dropped.
pub(super) struct Agent {
    folder: Scratch,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub(super) fn start(engine: &Engine, to: &Path, mode: u32, owner: (u32, u32)) -> Result<Agent> {
        let folder = engine.store.scratch_dir("ssh")?;
        let dir = Dir::open(folder.path())?;
        let listener = socket::listen(dir.as_fd(), NAME).context(|| "making a socket for the ssh agent")?;
        let path = folder.path().join(NAME);
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, to, open) = (Arc::clone(&stop), to.to_owned(), Arc::new(()));
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                // A wait or a connection that fails is the step's loss alone.
                let _ = socket::wait(&mut [Interest::new(listener.as_fd(), true, false)], Some(LOOK));
                match socket::accept(listener.as_fd()) {
                    // One that asks for more is told no by the end of its connection.
                    Ok(Some(client)) if Arc::strong_count(&open) <= 2 * MOST_CONNECTIONS => {
                        let _ = pass_on(UnixStream::from(client), &to, &open);
                    }
                    Ok(_) => {}
                    // There may be too many open files: the next try is no better at once.
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        };
        let thread = std::thread::Builder::new().name("ssh agent".into()).spawn(serve)?;
        Ok(Agent { folder, stop, thread: Some(thread) })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join(NAME)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there ended it as well.
            let _ = thread.join();
        }
    }
}

/// Two threads that end with their connection, which ends with the step.
fn pass_on(client: UnixStream, to: &Path, open: &Arc<()>) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let agent = UnixStream::connect(to)?;
    for (mut from, mut to) in [(client.try_clone()?, agent.try_clone()?), (agent, client)] {
        let open = Arc::clone(open);
        std::thread::Builder::new().name("ssh agent".into()).spawn(move || {
            let _open = open;
            // An end is an end, whatever it is of.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        })?;
    }
    Ok(())
}
