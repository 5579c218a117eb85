//! The user's terminal joined to a container from its handle. Without a terminal there is nothing to join: logs and output
//! are read by other methods.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::PoisonError;

use rhai::plugin::*;
use rhai::{Dynamic, NativeCallContext};

use crate::base::{Context as _, Error, Result};
use crate::engine::container::{AttachEnd, Attachment};
use crate::model::log::Stream;
use crate::script::context::{Host, tag};
use crate::script::error::{Fallible, Raise};
use crate::sys::terminal::RawMode;

use crate::script::container::Container;

/// Docker's keys: Ctrl-P, Ctrl-Q.
const DETACH_KEYS: [u8; 2] = [16, 17];

/// Joins them until the container ends, or the user leaves it: then there is no exit status.
fn attach(host: &Host, container: &Container) -> Result<Option<i32>> {
    let terminal = host.console.lock().unwrap_or_else(PoisonError::into_inner).terminal.clone();
    let terminal = terminal.ok_or_else(|| {
        Error::invalid("there is no terminal to attach").with_hint("read what it writes with logs or follow")
    })?;
    let options = container.now()?.record.options;
    let typed = options.stdin_open.then(|| terminal.as_fd());
    let raw = match options.tty && options.stdin_open {
        true => Some(RawMode::enter(terminal.as_fd()).context(|| "using the terminal")?),
        false => None,
    };
    let mut show = |stream: Stream, bytes: &[u8]| -> Result<()> {
        let mut console = host.console.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = match stream {
            Stream::Stdout => &mut console.out,
            Stream::Stderr => &mut console.err,
        };
        writer.write_all(bytes).and_then(|()| writer.flush()).context(|| "writing to the terminal")
    };
    let end = container.engine.container_attach(
        container.id.as_str(),
        Attachment {
            stdin: typed,
            output: &mut show,
            terminal: options.tty.then(|| terminal.as_fd()),
            detach_keys: if raw.is_some() { DETACH_KEYS.to_vec() } else { Vec::new() },
            signals: None,
            interrupt: host.interrupt(),
            deadline: None,
        },
    );
    drop(raw);
    match end? {
        AttachEnd::Exited(code) => Ok(Some(code)),
        AttachEnd::Detached => Ok(None),
    }
}

/// The exit status, or unit.
type MaybeInt = Dynamic;

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_attach {
    use super::*;

    /// Joins this terminal to the running container until it ends, and returns its exit status; unit when you leave it with
    /// Ctrl-P Ctrl-Q. What is typed goes to a container made with `stdin_open: true`. Without a terminal it is an error.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// try { c.attach(); } catch (e) { assert(e.message.contains("no terminal")); }
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "attach", return_raw)]
    pub fn attach_here(ctx: NativeCallContext, container: Container) -> Fallible<MaybeInt> {
        let host = tag(&ctx)?.host;
        let code = attach(&host, &container).raise(&ctx)?;
        Ok(code.map_or(Dynamic::UNIT, |code| i64::from(code).into()))
    }
}
