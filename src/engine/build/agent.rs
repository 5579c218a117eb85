//! An ssh agent for a step: a socket of the step's own, with its owner and mode, behind which everything is passed on to
//! the agent. The agent's own socket belongs to its user alone, and a step may run as anybody.
//!
//! For files of keys the host's own `ssh-agent` is started, and ends with what asked for it.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Result, error};
use crate::engine::Engine;
use crate::engine::image::program;
use crate::model::build::SshAgent;
use crate::store::scratch::Scratch;
use crate::sys::path::Dir;
use crate::sys::process::in_new_session;
use crate::sys::socket::{self, Interest};

/// The socket's name in its folder.
const NAME: &str = "agent";
/// How often one looks whether the step is over.
const LOOK: Duration = Duration::from_millis(50);

/// How long an agent may take to begin.
const BEGIN: Duration = Duration::from_secs(10);

/// How long a socket's path may be, unix(7).
const MOST_SOCKET_BYTES: usize = 107;

/// How many connections a step has at one time: each takes two threads.
const MOST_CONNECTIONS: usize = 64;

/// An agent that can be asked as long as this lives.
pub(super) struct Signer {
    socket: PathBuf,
    _keys: Option<KeyAgent>,
}

impl Signer {
    pub(super) fn of(engine: &Engine, agent: &SshAgent) -> Result<Signer> {
        match agent {
            SshAgent::Socket(socket) => Ok(Signer { socket: socket.clone(), _keys: None }),
            SshAgent::Keys(files) => {
                let agent = KeyAgent::start(engine, files)?;
                Ok(Signer { socket: agent.folder.path().join(NAME), _keys: Some(agent) })
            }
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// The host's `ssh-agent` with keys. A shell holds it, which ends it when our end of a pipe closes, however that comes.
struct KeyAgent {
    shell: Child,
    folder: Scratch,
}

impl KeyAgent {
    fn start(engine: &Engine, files: &[PathBuf]) -> Result<KeyAgent> {
        let needed = |name: &str| {
            program(name, &engine.search_path).ok_or_else(|| {
                Error::unsupported(format!("{name} is not installed, and keys need it"))
                    .with_hint("install it: apt-get install openssh-client; or name the socket of an agent")
            })
        };
        let (agent, add) = (needed("ssh-agent")?, needed("ssh-add")?);
        let folder = engine.store.scratch_dir("keys")?;
        let length = folder.path().join(NAME).as_os_str().len();
        if length > MOST_SOCKET_BYTES {
            return Err(Error::unsupported(format!(
                "the path of a socket has {MOST_SOCKET_BYTES} bytes at most, and that of the ssh agent would have {length}"
            ))
            .with_hint("use a state root with a shorter path, or give the socket of an agent"));
        }
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#""$0" -D -a "$1" >/dev/null 2>&1 & cat; kill $!; wait"#]).arg(agent).arg(NAME);
        shell.env_clear().current_dir(folder.path());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = KeyAgent { shell: in_new_session(&mut shell).spawn().context(|| "starting ssh-agent")?, folder };
        let socket = agent.folder.path().join(NAME);
        let begun = Instant::now();
        while !socket.exists() {
            engine.check_interrupt()?;
            if begun.elapsed() > BEGIN {
                return Err(Error::timeout("ssh-agent does not begin"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for file in files {
            let mut command = Command::new(&add);
            command.arg("-q").arg("--").arg(std::path::absolute(file)?).current_dir(agent.folder.path());
            command.env_clear().env("SSH_AUTH_SOCK", NAME).env("SSH_ASKPASS_REQUIRE", "never").env("LC_ALL", "C.UTF-8");
            let added = in_new_session(&mut command).stdin(Stdio::null()).output().context(|| "starting ssh-add")?;
            if !added.status.success() {
                let said = String::from_utf8_lossy(&added.stderr);
                let why = match said.lines().rev().find(|line| !line.trim().is_empty()) {
                    Some(line) if !line.contains("passphrase") => error::quoted(&line.trim()),
                    _ => "it has a passphrase".to_owned(),
                };
                return Err(Error::invalid(format!("the key {file:?} cannot be used: {why}"))
                    .with_hint("add it to an agent with ssh-add, and give the agent's socket"));
            }
        }
        Ok(agent)
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait(); // it has ended, or nothing can be done
    }
}

/// Passes on until it is dropped.
pub(super) struct Agent {
    _signer: Signer,
    folder: Scratch,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub(super) fn start(engine: &Engine, signer: Signer, mode: u32, owner: (u32, u32)) -> Result<Agent> {
        let folder = engine.store.scratch_dir("ssh")?;
        let dir = Dir::open(folder.path())?;
        let listener = socket::listen(dir.as_fd(), NAME).context(|| "making a socket for the ssh agent")?;
        let path = folder.path().join(NAME);
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, to, open) = (Arc::clone(&stop), signer.socket().to_owned(), Arc::new(()));
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
        Ok(Agent { _signer: signer, folder, stop, thread: Some(thread) })
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
