//! Hooks: programs that a specification wants run at moments of a container's life.
//!
//! A hook gets the container's state on its standard input, only its own environment, a session of nobody's terminal, and
//! no descriptor of ours. What it writes is kept to explain its failure. At its time-out it is killed with its whole
//! process group; it also dies with the process that runs it, so that no kill leaves one behind.
//!
//! Which namespaces it runs in follows from who calls [`run`]: the runtime or the init. What a failure means is the
//! caller's business.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook, Spec};
use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Result, time};
use crate::sys::process::{self, Child, Fork};
use crate::sys::socket::{self, Interest};
use crate::sys::{memory, signal};

/// How much of what a hook writes is kept for the error, in bytes.
const MAX_OUTPUT: usize = 4096;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// By the runtime before the root is entered; the old name of the next.
    Prestart,
    /// By the runtime before the root is entered.
    CreateRuntime,
    /// In the container's namespaces before the root is entered.
    CreateContainer,
    /// In the container, before its command.
    StartContainer,
    /// By the runtime when the command runs.
    Poststart,
    /// By the runtime when the container is deleted.
    Poststop,
}

impl Moment {
    /// All of them in their order.
    pub(crate) const ALL: [Moment; 6] = [
        Moment::Prestart,
        Moment::CreateRuntime,
        Moment::CreateContainer,
        Moment::StartContainer,
        Moment::Poststart,
        Moment::Poststop,
    ];

    /// Its name in the specification.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Moment::Prestart => "prestart",
            Moment::CreateRuntime => "createRuntime",
            Moment::CreateContainer => "createContainer",
            Moment::StartContainer => "startContainer",
            Moment::Poststart => "poststart",
            Moment::Poststop => "poststop",
        }
    }

    /// Its hooks in a specification.
    pub(crate) fn hooks(self, spec: &Spec) -> &[Hook] {
        let Some(hooks) = spec.hooks() else { return &[] };
        match self {
            Moment::Prestart => hooks.prestart(),
            Moment::CreateRuntime => hooks.create_runtime(),
            Moment::CreateContainer => hooks.create_container(),
            Moment::StartContainer => hooks.start_container(),
            Moment::Poststart => hooks.poststart(),
            Moment::Poststop => hooks.poststop(),
        }
        .as_deref()
        .unwrap_or_default()
    }
}

/// A container's state as the specification shows it to hooks and callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// The version of the specification that this follows.
    pub(crate) oci_version: String,
    /// The container's id.
    pub(crate) id: String,
    /// `creating`, `created`, `running`, `stopped`, and `paused`.
    pub(crate) status: String,
    /// The first process; none for a stopped container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    /// The bundle's folder.
    pub(crate) bundle: String,
    /// The specification's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The state of a container with this first process; 0 for none.
pub(crate) fn state(spec: &Spec, id: &str, bundle: &Path, status: &str, pid: i32) -> State {
    State {
        oci_version: spec.version().clone(),
        id: id.to_owned(),
        status: status.to_owned(),
        pid: (pid > 0).then_some(pid),
        bundle: bundle.to_string_lossy().into_owned(),
        annotations: spec.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}

/// Whether a specification has hooks for one of these moments.
pub(crate) fn any(spec: &Spec, moments: &[Moment]) -> bool {
    moments.iter().any(|moment| !moment.hooks(spec).is_empty())
}

/// Runs the hooks of a moment in their order; the first failure ends it.
///
/// # Errors
/// What the hook wrote and how it ended.
pub(crate) fn run(spec: &Spec, moment: Moment, state: impl FnOnce() -> State) -> Result<()> {
    run_confined(spec, moment, state, &|| Ok(()))
}

/// As [`run`]; each hook calls `confine` at the very end, before its program: what it gives up is the hook's alone.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_confined(
    spec: &Spec,
    moment: Moment,
    state: impl FnOnce() -> State,
    confine: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let hooks = moment.hooks(spec);
    if hooks.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(&state()).expect("plain data with string keys is always JSON");
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, &state, confine)
            .map_err(|error| error.context(format!("error running {} hook #{index}", moment.name())))?;
    }
    Ok(())
}

