//! What a running container is doing, as its handle's methods tell it: its processes, those that were
//! started in it, and what it uses.

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::{Error, Result};
use crate::docker::stats as docker;
use crate::model::exec::Exec;
use crate::model::process::{Process, ProcessTable};
use crate::script::error::{Fallible, Raise};
use crate::script::units::Size;

use crate::script::container::Container;

fn process(process: Process) -> Dynamic {
    let terminal = process.terminal.map_or(Dynamic::UNIT, Dynamic::from);
    let entries: [(&str, Dynamic); 8] = [
        ("pid", i64::from(process.pid).into()),
        ("ppid", i64::from(process.ppid).into()),
        ("user", process.user.into()),
        ("cpu", i64::from(process.cpu_percent).into()),
        ("started", Dynamic::from(process.started)),
        ("terminal", terminal),
        ("cpu_time", Dynamic::from(process.cpu_time)),
        ("command", process.command.into()),
    ];
    Dynamic::from(entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>())
}

fn exec(exec: Exec) -> Dynamic {
    let running = exec.is_running();
    let entries: [(&str, Dynamic); 8] = [
        ("id", exec.id.to_string().into()),
        ("pid", i64::from(exec.pid).into()),
        ("command", exec.args.into_iter().map(Dynamic::from).collect::<Array>().into()),
        ("user", exec.user.map_or(Dynamic::UNIT, Dynamic::from)),
        ("running", running.into()),
        ("exit_code", exec.exit_code.map_or(Dynamic::UNIT, |code| i64::from(code).into())),
        ("started", Dynamic::from(exec.started)),
        ("health_check", exec.health_check.into()),
    ];
    Dynamic::from(entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>())
}

/// Cells by their titles in lower case; what is a whole number is one.
fn rows(table: ProcessTable) -> Array {
    let keys: Vec<String> = table.titles.iter().map(|title| title.to_lowercase()).collect();
    let cell = |text: String| text.parse::<i64>().map_or_else(|_| Dynamic::from(text), Dynamic::from);
    let row = |cells: Vec<String>| {
        let entries = keys.iter().zip(cells).map(|(key, text)| (key.as_str().into(), cell(text)));
        Dynamic::from(entries.collect::<Map>())
    };
    table.rows.into_iter().map(row).collect()
}

fn top(container: &Container) -> Result<Array> {
    let list = container.engine.container_top(container.id.as_str())?;
    Ok(list.into_iter().map(process).collect())
}

/// Two digits after the point: more are noise.
fn rounded(percent: f64) -> Dynamic {
    Dynamic::from_float((percent * 100.0).round() / 100.0)
}

fn stats(container: &Container) -> Result<Map> {
    let id = container.id.to_string();
    let (earlier, reading) = container
        .engine
        .container_stats(&[id], true)?
        .pop()
        .ok_or_else(|| Error::not_found("the container was removed meanwhile"))?;
    let Some(now) = reading.sample else {
        return Err(Error::conflict(format!("the container {:?} is not running", reading.name)));
    };
    let usage = docker::usage(earlier.as_ref(), &now);
    let size = |bytes: u64| Dynamic::from(Size(bytes));
    let entries: [(&str, Dynamic); 10] = [
        ("name", reading.name.into()),
        ("cpu_percent", rounded(usage.cpu_percent)),
        ("memory", size(usage.memory_bytes)),
        ("memory_limit", size(usage.memory_limit_bytes)),
        ("memory_percent", rounded(usage.memory_percent)),
        ("received", size(usage.rx_bytes)),
        ("sent", size(usage.tx_bytes)),
        ("read", size(usage.read_bytes)),
        ("written", size(usage.written_bytes)),
        ("pids", i64::try_from(usage.pids).unwrap_or(i64::MAX).into()),
    ];
    Ok(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_observe {
    use super::*;

    /// Its processes, those of `exec` included: maps with `pid ppid user cpu started terminal cpu_time command`, where the
    /// numbers and the user are the host's.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// assert(c.top()[0].command == "sleep 300");
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "top", return_raw)]
    pub fn top_default(ctx: NativeCallContext, container: Container) -> Fallible<Array> {
        top(&container).raise(&ctx)
    }

    /// The processes that `exec` started, those of the health check included: maps with `id pid command user running exit_code
    /// started health_check`. Of those that have ended the last few are there.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// c.exec("sleep 200", #{ detach: true });
    /// let one = c.execs()[0];
    /// assert(one.running && one.command == ["sh", "-c", "sleep 200"]);
    /// c.exec_kill(one.id);
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn execs(ctx: NativeCallContext, container: Container) -> Fallible<Array> {
        let list = container.engine.container_execs(container.id.as_str()).raise(&ctx)?;
        Ok(list.into_iter().map(exec).collect())
    }

    /// Sends a signal to a process that `exec` started, by its id: a name such as `"HUP"`, or SIGKILL when none is given.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// c.exec("sleep 200", #{ detach: true });
    /// c.exec_kill(c.execs()[0].id, "KILL");
    /// retry(100, 50.ms, || assert(c.execs()[0].exit_code == 137));
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn exec_kill(
        ctx: NativeCallContext,
        container: Container,
        id: ImmutableString,
        signal: ImmutableString,
    ) -> Fallible<()> {
        let killed = container.engine.container_exec_kill(container.id.as_str(), &id, Some(&signal));
        killed.map(drop).raise(&ctx)
    }

    #[rhai_fn(global, name = "exec_kill", return_raw)]
    pub fn exec_kill_default(ctx: NativeCallContext, container: Container, id: ImmutableString) -> Fallible<()> {
        container.engine.container_exec_kill(container.id.as_str(), &id, None).map(drop).raise(&ctx)
    }

    /// What the host's `ps` shows of its processes with these options: maps with the column titles in lower case.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// assert(c.top("-o pid,args")[0].pid == c.pid);
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "top", return_raw)]
    pub fn top_with(ctx: NativeCallContext, container: Container, options: ImmutableString) -> Fallible<Array> {
        let options = [options.to_string()];
        container.engine.container_top_with(container.id.as_str(), &options).map(rows).raise(&ctx)
    }

    /// What it uses now, measured for a second: a map with `cpu_percent` (of one processor), `memory memory_limit`
    /// (sizes), `memory_percent`, `received sent` (over its networks), `read written` (block devices) and `pids`.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"], mem_limit: "64m" });
    /// let used = c.stats();
    /// assert(used.memory_limit == 64.mb && used.pids == 1);
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "stats", return_raw)]
    pub fn stats_now(ctx: NativeCallContext, container: Container) -> Fallible<Map> {
        stats(&container).raise(&ctx)
    }
}
