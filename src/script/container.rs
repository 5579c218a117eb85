//! The noun `container` in scripts: functions that find and make containers, and the handle's properties and methods.
//!
//! Decodes, calls the engine once, encodes. A handle is an id and the engine: every property reads the live state.

use std::fs::File;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rhai::plugin::*;
use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map, NativeCallContext};

use crate::base::error::Context as _;
use crate::base::{Error, Id, Result, Timestamp};
use crate::docker::options::{container_options, exec_options};
use crate::engine::Engine;
use crate::engine::container::Attachment;
use crate::model::container::{ContainerFilter, ContainerOptions, ContainerRemove, MountPointKind, Status};
use crate::model::exec::{self, ExecOptions};
use crate::model::log::{LogEntry, LogQuery, Stream};
use crate::script::context::{Host, engine, tag};
use crate::script::convert::{Command, Keys, command_of, to_json};
use crate::script::error::{Fallible, Raise};
use crate::script::image::{OneImage, image_name};
use crate::script::output::Output;
use crate::script::units::{TimeSpan, duration_of};
use crate::script::volume::Volume;

/// How long the waits of a script take at most, unless told otherwise.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// How often `wait_log` looks.
const LOG_POLL: Duration = Duration::from_millis(50);

/// A container: its id, and the engine to ask about it.
#[derive(Clone)]
pub(crate) struct Container {
    pub(crate) engine: Engine,
    pub(crate) id: Id,
}

impl Container {
    /// The state as it is now.
    fn now(&self) -> Result<crate::model::container::Container> {
        self.engine.container_get(self.id.as_str())
    }

    fn shown(&self) -> String {
        match self.now() {
            Ok(container) => format!("Container({} {})", container.name, self.id.short()),
            Err(_) => format!("Container({})", self.id.short()),
        }
    }
}

/// The keys of a command that are the script's own.
struct CommandKeys {
    check: bool,
    stream: bool,
    timeout: Option<Duration>,
    stdin: Option<Vec<u8>>,
}

fn command_keys(keys: &mut Keys) -> Result<CommandKeys> {
    let stdin = keys.take("stdin").map(|value| crate::script::secret::bytes_of(&value)).transpose()?;
    Ok(CommandKeys {
        check: keys.optional_flag("check")?.unwrap_or(true),
        stream: keys.flag("stream")?,
        timeout: keys.duration("timeout")?,
        stdin,
    })
}

/// What remains of an option map, as the engine takes it.
fn options_of(map: Map) -> Result<ContainerOptions> {
    match to_json(&map.into())? {
        serde_json::Value::Object(map) => container_options(&map),
        _ => Err(Error::invalid("options are a map")),
    }
}

fn make(engine: &Engine, image: &OneImage, options: Map, start: bool) -> Result<Container> {
    let options = options_of(options)?;
    let image = image_name(engine, image)?;
    let id = if start { engine.container_run(&image, &options)? } else { engine.container_create(&image, &options)? };
    Ok(Container { engine: engine.clone(), id })
}

/// Notes that this script started a container, for the message after Ctrl-C.
fn started(host: &Host, id: &Id) {
    host.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(id.clone());
}

fn oneshot(host: &Host, image: &OneImage, command: &Command, options: Map) -> Result<Output> {
    let engine = host.engine()?;
    let mut keys = Keys::new("oneshot", options);
    let own = command_keys(&mut keys)?;
    let mut options = options_of(keys.rest())?;
    options.auto_remove = true;
    let command = command_of(command)?;
    if command.is_some() {
        options.command = command;
    }
    let image = image_name(engine, image)?;
    let output = if own.stream {
        options.stdin_open = own.stdin.is_some();
        streamed(host, own.stdin.as_deref(), own.timeout, |attachment| {
            let id = engine.container_create(&image, &options)?;
            engine.container_start_attached(id.as_str(), attachment)
        })?
    } else {
        engine.container_oneshot(&image, &options, own.stdin.as_deref(), own.timeout)?
    };
    Output::checked(output, own.check, options.command.as_deref().unwrap_or_default(), "")
}

