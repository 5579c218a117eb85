//! `Output`: how a command ended and what it wrote, in a container or on this machine.
//!
//! Text that is not UTF-8 is shown with replacement characters; `stdout_bytes` has it as it came.

use std::sync::Arc;
use std::time::Duration;

use rhai::plugin::*;
use rhai::{Blob, ImmutableString};

use crate::base::error::CommandFailure;
use crate::base::{Error, Result};
use crate::model::exec;

/// A finished command.
#[derive(Debug, Clone)]
pub(crate) struct Output(pub(crate) Arc<exec::Output>);

impl Output {
    /// The output, or `command_failed` when `check` is set and it ended non-zero.
    pub(crate) fn checked(output: exec::Output, check: bool, command: &[String], place: &str) -> Result<Output> {
        if check && output.code != 0 {
            let failure = CommandFailure {
                exit_code: output.code,
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            };
            let message = format!("{}{place} ended with status {}", shown(command), output.code);
            return Err(Error::command_failed(message, failure)
                .with_hint("with #{ check: false } a status other than 0 is no error"));
        }
        Ok(Output(Arc::new(output)))
    }
}

/// The most of a command that an error shows, in characters.
const SHOWN: usize = 100;

/// A command for people: a shell command as its text, others word by word.
fn shown(command: &[String]) -> String {
    let text = match command {
        [shell, flag, text] if shell == "sh" && flag == "-c" => text.clone(),
        [] => "the image's command".to_owned(),
        words => words.join(" "),
    };
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(SHOWN).collect();
    if short == text { format!("`{short}`") } else { format!("`{short} …`") }
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod output_functions {
    use super::*;

    /// The exit status: 0 is success, 128 and more is 128 plus the signal that ended it.
    ///
    /// ```rhai
    /// assert(host::run("exit 3", #{ check: false }).code == 3);
    /// ```
    #[rhai_fn(get = "code")]
    pub fn code(output: Output) -> i64 {
        i64::from(output.0.code)
    }

    /// Whether the exit status is 0.
    ///
    /// ```rhai
    /// assert(host::run("true").ok);
    /// ```
    #[rhai_fn(get = "ok")]
    pub fn ok(output: Output) -> bool {
        output.0.code == 0
    }

    /// What the command wrote to standard output.
    ///
    /// ```rhai
    /// assert(host::run("echo hello").stdout == "hello\n");
    /// ```
    #[rhai_fn(get = "stdout")]
    pub fn stdout(output: Output) -> String {
        String::from_utf8_lossy(&output.0.stdout).into_owned()
    }

    /// Standard output as it came, byte by byte.
    ///
    /// ```rhai
    /// assert(host::run(["printf", "\\001"]).stdout_bytes[0] == 1);
    /// ```
    #[rhai_fn(get = "stdout_bytes")]
    pub fn stdout_bytes(output: Output) -> Blob {
        output.0.stdout.clone()
    }

    /// What the command wrote to standard error.
    ///
    /// ```rhai
    /// assert(host::run("echo careful >&2").stderr.trimmed() == "careful");
    /// ```
    #[rhai_fn(get = "stderr")]
    pub fn stderr(output: Output) -> String {
        String::from_utf8_lossy(&output.0.stderr).into_owned()
    }

    /// How long the command took.
    ///
    /// ```rhai
    /// assert(host::run("true").elapsed < 1.min);
    /// ```
    #[rhai_fn(get = "elapsed")]
    pub fn elapsed(output: Output) -> Duration {
        output.0.elapsed
    }

    #[rhai_fn(name = "to_string")]
    pub fn text(output: Output) -> ImmutableString {
        String::from_utf8_lossy(&output.0.stdout).trim_end_matches('\n').into()
    }
    #[rhai_fn(name = "to_debug")]
    pub fn debug_text(output: Output) -> String {
        format!("Output(code {}, {} bytes)", output.0.code, output.0.stdout.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_named_as_it_was_written() {
        let output = exec::Output { code: 3, ..exec::Output::default() };
        let command = ["sh", "-c", "exit 3"].map(str::to_owned);
        let error = Output::checked(output.clone(), true, &command, " in web").unwrap_err();
        assert_eq!(error.message(), "`exit 3` in web ended with status 3");
        assert!(Output::checked(output, false, &command, "").is_ok());
    }
}
