//! The script's own command line and environment: `args arg flag env_var`.
//!
//! Options are `--name=value`, `--name value` and `--name`; a bare `--` ends them. An option that the script never asked
//! about is reported at its end ([`unused`]), since most of them are typing errors; it is no error, for a script may ask
//! only under some condition.

use std::collections::BTreeSet;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, NativeCallContext};

use crate::base::{Error, Result, suggest};
use crate::script::context::tag;
use crate::script::error::{Fallible, Raise, thrown};
use crate::script::units::{Size, duration_of, size_of};

/// The last value of `--name`, if it was given: `None` inside for an option without a value.
fn lookup<'a>(args: &'a [String], name: &str) -> Option<Option<&'a str>> {
    let mut found = None;
    let mut args = args.iter().take_while(|arg| *arg != "--").peekable();
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix("--") else { continue };
        match option.split_once('=') {
            Some((key, value)) if key == name => found = Some(Some(value)),
            None if option == name => {
                found = Some(args.peek().filter(|next| !next.starts_with("--")).map(|next| next.as_str()));
            }
            _ => {}
        }
    }
    found
}

/// The options that the script never asked about; none when it reads `args()` itself.
pub(crate) fn unread<'a>(args: &'a [String], asked: &BTreeSet<String>) -> BTreeSet<&'a str> {
    if asked.contains("") {
        return BTreeSet::new();
    }
    let options = args.iter().take_while(|arg| *arg != "--").filter_map(|arg| arg.strip_prefix("--"));
    let names = options.map(|option| option.split_once('=').map_or(option, |(name, _)| name));
    names.filter(|name| !asked.contains(*name)).collect()
}

/// Warnings about these options.
pub(crate) fn unused(unread: BTreeSet<&str>, asked: &BTreeSet<String>) -> Vec<String> {
    let warn = |name: &str| match suggest::hint(name, asked.iter().map(String::as_str)) {
        Some(hint) => format!("warning: the script did not use --{name}; {hint}"),
        None => format!("warning: the script did not use --{name}"),
    };
    unread.into_iter().map(warn).collect()
}

/// Reads a value as the type of its fallback.
fn as_type_of(text: &str, fallback: &Dynamic) -> Result<Dynamic> {
    let wrong = |what: &str| Error::invalid(format!("{text:?} is not {what}"));
    if fallback.is_int() {
        return text.parse::<i64>().map(Dynamic::from).map_err(|_| wrong("a whole number"));
    }
    if fallback.is_float() {
        return text.parse::<f64>().map(Dynamic::from).map_err(|_| wrong("a number"));
    }
    if fallback.is_bool() {
        return truth(text).map(Dynamic::from).ok_or_else(|| wrong("true or false"));
    }
    if fallback.read_lock::<std::time::Duration>().is_some() {
        return duration_of(&text.to_owned().into()).map(Dynamic::from);
    }
    if fallback.read_lock::<Size>().is_some() {
        return size_of(&text.to_owned().into()).map(|bytes| Dynamic::from(Size(bytes)));
    }
    Ok(text.to_owned().into())
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn value_of(ctx: &NativeCallContext, name: &str) -> Fallible<Option<String>> {
    let host = tag(ctx)?.host;
    host.heed(name);
    match lookup(&host.args, name) {
        None => Ok(None),
        Some(Some(value)) => Ok(Some(value.to_owned())),
        Some(None) => {
            let error = Error::invalid(format!("--{name} needs a value"));
            Err(thrown(ctx, error.with_hint(format!("write --{name}=VALUE"))))
        }
    }
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod arg_functions {
    use super::*;

    /// All arguments of the script, as they were given.
    ///
    /// ```rhai
    /// for a in args() { print(a); }
    /// ```
    #[rhai_fn(name = "args", return_raw)]
    pub fn all_args(ctx: NativeCallContext) -> Fallible<Array> {
        let host = tag(&ctx)?.host;
        host.heed("");
        Ok(host.args.iter().map(|arg| Dynamic::from(arg.clone())).collect())
    }

    /// The value of `--name=value` or `--name value`, or the fallback. It is read as the fallback's type: a whole number
    /// for 3, a duration for 10.s and so on.
    ///
    /// ```rhai
    /// let port = arg("port", 8080);
    /// assert(port == 8080);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn arg(ctx: NativeCallContext, name: ImmutableString, fallback: Dynamic) -> Fallible<Dynamic> {
        match value_of(&ctx, &name)? {
            None => Ok(fallback),
            Some(text) => as_type_of(&text, &fallback)
                .map_err(|error| error.context(format!("reading the option --{name}")))
                .raise(&ctx),
        }
    }

    #[rhai_fn(name = "arg", return_raw)]
    pub fn required_arg(ctx: NativeCallContext, name: ImmutableString) -> Fallible<String> {
        value_of(&ctx, &name)?.ok_or_else(|| {
            let error = Error::invalid(format!("the option --{name} is missing"));
            thrown(&ctx, error.with_hint(format!("call the script with --{name}=VALUE")))
        })
    }

    /// Whether `--name` was given; `--name=false` says no.
    ///
    /// ```rhai
    /// if flag("dry-run") { print("nothing will be changed"); }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn flag(ctx: NativeCallContext, name: ImmutableString) -> Fallible<bool> {
        let host = tag(&ctx)?.host;
        host.heed(&name);
        let with_equals = format!("--{name}=");
        let options = host.args.split(|arg| arg == "--").next().unwrap_or_default();
        for arg in options.iter().rev() {
            if arg.strip_prefix("--") == Some(name.as_str()) {
                return Ok(true);
            }
            if let Some(value) = arg.strip_prefix(&with_equals) {
                return truth(value)
                    .ok_or_else(|| Error::invalid(format!("--{name} takes true or false, not {value:?}")))
                    .raise(&ctx);
            }
        }
        Ok(false)
    }

    /// An environment variable of this process, or the fallback. Without a fallback a missing one is an error.
    ///
    /// ```rhai
    /// let editor = env_var("EDITOR", "vi");
    /// ```
    pub fn env_var(name: ImmutableString, fallback: Dynamic) -> Dynamic {
        std::env::var_os(name.as_str()).map_or(fallback, |value| value.to_string_lossy().into_owned().into())
    }

    #[rhai_fn(name = "env_var", return_raw)]
    pub fn required_env_var(ctx: NativeCallContext, name: ImmutableString) -> Fallible<String> {
        std::env::var_os(name.as_str())
            .map(|value| value.to_string_lossy().into_owned())
            .ok_or_else(|| Error::not_found(format!("no environment variable {name:?}")))
            .raise(&ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(args: &[&str]) -> Vec<String> {
        args.iter().map(|arg| (*arg).to_owned()).collect()
    }

    #[test]
    fn options_are_found_in_both_forms_and_the_last_wins() {
        let args = list(&["--tag=1", "--n", "5", "--dry", "--tag", "2", "--", "--tag=3"]);
        assert_eq!(lookup(&args, "tag"), Some(Some("2")));
        assert_eq!(lookup(&args, "n"), Some(Some("5")));
        assert_eq!(lookup(&args, "dry"), Some(None));
        assert_eq!(lookup(&args, "none"), None);
    }

    #[test]
    fn unused_options_are_reported_with_a_suggestion() {
        let args = list(&["--tga=1", "--", "--zzz"]);
        let asked = BTreeSet::from(["tag".to_owned()]);
        assert_eq!(
            unused(unread(&args, &asked), &asked),
            ["warning: the script did not use --tga; did you mean \"tag\"?"]
        );
        assert!(unread(&args, &BTreeSet::from([String::new()])).is_empty());
    }
}
