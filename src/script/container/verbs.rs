//! What a container's handle can do: its methods.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::{Error, Kind, Result};
use crate::docker::options::{container_update, exec_options};
use crate::docker::words::wait_condition;
use crate::engine::Engine;
use crate::model::container::{ContainerRemove, WaitCondition};
use crate::model::exec::ExecOptions;
use crate::script::context::{Host, tag};
use crate::script::convert::{Command, Keys, command_of, from_json, to_json};
use crate::script::error::{Fallible, Raise};
use crate::script::output::Output;
use crate::script::units::{TimeSpan, duration_of};
use crate::script::volume::Volume;

use crate::script::container::{Container, DEFAULT_WAIT, command_keys, started, streamed};

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

fn remove(container: &Container, options: Map) -> Result<()> {
    let mut keys = Keys::new("remove", options);
    let how = ContainerRemove { force: keys.flag("force")?, volumes: keys.flag("volumes")? };
    keys.finish()?;
    match container.engine.container_remove(container.id.as_str(), how) {
        // Forced, a container that is gone already is what was asked for; so a `defer` may name one that was removed.
        Err(error) if how.force && error.kind() == Kind::NotFound => Ok(()),
        removed => removed,
    }
}

fn wait(container: &Container, condition: WaitCondition, timeout: Duration) -> Result<i64> {
    let state = container.engine.container_wait(container.id.as_str(), condition, Some(timeout))?;
    state.exit_code.map(i64::from).ok_or_else(|| {
        let why = state.error.unwrap_or_else(|| "nobody saw it end".to_owned());
        Error::failed(format!("the exit status of the container is not known: {why}"))
    })
}

fn wait_options(container: &Container, options: Map) -> Result<i64> {
    let mut keys = Keys::new("wait", options);
    let condition = keys.text("condition")?.map_or(Ok(WaitCondition::NotRunning), |text| wait_condition(&text))?;
    let timeout = keys.duration("timeout")?.unwrap_or(DEFAULT_WAIT);
    keys.finish()?;
    wait(container, condition, timeout)
}

/// What stops with a signal and a grace period.
type Stop = fn(&Engine, &str, Option<&str>, Option<Duration>) -> Result<()>;

fn stop_by(container: &Container, verb: &'static str, options: Map, act: Stop) -> Result<()> {
    let mut keys = Keys::new(verb, options);
    let (signal, timeout) = (keys.text("signal")?, keys.duration("timeout")?);
    keys.finish()?;
    act(&container.engine, container.id.as_str(), signal.as_deref(), timeout)
}

fn export_tar(container: &Container, path: &str) -> Result<()> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(Error::already_exists(format!("{path:?} is there already")).with_hint("remove it, or name another"));
    }
    container.engine.container_export_to(container.id.as_str(), std::path::Path::new(path))
}

/// An [`Output`], or unit for a command that was detached.
type MaybeOutput = Dynamic;

fn change(container: &Container, options: Map) -> Result<()> {
    let update = match to_json(&options.into())? {
        serde_json::Value::Object(map) => container_update(&map)?,
        _ => return Err(Error::invalid("options are a map")),
    };
    container.engine.container_update(container.id.as_str(), &update)
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_verbs {
    use super::*;
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

    #[rhai_fn(global, name = "stop", return_raw)]
    pub fn stop_with(ctx: NativeCallContext, container: Container, options: Map) -> Fallible<()> {
        stop_by(&container, "stop", options, Engine::container_stop).raise(&ctx)
    }

    /// Stops and starts the container. Options of this and of `stop`: `signal timeout`.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"], stop_grace_period: 10.ms });
    /// let before = c.pid;
    /// c.restart();
    /// assert(c.pid != before);
    /// c.restart(#{ signal: "KILL", timeout: 5.s });
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn restart(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_restart(container.id.as_str(), None, None).raise(&ctx)
    }

    #[rhai_fn(global, name = "restart", return_raw)]
    pub fn restart_after(ctx: NativeCallContext, container: Container, grace: TimeSpan) -> Fallible<()> {
        let grace = duration_of(&grace).raise(&ctx)?;
        container.engine.container_restart(container.id.as_str(), None, Some(grace)).raise(&ctx)
    }

    #[rhai_fn(global, name = "restart", return_raw)]
    pub fn restart_with(ctx: NativeCallContext, container: Container, options: Map) -> Fallible<()> {
        stop_by(&container, "restart", options, Engine::container_restart).raise(&ctx)
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
    /// `timeout` error shows the last lines of its log. Options: `condition timeout`; the condition is `"not-running"`,
    /// `"next-exit"` or `"removed"`.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "exit 4" });
    /// assert(c.wait(10.s) == 4);
    /// assert(c.wait(#{ condition: "not-running", timeout: 10.s }) == 4);
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "wait", return_raw)]
    pub fn wait_for(ctx: NativeCallContext, container: Container, timeout: TimeSpan) -> Fallible<i64> {
        duration_of(&timeout).and_then(|timeout| wait(&container, WaitCondition::NotRunning, timeout)).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait", return_raw)]
    pub fn wait_default(ctx: NativeCallContext, container: Container) -> Fallible<i64> {
        wait(&container, WaitCondition::NotRunning, DEFAULT_WAIT).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait", return_raw)]
    pub fn wait_with(ctx: NativeCallContext, container: Container, options: Map) -> Fallible<i64> {
        wait_options(&container, options).raise(&ctx)
    }

    /// Removes the container: `force: true` kills it first when it runs and forgives that it is gone already, `volumes: true`
    /// takes its anonymous volumes too.
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

    /// Changes limits and the restart policy, at once when it runs: `mem_limit memswap_limit mem_reservation cpus cpu_quota
    /// cpu_period cpu_shares cpuset cpuset_mems pids_limit blkio_weight restart`. What is refused changes nothing.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"], mem_limit: "64m" });
    /// c.update(#{ mem_limit: "96m", pids_limit: 50 });
    /// assert(c.inspect().HostConfig.Memory == 96 * 1024 * 1024);
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn update(ctx: NativeCallContext, container: Container, options: Map) -> Fallible<()> {
        change(&container, options).raise(&ctx)
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
    ) -> Fallible<MaybeOutput> {
        let host = tag(&ctx)?.host;
        let output = exec(&host, &container, &command, options).raise(&ctx)?;
        Ok(output.map_or(Dynamic::UNIT, Dynamic::from))
    }

    #[rhai_fn(global, name = "exec", return_raw)]
    pub fn exec_default(ctx: NativeCallContext, container: Container, command: Command) -> Fallible<MaybeOutput> {
        exec_with(ctx, container, command, Map::new())
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

    /// Docker's JSON about the container, as a map.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ mem_limit: "64m" });
    /// assert(c.inspect().HostConfig.Memory == 64 * 1024 * 1024);
    /// c.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn inspect(ctx: NativeCallContext, container: Container) -> Fallible<Dynamic> {
        let now = container.engine.container_inspect(container.id.as_str()).raise(&ctx)?;
        Ok(from_json(&crate::docker::inspect::container(&now, container.engine.paths())))
    }
}
