//! What a running container is doing, as its handle's methods tell it: processes.

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::Result;
use crate::model::process::{Process, ProcessTable};
use crate::script::error::{Fallible, Raise};

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
}
