//! The noun `secret` in scripts: values that print as `***` and cannot be written into options.
//!
//! A secret reaches a program through its standard input, or through a file that `host::write` makes readable by its
//! owner alone. It is not kept out of this process's memory.

use std::io::{Read, Write};
use std::sync::{Arc, PoisonError};

use rhai::plugin::*;
use rhai::{Blob, Dynamic, ImmutableString, NativeCallContext};

use crate::base::error::Context as _;
use crate::base::id::hex;
use crate::base::{Error, Result};
use crate::script::context::{Host, refuse, tag};
use crate::script::error::{Fallible, Raise};
use crate::script::units::a_type;

/// The largest file that is read as a secret, in bytes.
const MAX_SECRET_BYTES: u64 = 1024 * 1024;

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<str>);

impl Secret {
    /// Hides a text.
    pub(crate) fn new(text: &str) -> Secret {
        Secret(text.into())
    }
}

/// Never its value, whoever prints it.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The bytes of a string, a blob or a secret, as standard input and files take them.
pub(crate) fn bytes_of(value: &Dynamic) -> Result<Vec<u8>> {
    if let Some(secret) = value.read_lock::<Secret>() {
        return Ok(secret.0.as_bytes().to_vec());
    }
    if let Some(blob) = value.read_lock::<Blob>() {
        return Ok(blob.clone());
    }
    value
        .as_immutable_string_ref()
        .map(|text| text.as_bytes().to_vec())
        .map_err(|_| Error::invalid(format!("expected a string, a blob or a secret, not {}", a_type(value))))
}

fn read_file(path: &str) -> Result<Secret> {
    let mut text = String::new();
    let file = std::fs::File::open(path).context(|| format!("opening the secret {path:?}"))?;
    file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text).context(|| format!("reading the secret {path:?}"))?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(Error::invalid(format!("the secret {path:?} is larger than 1 MiB")));
    }
    Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
}

fn ask(host: &Host, question: &str) -> Result<Secret> {
    let mut console = host.console.lock().unwrap_or_else(PoisonError::into_inner);
    if !console.interactive {
        return Err(Error::unavailable("there is no terminal to ask for a secret")
            .with_hint("secret::file and secret::env_var work without one"));
    }
    write!(console.err, "{question}: ").and_then(|()| console.err.flush()).context(|| "asking for a secret")?;
    let mut line = String::new();
    let read = crate::sys::terminal::without_echo(std::io::stdin(), || console.input.read_line(&mut line))
        .context(|| "turning the terminal's echo off")?;
    read.context(|| "reading a secret")?;
    writeln!(console.err).context(|| "asking for a secret")?;
    Ok(Secret::new(line.trim_end_matches(['\n', '\r'])))
}

fn random(bytes: usize) -> Result<Secret> {
    let mut buffer = vec![0; bytes];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut buffer))
        .context(|| "reading \"/dev/urandom\"")?;
    Ok(Secret::new(&hex(&buffer)))
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod secret_functions {
    use super::*;

    /// The content of a file, without its last line end.
    ///
    /// ```rhai
    /// let path = `${host::temp_dir()}/key`;
    /// host::write(path, "open sesame\n");
    /// assert(secret::file(path).to_string() == "***");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn file(ctx: NativeCallContext, path: ImmutableString) -> Fallible<Secret> {
        read_file(&path).raise(&ctx)
    }

    /// An environment variable of this process.
    ///
    /// ```rhai
    /// print(secret::env_var("PATH"));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn env_var(ctx: NativeCallContext, name: ImmutableString) -> Fallible<Secret> {
        std::env::var(name.as_str())
            .map(|value| Secret::new(&value))
            .map_err(|_| Error::not_found(format!("no environment variable {name:?}")))
            .raise(&ctx)
    }

    /// Asks on the terminal, without showing what is typed.
    ///
    /// ```rhai
    /// if flag("ask") { let password = secret::prompt("Password"); }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn prompt(ctx: NativeCallContext, question: ImmutableString) -> Fallible<Secret> {
        ask(&tag(&ctx)?.host, &question).raise(&ctx)
    }

    /// So many random bytes, at most 4096, as hexadecimal digits.
    ///
    /// ```rhai
    /// let password = secret::random(16);
    /// assert(`${password}` == "***");
    /// ```
    #[rhai_fn(name = "random", volatile, return_raw)]
    pub fn random_bytes(ctx: NativeCallContext, count: i64) -> Fallible<Secret> {
        match usize::try_from(count) {
            Ok(count @ 1..=4096) => random(count).raise(&ctx),
            _ => Err(refuse(&ctx, format!("a random secret has 1 to 4096 bytes, not {count}"))),
        }
    }

    #[rhai_fn(global, name = "to_string", name = "to_debug")]
    pub fn text(_secret: Secret) -> ImmutableString {
        "***".into()
    }
    #[rhai_fn(global, name = "==")]
    pub fn equal(a: Secret, b: Secret) -> bool {
        a == b
    }
}