/// Passes output on as it comes, and keeps it.
fn streamed(
    host: &Host,
    stdin: Option<&[u8]>,
    timeout: Option<Duration>,
    run: impl FnOnce(Attachment<'_>) -> Result<crate::engine::container::AttachEnd>,
) -> Result<exec::Output> {
    if stdin.is_some() {
        return Err(Error::invalid("\"stdin\" and \"stream\" do not go together"));
    }
    let start = Instant::now();
    let mut output = exec::Output::default();
    let interrupt = host.interrupt().clone();
    let mut take = |stream: Stream, bytes: &[u8]| {
        match stream {
            Stream::Stdout => output.stdout.extend_from_slice(bytes),
            Stream::Stderr => output.stderr.extend_from_slice(bytes),
        }
        host.say(&String::from_utf8_lossy(bytes));
        Ok(())
    };
    let end = run(Attachment {
        stdin: None,
        output: &mut take,
        terminal: None,
        detach_keys: Vec::new(),
        signals: None,
        interrupt: &interrupt,
        deadline: timeout.map(|timeout| start + timeout),
    })?;
    if let crate::engine::container::AttachEnd::Exited(code) = end {
        output.code = code;
    }
    output.elapsed = start.elapsed();
    Ok(output)
}

fn exec(host: &Host, container: &Container, command: &Command, options: Map) -> Result<Option<Output>> {
    let mut keys = Keys::new("exec", options);
    let own = command_keys(&mut keys)?;
    let detach = keys.flag("detach")?;
    let args = command_of(command)?.ok_or_else(|| Error::invalid("exec needs a command"))?;
    let options = match to_json(&keys.rest().into())? {
        serde_json::Value::Object(map) => ExecOptions { args, ..exec_options(&map)? },
        _ => return Err(Error::invalid("options are a map")),
    };
    let (engine, id) = (&container.engine, container.id.as_str());
    if detach {
        engine.container_exec_detached(id, &options)?;
        return Ok(None);
    }
    let output = if own.stream {
        streamed(host, own.stdin.as_deref(), own.timeout, |attachment| {
            engine.container_exec_attached(id, &options, attachment)
        })?
    } else {
        engine.container_exec(id, &options, own.stdin.as_deref(), own.timeout)?
    };
    let place = if output.code == 0 { String::new() } else { format!(" in {}", container.now()?.name) };
    Output::checked(output, own.check, &options.args, &place).map(Some)
}

fn log_query(keys: &mut Keys) -> Result<LogQuery> {
    let tail = keys.integer("tail")?.map(|n| usize::try_from(n).unwrap_or(0));
    let stream = match keys.text("stream")?.as_deref() {
        None => None,
        Some("stdout") => Some(Stream::Stdout),
        Some("stderr") => Some(Stream::Stderr),
        Some(other) => {
            return Err(Error::invalid(format!("{other:?} is not a stream")).with_hint("stdout or stderr"));
        }
    };
    Ok(LogQuery { follow: false, tail, since: keys.time("since")?, until: keys.time("until")?, stream })
}

fn log_text(container: &Container, query: &LogQuery, timestamps: bool) -> Result<String> {
    let mut bytes = Vec::new();
    container.engine.container_logs(container.id.as_str(), query, &mut |entry| {
        if timestamps {
            bytes.extend_from_slice(format!("{} ", entry.time).as_bytes());
        }
        bytes.extend_from_slice(&entry.bytes);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn logs(container: &Container, options: Map) -> Result<String> {
    let mut keys = Keys::new("logs", options);
    let query = log_query(&mut keys)?;
    let timestamps = keys.flag("timestamps")?;
    keys.finish()?;
    log_text(container, &query, timestamps)
}

/// Waits for a line that contains `text`.
fn wait_log(host: &Host, container: &Container, text: &str, timeout: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let alive = container.now()?.state.status.is_alive();
        let log = log_text(container, &LogQuery::default(), false)?;
        if log.contains(text) {
            return Ok(());
        }
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        let tail = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        let with_log =
            |error: Error| if tail.is_empty() { error } else { error.with_source(Error::failed(tail.clone())) };
        if !alive {
            return Err(with_log(Error::conflict(format!("the container ended before it wrote {text:?}"))));
        }
        if start.elapsed() >= timeout {
            let waited = crate::base::units::short_duration(timeout);
            return Err(with_log(Error::timeout(format!("no {text:?} in the log within {waited}"))));
        }
        if host.is_stopping() {
            return Err(Error::interrupted("interrupted"));
        }
        std::thread::sleep(LOG_POLL);
    }
}

fn list(engine: &Engine, options: Map) -> Result<Array> {
    let mut keys = Keys::new("container::list", options);
    let status = |text: &String| {
        let all = [Status::Created, Status::Running, Status::Paused, Status::Exited, Status::Dead, Status::Removing];
        let found = all.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| {
            let error = Error::invalid(format!("{text:?} is not a status"));
            match crate::base::suggest::hint(text, all.map(Status::as_str)) {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })
    };
    let filter = ContainerFilter {
        all: keys.flag("all")?,
        status: keys.texts("status")?.iter().map(status).collect::<Result<_>>()?,
        name: keys.texts("name")?,
        id: keys.texts("id")?,
        label: keys.texts("label")?,
        ancestor: keys.texts("ancestor")?,
        volume: keys.texts("volume")?,
        exited: keys.integer("exited")?.and_then(|code| i32::try_from(code).ok()).into_iter().collect(),
        last: keys.integer("last")?.and_then(|n| usize::try_from(n).ok()),
    };
    keys.finish()?;
    let handle = |container: crate::model::container::Container| {
        Dynamic::from(Container { engine: engine.clone(), id: container.record.id })
    };
    Ok(engine.container_list(&filter)?.into_iter().map(handle).collect())
}

fn remove(container: &Container, options: Map) -> Result<()> {
    let mut keys = Keys::new("remove", options);
    let how = ContainerRemove { force: keys.flag("force")?, volumes: keys.flag("volumes")? };
    keys.finish()?;
    container.engine.container_remove(container.id.as_str(), how)
}

fn wait(container: &Container, timeout: Duration) -> Result<i64> {
    let state = container.engine.container_wait(container.id.as_str(), Some(timeout))?;
    state.exit_code.map(i64::from).ok_or_else(|| {
        let why = state.error.unwrap_or_else(|| "nobody saw it end".to_owned());
        Error::failed(format!("the exit status of the container is not known: {why}"))
    })
}

fn mounts(container: &Container) -> Result<Array> {
    let row = |mount: crate::model::container::MountPoint| {
        let mut map = Map::new();
        let (kind, source) = match mount.kind {
            MountPointKind::Bind { source } => ("bind", source),
            MountPointKind::Volume { name, .. } => ("volume", name),
            MountPointKind::Tmpfs => ("tmpfs", String::new()),
        };
        map.insert("type".into(), kind.into());
        map.insert("source".into(), source.into());
        map.insert("target".into(), mount.target.into());
        map.insert("read_only".into(), mount.read_only.into());
        Dynamic::from(map)
    };
    Ok(container.now()?.record.mounts.into_iter().map(row).collect())
}

fn export_tar(container: &Container, path: &str) -> Result<()> {
    let mut file = File::create_new(path).context(|| format!("creating {path:?}"))?;
    let result = container.engine.container_export(container.id.as_str(), &mut file);
    if result.is_err() {
        // The half-written file is ours; the error that led here matters more than one of its removal.
        let _already_failing = std::fs::remove_file(path);
    }
    result
}

/// Gives log lines to a closure until it returns false or the container ends.
fn follow(ctx: &NativeCallContext, container: &Container, closure: &FnPtr) -> Fallible<()> {
    let host = tag(ctx)?.host;
    let mut failure = None;
    let mut rest = Vec::new();
    let mut call = |line: &[u8]| {
        let line = String::from_utf8_lossy(line).into_owned();
        match closure.call_within_context::<Dynamic>(ctx, (line,)) {
            Ok(answer) if answer.as_bool() == Ok(false) => ControlFlow::Break(()),
            Ok(_) if host.is_stopping() => ControlFlow::Break(()),
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut ended = false;
    let result = container.engine.container_logs(container.id.as_str(), &query, &mut |entry: LogEntry| {
        rest.extend_from_slice(&entry.bytes);
        if rest.last() != Some(&b'\n') {
            return Ok(ControlFlow::Continue(()));
        }
        rest.pop();
        let flow = call(&std::mem::take(&mut rest));
        ended = flow.is_break();
        Ok(flow)
    });
    if result.is_ok() && !ended && !rest.is_empty() {
        // The last line has no line end.
        let _nothing_follows = call(&rest);
    }
    failure.map_or_else(|| result.raise(ctx), Err)
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_functions {
    use super::*;

    /// Makes a container from an image, starts it and returns its handle. The options are the Compose specification's
    /// keys, with docker's command-line spellings as aliases.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ name: "web", command: ["sleep", "300"], labels: #{ tier: "front" } });
    /// assert(c.status == "running");
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn run(ctx: NativeCallContext, image: OneImage, options: Map) -> Fallible<Container> {
        let host = tag(&ctx)?.host;
        let container = host.engine().and_then(|engine| make(engine, &image, options, true)).raise(&ctx)?;
        started(&host, &container.id);
        Ok(container)
    }

    #[rhai_fn(name = "run", return_raw)]
    pub fn run_default(ctx: NativeCallContext, image: OneImage) -> Fallible<Container> {
        run(ctx, image, Map::new())
    }

    /// Makes a container without starting it.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ command: "echo ready" });
    /// assert(c.status == "created");
    /// c.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create(ctx: NativeCallContext, image: OneImage, options: Map) -> Fallible<Container> {
        make(&engine(&ctx)?, &image, options, false).raise(&ctx)
    }

    #[rhai_fn(name = "create", return_raw)]
    pub fn create_default(ctx: NativeCallContext, image: OneImage) -> Fallible<Container> {
        create(ctx, image, Map::new())
    }

    /// Runs one command in a new container, removes the container and returns the command's output. `[]` is the image's
    /// own command. Besides container options it takes `check: false` (a status other than 0 is no error), `timeout`,
    /// `stdin` and `stream: true` (show output as it comes).
    ///
    /// ```rhai
    /// assert(container::oneshot("base", ["echo", "hello"]).stdout == "hello\n");
    /// assert(container::oneshot("base", "exit 3", #{ check: false }).code == 3);
    /// ```
    #[rhai_fn(name = "oneshot", return_raw)]
    pub fn oneshot_with(ctx: NativeCallContext, image: OneImage, command: Command, options: Map) -> Fallible<Output> {
        let host = tag(&ctx)?.host;
        oneshot(&host, &image, &command, options).raise(&ctx)
    }

    #[rhai_fn(name = "oneshot", return_raw)]
    pub fn oneshot_default(ctx: NativeCallContext, image: OneImage, command: Command) -> Fallible<Output> {
        oneshot_with(ctx, image, command, Map::new())
    }

    /// The container of this name, id, or unique beginning of an id.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ name: "found" });
    /// assert(container::get("found") == c);
    /// c.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn get(ctx: NativeCallContext, name: ImmutableString) -> Fallible<Container> {
        let engine = engine(&ctx)?;
        let id = engine.container_get(&name).raise(&ctx)?.record.id;
        Ok(Container { engine, id })
    }

    /// The containers that run, newest first; with `all: true` the others too. Filters: `status name id label ancestor
    /// volume exited last`.
    ///
    /// ```rhai
    /// for c in container::list(#{ all: true, label: "tier=front" }) { print(c.name); }
    /// ```
    #[rhai_fn(name = "list", return_raw)]
    pub fn list_with(ctx: NativeCallContext, options: Map) -> Fallible<Array> {
        list(&engine(&ctx)?, options).raise(&ctx)
    }

    #[rhai_fn(name = "list", return_raw)]
    pub fn list_default(ctx: NativeCallContext) -> Fallible<Array> {
        list_with(ctx, Map::new())
    }

    /// The running container of this name with this image and these options: found, started or made. A container that
    /// differs is a `conflict`.
    ///
    /// ```rhai
    /// let a = container::ensure("steady", "base", #{ command: ["sleep", "300"] });
    /// let b = container::ensure("steady", "base", #{ command: ["sleep", "300"] });
    /// assert(a == b);
    /// a.remove(#{ force: true });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ensure(ctx: NativeCallContext, name: ImmutableString, image: OneImage, options: Map) -> Fallible<Container> {
        let host = tag(&ctx)?.host;
        let ensured = || {
            let engine = host.engine()?;
            let options = options_of(options)?;
            let id = engine.container_ensure(&name, &image_name(engine, &image)?, &options)?;
            Ok::<_, Error>(Container { engine: engine.clone(), id })
        };
        let container = ensured().raise(&ctx)?;
        started(&host, &container.id);
        Ok(container)
    }

    /// Removes every container that does not run; returns `count`, `freed` and `items`.
    ///
    /// ```rhai
    /// print(container::prune().freed);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn prune(ctx: NativeCallContext) -> Fallible<Map> {
        engine(&ctx)?.container_prune().map(crate::script::system::report).raise(&ctx)
    }

    #[rhai_fn(name = "prune", return_raw)]
    pub fn prune_with(ctx: NativeCallContext, options: Map) -> Fallible<Map> {
        Keys::new("container::prune", options).finish().raise(&ctx)?;
        prune(ctx)
    }

    /// The id: 64 hexadecimal digits.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(c.id.len == 64);
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "id")]
    pub fn id(container: Container) -> String {
        container.id.to_string()
    }

    /// The name.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ name: "named" });
    /// assert(c.name == "named");
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "name", return_raw)]
    pub fn name(ctx: NativeCallContext, container: Container) -> Fallible<String> {
        container.now().map(|now| now.name).raise(&ctx)
    }

    /// The image as it was named when the container was made.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(c.image.contains("base"));
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "image", return_raw)]
    pub fn image(ctx: NativeCallContext, container: Container) -> Fallible<String> {
        container.now().map(|now| now.record.image).raise(&ctx)
    }

    /// What it is doing: `created running paused exited dead removing`.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(c.status == "created");
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "status", return_raw)]
    pub fn status(ctx: NativeCallContext, container: Container) -> Fallible<ImmutableString> {
        container.now().map(|now| now.state.status.as_str().into()).raise(&ctx)
    }

    /// The exit status after it ended, unit before or when nobody knows it.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "exit 3" });
    /// c.wait();
    /// assert(c.exit_code == 3);
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "exit_code", return_raw)]
    pub fn exit_code(ctx: NativeCallContext, container: Container) -> Fallible<Dynamic> {
        let state = container.now().raise(&ctx)?.state;
        Ok(state.exit_code.map_or(Dynamic::UNIT, |code| i64::from(code).into()))
    }

    /// The host's id of its first process, unit when it does not run.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(c.pid == ());
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "pid", return_raw)]
    pub fn pid(ctx: NativeCallContext, container: Container) -> Fallible<Dynamic> {
        let state = container.now().raise(&ctx)?.state;
        Ok(state.pid.map_or(Dynamic::UNIT, |pid| i64::from(pid).into()))
    }

    /// When it was made.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(now() - c.created < 1.min);
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "created", return_raw)]
    pub fn created(ctx: NativeCallContext, container: Container) -> Fallible<Timestamp> {
        container.now().map(|now| now.record.created).raise(&ctx)
    }

    /// Its labels, the image's included.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ labels: #{ tier: "front" } });
    /// assert(c.labels.tier == "front");
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "labels", return_raw)]
    pub fn labels(ctx: NativeCallContext, container: Container) -> Fallible<Map> {
        let labels = container.now().raise(&ctx)?.record.labels;
        Ok(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// Its mounts besides the standard ones: maps with `type source target read_only`.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ tmpfs: ["/scratch"] });
    /// assert(c.mounts[0].target == "/scratch");
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "mounts", return_raw)]
    pub fn mounts_of(ctx: NativeCallContext, container: Container) -> Fallible<Array> {
        mounts(&container).raise(&ctx)
    }

    /// Starts a container that was created or has ended.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ command: "echo hello" });
    /// c.start();
    /// assert(c.wait() == 0);
    /// c.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn start(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_start(container.id.as_str()).raise(&ctx)?;
        started(&tag(&ctx)?.host, &container.id);
        Ok(())
    }

    /// Asks the container to end, and kills it after the grace period: the container's own (10 s) unless given.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// c.stop(100.ms);
    /// assert(c.status == "exited");
    /// c.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn stop(ctx: NativeCallContext, container: Container, grace: TimeSpan) -> Fallible<()> {
        let grace = duration_of(&grace).raise(&ctx)?;
        container.engine.container_stop(container.id.as_str(), None, Some(grace)).raise(&ctx)
    }

    #[rhai_fn(global, name = "stop", return_raw)]
    pub fn stop_default(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_stop(container.id.as_str(), None, None).raise(&ctx)
    }

    /// Stops and starts the container.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"], stop_grace_period: 10.ms });
    /// let before = c.pid;
    /// c.restart();
    /// assert(c.pid != before);
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn restart(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_restart(container.id.as_str(), None).raise(&ctx)
    }

    #[rhai_fn(global, name = "restart", return_raw)]
    pub fn restart_after(ctx: NativeCallContext, container: Container, grace: TimeSpan) -> Fallible<()> {
        let grace = duration_of(&grace).raise(&ctx)?;
        container.engine.container_restart(container.id.as_str(), Some(grace)).raise(&ctx)
    }

    /// Sends a signal to the container's first process: a name such as `"HUP"`, or SIGKILL when none is given.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// c.kill();
    /// assert(c.wait() == 137);
    /// c.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn kill(ctx: NativeCallContext, container: Container, signal: ImmutableString) -> Fallible<()> {
        container.engine.container_kill(container.id.as_str(), Some(&signal)).raise(&ctx)
    }

    #[rhai_fn(global, name = "kill", return_raw)]
    pub fn kill_default(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_kill(container.id.as_str(), None).raise(&ctx)
    }

    /// Freezes all its processes.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// c.pause();
    /// assert(c.status == "paused");
    /// c.unpause();
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn pause(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_pause(container.id.as_str()).raise(&ctx)
    }

    /// Thaws all its processes.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// c.pause();
    /// c.unpause();
    /// assert(c.status == "running");
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn unpause(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_unpause(container.id.as_str()).raise(&ctx)
    }

    /// Waits until the container has ended and returns its exit status; at most 60 s unless a time is given. The
    /// `timeout` error shows the last lines of its log.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "exit 4" });
    /// assert(c.wait(10.s) == 4);
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "wait", return_raw)]
    pub fn wait_for(ctx: NativeCallContext, container: Container, timeout: TimeSpan) -> Fallible<i64> {
        duration_of(&timeout).and_then(|timeout| wait(&container, timeout)).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait", return_raw)]
    pub fn wait_default(ctx: NativeCallContext, container: Container) -> Fallible<i64> {
        wait(&container, DEFAULT_WAIT).raise(&ctx)
    }

    /// Waits until a line of the log contains a text; at most 60 s unless a time is given.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo ready; sleep 300" });
    /// c.wait_log("ready", 10.s);
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "wait_log", return_raw)]
    pub fn wait_log_for(
        ctx: NativeCallContext,
        container: Container,
        text: ImmutableString,
        timeout: TimeSpan,
    ) -> Fallible<()> {
        let host = tag(&ctx)?.host;
        duration_of(&timeout).and_then(|timeout| wait_log(&host, &container, &text, timeout)).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait_log", return_raw)]
    pub fn wait_log_default(ctx: NativeCallContext, container: Container, text: ImmutableString) -> Fallible<()> {
        let host = tag(&ctx)?.host;
        wait_log(&host, &container, &text, DEFAULT_WAIT).raise(&ctx)
    }

    /// Removes the container: `force: true` kills it first when it runs, `volumes: true` takes its anonymous volumes too.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "remove", return_raw)]
    pub fn remove_with(ctx: NativeCallContext, container: Container, options: Map) -> Fallible<()> {
        remove(&container, options).raise(&ctx)
    }

    #[rhai_fn(global, name = "remove", return_raw)]
    pub fn remove_default(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        remove(&container, Map::new()).raise(&ctx)
    }

    /// Gives the container another name.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ name: "before" });
    /// c.rename("after");
    /// assert(c.name == "after");
    /// c.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn rename(ctx: NativeCallContext, container: Container, name: ImmutableString) -> Fallible<()> {
        container.engine.container_rename(container.id.as_str(), &name).raise(&ctx)
    }

    /// Runs a command in the running container and returns its output. Options: `user environment workdir tty privileged
    /// stdin timeout check stream detach`; with `detach: true` it returns unit at once.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// assert(c.exec("echo $GREETING", #{ env: #{ GREETING: "hello" } }).stdout == "hello\n");
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "exec", return_raw)]
    pub fn exec_with(
        ctx: NativeCallContext,
        container: Container,
        command: Command,
        options: Map,
    ) -> Fallible<Dynamic> {
        let host = tag(&ctx)?.host;
        let output = exec(&host, &container, &command, options).raise(&ctx)?;
        Ok(output.map_or(Dynamic::UNIT, Dynamic::from))
    }

    #[rhai_fn(global, name = "exec", return_raw)]
    pub fn exec_default(ctx: NativeCallContext, container: Container, command: Command) -> Fallible<Dynamic> {
        exec_with(ctx, container, command, Map::new())
    }

    /// Its log as text. Options: `tail` (lines), `since` and `until` (a time or an age), `stream` ("stdout" or "stderr"),
    /// `timestamps`.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo one; echo two" });
    /// c.wait();
    /// assert(c.logs(#{ tail: 1 }) == "two\n");
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "logs", return_raw)]
    pub fn logs_with(ctx: NativeCallContext, container: Container, options: Map) -> Fallible<String> {
        logs(&container, options).raise(&ctx)
    }

    #[rhai_fn(global, name = "logs", return_raw)]
    pub fn logs_default(ctx: NativeCallContext, container: Container) -> Fallible<String> {
        logs(&container, Map::new()).raise(&ctx)
    }

    /// Calls a closure with every line of its log, those to come included, until the closure returns false or the
    /// container ends.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo one; echo two; sleep 300" });
    /// c.follow(|line| line != "two");
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "follow", return_raw)]
    pub fn follow_lines(ctx: NativeCallContext, container: Container, closure: FnPtr) -> Fallible<()> {
        follow(&ctx, &container, &closure)
    }

    /// Writes its file system, without its mounts, to a new tar.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// let tar = `${host::temp_dir()}/root.tar`;
    /// c.export_tar(tar);
    /// assert(host::exists(tar));
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "export_tar", return_raw)]
    pub fn export_to(ctx: NativeCallContext, container: Container, path: ImmutableString) -> Fallible<()> {
        export_tar(&container, &path).raise(&ctx)
    }

    /// The volume that is mounted at a path in the container.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ volumes: ["/data"] });
    /// print(c.volume("/data").mountpoint);
    /// c.remove(#{ volumes: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn volume(ctx: NativeCallContext, container: Container, path: ImmutableString) -> Fallible<Volume> {
        let volume = container.engine.container_volume(container.id.as_str(), &path).raise(&ctx)?;
        Ok(Volume { engine: container.engine, id: volume.id })
    }

    #[rhai_fn(global, name = "==")]
    pub fn equal(a: Container, b: Container) -> bool {
        a.id == b.id
    }
    #[rhai_fn(global, name = "!=")]
    pub fn unequal(a: Container, b: Container) -> bool {
        a.id != b.id
    }
    #[rhai_fn(global, name = "to_string", name = "to_debug")]
    pub fn text(container: Container) -> String {
        container.shown()
    }
}

/// The columns of a listing.
pub(crate) fn row(container: &Container) -> Result<Map> {
    let now = container.now()?;
    let mut map = Map::new();
    map.insert("name".into(), now.name.into());
    map.insert("id".into(), container.id.short().into());
    map.insert("image".into(), now.record.image.into());
    map.insert("status".into(), now.state.status.as_str().into());
    map.insert("exit_code".into(), now.state.exit_code.map_or(Dynamic::UNIT, |code| i64::from(code).into()));
    Ok(map)
}
