//! The noun `container` in scripts: the handle, and what its functions and methods share.
//!
//! ```text
//! functions.rs    container::run create oneshot get list ensure prune
//! properties.rs   c.id name image status exit_code pid created labels mounts
//! verbs.rs        c.start stop restart kill pause unpause wait remove rename exec export_tar volume inspect
//! logs.rs         c.logs follow clear_logs
//! attach.rs       c.attach
//! waits.rs        c.wait_healthy wait_port wait_http wait_log
//! observe.rs      c.top stats execs exec_kill
//! content.rs      c.diff commit copy_to copy_from
//! ```
//!
//! Each decodes, calls the engine once and encodes. A handle is an id and the engine: every property reads the live state.

pub(crate) mod attach;
pub(crate) mod content;
pub(crate) mod functions;
pub(crate) mod logs;
pub(crate) mod observe;
pub(crate) mod properties;
pub(crate) mod verbs;
pub(crate) mod waits;

use std::time::{Duration, Instant};

use rhai::{Dynamic, Map};

use crate::base::{Error, Id, Result};
use crate::docker::options::container_options;
use crate::engine::Engine;
use crate::engine::container::Attachment;
use crate::model::container::ContainerOptions;
use crate::model::exec::{self};
use crate::model::log::Stream;
use crate::script::context::Host;
use crate::script::convert::{Keys, to_json};

/// How long the waits of a script take at most, unless told otherwise.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(60);

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

    /// Its text: name and short id.
    pub(crate) fn shown(&self) -> String {
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
pub(crate) fn options_of(map: Map) -> Result<ContainerOptions> {
    match to_json(&map.into())? {
        serde_json::Value::Object(map) => container_options(&map),
        _ => Err(Error::invalid("options are a map")),
    }
}

/// Notes that this script started a container, for the message after Ctrl-C.
fn started(host: &Host, id: &Id) {
    host.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(id.clone());
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
