//! Errors as the user sees them: `rhumb: message: cause` and `hint: …` on standard error, and the exit code.

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::base::{Error, Kind, suggest};
use crate::cli::out;

/// The exit code of `run` and `exec` when the engine fails and not the command; Docker's number.
pub(crate) const ENGINE_FAILED: u8 = 125;

/// Writes an error to standard error.
pub(crate) fn error(error: &Error) {
    let mut text = format!("rhumb: {error}\n");
    for line in error.hint().unwrap_or_default().lines() {
        text.push_str(&format!("hint: {line}\n"));
    }
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a note to standard error.
pub(crate) fn note(text: &str) {
    // As for errors.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The exit code of an error: its kind's, the command's own when one could not be executed, or `engine_code` of `run` and
/// `exec`.
pub(crate) fn exit_code(error: &Error, engine_code: Option<u8>) -> u8 {
    match (engine_code, error.failure()) {
        (_, _) if error.kind() == Kind::Interrupted => error.kind().exit_code(),
        (Some(_), Some(failure)) => u8::try_from(failure.exit_code).unwrap_or(1),
        (Some(code), None) => code,
        (None, _) => error.kind().exit_code(),
    }
}

/// Answers a command line that clap did not take, or that asks for help; returns the exit code.
pub(crate) fn usage(usage: &clap::Error, args: &[OsString]) -> u8 {
    if matches!(
        usage.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let text = usage.render().to_string();
        let missing = usage.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        if missing {
            // As above: nobody is left to tell.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
            return Kind::InvalidArgument.exit_code();
        }
        let mut out = out::Out::new();
        // A failed write is a closed reader, which is success, or nothing that could be said anywhere else.
        let written = std::io::copy(&mut text.as_bytes(), &mut out.writer()).is_ok() && out.flush().is_ok();
        return if written || out::is_broken() { 0 } else { Kind::Failed.exit_code() };
    }
    let asked = asked(args);
    let described = describe(usage, &asked);
    error(&described);
    match asked.path.rsplit(' ').next() {
        Some("run" | "exec") => ENGINE_FAILED,
        _ => described.kind().exit_code(),
    }
}

/// Docker's commands that this version does not have.
const NOT_BUILT_YET: [&str; 7] = ["compose", "context", "manifest", "plugin", "registry", "search", "serve"];

/// What clap found, in our words.
fn describe(usage: &clap::Error, asked: &Asked) -> Error {
    let given = |kind| match usage.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let command = &asked.path;
    let see = || format!("see \"{command} --help\"");
    match usage.kind() {
        ErrorKind::UnknownArgument if given(ContextKind::InvalidArg) == "-e" => {
            Error::invalid("option \"-e\" needs an expression").with_hint("write rhumb -e 'EXPRESSION'")
        }
        ErrorKind::UnknownArgument => {
            let given = given(ContextKind::InvalidArg);
            let name = given.trim_start_matches('-');
            let what = if given.starts_with('-') { "option" } else { "argument" };
            let options = asked.command.get_arguments().filter_map(|arg| arg.get_long());
            let near = suggest::nearest(name, options).filter(|_| given.starts_with("--"));
            Error::invalid(format!("unknown {what} {given:?} of {command:?}"))
                .with_hint(near.map_or_else(see, |near| format!("did you mean \"--{near}\"?")))
        }
        ErrorKind::InvalidSubcommand => {
            let given = given(ContextKind::InvalidSubcommand);
            if command == "rhumb" && NOT_BUILT_YET.contains(&given.as_str()) {
                return Error::unsupported(format!("\"rhumb {given}\" is not built yet")).with_hint(see());
            }
            let names = asked.command.get_subcommands().flat_map(|command| command.get_name_and_visible_aliases());
            Error::invalid(format!("unknown command {given:?} of {command:?}"))
                .with_hint(suggest::hint(&given, names).unwrap_or_else(see))
        }
        // A word too many, which clap takes for a subcommand that there is not.
        ErrorKind::ArgumentConflict
            if asked.command.find_subcommand(given(ContextKind::InvalidSubcommand)).is_none()
                && !given(ContextKind::InvalidSubcommand).is_empty() =>
        {
            Error::invalid(format!("unknown argument {:?} of {command:?}", given(ContextKind::InvalidSubcommand)))
                .with_hint(see())
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match usage.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(names)) => {
                    names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(" ")
                }
                _ => String::new(),
            };
            Error::invalid(format!("{command:?} needs {missing}")).with_hint(see())
        }
        _ => {
            let text = usage.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            let hint = match usage.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(known)) if !known.is_empty() => {
                    let near = suggest::hint(&given(ContextKind::InvalidValue), known.iter().map(String::as_str));
                    near.unwrap_or_else(|| format!("it takes {}", known.join(", ")))
                }
                _ => see(),
            };
            Error::invalid(first.strip_prefix("error: ").unwrap_or(first).to_owned()).with_hint(hint)
        }
    }
}

/// `IMAGE` for `<IMAGE [COMMAND] [ARG]>...`.
fn plain(name: &str) -> &str {
    let inner = name.trim_end_matches('.').trim_start_matches('<').trim_end_matches('>');
    inner.split(' ').next().unwrap_or(inner)
}

/// The command that was asked for, as far as the words are known.
struct Asked {
    /// `rhumb container run`
    path: String,
    command: clap::Command,
}

fn asked(args: &[OsString]) -> Asked {
    let mut command = <super::command::Cli as clap::CommandFactory>::command();
    command.build();
    let mut path = "rhumb".to_owned();
    let mut words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    while let Some(word) = words.next() {
        if word == "--root" {
            words.next();
            continue;
        }
        if word.starts_with('-') {
            continue;
        }
        // Options may stand between a group and its verb, but once a verb is reached there are none below.
        let Some(next) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    Asked { path, command }
}