/// As [`run`], but every hook runs, whatever becomes of those before it.
pub(crate) fn run_all(spec: &Spec, moment: Moment, state: impl FnOnce() -> State) -> Vec<Error> {
    let hooks = moment.hooks(spec);
    if hooks.is_empty() {
        return Vec::new();
    }
    let state = serde_json::to_vec(&state()).expect("plain data with string keys is always JSON");
    let failed = |(index, hook)| {
        let error = run_one(hook, &state, &|| Ok(())).err()?;
        Some(error.context(format!("error running {} hook #{index}", moment.name())))
    };
    hooks.iter().enumerate().filter_map(failed).collect()
}

fn run_one(hook: &Hook, state: &[u8], confine: &dyn Fn() -> Result<()>) -> Result<()> {
    let path = c_string(hook.path().as_os_str().as_bytes())?;
    let args = match hook.args().as_deref() {
        None | Some([]) => vec![path.clone()],
        Some(args) => args.iter().map(|arg| c_string(arg.as_bytes())).collect::<Result<_>>()?,
    };
    let env: Vec<CString> =
        hook.env().iter().flatten().map(|entry| c_string(entry.as_bytes())).collect::<Result<_>>()?;
    // In memory and complete: a hook that does not read it holds nobody up.
    let stdin = memory::file_with("hook", state).context(|| "writing the state")?;
    let (output, their_output) = socket::pipe().context(|| "making a pipe")?;
    match process::fork(0, None).context(|| format!("running {:?}", hook.path()))? {
        Fork::Child => {
            let error = become_hook(&path, &args, &env, [&stdin, &their_output, &their_output], confine);
            let mut last_words = std::fs::File::from(their_output);
            let _ = write!(last_words, "{error}"); // nobody else can be told
            process::exit_now(127);
        }
        Fork::Parent(child) => {
            drop((stdin, their_output));
            let timeout = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
            wait(&child, &output, timeout)
        }
    }
}

fn become_hook(
    path: &CString,
    args: &[CString],
    env: &[CString],
    streams: [&OwnedFd; 3],
    confine: &dyn Fn() -> Result<()>,
) -> Error {
    let prepared = process::new_session()
        .and_then(|()| process::set_stdio(streams.map(|fd| fd.as_fd())))
        .and_then(|()| process::close_on_exec_from(3))
        .and_then(|()| process::die_with_parent())
        .and_then(|()| signal::reset());
    match prepared.map_err(Error::from).and_then(|()| confine()) {
        Ok(()) => process::exec(path, args, env).into(),
        Err(error) => error,
    }
}

fn wait(child: &Child, output: &OwnedFd, timeout: Option<Duration>) -> Result<()> {
    let deadline = timeout.map(time::deadline);
    let mut said = Vec::new();
    let mut open = true;
    socket::set_nonblocking(output, true).context(|| "waiting for a hook")?;
    let timed_out = loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut interests = vec![Interest::new(child.pidfd.as_fd(), true, false)];
        if open {
            interests.push(Interest::new(output.as_fd(), true, false));
        }
        socket::wait(&mut interests, left).context(|| "waiting for a hook")?;
        let ended = interests[0].readable();
        open = open && listen(output, &mut said);
        if ended {
            break false;
        }
        if left.is_some_and(|left| left.is_zero()) {
            break true;
        }
    };
    if timed_out {
        // First its group, which is there from its own session on and never ours; then itself, which may not have come
        // that far. It may have ended just now, which is as good.
        let _ = process::signal_group(child.pidfd.as_fd(), signal::KILL);
        let _ = process::signal(child.pidfd.as_fd(), signal::KILL);
    }
    let ended = process::take_in(child).context(|| "waiting for a hook")?;
    let said = String::from_utf8_lossy(&said).trim_end().to_owned();
    let output = if said.is_empty() { String::new() } else { format!(", output: {said}") };
    match ended.code {
        _ if timed_out => {
            let seconds = timeout.unwrap_or_default().as_secs();
            Err(Error::timeout(format!("hook ran past specified timeout of {seconds} s{output}")))
        }
        0 => Ok(()),
        code @ 129.. => {
            let signal = signal::describe(code - 128);
            Err(Error::failed(format!("signal: {signal}, exit status {code}{output}")))
        }
        code => Err(Error::failed(format!("exit status {code}{output}"))),
    }
}

/// Takes what is there to read; false at the end.
fn listen(output: &OwnedFd, said: &mut Vec<u8>) -> bool {
    let mut buffer = [0u8; 4096];
    loop {
        match socket::read(output, &mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let room = MAX_OUTPUT.saturating_sub(said.len()).min(length);
                said.extend_from_slice(&buffer[..room]);
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid("a hook's path, argument or variable contains a NUL character"))
}
